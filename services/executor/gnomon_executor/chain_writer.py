"""Writing and reading an execution's chain.

Each event is published expecting the sequence of the one before it, under the chain's own filter, so a write
is either the chain's next event or refused. The `Nats-Msg-Id` names the event and this process; a repeat of a
write whose answer was lost carries the same one. Where the broker answers that it has seen the id, nothing
was stored *now*: that counts as refused, and reading the chain tells whether the earlier one is there.
"""

from __future__ import annotations

import asyncio
import secrets
from itertools import count
from typing import Final

from gnomon_core.runtime.bus import Bus, NoAnswer, WrongSequence
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain import ChainEnd, chain_end
from gnomon_executor.conclusion import Conclusion
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.accounts import PRICE_MAX
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import cloud_event_headers, encode
from gnomon_schemas.events import Executed, ExecutionEvent, Missed, Retrying, SlotOutcome, Started, event_name
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["READ_PAUSE_SECONDS", "ChainWriter", "Message"]

READ_PAUSE_SECONDS: Final = 0.1
"""Before reading again after the broker did not answer."""


class Message:
    """An event ready to be published, as often as it takes: every repeat is the same message."""

    __slots__ = ("data", "headers", "msg_id", "subject")

    def __init__(self, subject: str, data: bytes, headers: dict[str, str], msg_id: str) -> None:
        self.subject = subject
        self.data = data
        self.headers = headers
        self.msg_id = msg_id


class ChainWriter:
    """Writes this executor's events."""

    def __init__(self, bus: Bus, executor_id: str) -> None:
        self._bus = bus
        self._id = executor_id
        self._source = f"gnomon/executor/{executor_id}"
        # Random besides the id: also two processes that were given one id by mistake stay two.
        self._salt = secrets.token_hex(6)
        self._numbers = count(1)

    def nonce(self) -> str:
        """A name that no other attempt, process or message has."""
        return f"{self._id}:{self._salt}{next(self._numbers):x}"

    def started(self, attempt: Attempt, *, released: bool = False) -> Message:
        """The claim; with `released`, the mark that gives it back."""
        due = attempt.due
        event = Started(
            task_id=due.task_id,
            user_id=due.user_id,
            partition=attempt.partition,
            occurred_at=attempt.started_at,
            execution_id=due.execution_id,
            run=due.run,
            task_type=due.task_type,
            attempt=due.attempt,
            trigger=due.trigger,
            scheduled_for=due.scheduled_for,
            due_at=due.due_at,
            revision=due.revision,
            retry_of=due.retry_of,
            executor=self._id,
            due_seq=next(iter(attempt.deliveries)),
            nonce=attempt.nonce,
            takeovers=attempt.takeovers,
            started_at=attempt.started_at,
            pool=due.pool,
            priority=due.priority,
            released=released,
            epoch=due.epoch,
            due_published_at=format_instant(attempt.due_published_ms),
        )
        return self._message(attempt, event)

    def missed(self, attempt: Attempt, now_ms: int) -> Message:
        """A first attempt that nobody claimed in time."""
        due = attempt.due
        event = Missed(
            task_id=due.task_id,
            user_id=due.user_id,
            partition=attempt.partition,
            occurred_at=format_instant(now_ms),
            reason="expired",
            revision=due.revision,
            execution_id=due.execution_id,
            run=due.run,
            task_type=due.task_type,
            attempt=due.attempt,
            trigger=due.trigger,
            scheduled_for=due.scheduled_for,
            due_at=due.due_at,
            epoch=due.epoch,
            detail=f"nobody had claimed it by {due.expires_at}",
        )
        return self._message(attempt, event)

    def executed(self, attempt: Attempt, conclusion: Conclusion, now_ms: int) -> Message:
        """The result of an execution."""
        due, usage = attempt.due, conclusion.usage
        now = format_instant(now_ms)
        # Credits are taken for success; what a handler counted by itself was consumed either way.
        price = due.credits_per_run if conclusion.status == "completed" else 0
        consumed = min(usage.credits + price, PRICE_MAX)
        event = Executed(
            task_id=due.task_id,
            user_id=due.user_id,
            partition=attempt.partition,
            occurred_at=now,
            execution_id=due.execution_id,
            run=due.run,
            task_type=due.task_type,
            attempt=due.attempt,
            trigger=due.trigger,
            scheduled_for=due.scheduled_for,
            due_at=due.due_at,
            revision=due.revision,
            retry_of=due.retry_of,
            status=conclusion.status,
            result=conclusion.result,
            result_truncated=conclusion.truncated,
            error=conclusion.error,
            reason=conclusion.reason,
            started_at=attempt.started_at or now,
            completed_at=now,
            executed_at=now,
            duration_ms=max(0, now_ms - attempt.started_ms) if attempt.started_ms else 0,
            credits_consumed=consumed,
            tokens_used=usage.tokens,
            api_calls_made=usage.api_calls,
            executor=self._id,
        )
        return self._message(attempt, event)

    def retrying(
        self, attempt: Attempt, conclusion: Conclusion, now_ms: int, retry_at_ms: int, first_started: str
    ) -> Message:
        """An attempt that failed, and when the next one is due."""
        due = attempt.due
        assert conclusion.error is not None
        event = Retrying(
            task_id=due.task_id,
            user_id=due.user_id,
            partition=attempt.partition,
            occurred_at=format_instant(now_ms),
            execution_id=due.execution_id,
            run=due.run,
            task_type=due.task_type,
            attempt=due.attempt,
            trigger=due.trigger,
            scheduled_for=due.scheduled_for,
            due_at=due.due_at,
            revision=due.revision,
            retry_of=due.retry_of,
            retry_at=format_instant(retry_at_ms),
            error=conclusion.error,
            executor=self._id,
            started_at=attempt.started_at,
            first_started_at=first_started,
            duration_ms=max(0, now_ms - attempt.started_ms),
            status=conclusion.status,
        )
        return self._message(attempt, event)

    async def store(self, attempt: Attempt, message: Message, expected: int) -> int:
        """Publish as the chain's next event after sequence `expected`; the sequence at which it is stored.

        Raises WrongSequence also where the broker has seen the id; InProcess, NotCommitted, NoAnswer,
        BusRefused.
        """
        answer = await self._bus.store(
            message.subject, message.data, message.headers, expected=expected, expected_subject=attempt.chain
        )
        if answer.duplicate:
            raise WrongSequence(None, "the message id has been seen")
        return answer.seq

    async def last(self, attempt: Attempt, seq: int | None = None) -> ChainEnd | None:
        """The chain's last event, from the stream's leader; `seq` where a refusal told it. Asks until it is
        answered.

        Raises BusRefused.
        """
        if seq == 0:
            return None
        while True:
            try:
                found = await self._bus.get(EVENTS_STREAM, seq) if seq else None
                if found is None:
                    found = await self._bus.last(EVENTS_STREAM, attempt.chain)
                return chain_end(found)
            except NoAnswer:
                await asyncio.sleep(READ_PAUSE_SECONDS)

    def _message(self, attempt: Attempt, event: ExecutionEvent | SlotOutcome) -> Message:
        msg_id = self.nonce()
        headers = cloud_event_headers(
            event, ce_id=msg_id, source=self._source, traceparent=attempt.traceparent
        )
        headers[h.MSG_ID] = msg_id
        due = attempt.due
        subject = subjects.event("task", event_name(event), attempt.partition, due.task_id, due.run)
        return Message(subject, encode(event), headers, msg_id)
