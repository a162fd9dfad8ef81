"""A stored schedule as something that answers: the next slot, the last, all of a span, how many.

A *slot* is a nominal time, whole seconds since 1970. Slots are a function of the stored schedule alone.
Whoever asks in two spans that meet gets what one question about both would have given.

`timetable` compiles a schedule once; the functions besides it compile, or remember, and ask. The
scheduler's loop asks a million schedules in turn, so a Timetable is small and all that is costly is shared
(`timeline`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from math import ceil, floor
from typing import Final, Protocol

from gnomon_core.timing.timeline import FIRST_INSTANT, LAST_INSTANT, Timeline, timeline
from gnomon_schemas.cron_grammar import FIELD_NAMES, CronRule, parse_expression, parse_fields
from gnomon_schemas.schedules import Cron, Interval, Schedule

__all__ = [
    "CronTimetable",
    "IntervalTimetable",
    "OnceTimetable",
    "Timetable",
    "count_fires",
    "cron_rule",
    "fires",
    "fires_between",
    "last_fire",
    "next_fire",
    "next_fire_at",
    "timetable",
]


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


class IntervalTimetable:
    """Every so many seconds from an anchor, in both directions, within bounds."""

    __slots__ = ("_every", "_first", "_last")

    def __init__(self, every_seconds: int, anchor: int, first: int, last: int) -> None:
        """`first` and `last` are the instants at which a slot may still be, both included."""
        self._every = every_seconds
        self._first = anchor + -((anchor - first) // every_seconds) * every_seconds
        self._last = last

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


class CronTimetable:
    """The fires of a timeline, within bounds."""

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

    def count(self, after: int, until: int) -> int:
        """See Timetable. Walks over the changes of the clock and, where days are left out, over the days."""
        return self.timeline.count(max(after, self._first - 1), min(until, self._last))


def timetable(schedule: Schedule) -> Timetable:
    """Compile a schedule in stored form (`normalise`). Raises ValueError for one that is not."""
    if isinstance(schedule, Cron):
        return _cron_timetable(schedule)
    if isinstance(schedule, Interval):
        if not isinstance(schedule.every_seconds, int) or schedule.anchor is None:
            raise ValueError(f"{schedule!r} is not in stored form: normalise it first")
        first, last = _bounds(schedule)
        return IntervalTimetable(schedule.every_seconds, floor(_stored(schedule.anchor)), first, last)
    return OnceTimetable(floor(_stored(schedule.at)))


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


def cron_rule(schedule: Cron) -> CronRule:
    """The parsed rule of a cron, however it was given. Raises CronError."""
    if schedule.expression is not None:
        return parse_expression(schedule.expression)
    return parse_fields({name: getattr(schedule, name) for name in FIELD_NAMES})


@lru_cache(maxsize=65_536)
def _cron_timetable(schedule: Cron) -> CronTimetable:
    if schedule.timezone is None:
        raise ValueError(f"{schedule!r} is not in stored form: normalise it first")
    return CronTimetable(timeline(cron_rule(schedule), schedule.timezone), *_bounds(schedule))


def _bounds(schedule: Cron | Interval) -> tuple[int, int]:
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
