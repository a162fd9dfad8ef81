"""The `Context` that handlers get, in whatever thread or process they run.

Everything in it is either fixed when the attempt begins or handed on through two small ports, so that the
same class serves the handler loop, the threads and the worker processes.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from gnomon import Previous
from gnomon_executor.handler_end import Usage
from gnomon_executor.handler_log import AttemptLog, LogSink
from gnomon_schemas.clock_text import EPOCH, parse_instant
from gnomon_schemas.tasks import EMPTY_OBJECT, NULL

__all__ = ["AttemptContext", "AttemptFacts", "CancelFlag", "PreviousFacts"]


ProgressSink = Callable[[float, str], None]


class PreviousFacts(msgspec.Struct, frozen=True):
    """The task's last success, as it is handed to a worker process."""

    at: str
    run: str
    result: msgspec.Raw


class AttemptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed when an attempt begins. Times are turned into datetimes only when a handler looks."""

    task_id: str
    execution_id: str
    attempt: int
    scheduled_for: str
    deadline_ms: int
    """Epoch milliseconds."""
    trigger: str
    trigger_data: msgspec.Raw = NULL
    user_id: str | None = None
    fencing_token: int = 0
    previous: PreviousFacts | None = None
    metadata: msgspec.Raw = EMPTY_OBJECT


class CancelFlag:
    """Raised once, from any thread, and waited for from any thread or loop."""

    __slots__ = ("_event", "_raised", "_waiters")

    _lock = threading.Lock()
    """Of all flags together: it is held for a few instructions, and hardly any flag is ever waited for."""

    def __init__(self) -> None:
        self._raised = False
        self._event: threading.Event | None = None
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        return self._raised

    def is_set(self) -> bool:
        """True once told to stop."""
        return self._raised

    def set(self) -> None:
        """Tell the run to stop."""
        with self._lock:
            self._raised = True
            waiters, self._waiters = self._waiters, []
            event = self._event
        if event is not None:
            event.set()
        for loop, future in waiters:
            loop.call_soon_threadsafe(_settle, future)

    async def wait(self) -> None:
        """Return once told to stop."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            if self._raised:
                return
            self._waiters.append((loop, future))
        await future

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Block until told to stop, or for `timeout` seconds. True: told to stop."""
        with self._lock:
            if self._raised:
                return True
            if self._event is None:
                self._event = threading.Event()
            event = self._event
        return event.wait(timeout)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class _Sent:
    """What `progress` returns: it was sent by the call, so awaiting it does nothing."""

    __slots__ = ()

    def __await__(self) -> Any:
        return
        yield  # makes this a generator, as `await` asks for


_SENT: Final = _Sent()


class AttemptContext:
    """See `gnomon.Context`."""

    __slots__ = ("_cancelled", "_facts", "_log", "_now_ms", "_open_log", "_previous", "_progress", "_usage")

    _opening = threading.Lock()
    """Of all contexts together: it is held for a moment, once for each run that logs."""

    def __init__(
        self,
        facts: AttemptFacts,
        cancelled: CancelFlag,
        usage: Usage,
        progress: ProgressSink,
        open_log: Callable[[], LogSink],
        now_ms: Callable[[], int],
    ) -> None:
        self._facts = facts
        self._cancelled = cancelled
        self._usage = usage
        self._progress = progress
        self._open_log = open_log
        self._now_ms = now_ms
        self._log: AttemptLog | None = None
        self._previous: Previous | None = None

    @property
    def task_id(self) -> str:
        """See `gnomon.Context`."""
        return self._facts.task_id

    @property
    def execution_id(self) -> str:
        """See `gnomon.Context`."""
        return self._facts.execution_id

    @property
    def idempotency_key(self) -> str:
        """See `gnomon.Context`. The execution's id: unique for each slot and each run on demand."""
        return self._facts.execution_id

    @property
    def attempt(self) -> int:
        """See `gnomon.Context`."""
        return self._facts.attempt

    @property
    def scheduled_for(self) -> datetime:
        """See `gnomon.Context`."""
        return parse_instant(self._facts.scheduled_for)

    @property
    def deadline(self) -> datetime:
        """See `gnomon.Context`."""
        return EPOCH + timedelta(milliseconds=self._facts.deadline_ms)

    @property
    def trigger(self) -> str:
        """See `gnomon.Context`."""
        return self._facts.trigger

    @property
    def trigger_data(self) -> Any:
        """See `gnomon.Context`."""
        return msgspec.json.decode(self._facts.trigger_data)

    @property
    def user_id(self) -> str | None:
        """See `gnomon.Context`."""
        return self._facts.user_id

    @property
    def metadata(self) -> Mapping[str, Any]:
        """See `gnomon.Context`."""
        found: dict[str, Any] = msgspec.json.decode(self._facts.metadata)
        return found

    @property
    def fencing_token(self) -> int:
        """See `gnomon.Context`."""
        return self._facts.fencing_token

    @property
    def previous(self) -> Previous | None:
        """See `gnomon.Context`."""
        facts = self._facts.previous
        if facts is not None and self._previous is None:
            result = msgspec.json.decode(facts.result)
            self._previous = Previous(at=parse_instant(facts.at), run=facts.run, result=result)
        return self._previous

    @property
    def log(self) -> AttemptLog:
        """See `gnomon.Context`."""
        if self._log is None:
            # One of a handler's threads opens it: lines are numbered by the log that they go through.
            with self._opening:
                if self._log is None:
                    self._log = AttemptLog(self._open_log(), self._now_ms)
        return self._log

    @property
    def cancelled(self) -> CancelFlag:
        """See `gnomon.Context`."""
        return self._cancelled

    def progress(self, fraction: float, message: str = "") -> Awaitable[None]:
        """See `gnomon.Context`."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction={fraction!r}: a number from 0 to 1")
        self._progress(fraction, message)
        return _SENT

    def add_usage(self, *, tokens: int = 0, api_calls: int = 0, credits: float = 0) -> None:  # noqa: A002 - the contract's word
        """See `gnomon.Context`."""
        if not (tokens >= 0 and api_calls >= 0 and 0 <= credits < math.inf):
            raise ValueError(
                f"tokens={tokens!r}, api_calls={api_calls!r}, credits={credits!r}: 0 or more each"
            )
        self._usage.tokens += tokens
        self._usage.api_calls += api_calls
        self._usage.credits += credits
