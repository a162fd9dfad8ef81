"""What is known about a slot, and what an explanation is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from gnomon_api.readmodels.sections.executions import ExecutionRow
from gnomon_core.ledger import Pasts
from gnomon_core.timing import Touch
from gnomon_schemas import events as ev
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Task

__all__ = [
    "Change",
    "Explanation",
    "Facts",
    "PoolNow",
    "ReadModels",
    "Revision",
    "ShardNow",
    "Span",
    "Step",
    "verdicts",
]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that led to the verdict."""

    at: str | None
    """When; null where it has no instant of its own."""
    what: str
    """The event's name (`started`, `retrying`, `executed` …); or what is reckoned or read elsewhere: `schedule`,
    `slot`, `policy`, `lease`, `due`, `projection`; of what is still to come `paused`, `blackout`, `pool`, `executors`,
    `key`, `in_flight`; of a time that is no slot `slot_before`, `slot_after`, `excluded`, `dst_gap`."""
    seq: int | None
    """Sequence of the event in the stream `TASKS`; null for what is no event."""
    detail: str
    """In words."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a slot, or a run on demand, became what it became."""

    slot: str | None
    """Nominal time of the slot; null for a run on demand and for a time that is no slot."""
    verdict: str
    """The execution's status (`completed`, `failed`, `running`, `skipped` …), `planned` (still to come),
    `pending` (due, and nothing is recorded yet) or `no_slot`."""
    reason: str
    """One or two sentences."""
    steps: tuple[Step, ...]


verdicts: Final = (
    *("completed", "failed", "cancelled", "timed_out", "queued", "running", "retrying"),
    *("skipped", "missed", "coalesced", "planned", "pending", "no_slot"),
)
"""Every verdict there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry of the task's history."""

    seq: int
    at_ms: int
    version: int
    what: str
    """`created`, `updated` or `deleted`."""
    user_id: str | None
    fields: Mapping[str, tuple[Any, Any]]
    """Field to its values before and after."""
    by_itself: bool = False
    """No command asked for it: a pause ended at its time, or failures in a row began one."""


class Revision(NamedTuple):
    """From when on which revision of the schedule counts."""

    at_ms: int
    number: int
    schedule: Schedule | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Slots that were passed over in bulk, the one in question among them."""

    seq: int
    outcome: str
    reason: str
    revision: int
    from_at: str
    to_at: str
    slots: int
    into: str | None
    occurred_at: str
    event: ev.SlotOutcome | None = None
    """The event, where it could be read: it knows what the decision rested on."""


class ShardNow(NamedTuple):
    """The task's shard at this moment."""

    partition: int
    epoch: int
    leader: str


class PoolNow(NamedTuple):
    """The pool of the task's executions at this moment."""

    name: str
    paused: bool
    max_in_flight: int | None
    runnable: bool
    """Whether a live executor of the pool runs the task's type."""


class ReadModels(NamedTuple):
    """How far the read models are: the newest event that they have."""

    seq: int
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known. Times in milliseconds since 1970."""

    task: Task
    """As it is now, or was when it was deleted."""
    history: Sequence[Change]
    """From its creation on, in order."""
    now_ms: int
    at_ms: int | None
    """The instant in question; None where a run on demand is."""
    chain: Sequence[tuple[int, ev.Event]] = ()
    """Sequence and event, in order."""
    execution: ExecutionRow | None = None
    """What the chain makes."""
    span: Span | None = None
    pasts: Pasts = field(default_factory=dict)
    """Rules of zones and holidays by which the task's shard made slots, where they are not this process's own."""
    revisions: Sequence[Revision] = ()
    """In order."""
    in_flight: Sequence[str] = ()
    """Runs of the task that have not ended, the oldest first; not those of backfills."""
    shard: ShardNow | None = None
    pool: PoolNow | None = None
    read_models: ReadModels | None = None
    touch: Touch | None = None
    """What a calendar of blackouts does to the slot, by the calendars of now."""
