"""Cron expressions and instants drawn from a seed: always the same ones, of every form that the grammar knows."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from gnomon_core.timing.zone_clock import ZoneClock

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
ZONES = (
    *("Europe/Berlin", "America/New_York", "Europe/London", "Australia/Lord_Howe", "America/Sao_Paulo"),
    *("America/Havana", "Asia/Beirut", "Africa/Casablanca", "Asia/Kathmandu"),
)
_FIRST, _LAST = 946_684_800, 2_524_608_000  # the years 2000 to 2049
_DAY_FIELDS = 1500
"""So many ways to name days, each asked on few dates, under many more expressions: to step to a new one takes croniter
most of its time."""
_DATES_EACH = 3


class Case(NamedTuple):
    """What both are asked: the first fire after an instant (seconds since 1970) by the clock of a zone."""

    expression: str
    zone: str
    after: int


def cases(seed: int, count: int) -> Iterator[Case]:
    """So many cases of one seed."""
    draw = random.Random(seed)
    for _ in range(count):
        number = draw.randrange(_DAY_FIELDS)
        days, *starts = _days_and_dates(number)
        if draw.random() < 0.3:
            days = "* * *"
        zone = "UTC" if draw.random() < 0.5 else draw.choice(ZONES)
        yield Case(_expression(draw, days), zone, _instant(draw, zone, int(draw.choice(starts))))


def _instant(draw: random.Random, zone: str, start: int) -> int:
    """An instant of a day that starts at one; more often than not near the zone's next change of the clock instead."""
    if zone != "UTC" and draw.random() < 0.6:
        return ZoneClock(zone).piece_at(start).end + draw.randint(-90_000, 90_000)
    return start + draw.randrange(86_400)


@cache
def _days_and_dates(number: int) -> tuple[str, ...]:
    """The last three fields of an expression, and some days on which to ask it, as instants."""
    draw = random.Random(number)
    month = "*" if draw.random() < 0.6 else _field(draw, 1, 12, MONTHS)
    dates = (str(draw.randrange(_FIRST, _LAST, 86_400)) for _ in range(_DATES_EACH))
    return f"{_day_of_month(draw)} {month} {_day_of_week(draw)}", *dates


def _expression(draw: random.Random, days: str) -> str:
    if draw.random() < 0.002:
        return draw.choice(("@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@reboot"))
    fields = [_field(draw, 0, 59), _field(draw, 0, 23), days]
    if draw.random() < 0.15:
        fields.insert(0, _field(draw, 0, 59))
    return " ".join(fields)


def _day_of_month(draw: random.Random) -> str:
    if draw.random() < 0.005:
        return "LW"
    match draw.randrange(20):
        case 0 | 1:
            return "L"
        case 2 | 3:
            return f"{_field(draw, 1, 31)},L"
        case form if form < 11:
            return "*"
        case _:
            return _field(draw, 1, 31)


def _day_of_week(draw: random.Random) -> str:
    if draw.random() < 0.005:
        return f"L{draw.randint(0, 6)}"
    match draw.randrange(24):
        case 1 | 2:
            return f"{draw.randint(0, 7)}#{draw.randint(1, 5)}"
        case 3 | 4:
            return f"{draw.randint(0, 7)}L"
        case 5 | 6:
            return f"{draw.choice(WEEKDAYS)}#{draw.randint(1, 5)},{draw.randint(0, 6)}"
        case 7 | 8:
            return f"{draw.randint(1, 6)}-7"
        case form if form < 15:
            return "*"
        case _:
            return _field(draw, 0, 7, WEEKDAYS)


def _field(draw: random.Random, low: int, high: int, names: tuple[str, ...] = ()) -> str:
    """A field of numbers, of any form; a few with a step that is longer than the field."""

    def value() -> tuple[int, str]:
        number = draw.randint(low, high)
        named = names and draw.random() < 0.2 and number - low < len(names)
        return number, draw.choice((str.upper, str))(names[number - low]) if named else str(number)

    (_, first), (_, last) = sorted((value(), value()))
    match draw.randrange(12):
        case 0 | 1 | 2:
            return "*"
        case 3 | 4:
            return f"*/{draw.randint(1, 99 if draw.random() < 0.02 else high)}"
        case 5:
            return f"{first}/{draw.randint(1, high)}"
        case 6:
            return f"{first}-{last}"
        case 7:
            return f"{first}-{last}/{draw.randint(1, min(9, high))}"
        case 8:
            return ",".join(draw.choice((value()[1], f"{first}-{last}")) for _ in range(draw.randint(2, 4)))
        case _:
            return first
