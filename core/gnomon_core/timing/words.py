"""A schedule in words, for people: short, and true of every slot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from zoneinfo import ZoneInfo

from gnomon_core.holiday_dates import place_name
from gnomon_schemas.clock_text import parse_instant
from gnomon_schemas.cron_grammar import LAST, CronRule, DayChoice
from gnomon_schemas.exclusions import ExcludedDays, excluded_days
from gnomon_schemas.schedules import (
    WEEKDAYS,
    AnyOf,
    Cron,
    Daily,
    Interval,
    Monthly,
    Once,
    Schedule,
    Weekly,
    cron_rule,
)

__all__ = ["describe"]

_WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_WEEKDAYS_BY_NAME: Final = {name[:3].lower(): name for name in _WEEKDAYS}
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NTH: Final = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", LAST: "last"}
_UNITS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
_GAPS: Final = {
    "next_valid": "a time that the clock skips comes when it goes on",
    "skip": "a time that the clock skips is left out",
    "shift": "a time that the clock skips is moved by as much",
}
_OVERLAPS: Final = {
    "first": "one that it shows twice counts at the first",
    "last": "one that it shows twice counts at the last",
    "both": "one that it shows twice counts both times",
}
_ADJECTIVES: Final = {
    "AT": "Austrian",
    "AU": "Australian",
    "BE": "Belgian",
    "BR": "Brazilian",
    "CA": "Canadian",
    "CH": "Swiss",
    "CN": "Chinese",
    "CZ": "Czech",
    "DE": "German",
    "DK": "Danish",
    "ES": "Spanish",
    "FI": "Finnish",
    "FR": "French",
    "GB": "British",
    "GR": "Greek",
    "HU": "Hungarian",
    "IE": "Irish",
    "IN": "Indian",
    "IT": "Italian",
    "JP": "Japanese",
    "KR": "South Korean",
    "MX": "Mexican",
    "NL": "Dutch",
    "NO": "Norwegian",
    "PL": "Polish",
    "PT": "Portuguese",
    "RO": "Romanian",
    "SE": "Swedish",
    "TR": "Turkish",
    "UA": "Ukrainian",
    "US": "US",
}
"""Countries by adjective; all others by name."""
_REGIONS: Final = (
    *(
        "Africa",
        "America",
        "Antarctica",
        "Arctic",
        "Asia",
        "Atlantic",
        "Australia",
        "Europe",
        "Indian",
        "Pacific",
    ),
)
"""What zones are named after a city in."""
_EXCLUDED_SPELLED_OUT: Final = 3
"""Of more excluded dates or spans than these, and one, the number is told."""
_TIMES_SPELLED_OUT: Final = 6
"""A day with more times than these is told by its fields."""


def describe(schedule: Schedule) -> str:
    """Words for a schedule in stored form, like "every weekday at 09:00 in Berlin". Raises CronError."""
    zone_name = schedule.timezone or "UTC"
    words = _core(schedule, zone_name)
    if schedule.start_at is not None:
        words += f", from {_local(schedule.start_at, zone_name)}"
    if schedule.end_at is not None:
        words += f", before {_local(schedule.end_at, zone_name)}"
    if excluded := excluded_days(schedule.exclude):
        words += f", except {_excluded_in_words(excluded)}"
    if schedule.dst is not None:
        words += f", {_GAPS[schedule.dst.gap]} and {_OVERLAPS[schedule.dst.overlap]}"
    if schedule.max_runs is not None:
        words += ", once" if schedule.max_runs == 1 else f", {schedule.max_runs} times at most"
    if schedule.jitter_seconds:
        words += f", spread over {schedule.jitter_seconds} s"
    return words


def _excluded_in_words(excluded: tuple[str | ExcludedDays, ...]) -> str:
    """Excluded days: those of the week, holidays, spans and dates, the first few of each by themselves."""
    weekdays = [day for day in WEEKDAYS if day in excluded]
    dates = sorted(day for day in excluded if isinstance(day, str) and day not in WEEKDAYS)
    groups = [day for day in excluded if isinstance(day, ExcludedDays)]
    words = ["weekends"] if weekdays == ["sat", "sun"] else [f"{_WEEKDAYS_BY_NAME[day]}s" for day in weekdays]
    words += [_holidays(day.holidays) for day in groups if isinstance(day.holidays, str)]
    words += _first_few(
        [f"{day.from_} up to but not {day.to}" for day in groups if day.from_ is not None], "spans"
    )
    return _list([*words, *_first_few(dates, "dates")])


def _holidays(calendar: str) -> str:
    adjective = _ADJECTIVES.get(calendar)
    return f"{adjective} holidays" if adjective else f"holidays of {place_name(calendar)}"


def _first_few(words: list[str], what: str) -> list[str]:
    left = len(words) - _EXCLUDED_SPELLED_OUT
    return words if left <= 1 else [*words[:_EXCLUDED_SPELLED_OUT], f"{left} more {what}"]


def _core(schedule: Schedule, zone_name: str) -> str:
    """The kind's own words."""
    place = _place(zone_name)
    match schedule:
        case Cron():
            return f"{_rule_in_words(cron_rule(schedule))} in {place}"
        case Interval():
            words = _every(int(schedule.every_seconds or 0))
            return words if schedule.dst is None else f"{words} on the clock of {place}"
        case Once():
            return f"once at {_local(schedule.at, zone_name)} in {place}"
        case Daily():
            return f"every day at {schedule.time} in {place}"
        case Weekly():
            numbers = tuple(sorted((WEEKDAYS.index(str(day)) + 1) % 7 for day in schedule.days))
            days = "every day" if len(numbers) == 7 else _days_in_words(DayChoice(weekdays=numbers), "every")
            return f"{days} at {schedule.time} in {place}"
        case Monthly():
            return f"on {_day_of_month(schedule.day or 1)} at {schedule.time} in {place}"
        case AnyOf():
            return _either(map(describe, schedule.schedules))


