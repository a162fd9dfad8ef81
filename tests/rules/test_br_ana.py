"""Rules of analytics, each tested under its number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gnomon_api.analytics import HourSums, TaskCount, period_of, task_analytics
from gnomon_api.analytics_queries import ANALYTICS_KEPT_SECONDS
from gnomon_api.readmodels.rollups import Rollups
from gnomon_api.routes.analytics import DAYS_DEFAULT
from gnomon_schemas.events import Executed
from gnomon_schemas.samples import samples

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PERIOD = period_of(NOON - timedelta(days=30), NOON, 30, "UTC")
_NOTHING = dict.fromkeys(HourSums._fields[2:], 0)


def test_br_ana_001_analytics_are_aggregated_per_user() -> None:
    event = samples()["task.executed"]
    assert isinstance(event, Executed)
    rollups = Rollups()
    for user_id in ("u1", "u2", "u1"):
        rollups.executed(event, user_id, NOON)
    assert [(record[0], record[3]) for record in rollups.run_records()] == [("u1", 2), ("u2", 1)]


def test_br_ana_002_the_period_is_thirty_days_where_none_is_given() -> None:
    assert DAYS_DEFAULT == 30


def test_br_ana_003_the_success_rate_is_successes_by_all_that_succeeded_or_failed() -> None:
    hours = [HourSums(NOON, "echo", **{**_NOTHING, "completed": 3, "failed": 1, "cancelled": 5})]
    assert task_analytics("u1", PERIOD, [], hours).success_rate == 0.75


def test_br_ana_004_deleted_tasks_are_not_among_the_active_ones() -> None:
    tasks = [TaskCount("scheduled", "echo", False, 2), TaskCount("scheduled", "echo", True, 7)]
    found = task_analytics("u1", PERIOD, tasks, [])
    assert (found.active_tasks, found.total_tasks, found.deleted_tasks) == (2, 2, 7)


def test_br_ana_005_a_report_is_kept_for_five_minutes() -> None:
    """How it is kept is tested in tests/unit/api/test_analytics.py, and over HTTP in tests/integration/api."""
    assert ANALYTICS_KEPT_SECONDS == 300
