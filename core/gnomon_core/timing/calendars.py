"""Which slots of a schedule are others under another calendar.

Terms. The *calendar* is all that slots depend on besides the schedule: the rules of zones, and the holidays of places.
Each part of it has a *name*, `zone-Europe/Berlin` or `holidays-DE-BY`, and *rules*, bytes that say everything about it
(`kept_zones`, `kept_holidays`). Whoever keeps the rules can later ask what the slots were: `keep` makes them known to
this process, `as_of` gives the schedule as it was under them, for any question that can be asked of a schedule.

Comparing all slots of ten years would take seconds for a schedule of every minute. So the clocks are compared first,
and slots only around the times in which these differ. A rule that runs through all hours of all days does not depend
on the whole offset of a clock, only on what is left of it after the rule's own period: `*/5 * * * *` is the same under
summer time and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from math import floor
from typing import Final, NamedTuple, TypeAlias

import msgspec

from gnomon_core.timing.kept_holidays import (
    differing_days,
    holiday_rules,
    keep_holidays,
    same_holidays,
    years_known,
)
from gnomon_core.timing.kept_zones import keep_zone, zone_rules
from gnomon_core.timing.month_days import month_days
from gnomon_core.timing.questions import Timetable
from gnomon_core.timing.showings import RUNNING_THROUGH
from gnomon_core.timing.timetable import timetable
from gnomon_core.timing.zone_clock import YEAR, ZoneClock
from gnomon_schemas.exclusions import ExcludedDays, excluded_days
from gnomon_schemas.schedules import AnyOf, Cron, Daily, Interval, Monthly, Once, Schedule, Weekly, cron_rule

__all__ = [
    "HORIZON",
    "Difference",
    "KeptNames",
    "as_of",
    "difference",
    "keep",
    "names_of",
    "own_rules",
    "same_rules",
    "text_of",
]

_DAY: Final = 86_400
_HOUR: Final = 3600
HORIZON: Final = 10 * YEAR
"""How far ahead slots are compared, in seconds."""
COUNTED: Final = 400 * _DAY
"""How far ahead the slots that differ are counted."""
COUNTED_MAX: Final = 1000
"""Where counting stops."""
WALKED_MAX: Final = 200_000
"""Slots that are looked at in one comparison."""
_MARGIN: Final = 3 * _DAY
"""So far from where two clocks differ they may still make different slots: at the ends of a gap or an overlap."""
_ANY: Final = 1 << 40
"""As a period: every difference of offsets counts."""
_ZONE: Final = "zone-"
_HOLIDAYS: Final = "holidays-"
_YEARS: Final = 11
"""As many years of holidays as `HORIZON` reaches into."""

KeptNames: TypeAlias = tuple[tuple[str, str], ...]
"""Names of a calendar's parts, each with the name that its kept rules have in schedules (`keep`)."""
_Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Spans of instants [start, end), in order, apart from each other."""


class Difference(NamedTuple):
    """How the slots of a schedule differ under two calendars. Instants in seconds since 1970."""

    first: int | None
    """The first slot that only one of them has; None: there were too many to look at, and none of those differed."""
    old_next: int | None
    """The next slot under the kept calendar."""
    new_next: int | None
    """The next slot under the process's own."""
    appeared: int
    """Slots of the coming 400 days that only the process's own has."""
    disappeared: int
    """Slots of the coming 400 days that only the kept one has. Counting stops at a thousand of both together."""


def names_of(schedule: Schedule) -> frozenset[str]:
    """The parts of the calendar that the slots of a stored schedule depend on; none for what needs no clock."""
    names: frozenset[str] = frozenset()
    match schedule:
        case Cron() | Daily() | Weekly() | Monthly():
            names = frozenset({_zone_name(schedule)})
        case Interval() if schedule.dst is not None:
            names = frozenset({_zone_name(schedule)})
        case AnyOf():
            names = names.union(*map(names_of, schedule.schedules))
    if schedule.exclude:
        # Excluded is what the zone's clock shows the date of, whatever the kind.
        names |= {_zone_name(schedule), *(f"{_HOLIDAYS}{place}" for place in _places(schedule))}
    return names


def own_rules(name: str, year: int, known: bytes | None = None) -> bytes:
    """The process's own rules of a part of the calendar. Raises ValueError where there is none of that name.

    Of holidays those from the year before `year` on for the years that are compared, and of all that `known` rules
    speak of.
    """
    kind, part = _parsed(name)
    if kind == _ZONE:
        return zone_rules(part)
    years = range(year - 1, year + _YEARS + 1)
    if known is not None:
        others = years_known(known)
        years = range(min(years.start, others.start), max(years.stop, others.stop)) if others else years
    return holiday_rules(part, years)


