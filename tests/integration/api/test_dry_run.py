"""`?dry_run=true`: what would be, told and not done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from gnomon_api.identity import Caller
from gnomon_core.runtime.clock import SystemClock
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.creating import create as shard_create
from gnomon_schemas.headers import ADMIN_ROLE
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import Trigger
from tests.harness.fake_executor import announce_type
from tests.harness.waiting import until
from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, body, create, fresh_id, is_problem

DAILY = {"kind": "daily", "time": "09:00", "timezone": "Europe/Berlin"}
DRY = {"dry_run": "true"}
URL_SCHEMA = b'{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]}'


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def types(running: Running) -> None:
    """The task types that this module's bodies name."""
    services = running.api.services
    await announce_type(services.bus, "echo")
    await announce_type(services.bus, "fetch", schema=URL_SCHEMA, pool="net", timeout_seconds=7.0)
    await until(lambda: {"echo", "fetch"} <= services.cluster.known_types.keys())


async def dry(running: Running, method: str, path: str, **fields: Any) -> dict[str, Any]:
    """The answer to a dry run; nothing may have been sent."""
    before = len(running.responder.heard)
    response = await running.http.request(method, f"{API}{path}", params=DRY, **fields)
    assert response.status_code == 200, response.text
    assert len(running.responder.heard) == before
    answer: dict[str, Any] = response.json()
    assert answer["dry_run"] is True
    return answer


async def test_a_create_tells_the_task_and_its_fires_and_stores_nothing(running: Running) -> None:
    task_id = fresh_id("dry")
    answer = await dry(
        running,
        "POST",
        "/tasks",
        json=body(task_id=task_id, task_type="fetch", config={"url": "http://x"}, schedule=DAILY),
    )
    task, plan = answer["task"], answer["plan"]
    assert (task["task_id"], task["status"], task["version"], task["user_id"]) == (
        task_id,
        "scheduled",
        1,
        "local",
    )
    assert (task["resolved"]["pool"], task["resolved"]["timeout_seconds"]) == ("net", 7.0)
    assert task["next_run_time"] == plan["fires"][0]["at"]
    assert [fire["local"][11:16] for fire in plan["fires"]] == ["09:00"] * 5
    assert (plan["appear_count"], plan["disappear_count"]) == (7, 0)
    assert answer["changed_fields"] == ["name", "task_type", "config", "schedule"]
    is_problem(await running.http.get(f"{API}/tasks/{task_id}"), 404, "not_found")


async def test_paused_and_on_demand_tasks_fire_nothing(running: Running) -> None:
    paused = await dry(running, "POST", "/tasks", json=body(schedule=DAILY, paused=True))
    assert (paused["task"]["status"], paused["plan"]["fires"]) == ("paused", [])
    on_demand = await dry(running, "POST", "/tasks", json=body())
    assert on_demand["task"]["status"] == "pending"
    assert on_demand["plan"]["description"] == "Runs on demand only"


async def test_a_change_is_compared_with_what_is_stored(running: Running) -> None:
    task = await create(running, schedule=DAILY)
    path = f"/tasks/{task['task_id']}"
    for method in ("PATCH", "PUT"):
        answer = await dry(running, method, path, json={"schedule": {"time": "10:00"}, "priority": "high"})
        plan = answer["plan"]
        assert answer["changed_fields"] == ["schedule", "priority"]
        assert (answer["task"]["version"], answer["task"]["revision"]) == (2, 2)
        assert (plan["appear_count"], plan["disappear_count"]) == (7, 7)
        assert {fire["local"][11:16] for fire in plan["appear"]} == {"10:00"}
        assert {fire["local"][11:16] for fire in plan["disappear"]} == {"09:00"}
        assert plan["load"]["added_per_minute"] == 0.0
    read = (await running.http.get(f"{API}{path}")).json()
    assert (read["version"], read["schedule"]["time"], read["priority"]) == (1, "09:00", "medium")
    same = await dry(running, "PUT", path, json=read)
    assert (same["changed_fields"], same["task"]["version"]) == ([], 1)


