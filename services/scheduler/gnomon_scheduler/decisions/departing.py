"""Whether an execution that is written ahead, and whose time has come, is handed out now.

This is asked again whenever something changes that it waited for: something of its task ended
(`overlapping.next_gated`), executors came or went.
"""

from __future__ import annotations

from enum import Enum

from gnomon_core.rules.workless import is_workless
from gnomon_scheduler.decisions.overlapping import live_one_waits, runs_beside
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas.tasks import Overlap, Trigger

__all__ = ["Departure", "departure", "expired"]


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
    if expired(flight, now_ms):
        return Departure.EXPIRED
    if is_workless(task.reg.spec.task_type):
        return Departure.GO  # it takes no time: nothing of its task is in its way
    if flight.gated and runs_beside(task, flight):
        return Departure.GIVE_WAY if _gives_way(task, flight) else Departure.WAIT
    if flight.waits_late and flight.gated and live_one_waits(task, now_ms):
        return Departure.WAIT
    return Departure.GO if runnable else Departure.NO_EXECUTOR


def expired(flight: Flight, now_ms: int) -> bool:
    """Whether nobody has claimed it within its time. A late slot's time begins when it is handed out."""
    return (
        flight.unclaimed
        and not flight.waits_late
        and flight.expires_ms is not None
        and flight.expires_ms <= now_ms
    )


def _gives_way(task: TaskState, flight: Flight) -> bool:
    """A slot that was written ahead only because of its jitter must not wait where its task's policy is `skip`."""
    return (
        task.reg.spec.overlap is Overlap.SKIP and flight.trigger is Trigger.SCHEDULE and not flight.waits_late
    )
