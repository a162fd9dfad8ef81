"""Recording what became of an attempt: repeated until it is stored or refused, for as long as the process
lives.

The result expects the sequence of one's own `started`. So it is stored only while nobody has put anything on
top: a process that was paused, taken over and resumed is refused, learns it here, and drops its result. An
outage of the broker only makes it wait; meanwhile the attempt counts as running, and whoever is delivered its
due again is told so.
"""

from __future__ import annotations

import asyncio
from typing import Final

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
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain import Row, chain_end, result_row
from gnomon_executor.chain_writer import READ_PAUSE_SECONDS, ChainWriter, Message
from gnomon_executor.conclusion import Conclusion, refused
from gnomon_schemas import subjects
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["Recorder"]

_REFUSED_PAUSE_SECONDS: Final = 1.0
_MODEST_BYTES: Final = 8 * 1024
_log = structlog.get_logger(__name__)


class Recorder:
    """Records results for one executor."""

    def __init__(self, bus: Bus, writer: ChainWriter, clock: Clock) -> None:
        self._bus = bus
        self._writer = writer
        self._clock = clock

    async def record(self, attempt: Attempt, conclusion: Conclusion) -> Row:
        """Record a conclusion; the row of the table that it came to.

        `RECORDED` where it is stored, `TAKEN_FROM_ME` where another has taken the attempt over, `OVER` where
        the chain has ended or gone on without it.
        """
        message = await self._message(attempt, conclusion)
        while True:
            try:
                await self._writer.store(attempt, message, attempt.claim_seq)
                return Row.RECORDED
            except NotCommitted:
                await asyncio.sleep(READ_PAUSE_SECONDS)
                continue
            except BusRefused as error:
                message = await self._after_refusal(attempt, message, error)
                continue
            except WrongSequence as refusal:
                seq = refusal.last_seq
            except (InProcess, NoAnswer):
                await asyncio.sleep(IN_PROCESS_PAUSE)
                seq = None
            last = await self._writer.last(attempt, seq)
            row = result_row(last, claim_seq=attempt.claim_seq, nonce=attempt.nonce, msg_id=message.msg_id)
            if row is not Row.MINE:
                return row

    async def give_back(self, attempt: Attempt) -> bool:
        """Mark the attempt as given back, so that the next executor goes on without counting a crash.

        Tried once: whether it is stored, False where it is not known. Nothing depends on it but a count.
        """
        try:
            await self._writer.store(attempt, self._writer.started(attempt, released=True), attempt.claim_seq)
        except (WrongSequence, InProcess, NotCommitted, NoAnswer, BusRefused):
            return False
        return True

    async def first_started(self, attempt: Attempt) -> str:
        """When the first attempt of the execution started: total timeouts count from there."""
        if attempt.first_started is None:
            attempt.first_started = await self._read_first_started(attempt) or attempt.started_at
        return attempt.first_started

    async def _message(self, attempt: Attempt, conclusion: Conclusion) -> Message:
        now_ms = self._clock.now_ms()
        if conclusion.retry_at_ms is None:
            return self._writer.executed(attempt, conclusion, now_ms)
        first = await self.first_started(attempt)
        return self._writer.retrying(attempt, conclusion, now_ms, conclusion.retry_at_ms, first)

    async def _after_refusal(self, attempt: Attempt, message: Message, error: BusRefused) -> Message:
        """The broker refuses the result itself. One that is too large becomes a failure saying so; anything
        else (no space, a limit) may pass, so it is tried again."""
        _log.error(LogEvent.RESULT_REFUSED, execution_id=attempt.due.execution_id, error=str(error))
        if len(message.data) > _MODEST_BYTES:
            conclusion = refused(
                "ResultNotStored", f"the broker refused the result: {error}", "result_refused"
            )
            return self._writer.executed(attempt, conclusion, self._clock.now_ms())
        await asyncio.sleep(_REFUSED_PAUSE_SECONDS)
        return message

    async def _read_first_started(self, attempt: Attempt) -> str | None:
        """From the chain: a `retrying` tells it; before one, the first `started` does."""
        due = attempt.due
        while True:
            try:
                if due.attempt > 1:
                    cause = chain_end(await self._bus.get(EVENTS_STREAM, due.cause_seq))
                    return cause.first_started_at or None if cause is not None else None
                started = subjects.event("task", "started", attempt.partition, due.task_id, due.run)
                async for stored in self._bus.scan(EVENTS_STREAM, started, start_seq=due.cause_seq + 1):
                    end = chain_end(stored)
                    return end.started_at or None if end is not None else None
                return None
            except NoAnswer:
                await asyncio.sleep(READ_PAUSE_SECONDS)
