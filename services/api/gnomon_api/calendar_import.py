"""iCalendar files (RFC 5545) as spans of a calendar of blackouts.

What is read are the events, but for cancelled ones: each is a time in which the calendar is in force. Instants keep
their zone, UTC or `TZID`; whole days, and times without a zone, are of the zone of the calendar. An event that recurs
is written out as spans, up to a horizon: a calendar is kept as what it comes to, so that every scheduler finds the same
whatever it makes of a recurrence rule, and one that is read again next year simply replaces the spans.

A rule may come to millions of times, by a line of text, or to none and be searched for until the year 9999. So what a
rule can come to, and through how many days it has to be followed for that, is reckoned before it is written out.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

import icalendar
import recurring_ical_events

from gnomon_core.rules.decoding import wrong
from gnomon_schemas.blackouts import Span
from gnomon_schemas.clock_text import EPOCH, format_instant
from gnomon_schemas.limits import CALENDAR_SPANS_MAX, NAME_MAX_CHARS
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.zones import local_instant, zone

__all__ = ["HORIZON_DAYS", "HORIZON_DAYS_MAX", "Imported", "read_ical"]

HORIZON_DAYS: Final = 366
"""So far ahead recurring events are written out unless told otherwise."""
HORIZON_DAYS_MAX: Final = 3660
"""So far ahead they may be."""
_OCCURRENCES_MAX: Final = 20_000
"""More than so many times are not reckoned out to find the spans among them."""
_TIMES_A_DAY_MAX: Final = 24
_DAYS_OF: Final = {"DAILY": 1, "WEEKLY": 7, "MONTHLY": 28, "YEARLY": 365}
_WALKED_MAX: Final = 2_000_000
"""So far in all rules are followed from where they begin, in days of a daily one: a few seconds' work."""
_BY_DAY, _BY_PERIOD, _BY_YEAR = 1, 4, 16
"""So many days of a rule are as much work as one of a daily rule: by weeks and months, and by years alone."""
_OF_EACH_WEEKDAY: Final = 4
"""So many of a weekday every month has."""
_ON_DAYS: Final = frozenset({"BYDAY", "BYMONTH"})
"""Parts of a rule that every year has days for, whatever they say together."""
_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the parsers of iCalendar raise of what they do not expect: any of them is about the text that was given."""
_ONCE: Final = ("UID", "DTSTART", "DTEND", "DURATION", "RRULE", "STATUS", "SUMMARY", "RECURRENCE-ID")
"""Properties that an event has at most once."""
_LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_AT: Final = "#/ical"


class Imported(NamedTuple):
    """What an iCalendar comes to."""

    name: str | None
    """What it calls itself."""
    spans: tuple[Span, ...]
    """In order; those that were over are left out."""
    expanded_until: str | None
    """Up to where recurring events were written out; None: there was none."""


def read_ical(text: str, *, timezone: str, now: datetime, until: datetime) -> Imported:
    """The spans of an iCalendar that end after `now` and begin before `until`. Raises Refused, naming what is wrong."""
    calendar = _parsed(text)
    events = calendar.walk("VEVENT")
    for number, event in enumerate(events, 1):
        _check_event(event, number, (until - now).days + 1)
    recurs = any("RRULE" in event or "RDATE" in event for event in events)
    _check_total(events, (until - now).days + 1)
    _check_walk(events, until)
    try:
        found = recurring_ical_events.of(calendar, skip_bad_series=False).between(now, until)
    except _UNREADABLE as error:
        raise _refused(f"has an event that cannot be read: {str(error)[:200]}") from error
    spans = sorted(
        (span for event in found if not _cancelled(event) and (span := _span(event, timezone)) is not None),
        key=lambda span: (span.from_, span.to),
    )
    if len(spans) > CALENDAR_SPANS_MAX:
        raise _refused(
            f"comes to {len(spans):,} spans before {until:%Y-%m-%d}; allowed: up to {CALENDAR_SPANS_MAX:,}, so name an "
            "earlier `until`, or say what recurs by `recurring`"
        )
    name = calendar.get("X-WR-CALNAME") or calendar.get("NAME")
    return Imported(
        name=_shown(name),
        spans=tuple(spans),
        expanded_until=format_instant(until) if recurs else None,
    )


def _parsed(text: str) -> icalendar.Calendar:
    try:
        calendar = icalendar.Calendar.from_ical(text)
    except _UNREADABLE as error:
        raise _refused(f"is no iCalendar: {str(error)[:200]}") from error
    if not isinstance(calendar, icalendar.Calendar):
        raise _refused("is no iCalendar: it does not begin with BEGIN:VCALENDAR")
    return calendar


def _check_event(event: Any, number: int, days: int) -> None:
    """Make sure that an event says when it is, in zones that are known, and not too often. Raises Refused."""
    what = f"event {number} ({str(event.get('UID', 'without UID'))[:80]})"
    if event.errors:
        name, message = event.errors[0]
        raise _refused(f"{what}: {name}: {str(message)[:200]}")
    for name in _ONCE:
        if isinstance(event.get(name), list):
            raise _refused(f"{what} has {name} more than once")
    start = event.get("DTSTART")
    if start is None:
        raise _refused(f"{what} has no DTSTART")
    for name in ("DTSTART", "DTEND"):
        part = event.get(name)
        if part is None:
            continue
        try:
            value = part.dt
        except ValueError as error:
            raise _refused(f"{what}: {name}: {str(error)[:200]}") from error
        zone_name = part.params.get("TZID")
        if zone_name is not None and isinstance(value, datetime) and value.tzinfo is None:
            raise _refused(f"{what}: {name} is of the zone {zone_name!r:.80}, which is not known")
    rule = event.get("RRULE")
    if rule is None:
        return
    if (interval := _interval(rule)) < 1:
        raise _refused(f"{what}: RRULE: INTERVAL is {interval}; allowed: 1 or more")
    if _occurrences(rule, days) is None:
        raise _refused(
            f"{what} recurs more than {_TIMES_A_DAY_MAX} times a day; allowed are FREQ=DAILY, WEEKLY, MONTHLY and "
            f"YEARLY, with up to {_TIMES_A_DAY_MAX} times on a day"
        )


def _check_total(events: list[Any], days: int) -> None:
    total = sum(_occurrences(event["RRULE"], days) or 0 for event in events if "RRULE" in event) + len(events)
    if total > _OCCURRENCES_MAX:
        raise _refused(
            f"may come to {total:,} times; allowed: up to {_OCCURRENCES_MAX:,}, so name an earlier `until`"
        )


def _check_walk(events: list[Any], until: datetime) -> None:
    total = sum(_walked(event, until.date()) for event in events if "RRULE" in event)
    if total > _WALKED_MAX:
        raise _refused(
            "has rules that would have to be followed through too many days before they come to a time: let them begin "
            "later, or leave out those that never come to one"
        )


def _walked(event: Any, until: date) -> int:
    """Through about how many days a rule is followed: to `until`, or to the end of time if it may come to nothing."""
    rule, start = event["RRULE"], event["DTSTART"].dt
    begin = start.date() if isinstance(start, datetime) else start
    days = max(1, ((until if _comes_to_days(rule) else date.max) - begin).days) // _interval(rule)
    frequency = str(rule["FREQ"][0]).upper()
    if frequency == "YEARLY" and "BYDAY" not in rule:
        return days // _BY_YEAR
    return days // (_BY_DAY if frequency == "DAILY" else _BY_PERIOD)


def _comes_to_days(rule: Any) -> bool:
    """Whether a rule is known to come to days again and again."""
    parts = {name for name in rule if name.startswith("BY")} - {"BYHOUR", "BYMINUTE", "BYSECOND"}
    if _interval(rule) > 1 and parts:
        return False
    weekdays = [str(day) for day in rule.get("BYDAY") or ()]
    numbers = [int(day[:-2]) for day in weekdays if day[:-2]] + list(rule.get("BYSETPOS") or ())
    if any(abs(number) > _OF_EACH_WEEKDAY for number in numbers):
        return False  # no month has to have so many of a weekday
    if parts <= _ON_DAYS or (parts <= {*_ON_DAYS, "BYSETPOS"} and weekdays):
        return True
    months = rule.get("BYMONTH") or range(1, 13)
    return parts <= {"BYMONTH", "BYMONTHDAY"} and any(
        1 <= abs(day) <= _LONGEST[(int(month) - 1) % 12] for month in months for day in rule["BYMONTHDAY"]
    )


def _interval(rule: Any) -> int:
    return int((rule.get("INTERVAL") or [1])[0])


def _occurrences(rule: Any, days: int) -> int | None:
    """How often a rule may occur in so many days, at the most; None: more often on a day than is allowed."""
    frequency = str((rule.get("FREQ") or [""])[0]).upper()
    a_day = 1
    for name in ("BYHOUR", "BYMINUTE", "BYSECOND"):
        a_day *= max(1, len(rule.get(name) or ()))
    if frequency not in _DAYS_OF or a_day > _TIMES_A_DAY_MAX:
        return None
    # Where it names days, it may be every day of its period.
    named = any(name.startswith("BY") and name not in ("BYHOUR", "BYMINUTE", "BYSECOND") for name in rule)
    period = _DAYS_OF[frequency] * _interval(rule)
    each = min(_DAYS_OF[frequency], max(len(rule.get("BYDAY") or ()), 1)) if frequency == "WEEKLY" else None
    per_period = each or (_DAYS_OF[frequency] if named else 1)
    return (days // period + 1) * per_period * a_day


def _cancelled(event: Any) -> bool:
    return str(event.get("STATUS", "")).upper() == "CANCELLED"


def _span(event: Any, timezone: str) -> Span | None:
    """The time of one occurrence; None where it has no length."""
    start, end = _instant(event.start, timezone), _instant(event.end, timezone)
    if end <= start:
        return None
    return Span(
        from_=format_instant(start), to=format_instant(end), name=_shown(event.get("SUMMARY")) or None
    )


def _shown(name: object) -> str | None:
    """What can be shown of a name."""
    if name is None:
        return None
    return "".join(char for char in str(name).strip() if char.isprintable())[:NAME_MAX_CHARS]


def _instant(moment: date | datetime, timezone: str) -> datetime:
    """A time of an event as an instant: a day, and a time without a zone, is of the calendar's zone."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    return EPOCH + timedelta(seconds=local_instant(moment, zone(timezone)))


def _refused(message: str) -> Refused:
    return Refused(Code.INVALID, f"{_AT}: {message}", *wrong(_AT, message))
