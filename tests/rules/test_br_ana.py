"""Rules of analytics, each tested under its number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gnomon_api.analytics import HourSums, TaskAnalytics, TaskCount, period_of, task_analytics
from gnomon_api.analytics_queries import KeptReports
from gnomon_api.readmodels.rollups import Rollups
from gnomon_core.runtime.clock import ManualClock
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


def test_br_ana_003_the_success_rate_is_successes_by_all_that_succeeded_or_failed() -> None:
    hours = [HourSums(NOON, "echo", **{**_NOTHING, "completed": 3, "failed": 1, "cancelled": 5})]
    assert task_analytics("u1", PERIOD, [], hours).success_rate == 0.75


def test_br_ana_004_deleted_tasks_are_not_among_the_active_ones() -> None:
    tasks = [TaskCount("scheduled", "echo", False, 2), TaskCount("scheduled", "echo", True, 7)]
    found = task_analytics("u1", PERIOD, tasks, [])
    assert (found.active_tasks, found.total_tasks, found.deleted_tasks) == (2, 2, 7)


async def test_br_ana_005_a_report_is_made_once_in_five_minutes() -> None:
    """And says how old it is; who will not have an old one has one made."""
    clock, made = ManualClock(), 0
    kept = KeptReports(clock)

    async def make() -> TaskAnalytics:
        nonlocal made
        made += 1
        return task_analytics(f"{made}", PERIOD, [], [])

    assert (await kept.get(("u1",), make)).age == 0
    clock.advance(299)
    again = await kept.get(("u1",), make)
    assert (again.age, made) == (299, 1)
    assert (await kept.get(("u2",), make)).age == 0
    clock.advance(1)
    assert (await kept.get(("u1",), make)).age == 0
    assert made == 3
    assert (await kept.get(("u1",), make, fresh=True)).age == 0
    assert made == 4
