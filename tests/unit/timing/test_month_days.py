"""The days that a cron names, by croniter, and where croniter on its own would say something else."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from croniter import croniter
from croniter.croniter import CroniterBadDateError, CroniterNotAlphaError, CroniterUnsupportedSyntaxError

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


def test_croniter_steps_under_a_lock() -> None:
    """It keeps its place in itself, so threads that share it must not step it side by side."""
    days = _days("0 0 13 * 5")
    held: list[bool] = []

    class Watched(croniter):
        def get_next(self, *args: Any, **kwargs: Any) -> Any:
            held.append(days._lock.locked())
            return super().get_next(*args, **kwargs)

    days._choices = (Watched("0 0 13 * *", 0.0), Watched("0 0 * * 5", 0.0))
    the_13th = (date(2026, 12, 13) - EPOCH).days
    assert days.next(the_13th - 1) == the_13th
    assert held == [True, True]


# What croniter does on its own; each is a reason to hand it choices one by one. When one of these fails, it has
# changed, and the correction in `month_days` or `cron_grammar` may go.


def test_croniter_takes_both_where_either_is_meant() -> None:
    """`15 * 5#2`: never in croniter's eyes, since a second Friday is no later than the 14th."""
    with pytest.raises(CroniterBadDateError):
        croniter("0 0 15 * 5#2", 0.0).get_next(float)
    assert _in("0 0 15 * 5#2", "2026-09-01", "2026-09-30") == ["2026-09-11", "2026-09-15"]


def test_croniter_refuses_a_weekday_beside_an_nth_one() -> None:
    with pytest.raises(CroniterUnsupportedSyntaxError):
        croniter("0 0 * * 1#2,3", 0.0)
    assert _in("0 0 * * 1#2,3", "2026-09-07", "2026-09-16") == ["2026-09-09", "2026-09-14", "2026-09-16"]


def test_croniter_knows_the_last_friday_by_one_spelling() -> None:
    with pytest.raises(CroniterNotAlphaError):
        croniter("0 0 * * 5L", 0.0)
    assert _in("0 0 * * L5", "2026-09-01", "2026-09-30") == ["2026-09-25"]


def test_croniter_takes_as_many_values_as_days_for_every_day() -> None:
    first = (date(2026, 9, 30) - EPOCH).days * 86_400
    assert croniter("0 0 2-31,L * *", float(first)).get_next(float) == first + 86_400
    assert _in("0 0 2-31,L * *", "2026-09-30", "2026-10-02") == ["2026-09-30", "2026-10-02"]


def test_croniter_takes_a_star_field_for_a_restricting_one() -> None:
    """`*/2 * 1` is an odd Monday by Vixie cron's rule; croniter fires on odd days and on Mondays."""
    first = (date(2026, 9, 1) - EPOCH).days * 86_400
    assert croniter("0 0 */2 * 1", float(first)).get_next(float) == first + 2 * 86_400
    assert _in("0 0 */2 * 1", "2026-09-02", "2026-09-07") == ["2026-09-07"]


@pytest.mark.parametrize(
    "expression",
    ["R R * * *", "0 0 15W * *", "0 0 ? * *", "0 0 * * * 0 2027", "0 22-2 * * *", "*/60 * * * *"],
)
def test_croniter_takes_forms_that_the_grammar_does_not(expression: str) -> None:
    croniter(expression, 0.0)
    with pytest.raises(ValueError, match=r"allowed|runs backwards|a step is"):
        parse_expression(expression)
