"""The wall times of an interval that goes by the clock: whole intervals from an anchor, in both directions."""

from __future__ import annotations

__all__ = ["IntervalSlots"]


class IntervalSlots:
    """Every so many seconds of wall time."""

    __slots__ = ("_anchor", "_every")

    def __init__(self, every_seconds: int, anchor: int) -> None:
        """`anchor` is a wall time."""
        self._every, self._anchor = every_seconds, anchor

    def next(self, wall: int) -> int:
        """The first one at or after a wall time."""
        return wall + (self._anchor - wall) % self._every

    def prev(self, wall: int) -> int:
        """The last one at or before a wall time."""
        return wall - (wall - self._anchor) % self._every

    def count(self, first: int, beyond: int) -> int:
        """How many lie in [first, beyond)."""
        return len(range(self.next(first), beyond, self._every))
