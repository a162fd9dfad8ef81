"""The marks of one task, read from its own events: when which schedule was in force (see `stretches`).

The read models keep the same as rows. Whoever has no read models at hand, as a shard, reads the events themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gnomon_core.ledger.stretches import Mark, State
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Created, Deleted, Event, Replanned, StatusChanged, Updated
from gnomon_schemas.tasks import Task, TaskStatus

__all__ = ["marks_of_events"]

_OVER: Final = frozenset({TaskStatus.CANCELLED, TaskStatus.COMPLETED, TaskStatus.FAILED})


def marks_of_events(events: Iterable[Event]) -> list[Mark]:
    """The marks that some events of one task make, in the order of the log. Events of its runs make none, and neither
    do changes that leave its slots what they are: a pause that lasts is one, whatever else is changed meanwhile."""
    marks: list[Mark] = []
    for event in events:
        before = marks[-1] if marks else None
        mark = _mark(event, before)
        if mark is not None and (before is None or mark._replace(at_ms=before.at_ms) != before):
            marks.append(mark)
    return marks


def _mark(event: Event, before: Mark | None) -> Mark | None:
    match event:
        case Created():
            return _as_of(event.task, event.created_at)
        case Updated():
            return _as_of(event.task, event.updated_at)
        case Replanned():
            return _as_of(event.task, event.replanned_at)
        case Deleted():
            return _over(event.deleted_at, before)
        case StatusChanged() if event.task is not None:
            # The last instant under what was before, where a pause lasted until `changed_at`.
            return _as_of(event.task, event.occurred_at)
        case StatusChanged() if event.new_status in _OVER:
            return _over(event.changed_at, before)
    return None


def _as_of(task: Task, at: str) -> Mark:
    going = State.PAUSED if task.paused else State.ACTIVE
    state = State.OVER if task.status in _OVER else going
    return Mark(instant_ms(at), state, task.revision, task.schedule)


def _over(at: str, before: Mark | None) -> Mark:
    revision, schedule = (0, None) if before is None else (before.revision, before.schedule)
    return Mark(instant_ms(at), State.OVER, revision, schedule)
