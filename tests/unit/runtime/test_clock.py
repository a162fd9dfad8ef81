"""Clocks that are handed in, and the watch over one's own."""

from __future__ import annotations

import time

import pytest

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.clock import ClockGuard, ManualClock, SystemClock


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert abs(clock.now_ms() - time.time() * 1000) < 1000
    assert clock.monotonic() <= clock.monotonic()


def test_a_manual_clock_stands_still_until_told() -> None:
    clock = ManualClock(1_000)
    assert (clock.now_ms(), clock.monotonic()) == (1_000, 0)
    clock.advance(1.5)
    assert (clock.now_ms(), clock.monotonic()) == (2_500, 1.5)
    clock.set(0)
    assert (clock.now_ms(), clock.monotonic()) == (0, 1.5)
    with pytest.raises(ValueError, match="-1"):
        clock.advance(-1)


def test_a_clock_is_off_after_two_observations_outside_running() -> None:
    guard = ClockGuard()
    seen = [
        (guard.told(sent, broker, sent + 10), guard.off, guard.offset_ms)
        for sent, broker in ((10_000, 7_999), (20_000, 17_999), (30_000, 27_000), (40_000, 39_000))
    ]
    # Whether it changed, whether it is off, by how much: the second changes it, one inside puts it right.
    assert seen == [(False, False, 2_001), (True, True, 2_001), (False, True, 3_000), (True, False, 0)]


def test_one_outside_between_others_inside_is_nothing() -> None:
    guard = ClockGuard()
    for broker_ms in (13_000, 10_000, 13_000, 10_005, 7_000, 10_000):
        guard.told(10_000, broker_ms, 10_010)
        assert not guard.off


@pytest.mark.parametrize(
    ("sent", "broker", "acked", "outside"),
    [
        (10_000, 8_000, 10_001, False),
        (10_000, 7_999, 10_001, True),
        (10_000, 12_001, 10_001, False),
        (10_000, 12_002, 10_001, True),
        (10_000, 15_000, 14_000, False),
        (10_000, 9_000, 70_000, False),
    ],
)
def test_the_span_is_from_two_seconds_before_sending_to_two_after_the_answer(
    sent: int, broker: int, acked: int, outside: bool
) -> None:
    """A slow answer widens it: it cannot accuse the clock."""
    guard = ClockGuard()
    for _ in range(2):
        guard.told(sent, broker, acked)
    assert guard.off is outside


def test_delays_grow_to_their_bound_and_begin_anew() -> None:
    backoff = Backoff(first=0.1, longest=1.0)
    delays = [backoff.delay() for _ in range(8)]
    bounds = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(delays, bounds, strict=True))
    assert backoff.attempts == 8
    backoff.reset()
    assert backoff.attempts == 0
    assert backoff.delay() <= 0.1


@pytest.mark.parametrize(("first", "longest", "factor"), [(0, 1, 2), (2, 1, 2), (1, 2, 0.5)])
def test_delays_that_cannot_be(first: float, longest: float, factor: float) -> None:
    with pytest.raises(ValueError, match="first"):
        Backoff(first=first, longest=longest, factor=factor)
