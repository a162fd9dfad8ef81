"""A stored schedule as something that answers: the next slot, the last, all of a span, how many.

A *slot* is a nominal time, whole seconds since 1970. Slots are a function of the stored schedule alone.
Whoever asks in two spans that meet gets what one question about both would have given.

`timetable` compiles a schedule once; the functions besides it compile, or remember, and ask. The
scheduler's loop asks a million schedules in turn, so a Timetable is small and all that is costly is shared
(`timeline`).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby
from math import ceil, floor
from typing import Final

from gnomon_core.timing.calendar_slots import CalendarSlots, Days
from gnomon_core.timing.clamped_day import ClampedDay
from gnomon_core.timing.days_off import days_off
from gnomon_core.timing.excluding import ExcludingTimetable
from gnomon_core.timing.interval_slots import IntervalSlots
from gnomon_core.timing.month_days import ALL_MONTHS, month_days
from gnomon_core.timing.questions import Timetable
from gnomon_core.timing.showings import BY_THE_CLOCK, DstPolicy
from gnomon_core.timing.timeline import FIRST_INSTANT, LAST_INSTANT, Timeline, timeline
from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.cron_grammar import DayChoice
from gnomon_schemas.exclusions import excluded_days
from gnomon_schemas.schedules import (
    WEEKDAYS,
    AnyOf,
    Cron,
    Daily,
    Interval,
    Monthly,
    Once,
    Schedule,
    Weekly,
    cron_rule,
    time_of_day,
)

__all__ = [
    "ClockTimetable",
    "IntervalTimetable",
    "OnceTimetable",
    "Timetable",
    "UnionTimetable",
    "count_fires",
    "fires",
    "fires_between",
    "last_fire",
    "next_fire",
    "next_fire_at",
    "timetable",
]


class IntervalTimetable:
    """Every so many seconds from an anchor, in both directions, within bounds."""

    __slots__ = ("_every", "_first", "_last")

    def __init__(self, every_seconds: int, anchor: int, first: int, last: int) -> None:
        """`first` and `last` are the instants at which a slot may still be, both included."""
        self._every = every_seconds
        self._first = anchor + -((anchor - first) // every_seconds) * every_seconds
        self._last = last

    def steady(self, start: int, end: int) -> tuple[int, int] | None:
        """(anchor, every) where no bound of the schedule lies in [start, end); else None."""
        return (self._first, self._every) if self._first <= start and end - 1 <= self._last else None

    def next(self, after: int) -> int | None:
        """See Timetable."""
        slot = self._first
        if after >= slot:
            slot = after + self._every - (after - slot) % self._every
        return slot if slot <= self._last else None

    def last(self, at: int) -> int | None:
        """See Timetable."""
        at = min(at, self._last)
        return at - (at - self._first) % self._every if at >= self._first else None

    def between(self, after: int, until: int) -> Iterator[int]:
        """See Timetable."""
        slot = self.next(after)
        return iter(() if slot is None else range(slot, min(until, self._last) + 1, self._every))

    def count(self, after: int, until: int) -> int:
        """See Timetable. Needs no walk."""
        slot = self.next(after)
        return 0 if slot is None else len(range(slot, min(until, self._last) + 1, self._every))


class OnceTimetable:
    """One slot."""

    __slots__ = ("_at",)

    def __init__(self, at: int) -> None:
        self._at = at

    def next(self, after: int) -> int | None:
        """See Timetable."""
        return self._at if self._at > after else None

    def last(self, at: int) -> int | None:
        """See Timetable."""
        return self._at if self._at <= at else None

    def between(self, after: int, until: int) -> Iterator[int]:
        """See Timetable."""
        return iter((self._at,) if after < self._at <= until else ())

    def count(self, after: int, until: int) -> int:
        """See Timetable."""
        return int(after < self._at <= until)


class ClockTimetable:
    """The fires of a timeline, within bounds: of all kinds that name times on a zone's clock."""

    __slots__ = ("_first", "_last", "timeline")

    def __init__(self, fires: Timeline, first: int, last: int) -> None:
        """`first` and `last` are the instants at which a slot may still be, both included."""
        self.timeline: Final = fires
        self._first = first
        self._last = last

    def next(self, after: int) -> int | None:
        """See Timetable."""
        slot = self.timeline.next(after if after >= self._first else self._first - 1)
        return slot if slot is not None and slot <= self._last else None

    def last(self, at: int) -> int | None:
        """See Timetable."""
        return self.timeline.last(min(at, self._last), self._first)

    def between(self, after: int, until: int) -> Iterator[int]:
        """See Timetable."""
        return self.timeline.between(max(after, self._first - 1), min(until, self._last))

    def plain_offset(self, start: int, end: int) -> int | None:
        """See `Timeline.plain_offset`; None, too, where a bound of the schedule lies in [start, end)."""
        within = self._first <= start and end - 1 <= self._last
        return self.timeline.plain_offset(start, end) if within else None

    def count(self, after: int, until: int) -> int:
        """See Timetable. Walks over the changes of the clock and, where days are left out, over the days."""
        return self.timeline.count(max(after, self._first - 1), min(until, self._last))


