"""How values are written for people: durations, instants, schedules. And how people's durations are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gnomon_schemas.clock_text import parse_instant

__all__ = [
    "DURATION_FORM",
    "clock",
    "counted",
    "duration",
    "instant",
    "instant_given",
    "read_duration",
    "relative",
    "schedule",
]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)?", re.ASCII)

_DAYS_SHOWN = 4
"""Of the days that a schedule excludes; the others are counted."""

DURATION_FORM = "a duration such as 30s, 5m, 2h, 1d, 1w, or a number of seconds"


def read_duration(text: str) -> float:
    """Seconds of a duration as people write it. Raises ValueError saying what is allowed."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not {DURATION_FORM}")
    return float(found[1]) * _UNITS[found[2] or "s"]


def duration(seconds: float) -> str:
    """A duration in its one or two largest units: `3 ms`, `1.24 s`, `2 min 5 s`, `3 h`, `4 d 2 h`."""
    if seconds < 0:
        return "-" + duration(-seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for big, small, per_big, per_small in (
        ("d", "h", 86_400, 3600),
        ("h", "min", 3600, 60),
        ("min", "s", 60, 1),
    ):
        if whole >= per_big:
            rest = whole % per_big // per_small
            return f"{whole // per_big} {big}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def counted(count: int, thing: str, more: str = "s") -> str:
    """So many of a thing, in the singular where it is one: `1 slot`, `2,000 slots`. `more` is what a plural adds."""
    return f"{count:,} {thing}" + ("" if count == 1 else more)


def instant(text: str | None) -> str:
    """An instant of a payload without what a reader does not need: `2026-09-21 09:00:00Z`; `-` for none."""
    if text is None:
        return "-"
    return f"{parse_instant(text):%Y-%m-%d %H:%M:%SZ}"


def instant_given(text: str | None, now: datetime, *, ahead: bool = False) -> str | None:
    """An instant as it was typed; a duration, as `24h`, is so long ago, or with `ahead` so far off, as `in 24h` is."""
    if text is None:
        return None
    try:
        away = timedelta(seconds=read_duration(text.strip().removeprefix("in ") if ahead else text))
    except ValueError:
        return text  # the api says what is wrong with it
    return (now + away if ahead else now - away).isoformat()


def relative(text: str | None, now: datetime | None = None) -> str:
    """How far off an instant is: `in 42 s`, `3 min ago`, `now`; `-` for none."""
    if text is None:
        return "-"
    away = (parse_instant(text) - (now or datetime.now(UTC))).total_seconds()
    if abs(away) < 1:
        return "now"
    words = duration(float(round(abs(away))))
    return f"in {words}" if away > 0 else f"{words} ago"


def clock(text: str) -> str:
    """The time of day of an instant, by this machine's zone, with milliseconds."""
    return parse_instant(text).astimezone().strftime("%H:%M:%S.%f")[:-3]


def schedule(value: Mapping[str, Any] | None) -> str:
    """A schedule in a few words. A kind that this version does not know is shown by its name."""
    if value is None:
        return "on demand"
    return _kind(value) + _excluded(value.get("exclude"))


def _kind(value: Mapping[str, Any]) -> str:
    kind = value.get("kind")
    if kind == "interval" and isinstance(every := value.get("every_seconds"), int | float):
        return f"every {duration(every)}"
    if kind == "once":
        return f"once {value.get('at')}"
    if kind == "cron":
        expression = value.get("expression")
        if expression is None:
            names = ("second", "minute", "hour", "day", "month", "day_of_week")
            expression = " ".join(f"{name}={value[name]}" for name in names if value.get(name) is not None)
        return f"cron {expression}{_zone(value)}"
    if kind in ("daily", "weekly", "monthly"):
        on = {"weekly": f" {','.join(map(str, value.get('days') or ()))}", "monthly": f" {value.get('day')}"}
        return f"{kind}{on.get(str(kind), '')} {value.get('time')}{_zone(value)}"
    if kind == "any_of":
        return " or ".join(map(schedule, value.get("schedules") or ()))
    return str(kind)


def _excluded(days: Any) -> str:
    """Days without slots, the first few of them."""
    if not isinstance(days, list) or not days:
        return ""
    words = [_day(day) for day in days[:_DAYS_SHOWN]]
    more = f" and {len(days) - _DAYS_SHOWN} more" if len(days) > _DAYS_SHOWN else ""
    return f" except {', '.join(words)}{more}"


def _day(day: Any) -> str:
    if not isinstance(day, Mapping):
        return str(day)
    return f"holidays {day['holidays']}" if "holidays" in day else f"{day.get('from')} to {day.get('to')}"


def _zone(value: Mapping[str, Any]) -> str:
    zone = value.get("timezone")
    return f" {zone}" if zone not in (None, "UTC") else ""
