"""Schedules and instants to try laws on, and a second opinion on what a cron names.

A generated cron carries, beside its text, the sets and the test for days that the text was spelled from. So what it
should fire can be told without parsing it.
"""

from __future__ import annotations

import calendar
import warnings
import zoneinfo
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple

import holidays
from hypothesis import strategies as st

from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import (
    WEEKDAYS,
    AnyOf,
    Cron,
    Daily,
    Dst,
    Interval,
    Monthly,
    Once,
    Schedule,
    ScheduleError,
    Weekly,
    normalise,
)

DayTest = Callable[[date], bool]

TRICKY_ZONES = (
    *("Europe/Berlin", "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo"),
    *("Pacific/Apia", "America/Havana", "Asia/Beirut", "Africa/Casablanca", "Antarctica/Troll", "UTC"),
    *("Africa/Cairo", "Asia/Gaza", "America/St_Johns", "Pacific/Kwajalein", "Asia/Kathmandu"),
)
zones = st.sampled_from(TRICKY_ZONES) | st.sampled_from(sorted(zoneinfo.available_timezones()))


class SpelledCron(NamedTuple):
    """A cron's text and what it was spelled from."""

    expression: str
    minutes: frozenset[int]
    hours: frozenset[int]
    is_day: DayTest
    runs_through: bool

    def names(self, wall: datetime) -> bool:
        """Whether a wall time, cut to the minute, is one of the cron's."""
        return wall.minute in self.minutes and wall.hour in self.hours and self.is_day(wall.date())


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, frozenset[int]]:
    """A plain field and its values."""
    everything = range(low, high + 1)
    match draw(st.sampled_from(["*", "*/n", "a", "a-b", "a-b/n", "a/n", "list"])):
        case "*":
            return "*", frozenset(everything)
        case "*/n":
            step = draw(st.integers(1, high))
            return f"*/{step}", frozenset(everything[::step])
        case "a":
            value = draw(st.integers(low, high))
            return f"{value:02}", frozenset({value})
        case "a/n":
            first, step = draw(st.integers(low, high)), draw(st.integers(1, high))
            return f"{first}/{step}", frozenset(range(first, high + 1, step))
        case "list":
            values = draw(st.lists(st.integers(low, high), min_size=1, max_size=4))
            return ",".join(map(str, values)), frozenset(values)
        case form:
            first, last = sorted(draw(st.tuples(st.integers(low, high), st.integers(low, high))))
            step = draw(st.integers(1, high)) if form == "a-b/n" else 1
            return f"{first}-{last}" + (f"/{step}" if form == "a-b/n" else ""), frozenset(
                range(first, last + 1, step)
            )


@st.composite
def dates(draw: st.DrawFn) -> tuple[str, DayTest]:
    """A day-of-month field and its test."""
    text, values = draw(fields(1, 31))
    if not draw(st.booleans()):
        return text, lambda day: day.day in values
    text = "L" if draw(st.booleans()) else f"{text},L"
    plain = frozenset() if text == "L" else values
    return text, lambda day: day.day in plain or day.day == calendar.monthrange(day.year, day.month)[1]


