"""One day of each month; a month that is shorter has its last day instead."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Final

__all__ = ["ClampedDay"]

_EPOCH: Final = date(1970, 1, 1)


class ClampedDay:
    """The days, as numbers of days since 1970."""

    __slots__ = ("_day",)

    def __init__(self, day: int) -> None:
        """`day` is 1 to 31; -1 is the last day of every month."""
        self._day = 31 if day == -1 else day

    def has(self, day: int) -> bool:
        """Whether a day is one of them."""
        on = _EPOCH + timedelta(days=day)
        return day == self._of(on.year, on.month)

    def next(self, day: int) -> int:
        """The first of them from `day` on."""
        on = _EPOCH + timedelta(days=day)
        found = self._of(on.year, on.month)
        return found if found >= day else self._of(on.year + on.month // 12, on.month % 12 + 1)

    def prev(self, day: int) -> int:
        """The last of them up to and with `day`."""
        on = _EPOCH + timedelta(days=day)
        found = self._of(on.year, on.month)
        return found if found <= day else self._of(on.year - (on.month == 1), (on.month - 2) % 12 + 1)

    def count(self, first: int, beyond: int) -> int:
        """How many of [first, beyond) are."""
        return max(0, self._rank(beyond) - self._rank(first))

    def _rank(self, day: int) -> int:
        """How many months have had theirs before `day`, counted from year 0."""
        on = _EPOCH + timedelta(days=day)
        return on.year * 12 + on.month - 1 + (self._of(on.year, on.month) < day)

    def _of(self, year: int, month: int) -> int:
        length = calendar.monthrange(year, month)[1]
        return (date(year, month, min(self._day, length)) - _EPOCH).days
