"""Retry arithmetic: what delay follows which attempt, and when there is no further one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.rules.retry import attempts_left, base_delay, retry_at_ms, retry_delay
from gnomon_schemas.limits import DURATION_MAX_SECONDS
from gnomon_schemas.tasks import Backoff, RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    backoff=st.sampled_from(Backoff),
    initial_seconds=st.floats(0, 86400),
    factor=st.floats(0, 1000),
    max_seconds=st.floats(0, 200000),
    jitter=st.floats(0, 1),
)


@pytest.mark.parametrize(
    ("backoff", "expected"),
    [
        (Backoff.CONSTANT, [5, 5, 5, 5]),
        (Backoff.LINEAR, [5, 10, 15, 20]),
        (Backoff.EXPONENTIAL, [5, 10, 20, 40]),
    ],
)
def test_each_backoff_grows_as_named(backoff: Backoff, expected: list[int]) -> None:
    """The first delay is the initial one; each kind grows from it in its own way."""
    policy = RetryPolicy(max_attempts=9, backoff=backoff)
    assert expected == [base_delay(policy, attempt) for attempt in range(1, 5)]


@given(policies, st.integers(1, 5000), st.floats(0, 1))
def test_no_delay_leaves_zero_to_a_day(policy: RetryPolicy, attempt: int, draw: float) -> None:
    """Whatever the policy, the delay is a finite number from 0 to its longest one and to 24 h, jitter included."""
    delay = retry_delay(policy, attempt, draw)
    assert math.isfinite(delay)
    assert 0 <= delay <= min(policy.max_seconds, DURATION_MAX_SECONDS)


@given(policies, st.integers(1, 200), st.floats(0, 1))
def test_jitter_stays_within_its_share(policy: RetryPolicy, attempt: int, draw: float) -> None:
    """Jitter moves the delay by at most its share, up or down."""
    base = base_delay(policy, attempt)
    assert abs(retry_delay(policy, attempt, draw) - base) <= base * policy.jitter + 1e-6


def test_max_seconds_caps_the_base_delay() -> None:
    """A delay stops growing at the policy's maximum."""
    policy = RetryPolicy(max_attempts=50, initial_seconds=10, max_seconds=60)
    assert [base_delay(policy, n) for n in range(1, 6)] == [10, 20, 40, 60, 60]


def test_the_last_attempt_is_not_repeated() -> None:
    """`max_attempts` counts all attempts together."""
    policy = RetryPolicy(max_attempts=3)
    assert [attempts_left(policy, n) for n in (1, 2, 3)] == [True, True, False]
    assert retry_at_ms(policy, 3, draw=0.5, now_ms=0) is None


def test_a_delay_the_handler_asks_for_goes_first() -> None:
    """`Retry(after=…)` replaces the policy's delay, without jitter, up to 24 h."""
    policy = RetryPolicy(max_attempts=3)
    assert retry_at_ms(policy, 1, draw=1.0, now_ms=1000, asked_seconds=7) == 8000
    assert retry_at_ms(policy, 1, draw=1.0, now_ms=0, asked_seconds=1e9) == DURATION_MAX_SECONDS * 1000


def test_no_attempt_begins_after_the_deadline_of_all() -> None:
    """An attempt that would start at or past `total_timeout_seconds` is not made."""
    policy = RetryPolicy(max_attempts=3, jitter=0)
    assert retry_at_ms(policy, 1, draw=0.5, now_ms=0, deadline_ms=5000) is None
    assert retry_at_ms(policy, 1, draw=0.5, now_ms=0, deadline_ms=5001) == 5000


@pytest.mark.parametrize(("attempt", "draw"), [(0, 0.5), (1, 1.5), (1, -0.1)])
def test_nonsense_is_refused(attempt: int, draw: float) -> None:
    """Attempts count from 1, draws lie in [0, 1]."""
    with pytest.raises(ValueError, match=r"draw=|attempt="):
        retry_delay(RetryPolicy(), attempt, draw)
