"""A clock that does not jump ahead unasked."""

from __future__ import annotations

from gnomon_core.runtime.clock import ClockGuard, ManualClock
from gnomon_scheduler.steady_clock import SteadyClock

START_MS = 1_790_000_000_000


def _clock() -> tuple[ManualClock, ClockGuard, SteadyClock, list[int]]:
    wall, guard, asked = ManualClock(START_MS), ClockGuard(), list[int]()
    return wall, guard, SteadyClock(wall, guard, lambda: asked.append(1)), asked


def test_time_that_passes_is_time_that_is_told() -> None:
    wall, _, steady, asked = _clock()
    for _ in range(5):
        wall.advance(3600)
        assert steady.now_ms() == wall.now_ms()
    assert not asked


def test_a_jump_ahead_waits_for_the_brokers_clock() -> None:
    """Until it is confirmed time goes on at the old pace, and is asked about once."""
    wall, guard, steady, asked = _clock()
    wall.set(START_MS + 3_600_000)
    assert steady.now_ms() == START_MS
    wall.advance(1)
    assert steady.now_ms() == START_MS + 1000
    assert asked == [1]
    for _ in range(2):
        guard.told(wall.now_ms(), wall.now_ms(), wall.now_ms())
    assert steady.now_ms() == wall.now_ms()


def test_a_jump_that_the_broker_does_not_confirm_is_never_told() -> None:
    wall, guard, steady, _ = _clock()
    wall.set(START_MS + 3_600_000)
    for _ in range(5):
        guard.told(wall.now_ms(), START_MS, wall.now_ms())
        assert steady.now_ms() == START_MS
    assert guard.off


def test_a_jump_back_is_told_at_once() -> None:
    wall, _, steady, _ = _clock()
    wall.set(START_MS - 10_000)
    assert steady.now_ms() == START_MS - 10_000
