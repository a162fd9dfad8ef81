"""Days on which a schedule has no slots: `exclude`, as it is given and as it is stored.

A slot whose local date, on the clock of the schedule's zone, is excluded is no slot: nothing is recorded for it.
What may be excluded: single dates, days of the week, public holidays, and spans of dates, half-open as all spans are.
Given as a list of such items or as one object that groups them; stored as the list, in the order in which they came,
each once, days of the week by name.

Whether a country's holidays are known is checked where the library is that knows them
(`gnomon_core.rules.schedule_input`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final, TypeAlias

import msgspec

from gnomon_schemas.schedule_faults import ScheduleCode, ScheduleFault, words

__all__ = [
    "DATE_PATTERN",
    "EXCLUDED_MAX",
    "WEEKDAYS",
    "WEEKDAY_NUMBERS",
    "Exclude",
    "ExcludedDays",
    "Exclusions",
    "exclude_shape_faults",
    "excluded_days",
    "is_excluded_date",
    "named_holidays",
    "stored_exclude",
    "too_many_excluded",
]

EXCLUDED_MAX: Final = 1000
"""Dates, spans and the like in one schedule, those of its parts included; a span counts once."""
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Days of the week as schedules store them."""
WEEKDAY_NUMBERS: Final[Mapping[int | str, int]] = {
    **{name: number for number, name in enumerate(WEEKDAYS)},
    **{number: number for number in range(7)},
}
"""What names a day of the week, by name or by number; 0 is Monday."""
DATE_PATTERN: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""A date, as far as a pattern can tell."""
_DATE: Final = re.compile(DATE_PATTERN, re.ASCII)
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2999


class ExcludedDays(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """Days excluded by what they are: the holidays of a place, or the dates of a span."""

    holidays: str | tuple[str, ...] | None = None
    """Public holidays, by ISO 3166 code (`DE`) or with a part of the country (`DE-BY`); several in a list."""
    from_: str | None = msgspec.field(default=None, name="from")
    """A span's first date, `YYYY-MM-DD`."""
    to: str | None = None
    """The first date after the span: `{"from": "2026-12-24", "to": "2027-01-02"}` ends with New Year's Day."""


