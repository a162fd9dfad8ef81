"""Ids that sort by time, and short ways to write schedules."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from gnomon import any_of, cron, daily, date_span, holidays, interval, monthly, new_id, once, weekly
from gnomon.schedules import Day
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.limits import is_id
from gnomon_schemas.schedules import Monthly


def test_an_id_is_a_uuid_of_version_7_and_an_id_of_ours() -> None:
    made = new_id()
    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122
    assert is_id(made)


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = [new_id(1_790_000_000_000 + step) for step in range(100)]
    assert made == sorted(made)
    assert len({new_id(5) for _ in range(1000)}) == 1000
    assert uuid.UUID(new_id(1_790_000_000_123)).int >> 80 == 1_790_000_000_123


@pytest.mark.parametrize("now_ms", [-1, 1 << 48])
def test_a_time_that_does_not_fit_is_refused(now_ms: int) -> None:
    with pytest.raises(ValueError, match="now_ms"):
        new_id(now_ms)


def test_schedules_in_short() -> None:
    assert cron("*/5 * * * *", timezone="Europe/Berlin").expression == "*/5 * * * *"
    assert interval(90).every_seconds == 90
    assert interval(minutes=5, seconds=30).every_seconds == 330
    assert interval(timedelta(hours=1)).every_seconds == 3600
    assert once("2027-01-01T09:00:00Z").at == "2027-01-01T09:00:00Z"
    assert once(datetime(2027, 1, 1, tzinfo=UTC)).at == "2027-01-01T00:00:00.000Z"
    assert daily("09:00", timezone="Asia/Tokyo").time == "09:00"
    assert weekly("09:00", ["mon", 4]).days == ("mon", 4)
    assert monthly("09:00").day is None
    assert any_of(daily("09:00"), monthly("18:00", -1)).schedules[1] == monthly("18:00", -1)
    assert cron("@daily", start_at=datetime(2027, 1, 1, tzinfo=UTC)).start_at == "2027-01-01T00:00:00.000Z"
    with pytest.raises(ValueError, match="no offset"):
        once(datetime(2027, 1, 1))  # noqa: DTZ001 - a datetime without offset is what is refused here


def test_days_without_slots_in_short() -> None:
    days: list[Day] = [
        "sat",
        6,
        date(2026, 12, 24),
        holidays("DE"),
        holidays("US-CA", "FR"),
        date_span("2027-08-01", date(2027, 8, 16)),
    ]
    assert daily("09:00", exclude=days).exclude == (
        *("sat", 6, "2026-12-24", ExcludedDays(holidays="DE"), ExcludedDays(holidays=("US-CA", "FR"))),
        ExcludedDays(from_="2027-08-01", to="2027-08-16"),
    )
    assert interval(minutes=5, exclude="sat").exclude == ("sat",)
    assert cron("@daily").exclude is None
    assert weekly("09:00", ["mon"], exclude=[holidays("DE")], max_runs=3).max_runs == 3
    assert any_of(daily("09:00"), exclude=["sun"]).exclude == ("sun",)
    assert monthly("09:00", exclude=["sun"], max_runs=2) == Monthly(
        time="09:00", exclude=("sun",), max_runs=2
    )
