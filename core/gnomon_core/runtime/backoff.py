"""Delays of loops that try again: growing, bounded, and spread so that many processes do not come back in
step."""

from __future__ import annotations

import asyncio
import random

__all__ = ["Backoff"]


class Backoff:
    """The delays of one loop. Each is drawn between half and the whole of a bound that grows from try to
    try."""

    def __init__(self, *, first: float = 0.1, longest: float = 5.0, factor: float = 2.0) -> None:
        """Seconds; raises ValueError unless 0 < first <= longest and factor >= 1."""
        if not 0 < first <= longest or factor < 1:
            raise ValueError(
                f"first={first}, longest={longest}, factor={factor}: 0 < first <= longest, factor >= 1"
            )
        self._first = first
        self._longest = longest
        self._factor = factor
        self._bound = first
        self.attempts = 0
        """Delays taken since the last reset."""

    def delay(self) -> float:
        """The next delay, in seconds."""
        bound = self._bound
        self._bound = min(self._longest, bound * self._factor)
        self.attempts += 1
        return bound * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: begin anew with the shortest delay."""
        self._bound = self._first
        self.attempts = 0

    async def pause(self) -> None:
        """Wait for the next delay."""
        await asyncio.sleep(self.delay())
