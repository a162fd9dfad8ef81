"""What is recorded of an attempt: pure, from how it ended and what the task's rules say."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from gnomon_core.rules.retry import retry_at_ms
from gnomon_executor.handler_end import HandlerEnd, Usage
from gnomon_schemas.events import ErrorInfo
from gnomon_schemas.tasks import NULL, RetryPolicy, Verdict

__all__ = ["Conclusion", "Limits", "cancelled", "concluded", "crash_looped", "refused", "timed_out"]

TimeoutKind = Literal["timeout", "total_timeout"]

_CRASH_LOOP: Final = "crash_loop"


class Limits(msgspec.Struct, frozen=True):
    """What bounds the attempts of one execution."""

    policy: RetryPolicy
    attempt: int
    deadline_ms: int | None
    """End of all attempts; None where there is none."""


class Conclusion(msgspec.Struct, frozen=True, kw_only=True):
    """What to record: `retrying` where `retry_at_ms` is set, else `executed`."""

    status: Verdict
    result: msgspec.Raw = NULL
    truncated: bool = False
    error: ErrorInfo | None = None
    reason: str | None = None
    usage: Usage = msgspec.field(default_factory=Usage)
    retry_at_ms: int | None = None
    """Epoch milliseconds of the next attempt."""


def concluded(end: HandlerEnd, limits: Limits, *, now_ms: int, draw: float) -> Conclusion:
    """Of a handler that ended by itself. `draw` is a random number in [0, 1] for the retry's jitter."""
    if end.how == "returned":
        return Conclusion(status="completed", result=end.result, truncated=end.truncated, usage=end.usage)
    again = None
    if end.how != "do_not_retry":
        again = _next(limits, now_ms, draw, end.retry_after)
    reason = "do_not_retry" if end.how == "do_not_retry" else None
    return Conclusion(status="failed", error=end.error, usage=end.usage, retry_at_ms=again, reason=reason)


def timed_out(
    kind: TimeoutKind, seconds: float, limits: Limits, *, now_ms: int, draw: float, usage: Usage
) -> Conclusion:
    """Of an attempt that ran out of its own time, or of the time of all attempts."""
    whole = "all attempts together" if kind == "total_timeout" else "the attempt"
    error = ErrorInfo(type="Timeout", message=f"{whole} took longer than {seconds:g} s")
    again = None if kind == "total_timeout" else _next(limits, now_ms, draw, None)
    return Conclusion(status="timed_out", error=error, reason=kind, usage=usage, retry_at_ms=again)


def cancelled(end: HandlerEnd | None, reason: str | None, usage: Usage) -> Conclusion:
    """Of an attempt that was told to stop; what its handler still returned is kept."""
    error = ErrorInfo(type="Cancelled", message=reason or "cancelled")
    result, truncated = (end.result, end.truncated) if end is not None else (NULL, False)
    return Conclusion(
        status="cancelled", result=result, truncated=truncated, error=error, reason="cancelled", usage=usage
    )


def crash_looped(takeovers: int) -> Conclusion:
    """Of an attempt whose executors kept dying under it."""
    message = f"its executor died {takeovers + 1} times while running it"
    return Conclusion(status="failed", error=ErrorInfo(type="CrashLoop", message=message), reason=_CRASH_LOOP)


def refused(kind: str, message: str, reason: str) -> Conclusion:
    """Of an execution that cannot be run at all."""
    return Conclusion(status="failed", error=ErrorInfo(type=kind, message=message), reason=reason)


def _next(limits: Limits, now_ms: int, draw: float, asked: float | None) -> int | None:
    return retry_at_ms(
        limits.policy,
        limits.attempt,
        draw=draw,
        now_ms=now_ms,
        asked_seconds=asked,
        deadline_ms=limits.deadline_ms,
    )
