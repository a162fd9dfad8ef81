"""When a task runs: schedules as callers send them, and the stored form of them.

A schedule has two forms, one type. The *input* form is what a caller sends: most fields may be left out.
The *stored* form, made by `normalise`, has everything made explicit (zone, anchor, instants in UTC), so
that its fires are a pure function of it and nothing else. `gnomon_core.timing` reckons with the stored form
only.

Times are text, as everywhere in payloads (see `clock_text`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from gnomon_schemas.clock_text import format_instant, parse_instant, parse_local
from gnomon_schemas.cron_grammar import FIELD_NAMES, CronError, field_defaults, parse_expression, parse_fields
from gnomon_schemas.exclusions import (
    EXCLUDED_MAX,
    WEEKDAY_NUMBERS,
    WEEKDAYS,
    ExcludedDays,
    exclude_shape_faults,
    excluded_days,
    is_excluded_date,
    stored_exclude,
    too_many_excluded,
)
from gnomon_schemas.schedule_faults import ScheduleCode, ScheduleError, ScheduleFault
from gnomon_schemas.schedule_faults import words as _words
from gnomon_schemas.schedule_kinds import (
    EVERY_SECONDS_MAX,
    FIRST_YEAR,
    JITTER_SECONDS_MAX,
    KINDS,
    LAST_YEAR,
    MAX_RUNS_MAX,
    UNION_LEVELS,
    UNION_MAX,
    AnyOf,
    Cron,
    Daily,
    Dst,
    GapChoice,
    Interval,
    Monthly,
    Once,
    OverlapChoice,
    Schedule,
    Weekly,
    cron_rule,
    time_of_day,
)
from gnomon_schemas.zones import local_instant, zone

__all__ = [
    "WEEKDAYS",
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
    "ScheduleCode",
    "ScheduleError",
    "ScheduleFault",
    "Weekly",
    "cron_rule",
    "normalise",
    "read_schedule",
    "shape_faults",
    "time_of_day",
]

_UNIT_SECONDS: Final[Mapping[str, int]] = {"minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}


def shape_faults(value: object, level: int = 1) -> tuple[ScheduleFault, ...]:
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
        if name == "schedules" and isinstance(given_value, list | tuple):
            # Each by itself: a decoder would tell of the first, and without saying what is allowed.
            for index, part in enumerate(given_value[:UNION_MAX] if level <= UNION_LEVELS else ()):
                faults += _within(index, shape_faults(part, level + 1))
            continue
        if name == "exclude":
            faults += exclude_shape_faults(given_value)
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
    if not isinstance(schedule, msgspec.Struct):
        schedule = read_schedule(schedule)
    context = _Context(created_at, default_timezone, now, level=1)
    faults: list[ScheduleFault] = []
    stored = _stored(schedule, context, faults)
    if faults:
        raise ScheduleError(*faults)
    return stored


class _Context(NamedTuple):
    """What the stored form depends on besides what was given."""

    created_at: datetime
    default_timezone: str
    now: datetime | None
    level: int
    """1, and one more in each `any_of`."""


def _stored(schedule: Schedule, context: _Context, faults: list[ScheduleFault]) -> Schedule:
    """The stored form; what is wrong is noted."""
    known = len(faults)
    stored = _stored_kind(schedule, context, faults)
    if stored.exclude and len(faults) == known:
        _check_left(stored, faults)
    return stored


def _stored_kind(schedule: Schedule, context: _Context, faults: list[ScheduleFault]) -> Schedule:
    common = _common(schedule, context.default_timezone, faults)
    match schedule:
        case Cron():
            return _stored_cron(schedule, common, faults)
        case Interval():
            return _stored_interval(schedule, common, context.created_at, faults)
        case Once():
            return _stored_once(schedule, common, context.now, faults)
        case Daily():
            return Daily(time=_time(schedule.time, faults), **common._asdict())
        case Weekly():
            return Weekly(
                time=_time(schedule.time, faults), days=_weekdays(schedule.days, faults), **common._asdict()
            )
        case Monthly():
            return _stored_monthly(schedule, common, context.created_at, faults)
        case AnyOf():
            return _stored_union(schedule, common, context, faults)


class _Common(NamedTuple):
    """The fields of every kind, in stored form; where one is at fault, a value to go on checking with."""

    timezone: str
    start_at: str | None
    end_at: str | None
    jitter_seconds: int | float
    dst: Dst | None
    max_runs: int | None
    exclude: tuple[str | ExcludedDays, ...] | None


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
    max_runs = schedule.max_runs
    if max_runs is not None and not 1 <= max_runs <= MAX_RUNS_MAX:
        message = f"{max_runs!r:.80} runs; allowed are 1 to {MAX_RUNS_MAX}"
        faults.append(ScheduleFault("/max_runs", ScheduleCode.INVALID_MAX_RUNS, message))
    jitter = int(jitter) if int(jitter) == jitter else jitter
    exclude = stored_exclude(schedule.exclude, faults)
    return _Common(name, start_at, end_at, jitter, schedule.dst, max_runs, exclude)


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
    if common.dst is not None:
        message = "once names one instant, so there is nothing to choose; give `at` an offset where the clock changes"
        faults.append(ScheduleFault("/dst", ScheduleCode.INVALID_DST, message))
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


def _time(text: str, faults: list[ScheduleFault]) -> str:
    """A time of the day as stored, `09:00` or `09:00:30`."""
    try:
        hour, minute, second = time_of_day(text)
    except ValueError as error:
        faults.append(ScheduleFault("/time", ScheduleCode.INVALID_TIME, str(error)))
        return "00:00"
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _weekdays(days: tuple[int | str, ...], faults: list[ScheduleFault]) -> tuple[str, ...]:
    """Days of the week by name, Monday first, each once."""
    if not days:
        message = f"no day is named; allowed are {_words(WEEKDAYS)}, or 0 (Monday) to 6"
        faults.append(ScheduleFault("/days", ScheduleCode.INVALID_DAY, message))
    numbers = set()
    for index, day in enumerate(days):
        number = WEEKDAY_NUMBERS.get(day.lower() if isinstance(day, str) else day)
        if number is None:
            message = f"{day!r:.80} is no day of the week; allowed are {_words(WEEKDAYS)}, or 0 (Monday) to 6"
            faults.append(ScheduleFault(f"/days/{index}", ScheduleCode.INVALID_DAY, message))
        else:
            numbers.add(number)
    return tuple(WEEKDAYS[number] for number in sorted(numbers))


def _stored_monthly(
    schedule: Monthly, common: _Common, created_at: datetime, faults: list[ScheduleFault]
) -> Monthly:
    day = schedule.day
    if day is None:
        day = created_at.astimezone(zone(common.timezone)).day
    elif day != -1 and not 1 <= day <= 31:
        message = f"{day!r:.80} is no day of a month; allowed are 1 to 31, and -1 for the last"
        faults.append(ScheduleFault("/day", ScheduleCode.INVALID_DAY, message))
    return Monthly(time=_time(schedule.time, faults), day=day, **common._asdict())


def _stored_union(schedule: AnyOf, common: _Common, context: _Context, faults: list[ScheduleFault]) -> AnyOf:
    if not 1 <= len(schedule.schedules) <= UNION_MAX:
        message = f"a union of {len(schedule.schedules)} schedules; allowed are 1 to {UNION_MAX}"
        faults.append(ScheduleFault("/schedules", ScheduleCode.INVALID_UNION, message))
        return schedule
    if context.level > UNION_LEVELS:
        message = (
            f"any_of in any_of is taken down to level {UNION_LEVELS}; this one is at level {context.level}"
        )
        faults.append(ScheduleFault("", ScheduleCode.INVALID_UNION, message))
        return schedule
    if common.dst is not None:
        message = "choose this for the single schedules: they name the times"
        faults.append(ScheduleFault("/dst", ScheduleCode.INVALID_DST, message))
    inner = context._replace(default_timezone=common.timezone, level=context.level + 1)
    parts = []
    for index, part in enumerate(schedule.schedules):
        found: list[ScheduleFault] = []
        parts.append(_stored(part, inner, found))
        if part.max_runs is not None:
            message = "max_runs belongs to the any_of: runs are counted together"
            found.append(ScheduleFault("/max_runs", ScheduleCode.INVALID_MAX_RUNS, message))
        if part.jitter_seconds:
            message = "jitter belongs to the any_of: one instant fires once, after one delay"
            found.append(ScheduleFault("/jitter_seconds", ScheduleCode.INVALID_JITTER, message))
        faults.extend(_within(index, found))
    union = AnyOf(schedules=tuple(parts), **common._asdict())
    if context.level == 1 and not faults and (count := _excluded_in(union)) > EXCLUDED_MAX:
        faults.append(too_many_excluded("/schedules", count))
    return union


def _excluded_in(schedule: Schedule) -> int:
    """How many excluded days a schedule and its parts list."""
    parts = schedule.schedules if isinstance(schedule, AnyOf) else ()
    return len(excluded_days(schedule.exclude)) + sum(map(_excluded_in, parts))


def _check_left(stored: Schedule, faults: list[ScheduleFault]) -> None:
    """Refuse what excludes all of a schedule's own days of the week, or its only date: it would never fire."""
    if isinstance(stored, Once):
        on = parse_instant(stored.at).astimezone(zone(stored.timezone or "UTC")).date()
        if is_excluded_date(on, stored.exclude):
            message = f"{stored.at} is on {on}, which is excluded, so no slot is left"
            faults.append(ScheduleFault("/exclude", ScheduleCode.INVALID_EXCLUDE, message))
    elif _days_of(stored) <= set(excluded_days(stored.exclude)):
        message = "all days of the week on which the schedule has slots are excluded, so none is left"
        faults.append(ScheduleFault("/exclude", ScheduleCode.INVALID_EXCLUDE, message))


def _days_of(stored: Schedule) -> set[str]:
    """The names of the days of the week on which a schedule may have slots; all where it names none."""
    match stored:
        case Weekly():
            return set(map(str, stored.days))
        case Cron():
            numbers = {
                day
                for choice in cron_rule(stored).days
                for day in ([day for day, _ in choice.nth] if choice.nth else choice.weekdays)
            }
            return {WEEKDAYS[(number - 1) % 7] for number in numbers}  # in a rule, 0 is Sunday
        case AnyOf():
            return set().union(*map(_days_of, stored.schedules))
        case _:
            return set(WEEKDAYS)


def _within(index: int, faults: Iterable[ScheduleFault]) -> list[ScheduleFault]:
    """The faults of one schedule of an `any_of`, as faults of that."""
    return [fault._replace(pointer=f"/schedules/{index}{fault.pointer}") for fault in faults]


def _pointer(name: object) -> str:
    """A field's name as JSON pointer (RFC 6901)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")