def same_rules(name: str, one: bytes, other: bytes) -> bool:
    """Whether two rules of a part say the same, as far as both go. Raises ValueError for bytes that are no rules."""
    kind, _ = _parsed(name)
    return one == other if kind == _ZONE else same_holidays(one, other)


def text_of(name: str) -> str:
    """A text that is in the JSON of every stored schedule which depends on a part: to look for those quickly."""
    return f'"{_parsed(name)[1]}"'


def keep(name: str, rules: bytes) -> str:
    """Make other rules of a part known: by what name a schedule may have them. Raises ValueError for no rules."""
    kind, part = _parsed(name)
    return keep_zone(part, rules) if kind == _ZONE else keep_holidays(part, rules)


def as_of(schedule: Schedule, kept: KeptNames) -> Schedule:
    """A schedule as it is under other rules. Only to ask of it: its names mean something in this process alone."""
    names = dict(kept)
    return _as_of(schedule, names) if names else schedule


def _as_of(schedule: Schedule, names: Mapping[str, str]) -> Schedule:
    changed: Schedule = msgspec.structs.replace(
        schedule, timezone=names.get(_zone_name(schedule), schedule.timezone)
    )
    if changed.exclude:
        excluded = tuple(_excluded_as_of(item, names) for item in excluded_days(changed.exclude))
        changed = msgspec.structs.replace(changed, exclude=excluded)
    if isinstance(changed, AnyOf):
        parts = tuple(_as_of(part, names) for part in changed.schedules)
        changed = msgspec.structs.replace(changed, schedules=parts)
    return changed


def _excluded_as_of(item: str | ExcludedDays, names: Mapping[str, str]) -> str | ExcludedDays:
    if not isinstance(item, ExcludedDays) or not isinstance(item.holidays, str):
        return item
    return ExcludedDays(holidays=names.get(f"{_HOLIDAYS}{item.holidays}", item.holidays))


