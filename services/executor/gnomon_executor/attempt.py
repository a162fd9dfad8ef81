"""One attempt of one execution, from its delivery to its ack: the state that the parts of the executor
share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from gnomon_executor.context import CancelFlag
from gnomon_executor.delivery import Delivery
from gnomon_executor.handler_end import HandlerEnd, Usage
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.dues import Due

if TYPE_CHECKING:
    from gnomon_executor.jobs import Job

__all__ = ["Attempt", "AttemptKey", "Interruption", "Phase"]

AttemptKey = tuple[str, int]
"""Execution id and number of the attempt: what must not run twice."""


class Phase(Enum):
    """How far an attempt is."""

    CLAIMING = "claiming"
    RUNNING = "running"
    RECORDING = "recording"


class Interruption(Enum):
    """What ends an attempt from outside of its handler."""

    TIMEOUT = "timeout"
    TOTAL_TIMEOUT = "total_timeout"
    CANCEL = "cancel"
    STOP = "stop"
    """The executor stops, and its grace is over."""
    FENCED = "fenced"
    """A later attempt of the same execution came: this one has been taken over, and nothing of it will
    count."""


class Attempt:
    """One attempt, as this process sees it. Lives on the main loop."""

    __slots__ = (
        "cancel_reason",
        "cancelled",
        "chain",
        "claim_seq",
        "deadline_ms",
        "deliveries",
        "due",
        "due_published_ms",
        "end",
        "ended",
        "first_started",
        "interruption",
        "job",
        "key",
        "nonce",
        "on_late_end",
        "partition",
        "phase",
        "started_at",
        "started_ms",
        "takeovers",
        "traceparent",
        "usage",
        "woken",
    )

    def __init__(self, due: Due, delivery: Delivery, partition: int, nonce: str) -> None:
        self.due = due
        self.key: AttemptKey = (due.execution_id, due.attempt)
        self.partition = partition
        self.chain = subjects.chain(partition, due.task_id, due.run)
        """What every publish of this execution expects on."""
        self.nonce = nonce
        self.deliveries: dict[int, Delivery] = {delivery.stream_seq: delivery}
        """By message; of each the latest delivery. Two where the scheduler emitted the due a second time."""
        self.due_published_ms = delivery.stored_ms
        """When the broker stored the due that came first."""
        self.phase = Phase.CLAIMING
        self.traceparent = delivery.traceparent
        self.cancelled = CancelFlag()
        self.cancel_reason: str | None = None
        self.usage = Usage()
        self.claim_seq = 0
        """Sequence of the `started` that claims it, once stored."""
        self.takeovers = 0
        self.started_ms = 0
        self.started_at = ""
        self.first_started: str | None = None
        """Start of the first attempt, where it is known without reading."""
        self.deadline_ms: int | None = None
        """End of all attempts."""
        self.job: Job | None = None
        self.interruption: Interruption | None = None
        self.end: HandlerEnd | None = None
        """How the handler ended, once it has."""
        self.woken: asyncio.Future[None] | None = None
        """Done when the handler ends or something interrupts it."""
        self.ended: asyncio.Event | None = None
        """Set when the handler has really ended."""
        self.on_late_end: Callable[[], None] | None = None
        """To be told when the handler ends after everything else was done."""

    @property
    def handler_running(self) -> bool:
        """Whether the handler has been handed over and has not ended."""
        return self.job is not None and self.end is None

    def adopt(self, delivery: Delivery) -> None:
        """Take a further delivery of the same attempt: it is what will be acknowledged."""
        self.deliveries[delivery.stream_seq] = delivery

    def interrupt(self, why: Interruption) -> None:
        """End the attempt from outside. The first reason counts, except that nothing holds up a stop."""
        if self.interruption is None or why is Interruption.STOP:
            self.interruption = why
        self._wake()

    def handler_ended(self, end: HandlerEnd) -> None:
        """The handler has really ended."""
        self.end = end
        if self.on_late_end is not None:
            self.on_late_end()
        self._wake()
        if self.ended is not None:
            self.ended.set()

    def log_fields(self) -> dict[str, str | None]:
        """What every log line about it carries."""
        return {
            "traceparent": self.traceparent,
            "task_id": self.due.task_id,
            "execution_id": self.due.execution_id,
        }

    def _wake(self) -> None:
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)

    def expired(self, now_ms: int) -> bool:
        """Whether this is a first attempt that should have been claimed before."""
        expires_at = self.due.expires_at
        if self.due.attempt != 1 or expires_at is None:
            return False
        now = format_instant(now_ms)
        # Texts of one form sort like the instants they name, and comparing them costs a tenth of reading one.
        return now > expires_at if len(now) == len(expires_at) else now_ms > instant_ms(expires_at)
