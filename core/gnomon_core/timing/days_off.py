"""The days that a schedule excludes, as numbers of days since 1970."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date
from functools import lru_cache
from typing import Final

from gnomon_core.timing.kept_holidays import holidays_in
from gnomon_schemas.exclusions import WEEKDAYS, ExcludedDays

__all__ = ["DaysOff", "days_off"]

_EPOCH: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date(3000, 12, 31).toordinal() - _EPOCH
"""No question goes further: no slot is later, wherever a clock may stand."""


class DaysOff:
    """Days of the week, spans of days and the holidays of places."""

    __slots__ = ("_beyonds", "_firsts", "_holidays", "_weekdays")

    def __init__(
        self, weekdays: frozenset[int], spans: Iterable[tuple[int, int]], holidays: tuple[str, ...]
    ) -> None:
        """`weekdays`: 0 is Monday, and at least one is left out. Spans are [first, beyond), in any order."""
        assert len(weekdays) < 7, "a schedule that excludes every day of the week is refused"
        self._weekdays = weekdays
        self._holidays = holidays
        merged = _merged(spans)
        self._firsts = [first for first, _ in merged]
        self._beyonds = [beyond for _, beyond in merged]

    def has(self, day: int) -> bool:
        """Whether a day is one of them."""
        return (day + 3) % 7 in self._weekdays or self._in_span(day) is not None or self._is_holiday(day)

    def run(self, day: int) -> tuple[int, int]:
        """The whole stretch [first, beyond) of such days around one of them."""
        first, beyond = day, day + 1
        while first >= 0 and self.has(first - 1):
            at = self._in_span(first - 1)
            first = first - 1 if at is None else self._firsts[at]
        while beyond <= _LAST_DAY and self.has(beyond):
            at = self._in_span(beyond)
            beyond = beyond + 1 if at is None else self._beyonds[at]
        return first, beyond

    def next(self, day: int, beyond: int) -> int:
        """The first of them from `day` on and before `beyond`; else `beyond`."""
        if not self._weekdays and not self._holidays:
            if self._in_span(day) is not None:
                return day
            at = bisect_right(self._firsts, day)
            return min(self._firsts[at], beyond) if at < len(self._firsts) else beyond
        while day < beyond and not self.has(day):
            day += 1
        return day

    def _in_span(self, day: int) -> int | None:
        """The index of the span that holds a day."""
        at = bisect_right(self._firsts, day) - 1
        return at if at >= 0 and day < self._beyonds[at] else None

    def _is_holiday(self, day: int) -> bool:
        if not self._holidays:
            return False
        year = date.fromordinal(day + _EPOCH).year
        return any(day in holidays_in(name, year) for name in self._holidays)


@lru_cache(maxsize=4096)
def days_off(excluded: tuple[str | ExcludedDays, ...]) -> DaysOff:
    """The one `DaysOff` of a stored `exclude`, which all schedules that say the same share."""
    weekdays = {WEEKDAYS.index(item) for item in excluded if item in WEEKDAYS}
    spans = []
    holidays = []
    for item in excluded:
        if not isinstance(item, ExcludedDays):
            if item not in WEEKDAYS:
                day = _day(item)
                spans.append((day, day + 1))
        elif isinstance(item.holidays, str):
            holidays.append(item.holidays)
        elif item.from_ is not None and item.to is not None:
            spans.append((_day(item.from_), _day(item.to)))
        else:
            raise ValueError(f"{item!r} is not in stored form: normalise the schedule first")
    return DaysOff(frozenset(weekdays), spans, tuple(holidays))


def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - _EPOCH


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that meet as one."""
    merged: list[tuple[int, int]] = []
    for first, beyond in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], beyond))
        else:
            merged.append((first, beyond))
    return merged
