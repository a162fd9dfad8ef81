"""What a handler raises to decide about its next attempt itself."""

from __future__ import annotations

from datetime import timedelta

__all__ = ["DoNotRetry", "Retry"]


class Retry(Exception):
    """Raised by a handler: try again, `after` seconds from now instead of after the policy's delay (at most
    24 h).

    Still bounded by the task's `retry.max_attempts`: where no attempt is left, the execution fails.
    """

    def __init__(self, after: float | timedelta | None = None, reason: str = "") -> None:
        super().__init__(reason or "the handler asked for another attempt")
        self.after_seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if self.after_seconds is not None and not self.after_seconds >= 0:
            raise ValueError(f"after={after!r}: seconds, 0 or more")
        self.reason = reason


class DoNotRetry(Exception):
    """Raised by a handler: another attempt would not help; the execution fails now, whatever the policy
    allows."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