@lru_cache(maxsize=16_384)
def difference(schedule: Schedule, kept: KeptNames, since: int, at: int) -> Difference | None:
    """How the slots after `since` differ under kept rules and the process's own; None where they do not.

    `at` is the instant from which the next slots are told and the coming 400 days are counted. Looked at are ten years.
    """
    before = as_of(schedule, kept)
    spans = _spans_of(schedule, before, since // YEAR)
    if not spans:
        return None
    old, new = timetable(before), timetable(schedule)
    first, appeared, disappeared, walked = None, 0, 0, 0
    for slot, is_old, is_new in _walk(old, new, spans, since):
        walked += 1
        if is_old is not is_new:
            first = slot if first is None else first
            if at < slot <= at + COUNTED:
                appeared, disappeared = appeared + is_new, disappeared + is_old
        counted = slot > at + COUNTED or appeared + disappeared >= COUNTED_MAX
        if (first is not None and counted) or walked >= WALKED_MAX:
            break
    if first is None and walked < WALKED_MAX:
        return None
    return Difference(first, old.next(at), new.next(at), appeared, disappeared)


def _walk(old: Timetable, new: Timetable, spans: _Spans, since: int) -> Iterator[tuple[int, bool, bool]]:
    """The slots in spans after an instant that either has, each with which of them do."""
    for start, end in spans:
        start = max(start, since + 1)
        if start >= end:
            continue
        olds, news = old.between(start - 1, end - 1), new.between(start - 1, end - 1)
        left, right = next(olds, None), next(news, None)
        while left is not None or right is not None:
            if right is None or (left is not None and left < right):
                assert left is not None
                yield left, True, False
                left = next(olds, None)
            elif left is None or right < left:
                yield right, False, True
                right = next(news, None)
            else:
                yield left, True, True
                left, right = next(olds, None), next(news, None)


def _spans_of(schedule: Schedule, before: Schedule, year: int) -> _Spans:
    """Where the slots of a schedule and of its former self may differ, in the years from one on."""
    spans: list[tuple[int, int]] = []
    if isinstance(schedule, AnyOf) and isinstance(before, AnyOf):
        for new, old in zip(schedule.schedules, before.schedules, strict=True):
            spans += _spans_of(new, old, year)
    elif schedule.timezone is not None and before.timezone is not None:
        spans += _own_spans(schedule, before.timezone, schedule.timezone, year)
    if schedule.exclude and schedule.timezone is not None and before.timezone is not None:
        spans += _clock_spans(before.timezone, schedule.timezone, _ANY, year)
        for old_place, new_place in zip(_places(before), _places(schedule), strict=True):
            spans += _holiday_spans(old_place, new_place, year)
    return _joined(iter(spans))


def _own_spans(schedule: Schedule, old_zone: str, new_zone: str, year: int) -> _Spans:
    """The same for a schedule of one kind, without looking at what it excludes."""
    if isinstance(schedule, Once) or (isinstance(schedule, Interval) and schedule.dst is None):
        return ()
    if isinstance(schedule, Interval) and _anchored_elsewhere(schedule, old_zone, new_zone):
        return ((year * YEAR, (year + 1) * YEAR + HORIZON),)
    return _clock_spans(old_zone, new_zone, _period(schedule), year)


@lru_cache(maxsize=1024)
def _holiday_spans(old_place: str, new_place: str, year: int) -> _Spans:
    """Around the days that only one of two calendars has, in the years (counted from 1970) from one on."""
    if old_place == new_place:
        return ()
    first = 1970 + year - 1
    days = differing_days(old_place, new_place, range(first, first + _YEARS + 2))
    return _joined((day * _DAY - _MARGIN, (day + 1) * _DAY + _MARGIN) for day in days)


def _places(schedule: Schedule) -> list[str]:
    """The places whose holidays a stored schedule excludes."""
    items = excluded_days(schedule.exclude)
    return [
        item.holidays for item in items if isinstance(item, ExcludedDays) and isinstance(item.holidays, str)
    ]


def _anchored_elsewhere(schedule: Interval, old_zone: str, new_zone: str) -> bool:
    """Whether two clocks show other times at the anchor, from which an interval counts by the clock."""
    if schedule.anchor is None:
        raise ValueError(f"{schedule!r} is not in stored form: normalise it first")
    anchor = floor(datetime.fromisoformat(schedule.anchor).timestamp())
    return ZoneClock(old_zone).wall_at(anchor) != ZoneClock(new_zone).wall_at(anchor)


@lru_cache(maxsize=1024)
def _clock_spans(old_zone: str, new_zone: str, period: int, year: int) -> _Spans:
    """Where two clocks differ by anything but whole periods, with margins, in the years from one on."""
    if old_zone == new_zone:
        return ()
    old, new = ZoneClock(old_zone), ZoneClock(new_zone)
    at, end = year * YEAR, (year + 1) * YEAR + HORIZON
    differing = []
    while at < end:
        before, after = old.piece_at(at), new.piece_at(at)
        beyond = min(before.end, after.end, end)
        if (after.offset - before.offset) % period:
            differing.append((at - _MARGIN, beyond + _MARGIN))
        at = beyond
    return _joined(iter(differing))


def _joined(spans: Iterator[tuple[int, int]]) -> _Spans:
    """Spans in any order as spans in order, those that touch as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def _period(schedule: Schedule) -> int:
    """Seconds by which a clock may be put back or forward without moving a slot; `_ANY` for most schedules."""
    if not isinstance(schedule, Cron):
        return _ANY
    rule = cron_rule(schedule)
    if schedule.dst is None:
        runs_through = rule.runs_through
    else:
        runs_through = (schedule.dst.gap, schedule.dst.overlap) == RUNNING_THROUGH
    if not runs_through or len(rule.hours) < 24 or not month_days(rule.months, rule.days).every:
        return _ANY
    return _period_in_hour(rule.minutes, rule.seconds)


@lru_cache(maxsize=1024)
def _period_in_hour(minutes: tuple[int, ...], seconds: tuple[int, ...]) -> int:
    """The shortest time by which the times in an hour can be moved so that they are the same again."""
    times = {minute * 60 + second for minute in minutes for second in seconds}
    return next(
        period
        for period in range(1, _HOUR + 1)
        if _HOUR % period == 0 and all((time + period) % _HOUR in times for time in times)
    )


def _zone_name(schedule: Schedule) -> str:
    return f"{_ZONE}{schedule.timezone}"


def _parsed(name: str) -> tuple[str, str]:
    """Which kind of part a name names, and which of that kind."""
    for kind in (_ZONE, _HOLIDAYS):
        if name.startswith(kind):
            return kind, name.removeprefix(kind)
    raise ValueError(f"{name!r:.80} names no part of a calendar")