@st.composite
def weekdays(draw: st.DrawFn) -> tuple[str, DayTest]:
    """A day-of-week field and its test; Sunday is 0 and, at times, 7."""
    match draw(st.sampled_from(["plain", "plain", "nth", "last", "both", "week"])):
        case "plain":
            text, values = draw(fields(0, 6))
            return text, lambda day: day.isoweekday() % 7 in values
        case "week":
            first = draw(st.integers(1, 7))
            return f"{first}-7", lambda day: day.isoweekday() >= first
        case "last":
            weekday = draw(st.integers(0, 7))
            return (
                draw(st.sampled_from([f"{weekday}L", f"L{weekday}"])),
                lambda day: (
                    day.isoweekday() % 7 == weekday % 7
                    and day.day > calendar.monthrange(day.year, day.month)[1] - 7
                ),
            )
        case form:
            weekday, which = draw(st.integers(0, 7)), draw(st.integers(1, 5))
            other = draw(st.integers(0, 6)) if form == "both" else None
            return (
                f"{weekday}#{which}" + ("" if other is None else f",{other}"),
                lambda day: (
                    (day.isoweekday() % 7 == weekday % 7 and (day.day + 6) // 7 == which)
                    or day.isoweekday() % 7 == other
                ),
            )


@st.composite
def spelled_crons(draw: st.DrawFn) -> SpelledCron:
    """A cron of five fields with all its days and times."""
    (minute, minutes), (hour, hours) = draw(fields(0, 59)), draw(fields(0, 23))
    month, months = draw(st.just(("*", frozenset(range(1, 13)))) | fields(1, 12))
    (day, is_date), (weekday, is_weekday) = draw(dates()), draw(weekdays())
    either = not day.startswith("*") and not weekday.startswith("*")

    def is_day(each: date) -> bool:
        on = (is_date(each), is_weekday(each))
        return each.month in months and (any(on) if either else all(on))

    return SpelledCron(
        f"{minute} {hour} {day} {month} {weekday}", minutes, hours, is_day, hour.startswith("*")
    )


LAST_TRIED = int(datetime(2045, 1, 1, tzinfo=UTC).timestamp())
plain_instants = st.integers(0, LAST_TRIED)


@st.composite
def instants(draw: st.DrawFn, zone_name: str) -> int:
    """An instant; half of them near a change of the zone's clock (or near the seam of two years)."""
    instant = draw(plain_instants)
    if draw(st.booleans()):
        return instant
    return ZoneClock(zone_name).piece_at(instant).end + draw(st.integers(-100_000, 100_000))


policies: st.SearchStrategy[Dst | None] = st.none() | st.builds(
    Dst,
    gap=st.sampled_from(["next_valid", "skip", "shift"]),
    overlap=st.sampled_from(["first", "last", "both"]),
)


exclude_dates = st.dates(date(1970, 1, 1), date(2045, 1, 1))


@st.composite
def date_spans(draw: st.DrawFn) -> ExcludedDays:
    """A span of dates, of a day or of decades."""
    first = draw(exclude_dates)
    return ExcludedDays(
        from_=str(first), to=str(first + timedelta(days=draw(st.integers(1, 9) | st.integers(1, 9000))))
    )


excludes: st.SearchStrategy[tuple[str | ExcludedDays, ...] | None] = st.none() | st.lists(
    st.sampled_from(WEEKDAYS[:5])  # two days are left, so that a search for one does not take long
    | exclude_dates.map(str)
    | st.sampled_from(["DE", "US-CA", "IN", "AE"]).map(lambda place: ExcludedDays(holidays=place))
    | date_spans(),
    min_size=1,
    max_size=4,
    unique=True,
).map(tuple)


def is_excluded(exclude: tuple[str | ExcludedDays, ...] | None, on: date) -> bool:
    """Whether a date is excluded, by looking at every item."""

    def by(item: str | ExcludedDays) -> bool:
        if not isinstance(item, ExcludedDays):
            return item in (str(on), on.strftime("%a").lower())
        if isinstance(item.holidays, str):
            country, _, part = item.holidays.partition("-")
            return on in _place(country, part)
        return date.fromisoformat(item.from_ or "") <= on < date.fromisoformat(item.to or "")

    return any(map(by, exclude or ()))


@cache
def _place(country: str, part: str) -> holidays.HolidayBase:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of years in which it does not know all
        return holidays.country_holidays(country, subdiv=part or None, years=range(1969, 2060))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """A schedule in stored form, with bounds at times."""
    zone_name = draw(zones)
    start = draw(st.none() | plain_instants)
    end = draw(st.none() | st.integers((start or 0) + 1, LAST_TRIED + 2))
    bounds = {
        "timezone": zone_name,
        "start_at": None if start is None else format_instant(start * 1000 - 500),
        "end_at": None if end is None else format_instant(end * 1000),
        "exclude": draw(excludes),
    }
    dst = draw(policies)
    time = f"{draw(st.integers(0, 23)):02}:{draw(st.integers(0, 59)):02}"
    match draw(st.sampled_from([Cron, Cron, Cron, Interval, Once, Daily, Weekly, Monthly, AnyOf])):
        case kind if kind is Interval:
            every = draw(st.integers(20, 5000) | st.integers(20, 10**8))
            anchor = format_instant(draw(plain_instants) * 1000)
            return Interval(every_seconds=every, anchor=anchor, dst=dst, **bounds)  # type: ignore[arg-type]  # text, days or None
        case kind if kind is Once:
            return Once(at=format_instant(draw(plain_instants) * 1000), timezone=zone_name)
        case kind if kind is Daily:
            return Daily(time=time, dst=dst, **bounds)  # type: ignore[arg-type]  # text, days or None
        case kind if kind is Weekly:
            days = tuple(day for day in WEEKDAYS if draw(st.booleans())) or ("sun",)
            return Weekly(time=time, days=days, dst=dst, **bounds)  # type: ignore[arg-type]  # text, days or None
        case kind if kind is Monthly:
            day = draw(st.sampled_from([-1, 1, 15, 28, 29, 30, 31]))
            return Monthly(time=time, day=day, dst=dst, **bounds)  # type: ignore[arg-type]  # text, days or None
        case kind if kind is AnyOf:
            parts = draw(st.lists(schedules(), min_size=1, max_size=3))
            return AnyOf(schedules=tuple(parts), **bounds)  # type: ignore[arg-type]  # text, days or None
        case _:
            seconds = draw(st.sampled_from(["", "0 ", "7,59 ", "*/30 "]))
            expression = seconds + draw(spelled_crons()).expression
            return Cron(expression=expression, dst=dst, **bounds)  # type: ignore[arg-type]  # text, days or None


def is_accepted(schedule: Schedule) -> bool:
    """Whether it would be stored: every cron in it names a day that comes, and not all days are excluded."""
    try:
        normalise(schedule, created_at=datetime(2026, 3, 1, tzinfo=UTC), default_timezone="UTC", now=None)
    except ScheduleError:
        return False
    return True