class UnionTimetable:
    """The slots of several timetables, within bounds; one that several name is one."""

    __slots__ = ("_first", "_last", "parts")

    def __init__(self, parts: tuple[Timetable, ...], first: int, last: int) -> None:
        """`first` and `last` are the instants at which a slot may still be, both included."""
        self.parts: Final = parts
        self._first = first
        self._last = last

    def next(self, after: int) -> int | None:
        """See Timetable."""
        after = max(after, self._first - 1)
        slot = min((slot for part in self.parts if (slot := part.next(after)) is not None), default=None)
        return slot if slot is not None and slot <= self._last else None

    def last(self, at: int) -> int | None:
        """See Timetable."""
        at = min(at, self._last)
        slot = max((slot for part in self.parts if (slot := part.last(at)) is not None), default=None)
        return slot if slot is not None and slot >= self._first else None

    def between(self, after: int, until: int) -> Iterator[int]:
        """See Timetable."""
        after, until = max(after, self._first - 1), min(until, self._last)
        return (
            slot for slot, _ in groupby(heapq.merge(*(part.between(after, until) for part in self.parts)))
        )

    def count(self, after: int, until: int) -> int:
        """See Timetable. Walks where more than one part has slots in the span."""
        after, until = max(after, self._first - 1), min(until, self._last)
        counts = [count for part in self.parts if (count := part.count(after, until))]
        return sum(counts) if len(counts) < 2 else sum(1 for _ in self.between(after, until))


def timetable(schedule: Schedule) -> Timetable:
    """Compile a schedule in stored form (`normalise`). Raises ValueError for one that is not."""
    return _with_all_days(schedule) if schedule.exclude is None else _without_days_off(schedule)


@lru_cache(maxsize=65_536)
def _without_days_off(schedule: Schedule) -> Timetable:
    off = days_off(excluded_days(schedule.exclude))
    return ExcludingTimetable(_with_all_days(schedule), _zone_of(schedule), off)


def _with_all_days(schedule: Schedule) -> Timetable:
    match schedule:
        case Cron() | Daily() | Weekly() | Monthly():
            return _clock_timetable(schedule)
        case Interval():
            return _interval_timetable(schedule)
        case Once():
            return OnceTimetable(floor(_stored(schedule.at)))
        case AnyOf():
            return _union_timetable(schedule)


def next_fire(schedule: Schedule, after: int) -> int | None:
    """The first slot after an instant (exclusive), or None when none is left."""
    return timetable(schedule).next(after)


def last_fire(schedule: Schedule, at_or_before: int) -> int | None:
    """The last slot at or before an instant, or None when there was none yet."""
    return timetable(schedule).last(at_or_before)


def fires(schedule: Schedule, after: int, until: int) -> Iterator[int]:
    """The slots in (after, until], in order, without duplicates, one at a time."""
    return timetable(schedule).between(after, until)


