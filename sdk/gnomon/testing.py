"""Running a handler in a test, without a broker.

    run = await run_handler(send_invoice, {"amount": 3}, attempt=2)
    assert run.result == {"sent": True}
    assert run.context.reports == [(0.5, "half")]

The config is decoded as an executor decodes it, and the result goes through JSON and back, so what would fail
there fails here. An exception of the handler comes out as it is, `Retry` and `DoNotRetry` too.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gnomon.context import Previous
from gnomon.task_types import TaskType, task_type_of

__all__ = ["FakeCancelled", "FakeContext", "FakeLog", "HandlerRun", "run_handler"]


@dataclass
class FakeLog:
    """Keeps a handler's lines as (level, event, details)."""

    lines: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)

    def debug(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self.lines.append(("debug", event, details))

    def info(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self.lines.append(("info", event, details))

    def warning(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self.lines.append(("warning", event, details))

    def error(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self.lines.append(("error", event, details))


class FakeCancelled:
    """A cancel flag that the test raises with `set`, from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __bool__(self) -> bool:
        return self._event.is_set()

    def is_set(self) -> bool:
        """True once told to stop."""
        return self._event.is_set()

    def set(self) -> None:
        """Tell the handler to stop."""
        self._event.set()
        for loop, waiter in self._waiters:
            loop.call_soon_threadsafe(waiter.set)

    async def wait(self) -> None:
        """Return once told to stop."""
        waiter = asyncio.Event()
        self._waiters.append((asyncio.get_running_loop(), waiter))
        if not self._event.is_set():
            await waiter.wait()

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Block until told to stop, or for `timeout` seconds. True: told to stop."""
        return self._event.wait(timeout)


@dataclass
class _Sent:
    """What `progress` returns: nothing is left to wait for."""

    def __await__(self) -> Any:
        return
        yield  # makes this a generator, as `await` asks for


@dataclass
class FakeContext:
    """A `gnomon.Context` whose every field a test may choose; what the handler tells it is kept."""

    task_id: str = "task"
    run: str = "20260101T000000Z"
    attempt: int = 1
    scheduled_for: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    deadline: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(hours=1))
    trigger: str = "schedule"
    trigger_data: Any = None
    user_id: str | None = "user"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fencing_token: int = 1
    previous: Previous | None = None
    log: FakeLog = field(default_factory=FakeLog)
    cancelled: FakeCancelled = field(default_factory=FakeCancelled)
    reports: list[tuple[float, str]] = field(default_factory=list)
    """What was given to `progress`."""
    usage: dict[str, float] = field(default_factory=lambda: {"tokens": 0, "api_calls": 0, "credits": 0})
    """What was given to `add_usage`, added up."""

    @property
    def execution_id(self) -> str:
        """`<task_id>.<run>`."""
        return f"{self.task_id}.{self.run}"

    @property
    def idempotency_key(self) -> str:
        """The execution's id, as an executor gives it."""
        return self.execution_id

    def progress(self, fraction: float, message: str = "") -> Awaitable[None]:
        """Keep a report. Raises ValueError for a fraction outside [0, 1]."""
        if not 0.0 <= fraction <= 1.0:
            raise ValueError(f"fraction={fraction!r}: a number from 0 to 1")
        self.reports.append((fraction, message))
        return _Sent()

    def add_usage(
        self,
        *,
        tokens: int = 0,
        api_calls: int = 0,
        credits: float = 0,  # noqa: A002 - the word of the contract
    ) -> None:
        """Add up. Raises ValueError for a negative number."""
        if not (tokens >= 0 and api_calls >= 0 and 0 <= credits < math.inf):
            raise ValueError(
                f"tokens={tokens!r}, api_calls={api_calls!r}, credits={credits!r}: 0 or more each"
            )
        self.usage["tokens"] += tokens
        self.usage["api_calls"] += api_calls
        self.usage["credits"] += credits


@dataclass(frozen=True)
class HandlerRun:
    """What a handler returned, as others will read it, and the context it was given."""

    result: Any
    context: FakeContext


async def run_handler(
    handler: Callable[..., Any], config: Any = None, *, context: FakeContext | None = None, **fields: Any
) -> HandlerRun:
    """Run a decorated handler once. `fields` are those of `FakeContext`, where no `context` is given.

    Raises what the handler raises; msgspec.ValidationError where the config does not fit; TypeError for a
    function that is no task type, for a result without JSON form, and for `context` together with fields.
    """
    declared = task_type_of(handler)
    if declared is None:
        raise TypeError(f"{handler!r} is no task type: decorate it with @task_type(…)")
    if context is not None and fields:
        raise TypeError(f"both a context and fields of one: {', '.join(fields)}")
    context = context or FakeContext(**fields)
    value = await _call(declared, _decoded(declared, config), context)
    return HandlerRun(msgspec.json.decode(msgspec.json.encode(value)), context)


def _decoded(declared: TaskType, config: Any) -> Any:
    return msgspec.json.decode(
        msgspec.json.encode({} if config is None else config), type=declared.config_type
    )


async def _call(declared: TaskType, config: Any, context: FakeContext) -> Any:
    arguments = (config, context) if declared.takes_context else (config,)
    if declared.is_coroutine:
        return await declared.handler(*arguments)
    return await asyncio.to_thread(declared.handler, *arguments)
