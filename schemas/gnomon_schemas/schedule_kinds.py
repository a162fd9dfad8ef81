"""The kinds of schedules, and what is common to them. See `schedules` for the two forms they come in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from gnomon_schemas.cron_grammar import FIELD_NAMES, CronRule, parse_expression, parse_fields
from gnomon_schemas.exclusions import Exclude

__all__ = [
    "EVERY_SECONDS_MAX",
    "FIRST_YEAR",
    "JITTER_SECONDS_MAX",
    "KINDS",
    "LAST_YEAR",
    "MAX_RUNS_MAX",
    "TIME_PATTERN",
    "UNION_LEVELS",
    "UNION_MAX",
    "AnyOf",
    "Cron",
    "Daily",
    "Dst",
    "GapChoice",
    "Interval",
    "Monthly",
    "Once",
    "OverlapChoice",
    "Schedule",
    "Weekly",
    "cron_rule",
    "time_of_day",
]

EVERY_SECONDS_MAX: Final = 3_155_760_000
"""Longest interval: a hundred years."""
JITTER_SECONDS_MAX: Final = 86_400
MAX_RUNS_MAX: Final = 1_000_000
UNION_MAX: Final = 100
"""Schedules in one `any_of`."""
UNION_LEVELS: Final = 3
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2999
"""Instants in a schedule lie in these years; no slot lies after them."""


GapChoice: TypeAlias = Literal["next_valid", "skip", "shift"]
OverlapChoice: TypeAlias = Literal["first", "last", "both"]


class Dst(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What becomes of times of the day that the zone's clock skips, or shows twice, when it changes."""

    gap: GapChoice = "next_valid"
    """A skipped time: at the first instant after the gap, once for all slots of that gap; not at all (`skip`, and
    nothing is recorded); or moved by the gap's length (`shift`)."""
    overlap: OverlapChoice = "first"
    """A time that is shown twice: at its first showing, at its last, or at both."""


class _Bounded(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="kind",
    cache_hash=True,  # timetables are remembered by schedule, and a list of excluded days may be long
    gc=False,  # only scalars in here, so no cycle can begin; spares the collector a million objects
):
    """What every kind takes."""

    timezone: str | None = None
    """IANA name of the zone whose clock the schedule reads; None: the default zone (`GNOMON_TIMEZONE`)."""
    start_at: str | None = None
    """RFC 3339: no slot before this instant; one exactly at it counts."""
    end_at: str | None = None
    """RFC 3339: no slot at or after this instant."""
    jitter_seconds: int | float | None = 0
    """A slot comes due up to this much after its nominal time, by a stable hash; 0 to 86400, None means 0."""
    dst: Dst | None = None
    """What becomes of times that the zone's clock skips or shows twice. None: by the clock (`Dst()`), but a cron
    whose hour field begins with `*` and an interval run through in real time."""
    max_runs: int | None = None
    """The task is completed once so many slots of this schedule have been handed out; None: never for that."""
    exclude: Exclude | None = None
    """Days without slots, by their date on the zone's clock. A list of dates (`2026-12-24`), days of the week (`sat`,
    or 0 = Monday), `{"holidays": "DE"}` and `{"from", "to"}` (`to` excluded); or an object with `dates`, `weekdays`,
    `holidays` and `ranges`. Answered as a list."""


class Cron(_Bounded, frozen=True, kw_only=True, tag="cron", gc=False):
    """By the calendar: an `expression`, or the fields one by one, never both (see `cron_grammar`)."""

    expression: str | None = None
    """Minute, hour, day of month, month, day of week; or six, seconds first; or an alias like `@daily`."""
    second: int | str | None = None
    minute: int | str | None = None
    hour: int | str | None = None
    day: int | str | None = None
    month: int | str | None = None
    day_of_week: int | str | None = None
    """0 is Monday, 6 is Sunday: as APScheduler counts, and unlike `expression`."""


class Interval(_Bounded, frozen=True, kw_only=True, tag="interval", gc=False):
    """Every so many seconds of real time, counted from an anchor in both directions."""

    every_seconds: int | float | None = None
    """Whole seconds, 1 to 3,155,760,000 (a hundred years)."""
    minutes: int | float | None = None
    """These four are taken instead of `every_seconds`, and added up; the stored form has none of them."""
    hours: int | float | None = None
    days: int | float | None = None
    """Of 86,400 seconds each: real time, not calendar days."""
    weeks: int | float | None = None
    anchor: str | None = None
    """RFC 3339, cut to the second: slots are whole intervals away from it. None: the creation."""


class Once(_Bounded, frozen=True, kw_only=True, tag="once", gc=False):
    """One slot."""

    at: str
    """RFC 3339, cut to the second; without an offset it is read in `timezone`."""


class Daily(_Bounded, frozen=True, kw_only=True, tag="daily", gc=False):
    """Every day at one time."""

    time: str
    """On the zone's clock: `HH:MM` or `HH:MM:SS`."""


class Weekly(_Bounded, frozen=True, kw_only=True, tag="weekly", gc=False):
    """On some days of the week, at one time."""

    time: str
    """On the zone's clock: `HH:MM` or `HH:MM:SS`."""
    days: tuple[int | str, ...]
    """Names (`mon` to `sun`), or numbers from 0, which is Monday; stored as names, Monday first."""


class Monthly(_Bounded, frozen=True, kw_only=True, tag="monthly", gc=False):
    """On one day of each month, at one time."""

    time: str
    """On the zone's clock: `HH:MM` or `HH:MM:SS`."""
    day: int | None = None
    """1 to 31, where a month that is shorter has its last day instead; -1 is the last day. None: that of creation."""


class AnyOf(_Bounded, frozen=True, kw_only=True, tag="any_of", gc=False):
    """The union of other schedules: one instant fires once, however many of them name it.

    The bounds hold for all of them, besides their own; the zone, for those that name none.
    """

    schedules: tuple[Schedule, ...]
    """1 to 100 of any kind; an `any_of` in an `any_of` is taken down to the third level. Jitter is the union's."""


Schedule: TypeAlias = Cron | Interval | Once | Daily | Weekly | Monthly | AnyOf
"""Any schedule; told apart by `kind`."""

KINDS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "cron": Cron,
    "interval": Interval,
    "once": Once,
    "daily": Daily,
    "weekly": Weekly,
    "monthly": Monthly,
    "any_of": AnyOf,
}
"""The kinds there are, by the name that tells them apart."""

TIME_PATTERN: Final = "^(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?$"
"""A time of the day."""
_TIME: Final = re.compile(TIME_PATTERN, re.ASCII)


def cron_rule(schedule: Cron) -> CronRule:
    """The parsed rule of a cron, however it was given. Raises CronError."""
    if schedule.expression is not None:
        return parse_expression(schedule.expression)
    return parse_fields({name: getattr(schedule, name) for name in FIELD_NAMES})


def time_of_day(text: str) -> tuple[int, int, int]:
    """Hour, minute and second of `HH:MM` or `HH:MM:SS`. Raises ValueError, in words."""
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"{text!r:.80} is no time of the day; allowed is HH:MM or HH:MM:SS, to 23:59:59")
    hour, minute, *rest = map(int, text.split(":"))
    return hour, minute, rest[0] if rest else 0
