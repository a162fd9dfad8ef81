"""Public holidays of countries and their parts, as numbers of days since 1970. From python-holidays.

A *calendar* is named as python-holidays names it: `DE`, or with a part of the country `DE-BY`. Its days are the
public holidays of that place, with the days on which one that falls on a weekend is made up for, where the law says
so (United States, United Kingdom). They are known for the years that the library knows: up to 2100 mostly, India's
movable ones up to 2035. In other years there are none. Where a religious calendar decides, the coming years are
reckoned and may be a day off from what will be proclaimed.

Importing the library takes a second of CPU time and 30 MB, since it loads every country at once. So it is imported by
the first question that needs it. Where a loop must not stand still for that long, `load` is called in a thread before
(`gnomon_core.runtime.holiday_loading`).
"""

from __future__ import annotations

import warnings
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from holidays import HolidayBase

__all__ = ["holiday_days", "is_loaded", "load", "place_name", "what_is_wrong_with"]

_EPOCH: Final = date(1970, 1, 1).toordinal()


def is_loaded() -> bool:
    """Whether a question is answered without importing anything."""
    return _countries.cache_info().currsize > 0


def load() -> None:
    """Import the library, so that no later question waits for it. Safe in any thread."""
    holiday_days("DE", 2026)


def what_is_wrong_with(calendar: str) -> str | None:
    """Why a text names no calendar, and what is allowed; None where it names one."""
    code, _, part = calendar.partition("-")
    country = _countries().get(code)
    if country is None:
        # Guessing at a text of any length would be work without end for whoever sends a long one.
        near = get_close_matches(code[:8].upper(), _countries(), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]}?" if near else ""
        return (
            f"{calendar!r:.80} names no country with known holidays; allowed are ISO 3166 codes "
            f"like DE, or with a part of the country like DE-BY{hint}"
        )
    if "-" in calendar and part not in country:
        parts = f"allowed are {', '.join(country)}" if country else f"{code} has none"
        return f"{calendar!r:.80} names no part of {code} with holidays of its own; {parts}"
    return None


@lru_cache(maxsize=8192)
def holiday_days(calendar: str, year: int) -> frozenset[int]:
    """The holidays of one year, as numbers of days since 1970.

    A calendar that this version of the library does not know any more has none: one task that cannot be reckoned as
    it was would otherwise keep a whole shard from loading. What is new is checked (`what_is_wrong_with`).
    """
    if what_is_wrong_with(calendar) is not None:
        return frozenset()
    # A holiday may be made up for in the year before or after its own, so the neighbours are looked at, too.
    found = _library(calendar, range(year - 1, year + 2))
    return frozenset(day.toordinal() - _EPOCH for day in found if day.year == year)


def place_name(calendar: str) -> str:
    """A calendar's place in words: `Germany`, `United States (CA)`; the name itself where none is known."""
    from holidays.registry import COUNTRIES

    code, _, part = calendar.partition("-")
    names = next((entry[0] for entry in COUNTRIES.values() if code in entry[1:]), code)
    words = "".join(f" {each}" if each.isupper() and at else each for at, each in enumerate(names))
    return f"{words} ({part})" if part else words


@lru_cache(maxsize=1)
def _countries() -> dict[str, tuple[str, ...]]:
    """Every country's code with the names of its parts."""
    import holidays

    return {code: tuple(parts) for code, parts in holidays.list_supported_countries().items()}


def _library(calendar: str, years: range) -> HolidayBase:
    import holidays

    code, _, part = calendar.partition("-")
    with warnings.catch_warnings():
        # It warns of years that it does not know; that there are no holidays in those is said above.
        warnings.simplefilter("ignore", UserWarning)
        return holidays.country_holidays(code, subdiv=part or None, years=years, expand=False)
