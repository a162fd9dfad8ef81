"""The holidays of places as bytes, and holidays that were kept.

The rules of a holiday calendar are its days in some years, as JSON: `{"2026": [20454, ...]}`, numbers of days since
1970. Rules of another release of python-holidays make a calendar beside the process's own, under a name of its own with
a digest in it, as `kept_zones` does with zones. In years that were not kept it is the process's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from gnomon_core.holiday_dates import holiday_days

__all__ = ["differing_days", "holiday_rules", "holidays_in", "keep_holidays", "same_holidays", "years_known"]

_MARK: Final = "@"
"""Between the name of a calendar and the digest of its rules."""
_Years = dict[int, tuple[int, ...]]
_kept: Final[dict[str, dict[int, frozenset[int]]]] = {}
_decode: Final = msgspec.json.Decoder(_Years).decode


def holiday_rules(name: str, years: Iterable[int]) -> bytes:
    """The process's own holidays of some years."""
    return msgspec.json.encode({str(year): sorted(holiday_days(name, year)) for year in years})


def keep_holidays(name: str, rules: bytes) -> str:
    """Have a calendar of these rules: the name by which a stored schedule may have it. Raises ValueError."""
    kept = f"{name}{_MARK}{blake2b(rules, digest_size=8).hexdigest()}"
    if kept not in _kept:
        _kept[kept] = {year: frozenset(days) for year, days in _read(rules).items()}
    return kept


def years_known(rules: bytes) -> range:
    """From the first to the last year that rules speak of. Raises ValueError for bytes that are no rules."""
    years = _read(rules)
    return range(min(years), max(years) + 1) if years else range(0)


def same_holidays(one: bytes, other: bytes) -> bool:
    """Whether two calendars agree on all years that both know. Raises ValueError."""
    first, second = _read(one), _read(other)
    return all(first[year] == second[year] for year in first.keys() & second.keys())


@lru_cache(maxsize=16_384)
def holidays_in(name: str, year: int) -> frozenset[int]:
    """The holidays of a year: of the process's own calendar, or of one that is kept."""
    kept = _kept.get(name)
    if kept is None:
        return holiday_days(name, year)
    days = kept.get(year)
    return holiday_days(name.partition(_MARK)[0], year) if days is None else days


def differing_days(one: str, other: str, years: range) -> list[int]:
    """The days of some years that are a holiday in only one of two calendars, in order."""
    return [day for year in years for day in sorted(holidays_in(one, year) ^ holidays_in(other, year))]


def _read(rules: bytes) -> _Years:
    try:
        return _decode(rules)
    except msgspec.DecodeError as error:
        raise ValueError(f"no rules of a holiday calendar: {error}") from error
