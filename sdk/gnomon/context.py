"""What a handler is given besides its config.

`Context` is a protocol: the executor implements it, and `gnomon.testing` has one for tests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import msgspec

__all__ = ["Cancelled", "Context", "Log", "Previous"]


class Previous(msgspec.Struct, frozen=True, kw_only=True):
    """The task's last success."""

    at: datetime
    """When it completed."""
    run: str
    """Its run."""
    result: Any
    """What its handler returned, as JSON values."""


class Log(Protocol):
    """A handler's own log. Lines are kept with the execution: up to 1,000 of an attempt and 256 KiB in all, each with a
    message and details of up to 8 KiB; what is beyond is cut, and says so. A call neither waits nor fails."""

    def debug(self, event: str, /, **details: object) -> None:
        """A line for developers."""

    def info(self, event: str, /, **details: object) -> None:
        """A line about what happened."""

    def warning(self, event: str, /, **details: object) -> None:
        """A line about something that should be looked at."""

    def error(self, event: str, /, **details: object) -> None:
        """A line about something that went wrong."""


class Cancelled(Protocol):
    """Whether the run has been told to stop: by a cancel, by its timeout, or because the executor stops."""

    def __bool__(self) -> bool:
        """True once told to stop."""

    def is_set(self) -> bool:
        """True once told to stop."""

    async def wait(self) -> None:
        """Return once told to stop; for coroutine handlers."""

    def wait_blocking(self, timeout: float | None = None) -> bool:
        """Block until told to stop, or for `timeout` seconds; for plain functions. True: told to stop."""


@runtime_checkable
class Context(Protocol):
    """One attempt, seen from its handler. Times are aware datetimes in UTC."""

    @property
    def task_id(self) -> str:
        """The task."""

    @property
    def execution_id(self) -> str:
        """`<task_id>.<run>`."""

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt of this execution, also after a crash: give it to whatever you call."""

    @property
    def attempt(self) -> int:
        """1 for the first."""

    @property
    def scheduled_for(self) -> datetime:
        """The nominal time of the slot; for a run on demand, the instant of the command."""

    @property
    def deadline(self) -> datetime:
        """When this attempt times out."""

    @property
    def trigger(self) -> str:
        """`schedule`, `manual`, `webhook`, `event`, `chain`, `backfill` or `retry`."""

    @property
    def trigger_data(self) -> Any:
        """What a run on demand was given, as JSON values; None for a fire."""

    @property
    def user_id(self) -> str | None:
        """Whose task it is; None for one of the system."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The task's own metadata."""

    @property
    def fencing_token(self) -> int:
        """Grows with every claim of this execution: a resource that remembers the highest one it has seen can
        refuse a handler that was paused and taken over meanwhile."""

    @property
    def previous(self) -> Previous | None:
        """The task's last success, if there was one."""

    @property
    def log(self) -> Log:
        """Lines kept with the execution."""

    @property
    def cancelled(self) -> Cancelled:
        """Look at it now and then in long work: `if ctx.cancelled: …`."""

    def progress(self, fraction: float, message: str = "") -> Awaitable[None]:
        """Tell how far the work is, 0 to 1. It is sent by the call itself, so a plain function need not await
        it.

        Raises ValueError for a fraction outside [0, 1].
        """

    def add_usage(
        self,
        *,
        tokens: int = 0,
        api_calls: int = 0,
        credits: float = 0,  # noqa: A002 - the word of the contract
    ) -> None:
        """Count what this run consumed; calls add up. Raises ValueError for a negative number."""
