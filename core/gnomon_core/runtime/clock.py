"""Time, as something that is handed in: the wall clock, a clock for tests, and the watch over one's own
clock.

Wall times are epoch milliseconds. Waiting and measuring use the monotonic clock, which no one sets back.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["CLOCK_TOLERANCE_MS", "Clock", "ClockGuard", "ManualClock", "SystemClock"]

CLOCK_TOLERANCE_MS = 2000
"""How far the broker's timestamp of a write may lie outside the time between sending and acknowledgement."""


class Clock(Protocol):
    """Where a process reads the time."""

    def now_ms(self) -> int:
        """Wall time: milliseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that only goes forward; its zero means nothing."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See `Clock`."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        """See `Clock`."""
        return self._now_ms

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._monotonic

    def set(self, now_ms: int) -> None:
        """Set the wall clock, forward or back; the monotonic clock stays."""
        self._now_ms = now_ms

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks. Raises ValueError when negative: time does not run back."""
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds} s")
        self._now_ms += round(seconds * 1000)
        self._monotonic += seconds


class ClockGuard:
    """Tells whether this process's wall clock agrees with the broker's.

    Every observation is one write: when it was sent and when it was acknowledged, by the own clock, and the
    timestamp that the broker gave it. The clock is *off* when that timestamp lay outside [sent - 2 s,
    acknowledged + 2 s] twice running, and right again as soon as it lies inside once. A slow answer widens
    the span and cannot accuse the clock.

    A leader whose clock is off does not lead, and an executor whose clock is off claims nothing: a fire ten
    minutes early cannot be taken back.
    """

    def __init__(self) -> None:
        self._strikes = 0
        self._offset_ms = 0
        self.observations = 0
        """How often the broker's clock has been looked at."""

    @property
    def off(self) -> bool:
        """Whether the clock was outside twice running."""
        return self._strikes >= 2

    @property
    def offset_ms(self) -> int:
        """How far the own clock was ahead of the broker's (negative: behind) at the last observation
        outside; else 0."""
        return self._offset_ms

    def told(self, sent_ms: int, broker_ms: int, acked_ms: int) -> bool:
        """Take one observation in. Returns whether it changed `off`."""
        before = self.off
        self.observations += 1
        if broker_ms < sent_ms - CLOCK_TOLERANCE_MS:
            self._strikes += 1
            self._offset_ms = sent_ms - broker_ms
        elif broker_ms > acked_ms + CLOCK_TOLERANCE_MS:
            self._strikes += 1
            self._offset_ms = acked_ms - broker_ms
        else:
            self._strikes = 0
            self._offset_ms = 0
        return self.off != before
