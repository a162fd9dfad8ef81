"""A forecast adds up what the schedules themselves say, bucket by bucket, and finds the minutes that are hot."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gnomon_core.ledger.forecast import Forecast
from gnomon_core.timing import count_fires, fires
from gnomon_schemas.schedules import AnyOf, Cron, Daily, Interval, Once, Schedule, Weekly, normalise

MIDNIGHT = int(datetime(2026, 9, 21, tzinfo=UTC).timestamp())
CHANGE = int(datetime(2026, 10, 24, tzinfo=UTC).timestamp())
"""The day before Berlin's clock is set back."""
HOUR = 3600

SCHEDULES: list[Schedule] = [
    Cron(expression="*/5 * * * *"),
    Cron(expression="0 9 * * mon-fri", timezone="Europe/Berlin"),
    Cron(expression="*/15 * * * * *", timezone="Asia/Kathmandu"),
    Cron(expression="30 2 L * *", timezone="America/New_York"),
    Cron(expression="0 12 * * *", start_at="2026-09-22T00:00:00Z", end_at="2026-09-24T00:00:00Z"),
    Daily(time="02:30", timezone="Europe/Berlin"),
    Weekly(time="23:59", days=("sun",), timezone="Australia/Lord_Howe"),
    Interval(every_seconds=60),
    Interval(every_seconds=600, anchor="2026-09-21T00:00:07Z"),
    Interval(every_seconds=777),
    Interval(every_seconds=50_000),
    Interval(every_seconds=60, end_at="2026-09-22T12:00:00Z"),
    Once(at="2026-09-22T10:00:30Z"),
    AnyOf(
        schedules=(Cron(expression="0 * * * *"), Interval(every_seconds=1800, anchor="2026-09-21T00:00:00Z"))
    ),
]


def stored(schedule: Schedule) -> Schedule:
    created = datetime(2026, 9, 1, 8, 30, 21, tzinfo=UTC)
    return normalise(schedule, created_at=created, default_timezone="UTC", now=None)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda one: str(one)[:60])
@pytest.mark.parametrize("start", [MIDNIGHT, MIDNIGHT + 34 * 60, CHANGE])
@pytest.mark.parametrize("step", [HOUR, 420])
def test_every_bucket_holds_what_its_schedule_says(schedule: Schedule, start: int, step: int) -> None:
    one, count = stored(schedule), 3 * 24 * HOUR // step
    forecast = Forecast(start, step, count)
    forecast.add(one, 7, 60)
    assert forecast.buckets() == [
        (at, 7 * count_fires(one, at - 1, at + step - 1)) for at in range(start, start + count * step, step)
    ]


def test_schedules_add_up() -> None:
    forecast = Forecast(MIDNIGHT, HOUR, 24)
    for schedule in SCHEDULES:
        forecast.add(stored(schedule), 2, 60)
    expected = sum(
        2 * sum(1 for _ in fires(stored(one), MIDNIGHT - 1, MIDNIGHT + 86_399)) for one in SCHEDULES
    )
    assert sum(count for _, count in forecast.buckets()) == expected
    assert forecast.tasks == 2 * len(SCHEDULES)


def test_minutes_in_which_much_comes_together_are_named_the_hottest_first() -> None:
    forecast = Forecast(MIDNIGHT, HOUR, 24)
    forecast.add(stored(Cron(expression="0 3 * * *")), 500, 60)
    forecast.add(stored(Cron(expression="0,30 3 * * *")), 100, 60)
    forecast.add(stored(Interval(every_seconds=60)), 10, 60)
    hot = forecast.hot()
    assert [(one.at - MIDNIGHT, one.fires) for one in hot] == [(3 * HOUR, 610), (3 * HOUR + 1800, 110)]


def test_an_even_load_has_no_hot_minute() -> None:
    forecast = Forecast(MIDNIGHT, HOUR, 24)
    forecast.add(stored(Interval(every_seconds=10)), 100, 60)
    forecast.add(stored(Cron(expression="* * * * *")), 100, 60)
    assert forecast.hot() == []
    assert Forecast(MIDNIGHT, HOUR, 24).hot() == []


def test_jitter_within_the_tolerance_spreads_a_hot_minute_over_those_that_follow() -> None:
    forecast = Forecast(MIDNIGHT, HOUR, 24)
    forecast.add(stored(Cron(expression="0 3 * * *")), 600, 600)
    forecast.add(stored(Cron(expression="0 3 * * *")), 40, 60)
    (hot,) = forecast.hot()
    assert (hot.fires, hot.with_jitter) == (640, 60 + 40)


def test_what_is_spread_into_a_minute_from_those_before_counts_there() -> None:
    forecast = Forecast(MIDNIGHT, HOUR, 24)
    forecast.add(stored(Cron(expression="0 3 * * *")), 600, 120)
    forecast.add(stored(Cron(expression="1 3 * * *")), 600, 60)
    assert [(one.fires, one.with_jitter) for one in forecast.hot()] == [(600, 300), (600, 900)]
