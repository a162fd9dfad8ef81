"""The wall times that a rule names, in order: its days, and on each of them the same times of the day."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from functools import lru_cache
from typing import Final, Protocol

from gnomon_core.timing.month_days import MonthDays, month_days
from gnomon_schemas.cron_grammar import CronRule

__all__ = ["CalendarSlots", "Days", "cron_slots"]

DAY: Final = 86_400


class Days(Protocol):
    """Days, as numbers of days since 1970."""

    def has(self, day: int) -> bool:
        """Whether a day is one of them."""

    def next(self, day: int) -> int | None:
        """The first of them from `day` on; None when there is none for fifty years."""

    def prev(self, day: int) -> int | None:
        """The last of them up to and with `day`; None when there is none for fifty years."""

    def count(self, first: int, beyond: int) -> int:
        """How many of [first, beyond) are."""


class CalendarSlots:
    """All wall times of some days at some times. Days and times of day are reckoned apart, so no step is a search."""

    __slots__ = (
        "_daily",
        "_days",
        "_first",
        "_hours",
        "_last",
        "_minutes",
        "_of_hour",
        "_per_day",
        "_seconds",
    )

    def __init__(
        self, days: Days, hours: tuple[int, ...], minutes: tuple[int, ...], seconds: tuple[int, ...]
    ) -> None:
        """Every hour of `hours` with every minute and second; each ascending, and not empty."""
        self._days = days
        self._daily = isinstance(days, MonthDays) and days.every
        self._hours, self._minutes, self._seconds = hours, minutes, seconds
        self._of_hour = _times_of_hour(minutes, seconds)
        self._first = hours[0] * 3600 + self._of_hour[0]
        self._last = hours[-1] * 3600 + self._of_hour[-1]
        self._per_day = len(hours) * len(self._of_hour)

    def next(self, wall: int) -> int | None:
        """The first slot at or after a wall time; None when there is none for fifty years."""
        day, time = divmod(wall, DAY)
        found = day if self._daily else self._days.next(day)
        if found == day:
            if time <= self._last:
                hour, rest = divmod(time, 3600)
                hours, of_hour = self._hours, self._of_hour
                at_hour = bisect_left(hours, hour)
                if hours[at_hour] == hour:
                    if rest <= of_hour[-1]:
                        return wall - rest + of_hour[bisect_left(of_hour, rest)]
                    at_hour += 1
                return day * DAY + hours[at_hour] * 3600 + of_hour[0]
            found = day + 1 if self._daily else self._days.next(day + 1)
        return None if found is None else found * DAY + self._first

    def prev(self, wall: int) -> int | None:
        """The last slot at or before a wall time; None when there is none for fifty years."""
        day, time = divmod(wall, DAY)
        found = self._days.prev(day)
        if found == day:
            if time >= self._first:
                return day * DAY + self._time_to(time)
            found = self._days.prev(day - 1)
        return None if found is None else found * DAY + self._last

    def count(self, first: int, beyond: int) -> int:
        """How many slots lie in the wall times [first, beyond)."""
        if beyond <= first:
            return 0
        (first_day, first_time), (last_day, last_time) = divmod(first, DAY), divmod(beyond, DAY)
        whole = self._days.count(first_day, last_day) * self._per_day
        before = self._rank(first_time) if first_time and self._days.has(first_day) else 0
        after = self._rank(last_time) if last_time and self._days.has(last_day) else 0
        return whole - before + after

    def minutes_of_day(self) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """The hours and minutes at which its slots are, and how many there are in each such minute."""
        return self._hours, self._minutes, len(self._seconds)

    def has_day(self, day: int) -> bool:
        """Whether a day, as a number of days since 1970, is one of its days."""
        return self._days.has(day)

    def tally(self, first: int, step: int, buckets: int) -> list[int]:
        """How many slots lie in each of so many spans of `step` seconds, the first of which begins at `first`."""
        ranks: dict[int, int] = {}
        counts = []
        whole, day, has, before = 0, first // DAY, self._days.has(first // DAY), -1
        for bound in range(first, first + step * buckets + 1, step):
            on, time = divmod(bound, DAY)
            if on != day:
                whole += self._days.count(day, on) * self._per_day
                day, has = on, self._days.has(on)
            rank = ranks.get(time)
            if rank is None:
                rank = ranks[time] = self._rank(time) if time else 0
            total = whole + rank if has else whole
            if before >= 0:
                counts.append(total - before)
            before = total
        return counts

    def _time_to(self, time: int) -> int:
        """The last time of the day that is not after `time`; there is one."""
        hour, rest = divmod(time, 3600)
        at_hour = bisect_right(self._hours, hour) - 1
        if self._hours[at_hour] == hour:
            at = bisect_right(self._of_hour, rest) - 1
            if at >= 0:
                return time - rest + self._of_hour[at]
            at_hour -= 1
        return self._hours[at_hour] * 3600 + self._of_hour[-1]

    def _rank(self, time: int) -> int:
        """How many times of the day are before `time`."""
        hour, rest = divmod(time, 3600)
        at_hour = bisect_left(self._hours, hour)
        rank = at_hour * len(self._of_hour)
        if at_hour < len(self._hours) and self._hours[at_hour] == hour:
            rank += bisect_left(self._of_hour, rest)
        return rank


def cron_slots(rule: CronRule) -> CalendarSlots:
    """The wall times that a cron names."""
    return CalendarSlots(month_days(rule.months, rule.days), rule.hours, rule.minutes, rule.seconds)


@lru_cache(maxsize=1024)
def _times_of_hour(minutes: tuple[int, ...], seconds: tuple[int, ...]) -> array[int]:
    """The seconds in an hour of all minutes with all seconds; two bytes each, since there may be 3,600 of them."""
    return array("H", [minute * 60 + second for minute in minutes for second in seconds])
