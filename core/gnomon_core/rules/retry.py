"""Whether an execution is attempted again, and when.

Terms. An *attempt* counts from 1. The *delay* after a failed attempt comes from the task's `RetryPolicy`, unless the
handler asked for one itself (`Retry(after=…)`). Nothing here draws a random number or reads a clock: both are handed
in, so the same inputs always give the same answer.
"""

from __future__ import annotations

from gnomon_schemas.limits import DURATION_MAX_SECONDS
from gnomon_schemas.tasks import Backoff, RetryPolicy

__all__ = ["attempts_left", "base_delay", "retry_at_ms", "retry_delay"]


def attempts_left(policy: RetryPolicy, attempt: int) -> bool:
    """Whether the policy allows another attempt after `attempt` (1 = the first) has failed."""
    return attempt < policy.max_attempts


def base_delay(policy: RetryPolicy, attempt: int) -> float:
    """Seconds between the end of `attempt` and the next one, before jitter.

    Capped by the policy's `max_seconds` and by the longest delay there is, 24 h. Raises ValueError for an attempt
    below 1.
    """
    if attempt < 1:
        raise ValueError(f"attempt={attempt}: attempts count from 1")
    if policy.initial_seconds <= 0:
        return 0.0
    return min(policy.initial_seconds * _growth(policy, attempt), _longest(policy))


def retry_delay(policy: RetryPolicy, attempt: int, draw: float) -> float:
    """Seconds between the end of `attempt` and the next one, jitter included.

    `draw` is a random number in [0, 1]: 0 gives the shortest delay, 0.5 the plain one, 1 the longest. Jitter never
    lifts a delay over the policy's `max_seconds`, nor over 24 h. Raises ValueError for an attempt below 1 or a draw
    outside [0, 1].
    """
    if not 0.0 <= draw <= 1.0:
        raise ValueError(f"draw={draw}: a number from 0 to 1")
    spread = 1.0 + policy.jitter * (2.0 * draw - 1.0)
    return min(base_delay(policy, attempt) * spread, _longest(policy))


def retry_at_ms(
    policy: RetryPolicy,
    attempt: int,
    *,
    draw: float,
    now_ms: int,
    asked_seconds: float | None = None,
    deadline_ms: int | None = None,
) -> int | None:
    """The instant of the next attempt (epoch milliseconds), or None when there is to be none.

    `asked_seconds` is a delay that the handler asked for; it goes before the policy's and is capped at 24 h.
    `deadline_ms` is the end of all attempts (`total_timeout_seconds`): an attempt that would begin at or after it is
    not made. Raises ValueError as `retry_delay` does.
    """
    if not attempts_left(policy, attempt):
        return None
    if asked_seconds is None:
        delay = retry_delay(policy, attempt, draw)
    else:
        delay = min(max(asked_seconds, 0.0), DURATION_MAX_SECONDS)
    at_ms = now_ms + round(delay * 1000)
    if deadline_ms is not None and at_ms >= deadline_ms:
        return None
    return at_ms


def _longest(policy: RetryPolicy) -> float:
    return min(policy.max_seconds, DURATION_MAX_SECONDS)


def _growth(policy: RetryPolicy, attempt: int) -> float:
    if policy.backoff is Backoff.CONSTANT:
        return 1.0
    if policy.backoff is Backoff.LINEAR:
        return float(attempt)
    try:
        return float(policy.factor ** (attempt - 1))
    except OverflowError:  # 2.0 ** 1100 does not fit a float; the caller's cap is what counts then
        return float("inf")
