"""Where croniter on its own would say something else: each is a reason to ask it about bare days, choice by choice.

When one of these fails, croniter has changed, and the correction in `month_days` or `cron_grammar` may go. The page
lists them, each with its test.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from croniter.croniter import CroniterBadDateError, CroniterNotAlphaError, CroniterUnsupportedSyntaxError

from gnomon_core.timing import fires
from gnomon_core.timing.month_days import MonthDays
from gnomon_schemas.cron_grammar import CronError, parse_expression
from gnomon_schemas.schedules import Cron

PAGE = Path(__file__).parents[3] / "docs/explanation/time.md"
EPOCH = date(1970, 1, 1)
BERLIN = ZoneInfo("Europe/Berlin")


def _days(expression: str) -> MonthDays:
    rule = parse_expression(expression)
    return MonthDays(rule.months, rule.days)


def _in(expression: str, first: str, last: str) -> list[str]:
    days = _days(expression)
    at, end = (date.fromisoformat(text) - EPOCH for text in (first, last))
    return [str(EPOCH + timedelta(days=day)) for day in range(at.days, end.days + 1) if days.has(day)]


def _slots(expression: str, after: str, until: str) -> list[str]:
    """Our slots on Berlin's clock."""
    span = (int(datetime.fromisoformat(text).timestamp()) for text in (after, until))
    return [
        datetime.fromtimestamp(slot, BERLIN).isoformat()
        for slot in fires(Cron(expression=expression, timezone="Europe/Berlin"), *span)
    ]


def _stepped(expression: str, after: str, count: int) -> list[str]:
    """What croniter answers on Berlin's clock."""
    steps = croniter(expression, datetime.fromisoformat(after).astimezone(BERLIN), second_at_beginning=True)
    return [steps.get_next(datetime).isoformat() for _ in range(count)]


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


def test_croniter_fires_twice_at_a_time_that_the_clock_shows_twice() -> None:
    """A daily time happens once a day, unless `dst` says otherwise."""
    night = "2026-10-25T00:00:00+02:00"
    assert _stepped("30 2 * * *", night, 2) == ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    assert _slots("30 2 * * *", night, "2026-10-25T12:00:00+01:00") == ["2026-10-25T02:30:00+02:00"]


def test_croniter_has_seconds_last_unless_told() -> None:
    assert croniter("0 9 * * * 30", 0.0).get_next(float) == 9 * 3600 + 30
    assert _slots("30 0 9 * * *", "2026-09-21T00:00:00+02:00", "2026-09-21T12:00:00+02:00") == [
        "2026-09-21T09:00:30+02:00"
    ]


def test_croniter_takes_a_range_of_one_value_for_the_rest_of_the_field() -> None:
    assert croniter("5-5/10 * * * *", 0.0).get_next(float) == 10 * 60
    assert parse_expression("5-5/10 * * * *").minutes == (5,)
    assert _in("0 0 * * 1-1/3", "1970-01-02", "1970-01-08") == ["1970-01-05"]


def test_croniter_takes_days_that_never_come() -> None:
    """And finds out when it steps, after fifty years."""
    with pytest.raises(CroniterBadDateError):
        croniter("0 0 31 2 *", 0.0).get_next(float)
    with pytest.raises(CronError, match="can never fire"):
        parse_expression("0 0 31 2 *")


def test_the_page_names_every_test() -> None:
    rows = re.findall(r"^\| .* \| `(test_croniter_\w+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(name for name in globals() if name.startswith("test_croniter_"))