async def test_a_plan_keeps_to_the_runs_that_are_left(running: Running) -> None:
    task = await create(running, schedule={**DAILY, "max_runs": 3})
    path = f"/tasks/{task['task_id']}"
    stored = running.responder.tasks[task["task_id"]]
    others: list[dict[str, Any]] = [{}, {"trigger": Trigger.MANUAL}, {"revision": 0}]
    for day, fields in enumerate(others):
        slot = f"2026-01-0{day + 1}T08:00:00.000Z"
        common = {"trigger": Trigger.SCHEDULE, "scheduled_for": slot, **fields}
        await running.responder.run_to_end(stored, f"2026010{day + 1}T080000Z", **common)
    await running.api.services.projection.reached(running.responder.last_seq, within=5)
    read = (await running.http.get(f"{API}{path}")).json()
    assert read["runs_left"] == 2
    assert len((await running.http.get(f"{API}{path}/next")).json()["fires"]) == 2
    paused = await dry(running, "PATCH", path, json={"status": "paused"})
    assert paused["plan"]["disappear_count"] == 2
    more = await dry(running, "PATCH", path, json={"schedule": {"max_runs": 5}})
    assert (more["task"]["runs_left"], more["plan"]["appear_count"]) == (5, 3)
    shown = {"schedule": {**DAILY, "max_runs": 2}, "count": 9}
    assert len((await running.http.post(f"{API}/schedules/preview", json=shown)).json()["fires"]) == 2


async def test_a_status_in_a_change_is_planned_too(running: Running) -> None:
    task = await create(running, schedule=DAILY)
    path = f"/tasks/{task['task_id']}"
    for status in ("paused", "cancelled", "completed"):
        answer = await dry(running, "PATCH", path, json={"status": status})
        assert (answer["task"]["status"], answer["task"]["next_run_time"]) == (status, None)
        assert (answer["plan"]["appear_count"], answer["plan"]["disappear_count"]) == (0, 7)
    await running.http.post(f"{API}{path}/pause")
    answer = await dry(running, "PATCH", path, json={"status": "scheduled", "name": "Again"})
    assert (answer["task"]["status"], answer["plan"]["appear_count"]) == ("scheduled", 7)
    assert set(answer["changed_fields"]) == {"name", "paused"}
    both = {"status": "completed", "schedule": {**DAILY, "time": "05:00"}}
    assert (await dry(running, "PATCH", path, json=both))["task"]["status"] == "completed"
    await running.http.post(f"{API}{path}/cancel")
    refused = await running.http.patch(f"{API}{path}", params=DRY, json={"status": "completed"})
    is_problem(refused, 409, "invalid_state")


async def test_the_version_is_checked_and_a_stranger_hears_not_found(running: Running) -> None:
    task = await create(running, schedule=DAILY)
    url = f"{API}/tasks/{task['task_id']}"
    stale = await running.http.patch(url, params=DRY, json={"name": "x"}, headers={"If-Match": '"9"'})
    is_problem(stale, 412, "version_mismatch")
    seen = await running.http.patch(url, params=DRY, json={"name": "x"}, headers={"If-Match": '"1"'})
    assert seen.status_code == 200
    is_problem(await running.http.patch(f"{API}/tasks/nobody", params=DRY, json={}), 404, "not_found")


async def test_a_create_of_an_id_that_is_there(running: Running) -> None:
    task_id = fresh_id("there")
    await create(running, task_id=task_id, schedule=DAILY)
    again = await dry(running, "POST", "/tasks", json=body(task_id=task_id, schedule=DAILY))
    assert (again["changed_fields"], again["plan"]["appear_count"]) == ([], 0)
    other = body(task_id=task_id, name="Other")
    is_problem(await running.http.post(f"{API}/tasks", params=DRY, json=other), 409, "already_exists")
    await running.http.delete(f"{API}/tasks/{task_id}")
    is_problem(await running.http.post(f"{API}/tasks", params=DRY, json=other), 409, "deleted")


BAD: list[dict[str, Any]] = [
    {"task_type": "ecko"},
    {"task_type": "fetch", "config": {"url": 1}},
    {"task_type": "fetch"},
    {"nmae": 1, "priority": "soon", "tags": [""]},
    {"schedule": {"kind": "cron", "expression": "0 0 31 2 *"}},
    {"schedule": {"kind": "weekly", "time": "09:00", "days": []}},
    {"schedule": {**DAILY, "start_at": "2030-01-02T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"}},
    {"schedule": {"kind": "interval", "every_seconds": 0.5}},
    {"schedule": {"kind": "once", "at": "2001-01-01T00:00:00Z"}},
    {"schedule": {**DAILY, "end_at": "2001-01-01T00:00:00Z"}},
    {"schedule": {"kind": "interval", "every_seconds": 1, "jitter_seconds": 3600}},
]


