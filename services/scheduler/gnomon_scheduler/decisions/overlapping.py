"""What the overlap policy makes of an execution that comes while others of its task are in flight.

What counts as *in the way*: everything of the task that is in flight, but for late slots that wait for their turn (live
ones go first, so those wait for these) and for backfills, which have a lane of their own.

A *gated* execution is written ahead and goes when nothing of its task runs any more; of several the one that was due
first, and a late one after all others. `departing` looks at that again when its time comes.
"""

from __future__ import annotations

from enum import Enum

from gnomon_scheduler.decisions.wishes import is_stronger
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.codec import encode
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.tasks import Overlap, Trigger

__all__ = [
    "Way",
    "has_room",
    "in_the_way",
    "live_one_waits",
    "next_gated",
    "replaced",
    "room_for",
    "runs_beside",
    "way_past",
]

_FLIGHTS_BYTES = 850 * 1024
"""Of a register, for config, metadata and executions; the rest is for its other parts, the largest of them the slots
that backfills list."""
_FLIGHT_BYTES = 420
_NAMES_BYTES = 300
_FEW = 300
"""So many fit whatever they and their task are."""


class Way(Enum):
    """What an execution does about those before it."""

    GO = "go"
    """It goes at once: nothing is in its way, or that does not matter."""
    WAIT = "wait"
    """It waits, gated."""
    REPLACE = "replace"
    """They are cancelled, and it waits, gated, until they are gone."""
    GIVE_WAY = "give_way"
    """It does not run."""


def in_the_way(task: TaskState) -> list[Flight]:
    """What of the task is in flight, as far as its overlap policy is concerned."""
    return [
        flight
        for flight in task.flights.values()
        if flight.trigger is not Trigger.BACKFILL and not flight.waits_late
    ]


def way_past(overlap: Overlap, others: list[Flight], *, on_demand: bool = False) -> Way:
    """What an execution does under a policy while `others` are in its way.

    Of slots under `queue` one waits at a time; runs `on_demand` were asked for one by one, and all wait.
    """
    if not others or overlap is Overlap.ALLOW:
        return Way.GO
    match overlap:
        case Overlap.SKIP:
            return Way.GIVE_WAY
        case Overlap.QUEUE if not on_demand and any(other.gated for other in others):
            return Way.GIVE_WAY
        case Overlap.CANCEL_RUNNING:
            return Way.REPLACE
    return Way.WAIT


def replaced(task: TaskState, deadline_ms: int, command_id: str | None = None) -> list[Cancelling]:
    """What is to be ended for an execution that replaces what is in its way; by `deadline_ms` at the latest."""
    return [
        Cancelling(run=flight.run, reason="cancelled", deadline_ms=deadline_ms, command_id=command_id)
        for flight in in_the_way(task)
        if is_stronger("cancelled", task.cancelling.get(flight.run))
    ]


def has_room(task: TaskState) -> bool:
    """Whether the task's register takes another execution. The backlog has a bound of its own (`catching_up`)."""
    if len(task.flights) < _FEW:
        return True
    count = sum(not flight.waits_late for flight in task.flights.values())
    return count < ENTRIES_PER_TASK and room_for(task) > 0


def room_for(task: TaskState) -> int:
    """How many executions with long names the task's register takes besides those it has, by its size.

    A register is one message. What is reckoned of each is its entry and the wish to end it.
    """
    spec = task.reg.spec
    left = _FLIGHTS_BYTES - len(bytes(spec.config)) - len(encode(spec.metadata))
    left -= sum(
        _FLIGHT_BYTES + 2 * len(flight.run) + len(flight.retry_of or "") for flight in task.flights.values()
    )
    return max(0, left // (_FLIGHT_BYTES + _NAMES_BYTES))


def runs_beside(task: TaskState, flight: Flight) -> bool:
    """Whether something of the task runs that a gated execution waits for."""
    return any(other.running and other is not flight for other in in_the_way(task))


def live_one_waits(task: TaskState, now_ms: int) -> bool:
    """Whether a gated execution of the task that is not late is to go before the late ones at `now_ms`."""
    return any(
        flight.gated
        and not flight.waits_late
        and flight.emit_ms <= now_ms
        and flight.run not in task.cancelling
        for flight in task.flights.values()
    )


def next_gated(task: TaskState) -> Flight | None:
    """Which gated execution of the task is the next to go; None: none waits.

    One that is being ended goes nowhere.
    """
    return min(
        (flight for flight in task.flights.values() if flight.gated and flight.run not in task.cancelling),
        key=lambda flight: (flight.waits_late, flight.emit_ms, flight.run),
        default=None,
    )
