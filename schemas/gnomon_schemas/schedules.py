"""When a task runs: the schedule kinds and what is common to them.

A schedule has two forms, one type. The *input* form is what a caller sends: most fields may be left out.
The *stored* form, made by `normalise`, has everything made explicit (zone, anchor, instants in UTC), so
that its fires are a pure function of it and nothing else. `gnomon_core.timing` reckons with the stored form
only.

Times are text, as everywhere in payloads (see `clock_text`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from gnomon_schemas.clock_text import format_instant, parse_instant, parse_local
from gnomon_schemas.cron_grammar import FIELD_NAMES, CronError, field_defaults, parse_expression, parse_fields
from gnomon_schemas.zones import local_instant, zone

__all__ = [
    "Cron",
    "Interval",
    "Once",
    "Schedule",
    "ScheduleCode",
    "ScheduleError",
    "ScheduleFault",
    "normalise",
    "read_schedule",
    "shape_faults",
]

EVERY_SECONDS_MAX: Final = 3_155_760_000
"""Longest interval: a hundred years."""
JITTER_SECONDS_MAX: Final = 86_400
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2999
"""Instants in a schedule lie in these years; no slot lies after them."""


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
    """A slot comes due up to this much after its nominal time, by a stable hash; 0 to 86400, None means 0."""


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


Schedule: TypeAlias = Cron | Interval | Once
"""Any schedule; told apart by `kind`."""

KINDS: Final[Mapping[str, type[Cron | Interval | Once]]] = {
    "cron": Cron,
    "interval": Interval,
    "once": Once,
}
"""The kinds there are, by the name that tells them apart."""

_UNIT_SECONDS: Final[Mapping[str, int]] = {"minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}


class ScheduleCode(StrEnum):
    """What can be wrong with a schedule."""

    NOT_AN_OBJECT = "not_an_object"
    UNSUPPORTED_KIND = "unsupported_kind"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    INVALID_TYPE = "invalid_type"
    INVALID_CRON = "invalid_cron"
    INVALID_INTERVAL = "invalid_interval"
    INVALID_TIME = "invalid_time"
    UNKNOWN_TIMEZONE = "unknown_timezone"
    IN_THE_PAST = "in_the_past"
    INVALID_BOUNDS = "invalid_bounds"
    INVALID_JITTER = "invalid_jitter"


class ScheduleFault(NamedTuple):
    """One thing wrong with a schedule."""

    pointer: str
    """JSON pointer from the schedule: `/expression`; empty for the schedule as a whole."""
    code: ScheduleCode
    message: str
    """In words: the value, and what is allowed."""


class ScheduleError(ValueError):
    """The schedule is not valid; `faults` tells everything that is wrong with it, not only the first."""

    def __init__(self, *faults: ScheduleFault) -> None:
        super().__init__("; ".join(f"{fault.pointer or 'schedule'}: {fault.message}" for fault in faults))
        self.faults = faults


def shape_faults(value: object) -> tuple[ScheduleFault, ...]:
    """What keeps a decoded JSON value from being a schedule: kind, names and types of fields. Empty: nothing.

    A decoder stops at its first complaint and does not say what is allowed; this is asked when it has
    complained.
    """
    if not isinstance(value, Mapping):
        message = f"a schedule is an object with a kind ({_words(KINDS)}), not {value!r:.80}"
        return (ScheduleFault("", ScheduleCode.NOT_AN_OBJECT, message),)
    kind = value.get("kind")
    struct = KINDS.get(kind) if isinstance(kind, str) else None
    if struct is None:
        given = f"{kind!r:.80} is no kind" if "kind" in value else "kind is missing"
        return (
            ScheduleFault("/kind", ScheduleCode.UNSUPPORTED_KIND, f"{given}; allowed are {_words(KINDS)}"),
        )
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    faults = []
    for name, given_value in value.items():
        if name == "kind":
            continue
        if name not in fields:
            message = f"{name!r:.80} is no field of kind {kind}; allowed are {_words(fields)}"
            faults.append(ScheduleFault(_pointer(name), ScheduleCode.UNKNOWN_FIELD, message))
            continue
        try:
            msgspec.convert(given_value, fields[name].type)
        except msgspec.ValidationError as error:
            faults.append(
                ScheduleFault(_pointer(name), ScheduleCode.INVALID_TYPE, f"{given_value!r:.80}: {error}")
            )
    faults.extend(
        ScheduleFault(_pointer(name), ScheduleCode.MISSING_FIELD, f"{name} is missing: kind {kind} needs it")
        for name, field in fields.items()
        if field.required and name not in value
    )
    return tuple(faults)


def read_schedule(value: object) -> Schedule:
    """The schedule that a decoded JSON value is, in input form. Raises ScheduleError (see `shape_faults`)."""
    try:
        schedule: Schedule = msgspec.convert(value, Schedule)
    except msgspec.ValidationError as error:
        # What is wrong in particular is looked for only now: it takes ten times as long as converting.
        faults = shape_faults(value) or (ScheduleFault("", ScheduleCode.INVALID_TYPE, str(error)),)
        raise ScheduleError(*faults) from None
    return schedule


def normalise(
    schedule: Schedule | Mapping[str, Any],
    *,
    created_at: datetime,
    default_timezone: str,
    now: datetime | None,
) -> Schedule:
    """The stored form of a schedule; of a stored form, itself.

    `created_at` anchors an interval that names no anchor. A `once` not after `now` is refused; None asks
    for no such check, for a schedule that has been accepted before. Both are aware datetimes.

    Raises ScheduleError with everything that is wrong.
    """
    if not isinstance(schedule, Cron | Interval | Once):
        schedule = read_schedule(schedule)
    faults: list[ScheduleFault] = []
    common = _common(schedule, default_timezone, faults)
    stored: Schedule
    if isinstance(schedule, Cron):
        stored = _stored_cron(schedule, common, faults)
    elif isinstance(schedule, Interval):
        stored = _stored_interval(schedule, common, created_at, faults)
    else:
        stored = _stored_once(schedule, common, now, faults)
    if faults:
        raise ScheduleError(*faults)
    return stored


class _Common(NamedTuple):
    """The fields of every kind, in stored form; where one is at fault, a value to go on checking with."""

    timezone: str
    start_at: str | None
    end_at: str | None
    jitter_seconds: int | float


def _common(schedule: Schedule, default_timezone: str, faults: list[ScheduleFault]) -> _Common:
    name = default_timezone if schedule.timezone is None else schedule.timezone
    try:
        zone(name)
    except ValueError as error:
        faults.append(ScheduleFault("/timezone", ScheduleCode.UNKNOWN_TIMEZONE, str(error)))
        name = "UTC"
    start_at = _instant("start_at", schedule.start_at, faults)
    end_at = _instant("end_at", schedule.end_at, faults)
    if start_at is not None and end_at is not None and end_at <= start_at:
        message = f"end_at {schedule.end_at!r} is not after start_at {schedule.start_at!r}"
        faults.append(ScheduleFault("/end_at", ScheduleCode.INVALID_BOUNDS, message))
    jitter = schedule.jitter_seconds or 0
    if not 0 <= jitter <= JITTER_SECONDS_MAX:
        message = f"{jitter!r} seconds of jitter; allowed are 0 to {JITTER_SECONDS_MAX}"
        faults.append(ScheduleFault("/jitter_seconds", ScheduleCode.INVALID_JITTER, message))
        jitter = 0
    return _Common(name, start_at, end_at, int(jitter) if int(jitter) == jitter else jitter)


def _instant(field: str, text: str | None, faults: list[ScheduleFault]) -> str | None:
    """An RFC 3339 text in UTC with milliseconds, or None after noting what is wrong with it."""
    if text is None:
        return None
    try:
        return format_instant(_in_range(parse_instant(text), text))
    except ValueError as error:
        faults.append(ScheduleFault(f"/{field}", ScheduleCode.INVALID_TIME, str(error)))
        return None


def _in_range(instant: datetime, text: str) -> datetime:
    if not FIRST_YEAR <= instant.year <= LAST_YEAR:
        raise ValueError(f"{text!r} is out of range; allowed are the years {FIRST_YEAR} to {LAST_YEAR} (UTC)")
    return instant


def _stored_cron(schedule: Cron, common: _Common, faults: list[ScheduleFault]) -> Cron:
    fields = {name: getattr(schedule, name) for name in FIELD_NAMES if getattr(schedule, name) is not None}
    if schedule.expression is not None and fields:
        message = (
            f"expression and {_words(fields)} are both given; allowed is an expression, or single fields"
        )
        faults.append(ScheduleFault("/expression", ScheduleCode.INVALID_CRON, message))
    elif schedule.expression is None and not fields:
        message = f"a cron needs an expression, or at least one of {_words(FIELD_NAMES)}"
        faults.append(ScheduleFault("/expression", ScheduleCode.INVALID_CRON, message))
    try:
        if schedule.expression is not None:
            parse_expression(schedule.expression)
            return Cron(expression=" ".join(schedule.expression.split()), **common._asdict())
        if fields:
            parse_fields(fields)
    except CronError as error:
        for name, message in error.faults:
            faults.append(ScheduleFault(f"/{name or 'expression'}", ScheduleCode.INVALID_CRON, message))
    filled: dict[str, Any] = {**field_defaults(fields), **common._asdict()}
    return Cron(**filled)


def _stored_interval(
    schedule: Interval, common: _Common, created_at: datetime, faults: list[ScheduleFault]
) -> Interval:
    anchor = format_instant(created_at.astimezone(UTC).replace(microsecond=0))
    if schedule.anchor is not None and (given := _instant("anchor", schedule.anchor, faults)) is not None:
        anchor = format_instant(parse_instant(given).replace(microsecond=0))
    return Interval(every_seconds=_every_seconds(schedule, faults), anchor=anchor, **common._asdict())


def _every_seconds(schedule: Interval, faults: list[ScheduleFault]) -> int:
    """The interval in whole seconds; 1 after noting what is wrong with it."""
    units = {name: getattr(schedule, name) for name in _UNIT_SECONDS if getattr(schedule, name) is not None}
    if schedule.every_seconds is not None and units:
        message = f"every_seconds and {_words(units)} are both given; allowed is one or the other"
        faults.append(ScheduleFault("/every_seconds", ScheduleCode.INVALID_INTERVAL, message))
        return 1
    if schedule.every_seconds is None and not units:
        message = f"an interval needs every_seconds, or at least one of {_words(_UNIT_SECONDS)}"
        faults.append(ScheduleFault("/every_seconds", ScheduleCode.INVALID_INTERVAL, message))
        return 1
    total = schedule.every_seconds if schedule.every_seconds is not None else _in_seconds(units)
    if not 1 <= total <= EVERY_SECONDS_MAX or total != int(total):
        pointer = f"/{next(iter(units))}" if len(units) == 1 else "" if units else "/every_seconds"
        message = f"an interval of {total!r} seconds; allowed are whole seconds, 1 to {EVERY_SECONDS_MAX}"
        faults.append(ScheduleFault(pointer, ScheduleCode.INVALID_INTERVAL, message))
        return 1
    return int(total)


def _in_seconds(units: Mapping[str, int | float]) -> int | float:
    return sum(value * _UNIT_SECONDS[name] for name, value in units.items())


def _stored_once(schedule: Once, common: _Common, now: datetime | None, faults: list[ScheduleFault]) -> Once:
    try:
        at = _in_range(_once_at(schedule.at, common.timezone), schedule.at)
    except ValueError as error:
        faults.append(ScheduleFault("/at", ScheduleCode.INVALID_TIME, str(error)))
        return schedule
    text = format_instant(at)
    if now is not None and at <= now:
        message = f"{schedule.at!r:.80} is {text}, which is not after now, {format_instant(now)}"
        faults.append(ScheduleFault("/at", ScheduleCode.IN_THE_PAST, message))
    early = common.start_at is not None and at < parse_instant(common.start_at)
    late = common.end_at is not None and at >= parse_instant(common.end_at)
    if early or late:
        message = (
            f"{schedule.at!r:.80} is {text}, outside start_at {common.start_at} to end_at {common.end_at}"
        )
        faults.append(ScheduleFault("/at", ScheduleCode.INVALID_BOUNDS, message))
    return Once(at=text, **common._asdict())


def _once_at(text: str, timezone: str) -> datetime:
    """The instant of `at`, cut to the second; without an offset `timezone` reads it. Raises ValueError."""
    try:
        local = parse_local(text)
    except ValueError:
        return parse_instant(text).replace(microsecond=0)
    return datetime.fromtimestamp(local_instant(local, zone(timezone)), UTC)


def _words(names: Iterable[str]) -> str:
    return ", ".join(names)


def _pointer(name: object) -> str:
    """A field's name as JSON pointer (RFC 6901)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")