def count_fires(schedule: Schedule, after: int, until: int) -> int:
    """How many slots lie in (after, until]."""
    return timetable(schedule).count(after, until)


def next_fire_at(schedule: Schedule, after: datetime) -> datetime | None:
    """`next_fire` for aware datetimes; the answer is in UTC."""
    slot = next_fire(schedule, _seconds(after))
    return None if slot is None else datetime.fromtimestamp(slot, UTC)


def fires_between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """`fires` for aware datetimes; the answers are in UTC."""
    # Slots are whole seconds, so cutting both ends to the second moves none of them into or out of (after,
    # until].
    return (datetime.fromtimestamp(slot, UTC) for slot in fires(schedule, _seconds(after), _seconds(until)))


@lru_cache(maxsize=65_536)
def _clock_timetable(schedule: Cron | Daily | Weekly | Monthly) -> ClockTimetable:
    return ClockTimetable(_timeline_of(schedule), *_bounds(schedule))


def _timeline_of(schedule: Cron | Daily | Weekly | Monthly) -> Timeline:
    zone_name, policy = _zone_of(schedule), _policy_of(schedule)
    match schedule:
        case Cron():
            return timeline(cron_rule(schedule), zone_name, policy)
        case Daily():
            days: Days = month_days(ALL_MONTHS, (DayChoice(),))
        case Weekly():
            # Of a `weekly`, 0 is Monday; in a cron, Sunday.
            weekdays = tuple(sorted((WEEKDAYS.index(str(day)) + 1) % 7 for day in schedule.days))
            days = month_days(ALL_MONTHS, (DayChoice(weekdays=weekdays),))
        case Monthly():
            if schedule.day is None:
                raise ValueError(f"{schedule!r} is not in stored form: normalise it first")
            days = ClampedDay(schedule.day)
    hour, minute, second = time_of_day(schedule.time)
    return Timeline(CalendarSlots(days, (hour,), (minute,), (second,)), zone_name, policy or BY_THE_CLOCK)


def _interval_timetable(schedule: Interval) -> Timetable:
    if not isinstance(schedule.every_seconds, int) or schedule.anchor is None:
        raise ValueError(f"{schedule!r} is not in stored form: normalise it first")
    anchor = floor(_stored(schedule.anchor))
    policy = _policy_of(schedule)
    if policy is None:
        return IntervalTimetable(schedule.every_seconds, anchor, *_bounds(schedule))
    zone_name = _zone_of(schedule)
    slots = IntervalSlots(schedule.every_seconds, ZoneClock(zone_name).wall_at(anchor))
    return ClockTimetable(Timeline(slots, zone_name, policy), *_bounds(schedule))


@lru_cache(maxsize=4096)
def _union_timetable(schedule: AnyOf) -> UnionTimetable:
    return UnionTimetable(tuple(map(timetable, schedule.schedules)), *_bounds(schedule))


def _zone_of(schedule: Schedule) -> str:
    if schedule.timezone is None:
        raise ValueError(f"{schedule!r} is not in stored form: normalise it first")
    return schedule.timezone


def _policy_of(schedule: Schedule) -> DstPolicy | None:
    return None if schedule.dst is None else DstPolicy(schedule.dst.gap, schedule.dst.overlap)


def _bounds(schedule: Schedule) -> tuple[int, int]:
    """The first and the last second at which a slot may be: from `start_at` on, and before `end_at`."""
    first, last = FIRST_INSTANT, LAST_INSTANT
    if schedule.start_at is not None:
        first = max(first, ceil(_stored(schedule.start_at)))
    if schedule.end_at is not None:
        last = min(last, ceil(_stored(schedule.end_at)) - 1)
    return first, last


def _stored(text: str) -> float:
    """Seconds since 1970 of an instant in stored form; it was parsed with care when it was stored."""
    if not text.endswith("Z"):
        raise ValueError(f"{text!r} is not in stored form: normalise the schedule first")
    return datetime.fromisoformat(text).timestamp()


def _seconds(moment: datetime) -> int:
    """Whole seconds since 1970, cut."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no offset, so it names no instant")
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() // 1)
