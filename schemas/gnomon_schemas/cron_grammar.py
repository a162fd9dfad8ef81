"""What a cron expression may say, and what it means.

The grammar is our own and small, because cron libraries take far more than any two of them agree on, and a
form that is taken by accident is a form that somebody relies on. Six fields: second, minute, hour, day of
month, month, day of week. A field is a list (commas) of

    *   */n   a   a-b   a-b/n   a/n (from a to the field's end)

with three-letter names for months and weekdays. The day of month also takes `L` (the month's last day). The
day of week also takes `5#2` (the second Friday) and `5L` or `L5` (the last Friday); 0 and 7 are Sunday, and
a range may end in `sun`. By single fields, as APScheduler spells them, 0 is Monday, and the day takes
`last`, `2nd fri` and `last fri` instead.

The day rule. A field that begins with `*` is a *star* field, even `*/2`. In an expression a date matches
when both day fields do, if one of them is a star field; with two that restrict it is enough that *either*
does (Vixie cron's rule). By single fields both must match, always.

The hour rule. An hour field that begins with `*` makes the rule *run through*: its slots are the instants
at which the zone's clock shows a matching time, so an hour that the clock repeats fires twice. Any other
rule names times of the day, and each happens once a day, whatever the clock does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

__all__ = [
    "ALIASES",
    "FIELD_NAMES",
    "LAST",
    "CronError",
    "CronRule",
    "DayChoice",
    "field_defaults",
    "parse_expression",
    "parse_fields",
]

ALIASES: Final[Mapping[str, str]] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Words that stand for a whole expression."""

FIELD_NAMES: Final = ("second", "minute", "hour", "day", "month", "day_of_week")
"""The fields, in the order of an expression of six."""

EXPRESSION_MAX_CHARS: Final = 512
LAST: Final = -1
"""In `DayChoice.nth`: the last such weekday of the month."""

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: number for number, name in enumerate(_WEEKDAY_NAMES)}
_ORDINALS = {"1st": 1, "2nd": 2, "3rd": 3, "4th": 4, "5th": 5, "last": LAST}
_ALL_DATES = tuple(range(1, 32))
_ALL_WEEKDAYS = tuple(range(7))
_LONGEST = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_ITEM = re.compile(
    r"(?:(?P<star>\*)|(?P<first>\d{1,2}|[a-z]{3})(?:-(?P<last>\d{1,2}|[a-z]{3}))?)(?:/(?P<step>\d{1,2}))?",
    re.ASCII,
)
_NTH = re.compile(r"(?P<day>\d|[a-z]{3})#(?P<nth>\d)", re.ASCII)
_LAST_WEEKDAY = re.compile(r"(?P<before>\d|[a-z]{3})l|l(?P<after>\d)", re.ASCII)
_ORDINAL_WEEKDAY = re.compile(r"(?P<nth>1st|2nd|3rd|4th|5th|last) +(?P<day>[a-z]{3})", re.ASCII)


class CronError(ValueError):
    """This is not cron as spelled here. `faults` are pairs of field (or None) and message in words."""

    def __init__(self, *faults: tuple[str | None, str]) -> None:
        super().__init__("; ".join(message for _, message in faults))
        self.faults = faults


class DayChoice(NamedTuple):
    """One way for a date to match: one of `dates`, one of `weekdays` and, if any are given, one of `nth`."""

    dates: tuple[int, ...] = _ALL_DATES
    last_date: bool = False
    """The month's last day counts as one of `dates`."""
    weekdays: tuple[int, ...] = _ALL_WEEKDAYS
    """0 is Sunday."""
    nth: tuple[tuple[int, int], ...] = ()
    """(weekday, which one of the month: 1 to 5 or `LAST`)."""

    @property
    def is_every_day(self) -> bool:
        """Whether no date is left out."""
        return self.dates == _ALL_DATES and self.weekdays == _ALL_WEEKDAYS and not self.nth


