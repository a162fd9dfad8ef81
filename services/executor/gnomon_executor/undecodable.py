"""Work that cannot be read: set aside loudly, once, and never tried for ever.

A due that does not decode would come again after every ack wait and never get anywhere. Where enough of it
can be read to find its chain, its execution ends there as failed, so its slot has its outcome. Where not, a
`task.rejected` tells of it. Either way the message leaves the queue.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from gnomon_core.runtime.bus import (
    IN_PROCESS_PAUSE,
    Bus,
    BusRefused,
    InProcess,
    NoAnswer,
    NotCommitted,
    WrongSequence,
)
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_executor import delivery as answers
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain_writer import READ_PAUSE_SECONDS, ChainWriter
from gnomon_executor.conclusion import refused
from gnomon_executor.delivery import Delivery
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import cloud_event_headers, encode
from gnomon_schemas.dues import Due
from gnomon_schemas.events import TERMINAL, Rejected
from gnomon_schemas.limits import is_id
from gnomon_schemas.problems import Code, problem
from gnomon_schemas.tasks import EMPTY_OBJECT, Priority, RetryPolicy, Trigger

__all__ = ["SetAside", "salvage"]

_log = structlog.get_logger(__name__)


class _Coordinates(msgspec.Struct, frozen=True):
    """What of a due is needed to end its execution; everything else may be wrong."""

    execution_id: str
    task_id: str
    run: str
    cause_seq: int
    scheduled_for: str
    due_at: str = ""
    user_id: str | None = None
    task_type: str = "unknown"
    attempt: int = 1
    revision: int = 0


_decode_coordinates = msgspec.json.Decoder(_Coordinates).decode


def salvage(delivery: Delivery) -> Due | None:
    """As much of an unreadable due as is needed to end its execution; None where that cannot be read
    either."""
    try:
        found = _decode_coordinates(delivery.data)
        task_id = subjects.parse_due(delivery.subject).task_id
    except (msgspec.DecodeError, ValueError):
        return None
    if found.task_id != task_id or found.execution_id != f"{task_id}.{found.run}" or not is_id(found.run):
        return None
    return Due(
        execution_id=found.execution_id,
        task_id=task_id,
        run=found.run,
        user_id=found.user_id,
        task_type=found.task_type,
        config=EMPTY_OBJECT,
        trigger=Trigger.SCHEDULE,
        attempt=found.attempt,
        scheduled_for=found.scheduled_for,
        due_at=found.due_at or found.scheduled_for,
        expires_at=None,
        timeout_seconds=0,
        deadline=None,
        total_timeout_seconds=None,
        priority=Priority.MEDIUM,
        pool="_",
        credits_per_run=0,
        revision=found.revision,
        epoch=0,
        cause_seq=found.cause_seq,
        retry=RetryPolicy(),
    )


class SetAside:
    """Sets unreadable work aside, for one executor."""

    def __init__(self, bus: Bus, writer: ChainWriter, clock: Clock, executor_id: str) -> None:
        self._bus = bus
        self._writer = writer
        self._clock = clock
        self._source = f"gnomon/executor/{executor_id}"

    async def set_aside(self, delivery: Delivery, error: Exception) -> None:
        """End its execution as failed, or tell of it as rejected, then take the message off the queue."""
        _log.error(
            LogEvent.DUE_UNREADABLE, subject=delivery.subject, seq=delivery.stream_seq, error=str(error)
        )
        due = salvage(delivery)
        try:
            if due is not None:
                await self._end_execution(due, delivery, error)
            else:
                await self._reject(delivery, error)
        except BusRefused as refusal:
            _log.error(LogEvent.DUE_UNREADABLE, subject=delivery.subject, error=str(refusal))
        await answers.term(self._bus, delivery)

    async def _end_execution(self, due: Due, delivery: Delivery, error: Exception) -> None:
        partition = subjects.parse_due(delivery.subject).partition
        attempt = Attempt(due, delivery, partition, self._writer.nonce())
        conclusion = refused("UnreadableDue", f"the due cannot be read: {error}", "unreadable_due")
        message = self._writer.executed(attempt, conclusion, self._clock.now_ms())
        expected = due.cause_seq
        while True:
            try:
                await self._writer.store(attempt, message, expected)
                return
            except NotCommitted:
                await asyncio.sleep(READ_PAUSE_SECONDS)
                continue
            except (WrongSequence, InProcess, NoAnswer):
                await asyncio.sleep(IN_PROCESS_PAUSE)
            last = await self._writer.last(attempt)
            if last is not None and last.name in TERMINAL:
                return
            # Nobody can be running what nobody can read, so whatever else stands there is only in the way.
            expected = last.seq if last is not None else 0

    async def _reject(self, delivery: Delivery, error: Exception) -> None:
        """Tell of it under the task that its subject names. Without an answer it is told again: better twice
        than never."""
        parsed = subjects.parse_due(delivery.subject)
        event = Rejected(
            task_id=parsed.task_id,
            user_id=None,
            partition=parsed.partition,
            occurred_at=format_instant(self._clock.now_ms()),
            verb="due",
            error=problem(Code.UNREADABLE_STATE, f"a due cannot be read and was set aside: {error}"),
            subject=delivery.subject,
        )
        msg_id = self._writer.nonce()
        headers = cloud_event_headers(event, ce_id=msg_id, source=self._source)
        headers[h.MSG_ID] = msg_id
        subject = subjects.event("task", "rejected", parsed.partition, parsed.task_id)
        while True:
            try:
                await self._bus.store(subject, encode(event), headers)
                return
            except (NotCommitted, InProcess, NoAnswer, WrongSequence):
                await asyncio.sleep(READ_PAUSE_SECONDS)
