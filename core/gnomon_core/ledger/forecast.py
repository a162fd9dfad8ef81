"""What is planned: fires per bucket over many schedules, and the minutes in which most of them come together.

Buckets are counted exactly, by `timing.tally`. Minutes are looked at to find the *hot* ones: those in which at least
twice as much fires as in the average minute. Schedules that go by the clock are counted there to the minute; intervals,
of which a million differ in their phase and fill every minute alike, at their average.

**Blackouts.** A schedule is added for all its tasks; then it is told which of them calendars touch, and when: what is
skipped is taken out of its bucket, and what is put off goes to the one in which the blackout ends.

**What jitter would do.** Every task has a tolerance: so many seconds late is still fine. Spread over its tolerance, a
fire of second `t` may come anywhere in [t, t + tolerance), with equal chance. `with_jitter` of a minute is what would
be left in it if every task did so: its own fires' shares, and those that are spread into it from the minutes before.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from gnomon_core.timing.blackouts import BlackoutStretch
from gnomon_core.timing.calendar_slots import CalendarSlots
from gnomon_core.timing.tally import tally
from gnomon_core.timing.timetable import ClockTimetable, IntervalTimetable, count_fires, timetable
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.schedules import Schedule

__all__ = ["HOT_MAX", "Forecast", "HotMinute"]

HOT_MAX: Final = 20
"""Hot minutes that are named."""
_HOT_TIMES: Final = 2
_DAY: Final = 86_400
_MINUTES_A_DAY: Final = 1440


class HotMinute(NamedTuple):
    """A minute in which much fires: its begin in seconds since 1970."""

    at: int
    fires: int
    with_jitter: int


class _Daily(NamedTuple):
    """Minutes of the day at which something fires on the clock of one offset, for tasks of one tolerance."""

    hours: tuple[int, ...]
    minutes: tuple[int, ...]
    per_minute: int
    offset: int
    tolerance: int


class Forecast:
    """Adds schedules up. Times are whole seconds since 1970."""

    def __init__(self, start: int, step: int, buckets: int) -> None:
        """`buckets` spans of `step` seconds from `start` on, which is a whole minute."""
        self.start, self.step = start, step
        self.end = start + step * buckets
        self.tasks = 0
        self._bounds = range(start, self.end + 1, step)
        self._counts = [0] * buckets
        self._reached = [0] * (buckets + 1)
        """Of intervals: how many slots lie before each bound, from each one's anchor on."""
        self._flat = 0
        """Of intervals: fires in each bucket alike."""
        self._background = 0.0
        """Fires in a minute of whatever is counted at its average."""
        self._daily: defaultdict[_Daily, Counter[int]] = defaultdict(Counter)
        """By day (local days since 1970): how many tasks."""
        self.skipped = 0
        """Slots that calendars of blackouts skip."""
        self.put_off = 0
        """Slots that they put off, or let one run stand for."""
        self._moved: Counter[int] = Counter()
        """By bucket: what blackouts take out of it, and put into it."""
        self._single: defaultdict[int, Counter[int]] = defaultdict(Counter)
        """By tolerance: fires in minutes, counted from `start`."""

    def add(self, schedule: Schedule, tasks: int, tolerance_seconds: float) -> None:
        """Add a schedule that so many tasks have. Raises ValueError for one that is not in stored form."""
        self.tasks += tasks
        compiled = timetable(schedule)
        if isinstance(compiled, IntervalTimetable):
            steady = compiled.steady(self.start, self.end)
            if steady is not None:
                self._add_interval(*steady, tasks)
                return
        counts = tally(schedule, self.start, self.step, len(self._counts))
        self._counts = [known + tasks * count for known, count in zip(self._counts, counts, strict=True)]
        if not any(counts):
            return
        tolerance = max(int(tolerance_seconds), int(schedule.jitter_seconds or 0), 1)
        if isinstance(compiled, ClockTimetable) and isinstance(compiled.timeline.slots, CalendarSlots):
            offset = compiled.plain_offset(self.start, self.end)
            if offset is not None and offset % 60 == 0:
                self._add_daily(compiled.timeline.slots, offset, tasks, tolerance)
                return
        minutes = self._single[tolerance]
        for slot in compiled.between(self.start - 1, self.end - 1):
            minutes[(slot - self.start) // 60] += tasks

    def touch(self, schedule: Schedule, tasks: int, touched: Iterable[BlackoutStretch]) -> None:
        """Tell of a schedule that was added, for so many of its tasks, when calendars of blackouts touch its slots.

        What is put off counts where the blackout ends; hot minutes are those of nominal times all the same.
        """
        stood_for: set[int] = set()
        for stretch in touched:
            from_s, to_s = max(stretch.from_s, self.start), min(stretch.to_s, self.end)
            put_off, until_s = 0, stretch.touch.until_s
            at = from_s
            while at < to_s:
                index = (at - self.start) // self.step
                beyond = min(to_s, self.start + (index + 1) * self.step)
                count = count_fires(schedule, at - 1, beyond - 1) * tasks
                self._moved[index] -= count
                put_off += count
                at = beyond
            if not put_off:
                continue
            if stretch.touch.action is BlackoutAction.SKIP:
                self.skipped += put_off
                continue
            self.put_off += put_off
            if stretch.touch.action is BlackoutAction.FIRST_AFTER:
                put_off = 0 if until_s in stood_for else tasks
                stood_for.add(until_s)
            if until_s < self.end:
                self._moved[(until_s - self.start) // self.step] += put_off

    def buckets(self) -> list[tuple[int, int]]:
        """Each bucket's begin, and how much fires in it."""
        between = [after - before for before, after in zip(self._reached, self._reached[1:], strict=False)]
        return [
            (at, count + interval + self._flat + self._moved[index])
            for index, (at, count, interval) in enumerate(
                zip(self._bounds, self._counts, between, strict=False)
            )
        ]

    def hot(self) -> list[HotMinute]:
        """The minutes in which most fires, at the most `HOT_MAX` of them, the hottest first."""
        minutes = (self.end - self.start) // 60
        by_tolerance = self._minutes(minutes)
        total = [self._background] * minutes
        for counts in by_tolerance.values():
            total = [known + count for known, count in zip(total, counts, strict=True)]
        if not minutes or not any(total):
            return []
        least = max(1.0, _HOT_TIMES * sum(total) / minutes)
        hottest = heapq.nlargest(HOT_MAX, range(minutes), key=lambda minute: (total[minute], -minute))
        return [
            HotMinute(
                self.start + minute * 60,
                round(total[minute]),
                round(self._background + self._spread(by_tolerance, minute)),
            )
            for minute in hottest
            if total[minute] >= least
        ]

    def _add_interval(self, anchor: int, every: int, tasks: int) -> None:
        self._background += tasks * 60 / every
        if self.step % every == 0:
            # Whatever its phase, as much in every bucket.
            self._flat += tasks * (self.step // every)
        elif (self.end - self.start) // every < len(self._counts) // 4:
            for slot in range(anchor + -((anchor - self.start) // every) * every, self.end, every):
                self._counts[(slot - self.start) // self.step] += tasks
        else:
            # Slots before a bound, from the anchor on: the last of them at bound - 1.
            self._reached = [
                reached + tasks * ((bound - 1 - anchor) // every)
                for reached, bound in zip(self._reached, self._bounds, strict=True)
            ]

    def _add_daily(self, slots: CalendarSlots, offset: int, tasks: int, tolerance: int) -> None:
        hours, minutes, per_minute = slots.minutes_of_day()
        days = self._daily[_Daily(hours, minutes, per_minute, offset, tolerance)]
        for day in range((self.start + offset) // _DAY, (self.end - 1 + offset) // _DAY + 1):
            if slots.has_day(day):
                days[day] += tasks

    def _minutes(self, minutes: int) -> dict[int, list[int]]:
        """By tolerance: how much fires in each minute."""
        found: dict[int, list[int]] = {}
        for tolerance, single in self._single.items():
            counts = found.setdefault(tolerance, [0] * minutes)
            for minute, fires in single.items():
                if minute < minutes:
                    counts[minute] += fires
        for daily, days in self._daily.items():
            counts = found.setdefault(daily.tolerance, [0] * minutes)
            of_day = [hour * 60 + minute for hour in daily.hours for minute in daily.minutes]
            for day, tasks in days.items():
                begin = (day * _DAY - daily.offset - self.start) // 60
                fires = tasks * daily.per_minute
                if begin >= 0 and begin + _MINUTES_A_DAY <= minutes:
                    for minute in of_day:
                        counts[begin + minute] += fires
                else:
                    for minute in of_day:
                        if 0 <= begin + minute < minutes:
                            counts[begin + minute] += fires
        return found

    @staticmethod
    def _spread(by_tolerance: dict[int, list[int]], minute: int) -> float:
        """What would be in a minute if every fire were spread over its task's tolerance, from its minute's begin on."""
        total = 0.0
        for tolerance, counts in by_tolerance.items():
            for back in range(min(minute, (tolerance - 1) // 60) + 1):
                share = min(60, tolerance - back * 60) / tolerance
                total += counts[minute - back] * share
        return total
