"""What can be asked of a compiled schedule, of whatever kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

__all__ = ["Timetable"]


class Timetable(Protocol):
    """What every kind of schedule answers. All times are whole seconds since 1970."""

    def next(self, after: int) -> int | None:
        """The first slot after an instant, or None when none is left."""

    def last(self, at: int) -> int | None:
        """The last slot at or before an instant, or None when there was none yet."""

    def between(self, after: int, until: int) -> Iterator[int]:
        """The slots in (after, until], in order, one at a time."""

    def count(self, after: int, until: int) -> int:
        """How many slots lie in (after, until]."""