class CronRule(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed cron: all values ascending, at least one in each."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: tuple[DayChoice, ...]
    """A date matches when one of these does."""
    runs_through: bool
    """The hour field begins with `*`."""


class _Field(NamedTuple):
    """A field's name in messages, its bounds, and the names it takes for numbers."""

    label: str
    low: int
    high: int
    names: Mapping[str, int] = {}

    def allowed(self) -> str:
        """The values in words, for messages."""
        names = f" or {next(iter(self.names))} to {list(self.names)[-1]}" if self.names else ""
        return f"{self.low} to {self.high}{names}"


_SECOND = _Field("second", 0, 59)
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day-of-month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day-of-week", 0, 7, _WEEKDAYS)
_WEEKDAY_FROM_MONDAY = _Field(
    "day_of_week", 0, 6, {name: (number - 1) % 7 for name, number in _WEEKDAYS.items() if number} | {"sun": 6}
)


class _Days(NamedTuple):
    """What one day field says, before the two are put together."""

    plain: tuple[int, ...]
    last_date: bool
    nth: tuple[tuple[int, int], ...]


@lru_cache(maxsize=4096)
def parse_expression(text: str) -> CronRule:
    """Parse five fields, six with seconds first, or an alias. Raises CronError with every fault."""
    fields = split_expression(text)
    if len(fields) == 5:
        fields = ("0", *fields)
    faults: list[tuple[str | None, str]] = []
    second = _parsed(_plain, _SECOND, fields[0], faults)
    minute = _parsed(_plain, _MINUTE, fields[1], faults)
    hour = _parsed(_plain, _HOUR, fields[2], faults)
    day = _parsed(_day_of_month, _DAY, fields[3], faults)
    month = _parsed(_plain, _MONTH, fields[4], faults)
    weekday = _parsed(_day_of_week, _WEEKDAY, fields[5], faults)
    if second is None or minute is None or hour is None or month is None or day is None or weekday is None:
        raise CronError(*((None, f"{text!r}: {message}") for _, message in faults))
    either = not fields[3].startswith("*") and not fields[5].startswith("*")
    rule = CronRule(
        seconds=second,
        minutes=minute,
        hours=hour,
        months=month,
        days=_either(day, weekday) if either else _both(day, weekday),
        runs_through=fields[2].startswith("*"),
    )
    if not can_fire(rule):
        raise CronError((None, f"{text!r} can never fire: no month has such a day"))
    return rule


def split_expression(text: str) -> tuple[str, ...]:
    """The five or six fields of an expression, in lower case, or those of an alias. Raises CronError."""
    if len(text) > EXPRESSION_MAX_CHARS:
        raise CronError(
            (None, f"an expression of {len(text)} characters; allowed are {EXPRESSION_MAX_CHARS}")
        )
    words = text.strip(" \t").lower()
    if words.startswith("@"):
        if words not in ALIASES:
            raise CronError((None, f"{text!r} is no alias; allowed are {', '.join(ALIASES)}"))
        words = ALIASES[words]
    fields = tuple(re.split(r"[ \t]+", words)) if words else ()
    if len(fields) not in (5, 6):
        raise CronError(
            (
                None,
                f"{text!r} has {len(fields)} fields; allowed are 5 (minute hour day month weekday) "
                "or 6 (second first)",
            )
        )
    return fields


def field_defaults(fields: Mapping[str, int | str | None]) -> dict[str, str]:
    """All six fields as text, those left out filled as APScheduler does it.

    What is finer than the finest field given is its least value (so `hour=9` is nine o'clock sharp); all
    else is `*`.
    """
    by_size = ("month", "day", "day_of_week", "hour", "minute", "second")
    least = {"month": "1", "day": "1", "day_of_week": "*", "hour": "0", "minute": "0", "second": "0"}
    given = [at for at, name in enumerate(by_size) if fields.get(name) is not None]
    finest = max(given, default=-1)
    filled = {}
    for at, name in enumerate(by_size):
        value = fields.get(name)
        filled[name] = str(value).strip(" \t") if value is not None else least[name] if at > finest else "*"
    return filled


def parse_fields(fields: Mapping[str, int | str | None]) -> CronRule:
    """Parse cron given by single fields (`FIELD_NAMES`). Raises CronError naming every field at fault."""
    return _parse_filled(**field_defaults(fields))


@lru_cache(maxsize=4096)
def _parse_filled(*, second: str, minute: str, hour: str, day: str, month: str, day_of_week: str) -> CronRule:
    faults: list[tuple[str | None, str]] = []
    seconds = _parsed(_plain, _SECOND, second, faults, "second")
    minutes = _parsed(_plain, _MINUTE, minute, faults, "minute")
    hours = _parsed(_plain, _HOUR, hour, faults, "hour")
    months = _parsed(_plain, _MONTH, month, faults, "month")
    days = _parsed(_ordinal_day_of_month, _DAY._replace(label="day"), day, faults, "day")
    weekdays = _parsed(_plain, _WEEKDAY_FROM_MONDAY, day_of_week, faults, "day_of_week")
    if (
        seconds is None
        or minutes is None
        or hours is None
        or months is None
        or days is None
        or weekdays is None
    ):
        raise CronError(*faults)
    from_sunday = tuple(sorted((value + 1) % 7 for value in weekdays))
    rule = CronRule(
        seconds=seconds,
        minutes=minutes,
        hours=hours,
        months=months,
        days=_both(days, _Days(from_sunday, last_date=False, nth=())),
        runs_through=hour.startswith("*"),
    )
    if not can_fire(rule):
        raise CronError(
            (
                "day",
                f"day {day!r} with month {month!r} and day_of_week {day_of_week!r} can never fire: "
                "no month has such a day",
            )
        )
    return rule


def can_fire(rule: CronRule) -> bool:
    """Whether any month has a day that the rule names. (Every date falls on every weekday, in some year.)"""
    return any(_has_day(choice, month) for choice in rule.days for month in rule.months)


def _has_day(choice: DayChoice, month: int) -> bool:
    for length in (28, 29) if month == 2 else (_LONGEST[month],):
        for date in range(1, length + 1):
            if date not in choice.dates and not (choice.last_date and date == length):
                continue
            which = {(date - 1) // 7 + 1} | ({LAST} if date > length - 7 else set())
            if not choice.nth or any(number in which for _, number in choice.nth):
                return True
    return False


def _both(day: _Days, weekday: _Days) -> tuple[DayChoice, ...]:
    """The dates on which both fields match."""
    choices = []
    if day.plain or day.last_date:
        if weekday.plain:
            choices.append(DayChoice(dates=day.plain, last_date=day.last_date, weekdays=weekday.plain))
        if weekday.nth:
            choices.append(DayChoice(dates=day.plain, last_date=day.last_date, nth=weekday.nth))
    nth = tuple(pair for pair in day.nth if pair[0] in weekday.plain)
    if nth:
        choices.append(DayChoice(nth=nth))
    return tuple(choices)


def _either(day: _Days, weekday: _Days) -> tuple[DayChoice, ...]:
    """The dates on which at least one of the fields matches."""
    choices = [DayChoice(dates=day.plain, last_date=day.last_date)]
    if weekday.plain:
        choices.append(DayChoice(weekdays=weekday.plain))
    if weekday.nth:
        choices.append(DayChoice(nth=weekday.nth))
    return tuple(choices)


def _parsed(
    parse: Callable[[_Field, str], T],
    field: _Field,
    text: str,
    faults: list[tuple[str | None, str]],
    name: str | None = None,
) -> T | None:
    """What `parse` makes of a field, or None after noting in `faults` what is wrong with it."""
    try:
        return parse(field, text.lower())
    except ValueError as error:
        faults.append((name, str(error)))
        return None


def _plain(field: _Field, text: str) -> tuple[int, ...]:
    """A field of numbers only."""
    return _ascending(value for item in text.split(",") for value in _values(field, item))


def _day_of_month(field: _Field, text: str) -> _Days:
    """The day of month of an expression: numbers, and `L`."""
    items = text.split(",")
    plain = _ascending(
        value for item in items if item != "l" for value in _values(field, item, also=", L (the last day)")
    )
    return _Days(plain, last_date="l" in items, nth=())


def _day_of_week(field: _Field, text: str) -> _Days:
    """The day of week of an expression: 0 and 7 are Sunday; `5#2` and `5L` besides."""
    plain: list[int] = []
    nth: list[tuple[int, int]] = []
    for item in text.split(","):
        if (match := _NTH.fullmatch(item)) is not None:
            number = int(match["nth"])
            if not 1 <= number <= 5:
                raise ValueError(f"{item!r} in the {field.label} field: after # allowed are 1 to 5")
            nth.append((_number(field, match["day"], item) % 7, number))
        elif (match := _LAST_WEEKDAY.fullmatch(item)) is not None:
            nth.append((_number(field, match["before"] or match["after"], item) % 7, LAST))
        else:
            plain.extend(
                value % 7
                for value in _values(field, item, also=", 5#2 (the second Friday), 5L (the last Friday)")
            )
    return _Days(_ascending(plain), last_date=False, nth=tuple(sorted(set(nth))))


def _ordinal_day_of_month(field: _Field, text: str) -> _Days:
    """The day as APScheduler spells it: numbers, `last`, `2nd fri`, `last fri`."""
    plain: list[int] = []
    nth: list[tuple[int, int]] = []
    items = text.split(",")
    for item in items:
        if (match := _ORDINAL_WEEKDAY.fullmatch(item)) is not None:
            nth.append((_number(_WEEKDAY, match["day"], item), _ORDINALS[match["nth"]]))
        elif item != "last":
            plain.extend(_values(field, item, also=", last, 2nd fri, last fri"))
    return _Days(_ascending(plain), last_date="last" in items, nth=tuple(sorted(set(nth))))


def _values(field: _Field, item: str, *, also: str = "") -> range:
    """The values of one item of a list. Raises ValueError naming the item, the field and what is allowed."""
    match = _ITEM.fullmatch(item)
    if match is None:
        raise ValueError(
            f"{item!r} in the {field.label} field: allowed are {field.allowed()}, *, ranges (a-b), "
            f"steps (*/n, a-b/n), lists{also}"
        )
    step = 1 if match["step"] is None else int(match["step"])
    if not 1 <= step <= field.high:
        raise ValueError(f"{item!r} in the {field.label} field: a step is 1 to {field.high}")
    first, last = _ends(field, match, item)
    if first > last:
        raise ValueError(f"{item!r} in the {field.label} field runs backwards; write it as two ranges")
    return range(first, last + 1, step)


def _ends(field: _Field, match: re.Match[str], item: str) -> tuple[int, int]:
    """First and last value of an item."""
    end = 6 if field is _WEEKDAY else field.high  # Sunday is counted once in `*` and `a/n`, as 0
    if match["star"]:
        return field.low, end
    first = _number(field, match["first"], item)
    if match["last"] is None:
        if match["step"] is None:
            return first, first
        return (0, end) if field is _WEEKDAY and first == 7 else (first, end)
    last = _number(field, match["last"], item)
    # A week that ends on Sunday: `fri-sun` has to mean 5-7 where Sunday is 0.
    return first, 7 if field is _WEEKDAY and match["last"] == "sun" and first > 0 else last


def _number(field: _Field, text: str, item: str) -> int:
    """A number or name as number. Raises ValueError naming the item, the field and what is allowed."""
    value = int(text) if text.isdigit() else field.names.get(text)
    if value is None or not field.low <= value <= field.high:
        raise ValueError(f"{item!r} in the {field.label} field: allowed are {field.allowed()}")
    return value


def _ascending(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))
