"""Analytics over HTTP: what events tell, summed up per user and for the platform, and kept for five minutes."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gnomon_schemas.clock_text import slot_run
from gnomon_schemas.problems import Code
from tests.integration.api.conftest import Running
from tests.integration.api.stories import Story, a_task
from tests.integration.api.test_explain import store

API = "/api/v1"
FRESH = {"Cache-Control": "no-cache"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(running: Running, path: str, user: str = "asker", **params: Any) -> dict[str, Any]:
    response = await running.http.get(f"{API}{path}", params=params, headers={"X-User-Id": user, **FRESH})
    assert response.status_code == 200, response.text
    assert response.headers["Age"] == "0"
    found: dict[str, Any] = response.json()
    return found


def an_hour_ago() -> int:
    return (int(time.time()) - 3600) * 1000


async def test_br_ana_001_to_004_a_report_is_of_one_user_and_of_30_days(running: Running) -> None:
    story = Story(at_ms=an_hour_ago())
    one, two = (a_task(f"ana-{name}", user_id="ana", at_ms=story.now_ms) for name in ("one", "two"))
    gone = a_task("ana-gone", user_id="ana", task_type="sleep", at_ms=story.now_ms)
    for task in (one, two, gone):
        story.created(task, command_id=f"c-{task.task_id}")
    story.deleted(gone)
    story.status_changed(two, "scheduled", "paused")
    slot = story.now_ms // 60_000 * 60
    for number, status in enumerate(("completed", "completed", "failed", "cancelled")):
        run = slot_run(slot + 60 * number)
        story.started(one, run)
        story.executed(one, run, status=status)
    twice = slot_run(slot)
    story.executed(one, twice, status="failed")  # a second ending: counted by nobody
    story.skipped(one, slot_run(slot + 600))
    story.started(one, "r-again")
    story.retrying(one, "r-again")
    story.started(one, "r-again", 2)
    story.executed(one, "r-again", 2, status="timed_out", duration_ms=3000)
    await store(running, story)

    found = await ask(running, "/tasks/analytics", "ana", timezone="Asia/Tokyo")
    assert (found["user_id"], found["time_period"]["days"], found["time_period"]["timezone"]) == (
        "ana",
        30,
        "Asia/Tokyo",
    )
    told = {
        name: found[name] for name in found if name not in ("time_period", "busiest_hours", "busiest_days")
    }
    assert told == {
        "user_id": "ana",
        "total_tasks": 2,
        "active_tasks": 1,
        "completed_tasks": 0,
        "failed_tasks": 0,
        "paused_tasks": 1,
        "deleted_tasks": 1,
        "total_executions": 5,
        "successful_executions": 2,
        "failed_executions": 2,
        "cancelled_executions": 1,
        "success_rate": 0.5,
        "average_execution_seconds": 1.4,
        "total_credits_consumed": 2.5,
        "total_tokens_used": 35,
        "total_api_calls": 10,
        "task_types_distribution": {"echo": 2},
    }
    assert sum(one["executions"] for one in found["busiest_hours"]) == 5
    tokyo = time.gmtime(story.now_ms / 1000 + 9 * 3600)
    assert found["busiest_hours"][0]["hour"] in (tokyo.tm_hour, (tokyo.tm_hour - 1) % 24)
    other = await ask(running, "/tasks/analytics", "somebody-else")
    assert (other["total_tasks"], other["total_executions"], other["success_rate"]) == (0, 0, None)
    assert (await ask(running, "/tasks/analytics", "an-admin", user_id="ana"))["total_executions"] == 5


async def test_br_ana_005_a_report_is_kept_and_says_how_old_it_is(running: Running) -> None:
    headers = {"X-User-Id": "keeper"}
    first = await running.http.get(f"{API}/tasks/analytics", headers=headers)
    story = Story(at_ms=an_hour_ago())
    story.created(a_task("keeper-one", user_id="keeper"), command_id="c-keeper-one")
    await store(running, story)
    again = await running.http.get(f"{API}/tasks/analytics", headers=headers)
    assert (first.headers["Age"], again.json()) == ("0", first.json())
    assert 0 <= int(again.headers["Age"]) <= 300
    assert again.headers["Cache-Control"] == "private, max-age=300"
    fresh = await running.http.get(f"{API}/tasks/analytics", headers={**headers, **FRESH})
    assert (first.json()["total_tasks"], fresh.json()["total_tasks"]) == (0, 1)


async def test_what_the_platform_did(running: Running) -> None:
    before = await ask(running, "/analytics/platform")
    story = Story(at_ms=an_hour_ago())
    by_template = a_task("plat-one", user_id="plat", template_id="daily-news", at_ms=story.now_ms)
    story.created(by_template, command_id="c-plat-one")
    refused = a_task("plat-two", user_id="plat")
    story.rejected(refused, command_id="c-plat-two", code=Code.INVALID, verb="create")
    slot = slot_run(story.now_ms // 60_000 * 60)
    story.started(by_template, slot)
    story.executed(by_template, slot)
    story.missed_span(by_template, 12)
    await store(running, story)
    found = await ask(running, "/analytics/platform")
    assert found["missed_slots"] == before["missed_slots"] + 12
    assert found["on_time_share"] < 1
    assert found["total_executions"] == before["total_executions"] + 1
    assert found["users"] == before["users"] + 1
    assert 0 < found["creation_success_rate"] < 1
    assert 0 < found["template_usage"] < 1
    assert found["on_time_share"] is not None
    assert found["start_latency"]["p50_ms"] > 0
    assert found["storage_bytes"] > 100_000
    assert found["tasks_per_user"] >= 1
    assert found["types"][0]["task_type"] == "echo"
    ran = {one["day"]: one["tasks"] for one in found["daily_active_tasks"]}
    ran_before = {one["day"]: one["tasks"] for one in before["daily_active_tasks"]}
    assert sum(ran.values()) == sum(ran_before.values()) + 1


@pytest.mark.parametrize("path", ["/tasks/analytics", "/analytics/platform"])
@pytest.mark.parametrize(
    ("params", "pointers"),
    [
        ({"days": "0"}, ["#/days"]),
        ({"days": "367", "timezone": "Europe/Berln"}, ["#/days", "#/timezone"]),
        ({"days": "a few"}, ["#/days"]),
    ],
)
async def test_what_cannot_be_told_is_refused(
    running: Running, path: str, params: dict[str, str], pointers: list[str]
) -> None:
    response = await running.http.get(f"{API}{path}", params=params)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == pointers
