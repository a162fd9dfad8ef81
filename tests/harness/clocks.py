"""Clocks that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gnomon_core.runtime.clock import Clock, SystemClock

__all__ = ["CLOCK_OFFSET_VARIABLE", "OffsetClock", "clock_from"]

CLOCK_OFFSET_VARIABLE: Final = "GNOMON_TEST_CLOCK_OFFSET_MS"
"""By how many milliseconds a child process's clock is ahead."""


class OffsetClock(SystemClock):
    """The machine's clock, ahead by some milliseconds (negative: behind)."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """See `Clock`."""
        return super().now_ms() + self.offset_ms


def clock_from(environ: Mapping[str, str]) -> Clock:
    """The clock of a child process, as its environment wants it."""
    offset = int(environ.get(CLOCK_OFFSET_VARIABLE) or 0)
    return OffsetClock(offset) if offset else SystemClock()
