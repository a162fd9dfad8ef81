"""Whether an execution that is written ahead, and whose time has come, is handed out now.

This is asked again whenever something changes that it waited for: something of its task ended
(`overlapping.next_gated`), executors came or went.
"""

from __future__ import annotations

from enum import Enum

from gnomon_scheduler.decisions.overlapping import runs_beside
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.tasks import Overlap, Trigger

__all__ = ["Departure", "departure"]


class Departure(Enum):
    """What becomes of an execution that wants to go."""

    GO = "go"
    """Its due is published."""
    WAIT = "wait"
    """Something of its task runs: it is asked again when that has ended."""
    NO_EXECUTOR = "no_executor"
    """No live executor of its pool runs its type: it is asked again when that may have changed."""
    EXPIRED = "expired"
    """It was not handed out in time: `missed(expired)`."""
    GIVE_WAY = "give_way"
    """Something of its task runs, and it may not wait for that: `skipped(overlap)`."""


def departure(task: TaskState, flight: Flight, now_ms: int, *, runnable: bool) -> Departure:
    """What becomes of `flight` now. `runnable`: a live executor of its pool announces its type."""
    if flight.attempt == 1 and flight.expires_ms is not None and flight.expires_ms <= now_ms:
        return Departure.EXPIRED
    if flight.gated and runs_beside(task, flight):
        gives_way = task.reg.spec.overlap is Overlap.SKIP and flight.trigger is Trigger.SCHEDULE
        return Departure.GIVE_WAY if gives_way else Departure.WAIT
    return Departure.GO if runnable else Departure.NO_EXECUTOR
