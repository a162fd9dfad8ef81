"""Ending executions that were cancelled, deleted with their task, withdrawn by a pause, or that have expired.

The wish is in the task's register (`cancelling`, with a deadline), committed with the command that caused it. What
follows is a batch of its own, at most 50 executions, after reading their chains from the stream's leader:

* Nothing newer than the cause, nobody has claimed it: `skipped(reason)` or `missed(expired)`, expecting the cause;
  then the due is deleted.
* `retrying`: `executed {cancelled}` expecting it. A pause leaves it alone.
* `started`: signal the handler each second; past the deadline `executed {cancelled}` on top, which fences the executor
  out. A pause leaves it alone.
* By a cancel that lets running ones finish: as by a pause.
* By a blackout: as by a pause; where another run stands for it, it is `coalesced(blackout)` into that one.
* A terminal event: nothing; folding it ends the wish.

An executor may claim between the read and the batch: the batch is then refused whole, nothing of it is stored, and
the chains are read again. That is why these events never share a batch with callers' commands.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Any

from msgspec import UNSET

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.messages import Stored
from gnomon_scheduler.decisions.views import optional_instant
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import decode_event
from gnomon_schemas.events import (
    TERMINAL,
    Coalesced,
    ErrorInfo,
    Event,
    Executed,
    Missed,
    Retrying,
    Skipped,
    Started,
)
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.tasks import NULL

__all__ = ["BATCH_MAX", "SIGNAL_EVERY_MS", "Step", "Wish", "act", "read_last"]

BATCH_MAX = 50
SIGNAL_EVERY_MS = 1000


@dataclass(slots=True)
class Wish:
    """One execution to end."""

    task: TaskState
    run: str
    reason: str
    """`cancelled`, `deleted`, `paused`, `limit`, `blackout`, or `expired`."""
    deadline_ms: int
    into: str | None = None
    """The run that stands for it."""
    calendar_id: str | None = None
    """The calendar of blackouts by which it does not run."""
    gentle: bool = False
    """Only if nobody has claimed it."""
    next_ms: int = 0
    """Not before this instant is it looked at again."""


class Step(Enum):
    """What to do about a wish now, where it is not an event."""

    DROP = "drop"
    """Nothing to end, or a pause or expiry that came too late: forget the wish."""
    SIGNAL = "signal"
    """Tell the handler."""
    WAIT = "wait"
    """The terminal event is stored and not folded yet."""


async def read_last(bus: Bus, partition: int, wishes: list[Wish]) -> list[Stored | None]:
    """The last message of each wish's chain, from the stream's leader. Raises NoAnswer."""
    return list(
        await asyncio.gather(
            *(
                bus.last(EVENTS_STREAM, subjects.chain(partition, wish.task.task_id, wish.run))
                for wish in wishes
            )
        )
    )


def act(wish: Wish, last: Stored | None, now_ms: int, partition: int) -> Step | tuple[Event, int]:
    """What to do: a step, or the event to store and the sequence that it expects on the chain."""
    flight = wish.task.flights.get(wish.run)
    name = None if last is None else subjects.parse_event(last.subject).name
    if name in TERMINAL:
        return Step.DROP if flight is None else Step.WAIT
    if flight is None and last is None:
        return Step.DROP
    gentle = wish.gentle or wish.reason in {"paused", "expired", "blackout"}
    if name in {None, "queued"}:
        if flight is None:
            return Step.DROP
        return _no_run(wish, flight, now_ms, partition), 0 if last is None else last.seq
    if gentle:
        return Step.DROP
    assert last is not None
    if name == "started" and now_ms < wish.deadline_ms:
        return Step.SIGNAL
    return _cancelled(wish, last, now_ms, partition), last.seq


def _no_run(wish: Wish, flight: Flight, now_ms: int, partition: int) -> Event:
    reg = wish.task.reg
    about: dict[str, Any] = {
        "task_id": reg.task_id,
        "user_id": reg.user_id,
        "partition": partition,
        "occurred_at": format_instant(now_ms),
        "reason": wish.reason,
        "revision": flight.revision,
        "execution_id": f"{reg.task_id}.{wish.run}",
        "run": wish.run,
        "task_type": reg.spec.task_type,
        "attempt": flight.attempt,
        "trigger": flight.trigger,
        "scheduled_for": format_instant(flight.scheduled_ms),
        "due_at": format_instant(flight.due_ms),
        "calendar_id": wish.calendar_id or UNSET,
    }
    if wish.into is not None:
        words = f"calendar {wish.calendar_id!r} lets one run stand for all when the blackout is over"
        return Coalesced(**about, into=wish.into, detail=words)
    if wish.reason == "expired":
        expiry = flight.expires_ms
        detail = None if expiry is None else f"nobody had claimed it by {optional_instant(expiry)}"
        return Missed(**about, detail=detail or UNSET)
    return Skipped(**about)


def _cancelled(wish: Wish, last: Stored, now_ms: int, partition: int) -> Event:
    """The result of an execution that has had an attempt: `last` is its `started` or `retrying`."""
    seen = decode_event(last.data)
    assert isinstance(seen, Started | Retrying)  # every other event of a chain was dealt with before
    now = format_instant(now_ms)
    return Executed(
        task_id=seen.task_id,
        user_id=seen.user_id,
        partition=partition,
        occurred_at=now,
        execution_id=seen.execution_id,
        run=seen.run,
        task_type=seen.task_type,
        attempt=seen.attempt,
        trigger=seen.trigger,
        scheduled_for=seen.scheduled_for,
        due_at=seen.due_at,
        revision=seen.revision,
        retry_of=seen.retry_of,
        status="cancelled",
        result=NULL,
        error=ErrorInfo(type="Cancelled", message=f"ended by the scheduler: {wish.reason}"),
        started_at=seen.started_at,
        completed_at=now,
        executed_at=now,
        duration_ms=max(0, now_ms - instant_ms(seen.started_at)),
        credits_consumed=0,
        tokens_used=0,
        api_calls_made=0,
        executor=None,
        reason=wish.reason,
    )
