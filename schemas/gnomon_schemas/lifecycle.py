"""A task's life: every change of status there is, in one table.

The scheduler decides by it, the database refuses what it does not have, `docs/reference/lifecycle.md` is drawn from it,
and the tests walk along it. So it is changed here and nowhere else.

Terms. A *resting* status is what `task.status_changed` speaks of: everything but `running`, which is derived while an
execution is in flight and told by the runs' own events. A *cause* is what makes a change: a verb of a command, or a
reason for which a shard changes a task by itself. A *wish* is a `status` in an update: it asks for the change to that
status by the verb that makes it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gnomon_schemas.tasks import TaskStatus

__all__ = ["ENDED", "FINAL", "OWN_CAUSES", "TRANSITIONS", "WISHES", "Transition", "moves", "reachable"]

_PENDING, _SCHEDULED, _RUNNING = TaskStatus.PENDING, TaskStatus.SCHEDULED, TaskStatus.RUNNING
_PAUSED, _COMPLETED, _FAILED = TaskStatus.PAUSED, TaskStatus.COMPLETED, TaskStatus.FAILED
_CANCELLED = TaskStatus.CANCELLED

ENDED: Final = (_COMPLETED, _FAILED, _CANCELLED)
"""Statuses of tasks that have ended: no slot fires, no reminder is told."""
FINAL: Final = _CANCELLED
"""The status that nothing leads out of."""

OWN_CAUSES: Final = {
    "no_slot_left": "its schedule has no slot left and nothing of it is in flight",
    "only_run_failed": "it ran once, and that run failed",
    "reminded": "a task of type `reminder` without a schedule told its reminder",
    "pause_over": "its pause lasted until a time, which has come",
    "max_consecutive_failures": "as many executions in a row failed as it takes",
    "started": "an execution started",
    "ended": "the last execution in flight ended",
}
"""Causes that are no verbs, in words."""


class Transition(NamedTuple):
    """One change of status."""

    old: TaskStatus
    new: TaskStatus
    causes: tuple[str, ...]
    """Verbs and own causes that make it."""
    rules: tuple[str, ...] = ()
    """Numbers of the rules of the task domain that it keeps."""

    @property
    def told(self) -> bool:
        """Whether `task.status_changed` tells of it; otherwise the runs' own events do."""
        return _RUNNING not in (self.old, self.new)


_PAUSING: Final = ("pause", "update")
_RESUMING: Final = ("resume", "update", "pause_over")
_REVIVING: Final = ("update", "reopen")

TRANSITIONS: Final[tuple[Transition, ...]] = (
    Transition(_PENDING, _SCHEDULED, ("update",), ("BR-STS-001",)),
    Transition(_SCHEDULED, _PENDING, ("update",)),
    Transition(_PENDING, _RUNNING, ("started",)),
    Transition(_SCHEDULED, _RUNNING, ("started",), ("BR-STS-002",)),
    Transition(_RUNNING, _PENDING, ("ended",)),
    Transition(_RUNNING, _SCHEDULED, ("ended",)),
    Transition(_RUNNING, _COMPLETED, ("ended", "complete"), ("BR-STS-003",)),
    Transition(_RUNNING, _FAILED, ("ended",), ("BR-STS-004",)),
    Transition(_RUNNING, _PAUSED, (*_PAUSING, "max_consecutive_failures")),
    Transition(_RUNNING, _CANCELLED, ("cancel",), ("BR-STS-007",)),
    Transition(_PAUSED, _RUNNING, _RESUMING),
    Transition(_COMPLETED, _RUNNING, _REVIVING),
    Transition(_FAILED, _RUNNING, _REVIVING),
    Transition(_PENDING, _PAUSED, (*_PAUSING, "max_consecutive_failures")),
    Transition(_SCHEDULED, _PAUSED, (*_PAUSING, "max_consecutive_failures"), ("BR-STS-005",)),
    Transition(_PAUSED, _PENDING, _RESUMING),
    Transition(_PAUSED, _SCHEDULED, _RESUMING, ("BR-STS-006",)),
    Transition(_PENDING, _COMPLETED, ("complete", "reminded")),
    Transition(_SCHEDULED, _COMPLETED, ("complete", "no_slot_left"), ("BR-STS-003",)),
    Transition(_PAUSED, _COMPLETED, ("complete",)),
    Transition(_FAILED, _COMPLETED, ("complete",)),
    Transition(_SCHEDULED, _FAILED, ("only_run_failed",), ("BR-STS-004",)),
    Transition(_COMPLETED, _PENDING, _REVIVING),
    Transition(_COMPLETED, _SCHEDULED, _REVIVING),
    Transition(_COMPLETED, _PAUSED, ("update",)),
    Transition(_FAILED, _PENDING, ("reopen",)),
    Transition(_FAILED, _SCHEDULED, _REVIVING),
    Transition(_FAILED, _PAUSED, ("update",)),
    Transition(_PENDING, _CANCELLED, ("cancel",), ("BR-STS-007",)),
    Transition(_SCHEDULED, _CANCELLED, ("cancel",), ("BR-STS-007",)),
    Transition(_PAUSED, _CANCELLED, ("cancel",), ("BR-STS-007",)),
    Transition(_COMPLETED, _CANCELLED, ("cancel",), ("BR-STS-007",)),
    Transition(_FAILED, _CANCELLED, ("cancel",), ("BR-STS-007",)),
)
"""All of them. What is not in here does not happen: nothing leads out of `cancelled` (BR-STS-008)."""

WISHES: Final = {
    _COMPLETED: "complete",
    _CANCELLED: "cancel",
    _PAUSED: "pause",
    _SCHEDULED: "resume",
    _PENDING: "resume",
}
"""What a `status` in an update asks for. Where the task has ended `scheduled` and `pending` ask for `reopen`."""

_BY_PAIR: Final = {(one.old, one.new): one for one in TRANSITIONS}


def moves(old: TaskStatus, new: TaskStatus) -> Transition | None:
    """The change from one status to another; None: there is none."""
    return _BY_PAIR.get((old, new))


def reachable(old: TaskStatus) -> frozenset[TaskStatus]:
    """Every status that a task with this one may have later, over any number of changes."""
    found: set[TaskStatus] = set()
    ahead = {old}
    while ahead:
        here = ahead.pop()
        ahead |= {one.new for one in TRANSITIONS if one.old is here} - found
        found |= {one.new for one in TRANSITIONS if one.old is here}
    return frozenset(found)
