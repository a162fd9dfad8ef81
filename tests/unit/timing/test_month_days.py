"""The days that a cron names, by croniter. See `test_croniter_corrected` for where it would say something else."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from gnomon_core.timing.month_days import MEMO_SIZE, MonthDays
from gnomon_schemas.cron_grammar import parse_expression

EPOCH = date(1970, 1, 1)


def _days(expression: str) -> MonthDays:
    rule = parse_expression(expression)
    return MonthDays(rule.months, rule.days)


def _in(expression: str, first: str, last: str) -> list[str]:
    days = _days(expression)
    at, end = (date.fromisoformat(text) - EPOCH for text in (first, last))
    found = [day for day in range(at.days, end.days + 1) if days.has(day)]
    assert len(found) == days.count(at.days, end.days + 1)
    return [str(EPOCH + timedelta(days=day)) for day in found]


@pytest.mark.parametrize(
    ("expression", "first", "last", "expected"),
    [
        ("0 0 L * *", "2028-01-31", "2028-03-31", ["2028-01-31", "2028-02-29", "2028-03-31"]),
        ("0 0 30,L 2,4 *", "2027-01-01", "2027-12-31", ["2027-02-28", "2027-04-30"]),
        ("0 0 29 2 *", "2097-01-01", "2104-12-31", ["2104-02-29"]),
        ("0 0 31 * *", "2026-02-01", "2026-06-30", ["2026-03-31", "2026-05-31"]),
        ("0 0 * * 5#5", "2026-09-01", "2026-12-31", ["2026-10-30"]),
        ("0 0 * * 5L", "2026-09-01", "2026-11-30", ["2026-09-25", "2026-10-30", "2026-11-27"]),
        ("0 0 13 * 5", "2026-11-30", "2026-12-15", ["2026-12-04", "2026-12-11", "2026-12-13"]),
        ("0 0 */2 * 1", "2026-09-01", "2026-10-31", ["2026-09-07", "2026-09-21", "2026-10-05", "2026-10-19"]),
        ("0 0 13 * */5", "2026-09-01", "2026-12-31", ["2026-09-13", "2026-11-13", "2026-12-13"]),
    ],
)
def test_days_of_a_span(expression: str, first: str, last: str, expected: list[str]) -> None:
    assert expected == _in(expression, first, last)


def test_next_and_prev_include_the_day_itself() -> None:
    days = _days("0 0 15 * *")
    the_15th = (date(2026, 9, 15) - EPOCH).days
    assert days.next(the_15th) == the_15th == days.prev(the_15th)
    assert days.next(the_15th + 1) == the_15th + 30
    assert days.prev(the_15th - 1) == the_15th - 31


def test_what_is_remembered_stays_bounded_and_right() -> None:
    days = _days("0 0 * * 1")
    asked = range(20_000 + 3 * MEMO_SIZE, 20_000, -1)  # backwards: no answer covers the question after it
    once = [days.next(day) for day in asked]
    assert once == [day + (4 - day) % 7 for day in asked]  # day 4 was a Monday
    assert len(days._next_memo) <= MEMO_SIZE
