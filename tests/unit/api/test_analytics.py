"""Rollups and reports: what is counted where, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_api.analytics import (
    BusyDay,
    BusyHour,
    HourSums,
    TaskAnalytics,
    TaskCount,
    percentile_ms,
    period_of,
    platform_analytics,
    task_analytics,
)
from gnomon_api.analytics_queries import KeptReports
from gnomon_api.readmodels.rollups import Rollups, latency_bound_ms, latency_bucket
from gnomon_core.runtime.clock import ManualClock
from gnomon_schemas.events import Executed, SlotOutcome
from gnomon_schemas.samples import samples

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PERIOD = period_of(NOON - timedelta(days=30), NOON, 30, "UTC")
NOTHING = {
    "starts": 0,
    "on_time": 0,
    "created": 0,
    "created_from_template": 0,
    "create_refused": 0,
    "missed": 0,
    "users": 0,
    "tasks_of_users": 0,
    "users_old": 0,
    "users_retained": 0,
    "storage_bytes": 0,
}


def executed(status: str = "completed", **changes: object) -> Executed:
    sample = samples()["task.executed"]
    assert isinstance(sample, Executed)
    fields = {name: getattr(sample, name) for name in sample.__struct_fields__}
    numbers = {"duration_ms": 250, "credits_consumed": 0.1, "tokens_used": 7, "api_calls_made": 2}
    return Executed(**{**fields, "status": status, **numbers, **changes})


def hour(at: datetime, completed: int, failed: int = 0, **changes: int) -> HourSums:
    sums = dict.fromkeys(HourSums._fields[4:], 0) | changes
    return HourSums(at, "echo", completed, failed, **{k: v for k, v in sums.items() if k != "failed"})


def test_runs_are_added_up_per_user_hour_and_type() -> None:
    rollups = Rollups()
    for status in ("completed", "completed", "failed", "timed_out", "cancelled"):
        rollups.executed(executed(status), "u1", NOON + timedelta(minutes=59))
    rollups.executed(executed(), "u1", NOON + timedelta(minutes=60))
    rollups.executed(executed(), None, NOON)
    task_type = executed().task_type
    assert sorted(rollups.run_records()) == [
        ("", NOON, task_type, 1, 0, 0, 0, 250, 100_000, 7, 2),
        ("u1", NOON, task_type, 2, 1, 1, 1, 1250, 500_000, 35, 10),
        ("u1", NOON + timedelta(hours=1), task_type, 1, 0, 0, 0, 250, 100_000, 7, 2),
    ]
    assert list(rollups.hour_records()) == []  # nothing of the platform's hours
    assert list(rollups.platform_records()) == [
        (NOON, task_type, 3, 1, 1, 1, 1500, 600_000, 42, 12),
        (NOON + timedelta(hours=1), task_type, 1, 0, 0, 0, 250, 100_000, 7, 2),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from(("u1", "u2", None)), st.floats(0, 1e6), st.integers(0, 7200)), max_size=30
    )
)
def test_batches_of_any_size_add_up_to_the_same(runs: list[tuple[str | None, float, int]]) -> None:
    """Floats would not: (0.1 + 0.2) + 0.3 is another number than 0.1 + (0.2 + 0.3)."""
    whole = Rollups()
    parts: dict[object, list[int]] = {}
    for user_id, consumed, second in runs:
        event, at = executed(credits_consumed=consumed), NOON + timedelta(seconds=second)
        whole.executed(event, user_id, at)
        part = Rollups()
        part.executed(event, user_id, at)
        for user, when, task_type, *sums in part.run_records():
            before = parts.get((user, when, task_type), [0] * len(sums))
            parts[user, when, task_type] = [a + b for a, b in zip(before, sums, strict=True)]
    assert {(u, w, t): sums for u, w, t, *sums in whole.run_records()} == parts


def test_only_slots_are_measured_and_five_seconds_are_on_time() -> None:
    rollups = Rollups()
    for late_ms in (-40, 0, 5000, 5001):
        rollups.started("schedule", NOON, NOON + timedelta(milliseconds=late_ms))
    rollups.started("manual", NOON, NOON + timedelta(hours=2))
    rollups.created(NOON, from_template=True)
    rollups.created(NOON, from_template=False)
    rollups.create_refused(NOON)
    rollups.first_of_the_day(NOON)
    before = NOON - timedelta(hours=1)
    assert list(rollups.hour_records()) == [(before, 1, 1, 0, 0, 0, 0, 0), (NOON, 3, 2, 2, 1, 1, 1, 0)]
    assert sorted(rollups.latency_records()) == [(before, 0, 1), (NOON, 0, 1), (NOON, 50, 2)]


@pytest.mark.parametrize(
    ("name", "changes", "missed"),
    [
        ("task.missed.span", {"reason": "grace_exceeded", "count": 7}, 7),
        ("task.missed.span", {"reason": "expired"}, 1),
        ("task.missed.span", {"reason": "expired", "trigger": "manual"}, 0),
        ("task.coalesced.span", {"reason": "catch_up_latest", "count": 30}, 30),
        ("task.coalesced.span", {"reason": "blackout"}, 0),
        ("task.skipped.span", {"reason": "paused", "count": 9}, 0),
    ],
)
def test_slots_that_were_to_start_and_did_not_are_missed(
    name: str, changes: dict[str, object], missed: int
) -> None:
    """The share that started on time was 100 % after an outage that nothing of the backlog outlived."""
    event = samples()[name]
    assert isinstance(event, SlotOutcome)
    rollups = Rollups()
    rollups.passed_over(msgspec.structs.replace(event, **{"count": 1, **changes}), NOON)
    assert [record[-1] for record in rollups.hour_records()] == ([missed] if missed else [])


@given(st.floats(0, 3e10))
def test_a_latency_lies_in_its_bucket(late_ms: float) -> None:
    bucket = latency_bucket(late_ms)
    assert late_ms <= latency_bound_ms(bucket) * 1.0000001
    assert bucket == 0 or late_ms > latency_bound_ms(bucket - 1) * 0.9999999
    assert bucket < 2**15


@pytest.mark.parametrize(("share", "bucket"), [(0.5, 8), (0.89, 8), (0.95, 20), (1.0, 40)])
def test_percentiles_are_bounds_of_buckets(share: float, bucket: int) -> None:
    assert percentile_ms([(8, 90), (20, 9), (40, 1)], share) == round(latency_bound_ms(bucket), 1)


def test_without_a_start_there_is_no_percentile() -> None:
    assert percentile_ms([], 0.5) is None


def test_the_report_of_a_user() -> None:
    tasks = [
        TaskCount("scheduled", "echo", False, 3),
        TaskCount("paused", "echo", False, 1),
        TaskCount("completed", "todo", False, 5),
        TaskCount("failed", "echo", False, 1),
        TaskCount("scheduled", "echo", True, 9),
    ]
    monday_23 = datetime(2026, 11, 16, 23, tzinfo=UTC)
    hours = [hour(NOON, 3, 1, cancelled=2, duration_ms=9000, micro_credits=1_500_000), hour(monday_23, 4)]
    found = task_analytics("u1", PERIOD, tasks, hours)
    assert (found.total_tasks, found.active_tasks, found.paused_tasks, found.deleted_tasks) == (10, 3, 1, 9)
    assert (found.completed_tasks, found.failed_tasks) == (5, 1)
    assert (found.total_executions, found.cancelled_executions) == (10, 2)
    assert found.success_rate == 7 / 8, "cancelled runs are neither successes nor failures"
    assert (found.average_execution_seconds, found.total_credits_consumed) == (0.9, 1.5)
    assert found.task_types_distribution == {"echo": 5, "todo": 5}
    assert found.busiest_hours == (BusyHour(hour=12, executions=6), BusyHour(hour=23, executions=4))
    assert found.busiest_days == (BusyDay(day="sat", executions=6), BusyDay(day="mon", executions=4))


def test_hours_and_days_are_those_of_the_zone() -> None:
    monday_23 = datetime(2026, 11, 16, 23, tzinfo=UTC)
    period = period_of(NOON - timedelta(days=30), NOON, 30, "Europe/Berlin")
    found = task_analytics("u1", period, [], [hour(monday_23, 1)])
    assert (found.busiest_hours[0].hour, found.busiest_days[0].day) == (0, "tue")


def test_a_user_without_anything_has_a_report_too() -> None:
    found = task_analytics("nobody", PERIOD, [], [])
    assert (found.total_tasks, found.success_rate, found.average_execution_seconds) == (0, None, None)
    assert (found.busiest_hours, found.busiest_days) == ((), ())


def test_the_report_of_the_platform() -> None:
    platform = {
        **NOTHING,
        "starts": 200,
        "on_time": 199,
        "created": 9,
        "created_from_template": 3,
        "create_refused": 1,
        "missed": 100,
        "users": 4,
        "tasks_of_users": 10,
        "users_old": 2,
        "users_retained": 1,
        "storage_bytes": 4000,
    }
    found = platform_analytics(
        PERIOD,
        [TaskCount("scheduled", "echo", False, 12)],
        [hour(NOON, 3, 1, api_calls_made=8), hour(NOON, 1)._replace(task_type="todo")],
        platform,
        [(20, 1), (8, 99)],
        [(datetime(2026, 11, 20, tzinfo=UTC), 7)],
    )
    assert (found.on_time_share, found.creation_success_rate, found.template_usage) == (0.6633, 0.9, 0.3333)
    assert (found.tasks_per_user, found.retention_30_days, found.storage_bytes_per_user) == (2.5, 0.5, 1000)
    assert (found.start_latency.p50_ms, found.execution_success_rate) == (4.0, 0.8)
    assert [(one.task_type, one.executions, one.api_calls_made) for one in found.types] == [
        ("echo", 4, 8),
        ("todo", 1, 0),
    ]
    assert [(one.day, one.tasks) for one in found.daily_active_tasks] == [("2026-11-20", 7)]


def test_a_platform_without_anything_has_a_report_too() -> None:
    found = platform_analytics(PERIOD, [], [], NOTHING, [], [])
    assert (found.on_time_share, found.retention_30_days, found.tasks_per_user) == (None, None, None)


async def test_what_could_not_be_made_is_tried_again() -> None:
    kept = KeptReports(ManualClock())

    async def fails() -> TaskAnalytics:
        raise OSError("no database")

    async def works() -> TaskAnalytics:
        return task_analytics(None, PERIOD, [], [])

    with pytest.raises(OSError, match="no database"):
        await kept.get(("u1",), fails)
    assert (await kept.get(("u1",), works)).age == 0