@pytest.mark.parametrize("fields", BAD, ids=[str(each)[:60] for each in BAD])
async def test_what_the_shard_would_refuse_is_refused_with_the_same_words(
    running: Running, fields: dict[str, Any]
) -> None:
    before = len(running.responder.heard)
    wanted = body(task_id=fresh_id("bad"), **fields)
    response = await running.http.post(f"{API}/tasks", params=DRY, json=wanted)
    told = is_problem(response, response.status_code, response.json()["code"])
    with pytest.raises(Refused) as refusal:
        shard_create(None, _command(wanted), _around(running))
    expected = msgspec.json.decode(msgspec.json.encode(refusal.value.problem))
    assert _without_instants(told) == _without_instants(expected)
    assert told["errors"], "a refusal names the field"
    assert len(running.responder.heard) == before


async def test_a_change_is_refused_as_a_real_one(running: Running) -> None:
    task = await create(running, task_type="fetch", config={"url": "http://x"}, schedule=DAILY)
    url = f"{API}/tasks/{task['task_id']}"

    async def refused(change: dict[str, Any], status: int, code: str) -> str:
        response: httpx.Response = await running.http.patch(url, params=DRY, json=change)
        found = is_problem(response, status, code)
        return str(found["errors"][0]["pointer"]) if found.get("errors") else ""

    assert await refused({"config": {"url": 5}}, 422, "invalid_config") == "#/config/url"
    assert await refused({"task_type": "echo"}, 422, "invalid") == "#/task_type"
    assert await refused({"schedule": {"time": "9"}}, 422, "invalid_schedule") == "#/schedule/time"
    await running.http.post(f"{url}/cancel")
    assert await refused({"name": "x"}, 409, "invalid_state") == ""
    response = await running.http.patch(url, params={"dry_run": "perhaps"}, json={})
    assert is_problem(response, 422, "invalid")["errors"][0]["pointer"] == "#/dry_run"


async def test_the_price_of_a_task_of_a_template_is_an_admins_to_change(running: Running) -> None:
    """Asked below HTTP, where every caller is an admin as long as nobody is told apart."""
    task = await create(running, template_id="weather", credits_per_run=2)
    planner, free = running.api.services.planner, b'{"credits_per_run": 0}'
    owner = Caller(user_id=task["user_id"], roles=frozenset())
    with pytest.raises(Refused) as caught:
        await planner.change(task["task_id"], free, None, owner)
    problem = caught.value.problem
    assert (problem.code, problem.errors[0].pointer) == (Code.FORBIDDEN, "#/credits_per_run")
    renamed = await planner.change(task["task_id"], b'{"name": "Mine", "credits_per_run": 2}', None, owner)
    assert renamed.changed_fields == ("name",)
    admin = Caller(user_id="admin", roles=frozenset({ADMIN_ROLE}))
    assert (await planner.change(task["task_id"], free, None, admin)).task.credits_per_run == 0


def _command(wanted: dict[str, Any]) -> Command:
    return Command(
        kind="task",
        verb="create",
        object_id=wanted["task_id"],
        command_id="c",
        user="local",
        admin=True,
        if_match=None,
        data=msgspec.json.encode(wanted),
        seq=1,
    )


def _around(running: Running) -> Surroundings:
    return Surroundings(
        now_ms=SystemClock().now_ms(),
        partition=0,
        types=running.api.services.cluster.known_types,
        default_timezone="UTC",
        fingerprint="f",
        cancel_grace_ms=1000,
    )


def _without_instants(problem: dict[str, Any]) -> dict[str, Any]:
    """A problem without its trace, and without the second at which it was made."""
    year = str(datetime.now(UTC).year)
    kept = {name: value for name, value in problem.items() if name != "trace_id"}
    for error in kept.get("errors", ()):
        if year in error["message"]:
            error["message"] = error["message"].partition(year)[0]
            kept["detail"] = kept["detail"].partition(year)[0]
    return kept