class Exclusions(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """The same as a list, grouped by what they are."""

    dates: tuple[str, ...] = ()
    """Dates, `YYYY-MM-DD`."""
    weekdays: tuple[int | str, ...] = ()
    """Names (`mon` to `sun`), or numbers from 0, which is Monday."""
    holidays: str | tuple[str, ...] | None = None
    """Public holidays, by ISO 3166 code (`DE`) or with a part of the country (`DE-BY`); several in a list."""
    ranges: tuple[ExcludedDays, ...] = ()
    """Spans of dates, each `{"from", "to"}`."""


Exclude: TypeAlias = Exclusions | tuple[str | int | ExcludedDays, ...]
"""Days without slots. A list of dates (`2026-12-24`), days of the week (`sat`, or 0 = Monday), `{"holidays": "DE"}` and
`{"from": "2026-12-24", "to": "2027-01-02"}` (`to` is the first date after the span); or one object with `dates`,
`weekdays`, `holidays` and `ranges`. Stored as the list."""


def exclude_shape_faults(value: object) -> list[ScheduleFault]:
    """What keeps a decoded JSON value from being an `exclude`, item by item; empty: nothing."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return _convertible("/exclude", value, Exclusions)
    if isinstance(value, list | tuple):
        if len(value) > EXCLUDED_MAX:
            return [too_many_excluded("/exclude", len(value))]
        return [
            fault
            for index, item in enumerate(value)
            for fault in _convertible(f"/exclude/{index}", item, str | int | ExcludedDays)
        ]
    message = f"{value!r:.80} is neither a list of excluded days nor an object with some"
    return [ScheduleFault("/exclude", ScheduleCode.INVALID_TYPE, message)]


def stored_exclude(
    given: Exclude | None, faults: list[ScheduleFault]
) -> tuple[str | ExcludedDays, ...] | None:
    """The stored form of an `exclude`, None where nothing is excluded; what is wrong is noted."""
    if not given:
        return None
    items = list(_items(given))
    if len(items) > EXCLUDED_MAX:
        faults.append(too_many_excluded("/exclude", len(items)))
        return None
    found: dict[str | ExcludedDays, None] = {}
    for pointer, item in items:
        found.update(dict.fromkeys(_stored(pointer, item, faults)))
    if found.keys() >= set(WEEKDAYS):
        message = "every day of the week is excluded, so no slot is left"
        faults.append(ScheduleFault("/exclude", ScheduleCode.INVALID_EXCLUDE, message))
    return tuple(found) or None


def excluded_days(exclude: Exclude | None) -> tuple[str | ExcludedDays, ...]:
    """The items of a stored `exclude`. Raises ValueError for one that is not in stored form."""
    items = () if exclude is None else exclude
    if isinstance(items, Exclusions):
        raise ValueError(f"{exclude!r:.200} is not in stored form: normalise the schedule first")
    days = tuple(item for item in items if not isinstance(item, int))
    if len(days) != len(items):
        raise ValueError(f"{exclude!r:.200} is not in stored form: normalise the schedule first")
    return days


def is_excluded_date(on: date, exclude: Exclude | None) -> bool:
    """Whether a date is excluded by a stored `exclude`, holidays aside."""
    days = excluded_days(exclude)
    text = on.isoformat()
    return (
        WEEKDAYS[on.weekday()] in days
        or text in days
        or any(
            item.from_ <= text < item.to
            for item in days
            if isinstance(item, ExcludedDays) and item.from_ is not None and item.to is not None
        )
    )


def named_holidays(given: Exclude | None) -> Iterable[tuple[str, str]]:
    """Each place whose holidays are excluded, with a pointer to where it is named."""
    for pointer, item in _items(given or ()):
        if isinstance(item, ExcludedDays) and item.holidays is not None:
            if isinstance(item.holidays, str):
                yield f"{pointer}/holidays", item.holidays
            else:
                yield from ((f"{pointer}/holidays/{index}", name) for index, name in enumerate(item.holidays))


def too_many_excluded(pointer: str, count: int) -> ScheduleFault:
    """The fault of a schedule that excludes more than `EXCLUDED_MAX` days."""
    message = f"{count} excluded days are listed; allowed are {EXCLUDED_MAX} in one schedule, and a span counts once"
    return ScheduleFault(pointer, ScheduleCode.INVALID_EXCLUDE, message)


def _items(given: Exclude) -> Iterable[tuple[str, str | int | ExcludedDays]]:
    """The single items, with a pointer to each."""
    if not isinstance(given, Exclusions):
        for index, item in enumerate(given):
            yield f"/exclude/{index}", item
        return
    for name in ("weekdays", "dates", "ranges"):
        for index, item in enumerate(getattr(given, name)):
            yield f"/exclude/{name}/{index}", item
    if given.holidays not in (None, ()):
        yield "/exclude", ExcludedDays(holidays=given.holidays)


def _stored(
    pointer: str, item: str | int | ExcludedDays, faults: list[ScheduleFault]
) -> Iterable[str | ExcludedDays]:
    """An item in stored form, without numbers and lists; nothing after noting what is wrong with it."""
    if not isinstance(item, ExcludedDays):
        return _stored_day(pointer, item, faults)
    if item.holidays is not None and item.from_ is None and item.to is None:
        names = (item.holidays,) if isinstance(item.holidays, str) else item.holidays
        if not names:
            _note(
                faults,
                f"{pointer}/holidays",
                "no place is named; allowed are ISO 3166 codes like DE, or DE-BY",
            )
        return [ExcludedDays(holidays=name) for name in names]
    if item.from_ is None or item.to is None or item.holidays is not None:
        _note(
            faults,
            pointer,
            "an object excludes holidays, or a span by from and to: one or the other, and whole",
        )
        return []
    first, beyond = _date(f"{pointer}/from", item.from_, faults), _date(f"{pointer}/to", item.to, faults)
    if first is None or beyond is None:
        return []
    if beyond <= first:
        _note(
            faults,
            f"{pointer}/to",
            f"{item.to!r} is not after from {item.from_!r}; it is the first date after the span",
        )
    return [item]


def _stored_day(pointer: str, item: str | int, faults: list[ScheduleFault]) -> list[str | ExcludedDays]:
    """A date, or a day of the week by its name."""
    number = WEEKDAY_NUMBERS.get(item.lower() if isinstance(item, str) else item)
    if number is not None:
        return [WEEKDAYS[number]]
    if isinstance(item, str) and _DATE.fullmatch(item):
        return [item] if _date(pointer, item, faults) is not None else []
    _note(
        faults,
        pointer,
        f"{item!r:.80} is no excluded day; allowed are dates (YYYY-MM-DD), {words(WEEKDAYS)}, or 0 (Monday) to 6",
    )
    return []


def _date(pointer: str, text: str, faults: list[ScheduleFault]) -> date | None:
    """A date of the years that schedules may speak of; None after noting what is wrong with it."""
    try:
        if not _DATE.fullmatch(text):
            raise ValueError("allowed is YYYY-MM-DD")
        found = date.fromisoformat(text)
        if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
            raise ValueError(f"allowed are the years {_FIRST_YEAR} to {_LAST_YEAR}")
    except ValueError as error:
        _note(faults, pointer, f"{text!r:.80} is no date: {error}")
        return None
    return found


def _convertible(pointer: str, value: object, wanted: Any) -> list[ScheduleFault]:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        return [ScheduleFault(pointer, ScheduleCode.INVALID_TYPE, f"{value!r:.80}: {error}")]
    return []


def _note(faults: list[ScheduleFault], pointer: str, message: str) -> None:
    faults.append(ScheduleFault(pointer, ScheduleCode.INVALID_EXCLUDE, message))
