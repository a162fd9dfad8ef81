"""When a task runs: the schedule kinds and what is common to them.

A schedule has two forms, one type. The *input* form is what a caller sends: most fields may be left out. The *stored*
form, made by `normalise`, has everything made explicit (zone, anchor, instants in UTC), so that its fires are a pure
function of it and nothing else. `gnomon_core.timing` reckons with the stored form only.

Times are text, as everywhere in payloads (see `clock_text`).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = ["Cron", "Interval", "Once", "Schedule"]


class _Bounded(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="kind",
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
    """Every slot comes due up to this much after its nominal time, by a stable hash; 0 to 86400, None means 0."""


class Cron(_Bounded, frozen=True, kw_only=True, tag="cron", gc=False):
    """By the calendar: an `expression`, or the fields one by one; never both. See `cron_grammar` for what they take."""

    expression: str | None = None
    """Five fields (minute, hour, day of month, month, day of week), six with seconds first, or an alias like `@daily`."""
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
    """These four are taken instead of `every_seconds`, and added up; the stored form has `every_seconds` only."""
    hours: int | float | None = None
    days: int | float | None = None
    """Of 86,400 seconds each: real time, not calendar days."""
    weeks: int | float | None = None
    anchor: str | None = None
    """RFC 3339, cut to the second: slots are this instant plus or minus whole intervals. None: the creation."""


class Once(_Bounded, frozen=True, kw_only=True, tag="once", gc=False):
    """One slot."""

    at: str
    """RFC 3339, cut to the second; without an offset it is read in `timezone`."""


Schedule: TypeAlias = Cron | Interval | Once
"""Any schedule; told apart by `kind`."""