def _place(zone_name: str) -> str:
    """A zone by its city, where its name has one."""
    region, _, city = zone_name.partition("/")
    return city.rpartition("/")[2].replace("_", " ") if region in _REGIONS else zone_name


def _day_of_month(day: int) -> str:
    if day in (-1, 31):
        return "the last day of the month"
    return f"day {day} of the month" + (", or its last day where it is shorter" if day > 28 else "")


def _either(parts: Iterable[str]) -> str:
    *front, last = parts
    return f"either {'; '.join(front)}; or {last}" if front else last


def _local(text: str, zone_name: str) -> str:
    return parse_instant(text).astimezone(ZoneInfo(zone_name)).strftime("%Y-%m-%d %H:%M:%S")


def _every(seconds: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"every {unit}" if seconds == size else f"every {seconds // size} {unit}s"


def _rule_in_words(rule: CronRule) -> str:
    times = _times_in_words(rule)
    at_times = times.removeprefix("at ")[0].isdigit()  # "at 09:00", not "at minute 5 of every hour"
    days = ""
    if not any(choice.is_every_day for choice in rule.days):
        days = " or ".join(_days_in_words(choice, "every" if at_times else "on") for choice in rule.days)
    months = "" if len(rule.months) == 12 else f"in {_list(_MONTHS[month - 1] for month in rule.months)}"
    # "at 09:00" alone would leave open how often.
    parts = (days or "every day", months, times) if at_times else (times, days, months)
    return " ".join(part for part in parts if part)


def _times_in_words(rule: CronRule) -> str:
    all_hours = len(rule.hours) == 24
    if all_hours and len(rule.minutes) == 60:
        if step := _even_step(rule.seconds, 60):
            return _every(step)
    elif all_hours and rule.seconds == (0,) and (step := _even_step(rule.minutes, 60)):
        return _every(step * 60)
    if not all_hours and len(rule.hours) * len(rule.minutes) * len(rule.seconds) <= _TIMES_SPELLED_OUT:
        return f"at {_list(_clock(hour, minute, second) for hour, minute, second in _times(rule))}"
    parts = []
    if rule.seconds != (0,):
        parts.append(_values("second", rule.seconds, 60))
    parts.append(_values("minute", rule.minutes, 60))
    parts.append(_values("hour", rule.hours, 24))
    return f"at {' of '.join(parts)}"


def _times(rule: CronRule) -> Iterable[tuple[int, int, int]]:
    return (
        (hour, minute, second) for hour in rule.hours for minute in rule.minutes for second in rule.seconds
    )


def _clock(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _even_step(values: Sequence[int], size: int) -> int | None:
    """The step of values that run evenly through the whole field from 0, across its end too; else None."""
    step = size // len(values)
    return step if tuple(values) == tuple(range(0, size, step)) and size % step == 0 else None


def _values(unit: str, values: Sequence[int], size: int) -> str:
    """The values of one field, as short as they can be told."""
    if len(values) == size:
        return f"every {unit}"
    if len(values) == 1:
        return f"{unit} {values[0]}"
    step = values[1] - values[0]
    if len(values) > 2 and tuple(values) == tuple(range(values[0], values[-1] + 1, step)):
        return f"{unit}s {values[0]} to {values[-1]}" + (f" by {step}" if step > 1 else "")
    return f"{unit}s {_list(map(str, values))}"


def _days_in_words(choice: DayChoice, each: str) -> str:
    """The days of a choice; plain days of the week are told as `each` (\"on\" or \"every\") of them."""
    parts = []
    if choice.nth:
        nth = _list(f"{_NTH[which]} {_WEEKDAYS[day]}" for day, which in choice.nth)
        parts.append(f"on the {nth} of the month")
    elif choice.weekdays == (1, 2, 3, 4, 5):
        parts.append("every weekday" if each == "every" else "on weekdays")
    elif choice.weekdays == (0, 6):
        parts.append("on weekends")
    elif len(choice.weekdays) < 7:
        # The week is told from Monday on.
        parts.append(
            f"{each} {_list(_WEEKDAYS[day] for day in sorted(choice.weekdays, key=lambda day: day or 7))}"
        )
    if len(choice.dates) < 31:
        dates = " and ".join(
            part
            for part in (
                _values("day", choice.dates, 31) if choice.dates else "",
                "the last day" if choice.last_date else "",
            )
            if part
        )
        parts.append(f"on {dates} of the month" if not parts else f"when that is {dates} of the month")
    return " ".join(parts)


def _list(words: Iterable[str]) -> str:
    *front, last = words
    return f"{', '.join(front)} and {last}" if front else last
