"""iCalendar files (RFC 5545) as spans of a calendar of blackouts.

What is read are the events, but for cancelled ones: each is a time in which the calendar is in force. Instants keep
their zone, UTC or `TZID`; whole days, and times without a zone, are of the zone of the calendar. An event that recurs
is written out as spans, up to a horizon: a calendar is kept as what it comes to, so that every scheduler finds the same
whatever it makes of a recurrence rule, and one that is read again next year simply replaces the spans.

A rule may come to millions of times, by a line of text. So what a rule can come to is reckoned before it is written
out.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, NamedTuple

import icalendar
import recurring_ical_events

from gnomon_core.rules.task_limits import wrong
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
    try:
        found = recurring_ical_events.of(calendar, skip_bad_series=False).between(now, until)
    except (ValueError, KeyError, OverflowError) as error:
        raise _refused(f"has an event that cannot be read: {error}") from error
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
        name=None if name is None else str(name)[:NAME_MAX_CHARS],
        spans=tuple(spans),
        expanded_until=format_instant(until) if recurs else None,
    )


def _parsed(text: str) -> icalendar.Calendar:
    try:
        calendar = icalendar.Calendar.from_ical(text)
    except (ValueError, IndexError, KeyError) as error:
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
    if rule is not None and _occurrences(rule, days) is None:
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
    period = _DAYS_OF[frequency] * int((rule.get("INTERVAL") or [1])[0] or 1)
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
    name = str(event.get("SUMMARY", "")).strip()
    shown = "".join(char for char in name if char.isprintable())[:NAME_MAX_CHARS]
    return Span(from_=format_instant(start), to=format_instant(end), name=shown or None)


def _instant(moment: date | datetime, timezone: str) -> datetime:
    """A time of an event as an instant: a day, and a time without a zone, is of the calendar's zone."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if moment.tzinfo is not None:
        return moment.astimezone(UTC)
    return EPOCH + timedelta(seconds=local_instant(moment, zone(timezone)))


def _refused(message: str) -> Refused:
    return Refused(Code.INVALID, f"{_AT}: {message}", *wrong(_AT, message))
