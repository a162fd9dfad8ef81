"""Public holidays by the names that python-holidays gives them."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, timedelta

import holidays
import pytest

from gnomon_core.holiday_dates import holiday_days, place_name, what_is_wrong_with

EPOCH = date(1970, 1, 1)


def _dates(calendar: str, year: int) -> list[str]:
    return [str(EPOCH + timedelta(days=day)) for day in sorted(holiday_days(calendar, year))]


def test_german_holidays_of_a_year() -> None:
    assert _dates("DE", 2026) == [
        *("2026-01-01", "2026-04-03", "2026-04-06", "2026-05-01", "2026-05-14", "2026-05-25"),
        *("2026-10-03", "2026-12-25", "2026-12-26"),
    ]


def test_a_part_of_a_country_has_holidays_of_its_own() -> None:
    assert set(_dates("DE-BY", 2026)) - set(_dates("DE", 2026)) == {
        *("2026-01-06", "2026-06-04", "2026-11-01"),
    }


def test_a_day_that_makes_up_for_a_weekend_belongs_to_the_year_it_lies_in() -> None:
    """New Year of 2028 is a Saturday; federal offices have the Friday before, which is in 2027."""
    assert "2027-12-31" in _dates("US", 2027)
    assert "2027-12-31" not in _dates("US", 2028)


def test_years_that_the_library_does_not_know_have_none() -> None:
    assert holiday_days("DE", 2500) == frozenset()
    # It warns of India's, and a warning fails a test.
    assert 0 < len(holiday_days("IN", 2090)) < len(holiday_days("IN", 2026))


def test_a_calendar_that_a_later_library_has_dropped_has_no_holidays() -> None:
    """Stored schedules stay readable; new ones are checked."""
    assert holiday_days("XX", 2026) == frozenset()


@pytest.mark.parametrize("calendar", ["DE", "DE-BY", "US-CA", "GB", "UK", "USA"])
def test_names_that_are_taken(calendar: str) -> None:
    assert what_is_wrong_with(calendar) is None


@pytest.mark.parametrize(
    ("calendar", "words"),
    [
        ("XX", "'XX' names no country"),
        ("de", "did you mean DE?"),
        ("Germany", "ISO 3166 codes like DE"),
        ("", "'' names no country"),
        ("DE-XX", "allowed are BB, BE, BW, BY"),
        ("DE-", "'DE-' names no part of DE"),
        ("MC-X", "MC has none"),
    ],
)
def test_names_that_are_refused_in_words(calendar: str, words: str) -> None:
    assert words in str(what_is_wrong_with(calendar))


def test_every_country_of_the_library_is_taken_and_has_holidays() -> None:
    """But for three territories where nobody lives, and Ukraine, which has suspended its holidays."""
    assert all(what_is_wrong_with(calendar) is None for calendar in holidays.list_supported_countries())
    countries = holidays.list_supported_countries(include_aliases=False)
    assert {code for code in countries if not holiday_days(code, 2026)} == {"BV", "HM", "IO", "UA"}


def test_places_in_words() -> None:
    assert [place_name(name) for name in ("DE", "US-CA", "AE")] == [
        *("Germany", "United States (CA)", "United Arab Emirates"),
    ]


def test_the_library_is_imported_by_the_first_who_needs_it() -> None:
    """It costs a second of CPU time and 30 MB, which a process without holidays need not pay."""
    script = (
        "import sys, gnomon_core.timing, gnomon_core.rules.task_input; print('holidays' in sys.modules);"
        "from gnomon_core.holiday_dates import load; load(); print('holidays.countries.germany' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
