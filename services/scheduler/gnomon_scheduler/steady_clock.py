"""A clock that does not jump ahead unasked.

A wall clock that is set an hour ahead would have a shard hand out an hour of slots at once, and a fire that was early
cannot be taken back. So a jump (the wall clock went more than 2 s further than the monotonic one) is not believed at
first: time goes on at the monotonic clock's pace until the broker's clock has been looked at twice since. If that
agrees, the jump was right (a machine that was suspended, a clock that was behind) and is taken over; if not, the guard
has the process give its shards up. A jump back needs no care: a shard's time never goes behind its watermark.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from gnomon_core.runtime.clock import CLOCK_TOLERANCE_MS, Clock, ClockGuard
from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["SteadyClock"]

_log = structlog.get_logger(__name__)
_LOOKS = 2


class SteadyClock:
    """The wall clock of a process, guarded against jumps ahead."""

    def __init__(self, clock: Clock, guard: ClockGuard, on_jump: Callable[[], None]) -> None:
        """`on_jump` should have the broker's clock looked at soon."""
        self._clock, self._guard, self._on_jump = clock, guard, on_jump
        self._wall_ms, self._monotonic = clock.now_ms(), clock.monotonic()
        self._believed_at: int | None = None
        """Observations of the guard at which a jump is believed; None: there is none in question."""

    def monotonic(self) -> float:
        """See `Clock`."""
        return self._clock.monotonic()

    def now_ms(self) -> int:
        """See `Clock`: epoch milliseconds."""
        wall_ms, monotonic = self._clock.now_ms(), self._clock.monotonic()
        expected_ms = self._wall_ms + int((monotonic - self._monotonic) * 1000)
        if wall_ms - expected_ms > CLOCK_TOLERANCE_MS:
            if self._believed_at is None:
                self._believed_at = self._guard.observations + _LOOKS
                _log.warning(LogEvent.CLOCK_JUMPED, ms=wall_ms - expected_ms)
                self._on_jump()
            if self._guard.off or self._guard.observations < self._believed_at:
                return expected_ms
        self._believed_at = None
        self._wall_ms, self._monotonic = wall_ms, monotonic
        return wall_ms
