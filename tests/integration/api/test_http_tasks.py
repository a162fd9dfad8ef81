"""Tasks over HTTP: what a caller sends becomes a command, what the shard says the response."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest

from gnomon_schemas import headers as h
from tests.integration.api.conftest import Running

API = "/api/v1"
_numbers = itertools.count()


def body(**fields: Any) -> dict[str, Any]:
    return {"name": "Report", "task_type": "echo", **fields}


def fresh_id(word: str = "t") -> str:
    return f"{word}-{next(_numbers)}"


async def create(running: Running, **fields: Any) -> dict[str, Any]:
    response = await running.http.post(f"{API}/tasks", json=body(**fields))
    assert response.status_code == 201, response.text
    task: dict[str, Any] = response.json()
    return task


def is_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"urn:gnomon:problem:{code}"
    assert len(problem["trace_id"]) == 32
    return problem


async def test_a_created_task_is_read_at_once(running: Running) -> None:
    response = await running.http.post(
        f"{API}/tasks", json=body(schedule={"kind": "interval", "minutes": 5}, metadata={"team": "blue"})
    )
    assert response.status_code == 201
    task = response.json()
    assert response.headers["location"] == f"{API}/tasks/{task['task_id']}"
    assert response.headers["etag"] == '"1"'
    read = await running.http.get(response.headers["location"])
    assert read.status_code == 200
    assert read.json()["name"] == "Report"
    assert read.json()["status"] == "scheduled"
    assert read.json()["next_run_time"] is not None
    assert read.json()["user_id"] == "local"
    assert read.headers["etag"] == '"1"'


async def test_the_user_is_the_header_and_goes_out_with_the_command(running: Running) -> None:
    response = await running.http.post(f"{API}/tasks", json=body(), headers=[(b"X-User-Id", "Zoë".encode())])
    assert response.json()["user_id"] == "Zoë"
    _, _, headers = running.responder.heard[-1]
    assert headers[h.USER] == "Zoë"
    assert headers[h.ROLES] == "admin"
    assert headers[h.REPLY_TO].startswith("_INBOX.")


async def test_a_trace_goes_on_from_request_to_command_and_history(running: Running) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    await running.http.post(
        f"{API}/tasks", json=body(), headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    )
    _, task_id, headers = running.responder.heard[-1]
    assert headers[h.TRACEPARENT].split("-")[1] == trace
    found = await running.api.services.database.fetchrow(
        "select trace_id from task_history where task_id = $1", task_id
    )
    assert found is not None
    assert found["trace_id"] == trace


async def test_a_caller_may_choose_the_id(running: Running) -> None:
    task_id = fresh_id("mine")
    assert (await create(running, task_id=task_id))["task_id"] == task_id


@pytest.mark.parametrize(
    "task_id", ["a.b", "*", ">", "a b", "x" * 65, "analytics", "bulk", "_x", "", "a\n", "ä"]
)
async def test_hostile_ids_are_refused_before_anything_is_published(running: Running, task_id: str) -> None:
    before = len(running.responder.heard)
    response = await running.http.post(f"{API}/tasks", json=body(task_id=task_id))
    problem = is_problem(response, 422, "invalid_id")
    assert problem["errors"][0]["pointer"] == "#/task_id"
    if task_id:
        for verb, path in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/pause"),
            ("POST", "/execute"),
        ):
            if task_id == "analytics" and not path:
                continue  # the address of the report, which is no task's
            url = f"{API}/tasks/{quote(task_id, safe='')}{path}"
            response = await running.http.request(verb, url, json={} if verb != "GET" else None)
            is_problem(response, 422, "invalid_id")
    assert len(running.responder.heard) == before


@pytest.mark.parametrize("given", [7, True, [], {}, 1.5, "a.b"])
@pytest.mark.parametrize("kind", ["task", "template", "calendar"])
async def test_an_id_is_text_and_what_is_none_is_named(running: Running, kind: str, given: object) -> None:
    """A number was taken for its digits."""
    spec: dict[str, Any] = {
        "task": body(),
        "template": {"name": "n", "task_type": "echo"},
        "calendar": {"name": "n", "selector": {"tags": ["x"]}, "action": "skip"},
    }[kind]
    before = len(running.responder.heard)
    response = await running.http.post(f"{API}/{kind}s", json={**spec, f"{kind}_id": given})
    problem = is_problem(response, 422, "invalid_id")
    assert [error["pointer"] for error in problem["errors"]] == [f"#/{kind}_id"]
    assert len(running.responder.heard) == before


@pytest.mark.parametrize(
    "path",
    ["/tasks/analytics", "/task-types", "/executions/t.r-1", "/account", "/account/entries", "/accounts"],
)
async def test_a_parameter_that_is_not_known_is_named(running: Running, path: str) -> None:
    problem = is_problem(await running.http.get(f"{API}{path}?dayz=3"), 422, "unknown_field")
    assert [error["pointer"] for error in problem["errors"]] == ["#/dayz"]


async def test_every_fault_of_a_body_is_told(running: Running) -> None:
    before = len(running.responder.heard)
    response = await running.http.post(
        f"{API}/tasks",
        json=body(
            nmae="x",
            priority="soon",
            schedule={"kind": "cron", "expression": "61 * * * *", "timezone": "Mars/Base"},
            tags=[""],
        ),
    )
    problem = is_problem(response, 422, "invalid")
    assert {error["pointer"] for error in problem["errors"]} == {
        "#/nmae",
        "#/priority",
        "#/schedule/expression",
        "#/schedule/timezone",
        "#/tags/0",
    }
    assert len(running.responder.heard) == before


async def test_a_body_that_is_not_json_is_400_and_one_that_is_too_large_413(running: Running) -> None:
    is_problem(await running.http.post(f"{API}/tasks", content=b"{"), 400, "not_json")
    is_problem(await running.http.post(f"{API}/tasks", content=b'"\xff"'), 400, "not_json")
    is_problem(
        await running.http.post(f"{API}/tasks", json=body(config={"a": "x" * 300_000})), 413, "too_large"
    )
    is_problem(await running.http.post(f"{API}/tasks", content=b"x" * 950_000), 413, "too_large")
    is_problem(await running.http.post(f"{API}/tasks", content=b"x" * 5_000_000), 413, "too_large")


async def test_a_refusal_of_the_shard_is_the_response_and_is_kept_under_the_command(running: Running) -> None:
    response = await running.http.post(f"{API}/tasks/nobody/pause")
    is_problem(response, 404, "not_found")
    command_id = running.responder.heard[-1][2][h.MSG_ID]
    await running.api.services.projection.reached(running.responder.last_seq, within=5)
    told = (await running.http.get(f"{API}/commands/{command_id}")).json()
    assert (told["status"], told["event"], told["error"]["code"]) == ("refused", "rejected", "not_found")


async def test_patch_and_put_merge_and_versions_are_checked(running: Running) -> None:
    task = await create(running, tags=["a"], metadata={"x": 1})
    path = f"{API}/tasks/{task['task_id']}"
    changed = await running.http.patch(path, json={"name": "New"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["name"], changed.json()["tags"]) == (200, "New", ["a"])
    assert changed.headers["etag"] == '"2"'
    is_problem(
        await running.http.patch(path, json={"name": "Late"}, headers={"If-Match": '"1"'}),
        412,
        "version_mismatch",
    )
    put = await running.http.put(path, json={"metadata": {"y": 2}})
    assert put.json()["metadata"] == {"x": 1, "y": 2}
    assert (await running.http.get(path)).json()["version"] == 3


async def test_a_read_may_be_sent_back_and_changes_nothing(running: Running) -> None:
    task = await create(running, schedule={"kind": "cron", "expression": "0 9 * * *"})
    path = f"{API}/tasks/{task['task_id']}"
    read = (await running.http.get(path)).json()
    put = await running.http.put(path, json=read)
    assert (put.status_code, put.json()["version"]) == (200, 1)


async def test_executions_are_listed_of_tasks_that_there_are_or_were(running: Running) -> None:
    task = await create(running)
    address = f"{API}/tasks/{task['task_id']}"
    assert (await running.http.get(f"{address}/executions")).json()["items"] == []
    assert (await running.http.delete(address)).status_code == 204
    assert (await running.http.get(f"{address}/executions")).status_code == 200
    is_problem(await running.http.get(f"{API}/tasks/never-was/executions"), 404, "not_found")


async def test_a_status_in_a_patch_goes_with_the_other_fields(running: Running) -> None:
    task = await create(running, schedule={"kind": "interval", "hours": 1})
    path = f"{API}/tasks/{task['task_id']}"
    paused = await running.http.patch(path, json={"status": "paused", "name": "Both"})
    assert (paused.json()["status"], paused.json()["name"]) == ("paused", "Both")
    assert [verb for verb, *_ in running.responder.heard[-2:]] == ["create", "update"]
    assert (await running.http.get(path)).json()["next_run_time"] is None
    resumed = await running.http.put(path, json={"status": "scheduled"})
    assert resumed.json()["status"] == "scheduled"
    assert running.responder.heard[-1][0] == "update"
    assert (await running.http.put(path, json={"status": "cancelled"})).json()["status"] == "cancelled"
    is_problem(await running.http.put(path, json={"status": "completed"}), 409, "invalid_state")
    for status in ("failed", "sleeping"):
        problem = is_problem(await running.http.put(path, json={"status": status}), 422, "invalid")
        assert problem["errors"][0]["pointer"] == "#/status"


async def test_a_task_is_called_done_and_an_execution_repeated(running: Running) -> None:
    task = await create(running, schedule={"kind": "interval", "hours": 1})
    path = f"{API}/tasks/{task['task_id']}"
    first = (await running.http.post(f"{path}/execute")).json()["execution_id"]
    repeated = await running.http.post(f"{API}/executions/{first}/retry")
    assert repeated.status_code == 202, repeated.text
    execution = repeated.json()
    assert (execution["trigger"], execution["retry_of"]) == ("retry", first)
    assert repeated.headers["location"] == f"{API}/executions/{execution['execution_id']}"
    is_problem(await running.http.post(f"{API}/executions/t.nothing/retry"), 422, "invalid")
    is_problem(
        await running.http.post(f"{API}/executions/{first}/retry", json={"x": 1}), 422, "unknown_field"
    )
    done = await running.http.post(f"{path}/complete", json={"note": "over"})
    assert (done.status_code, done.json()["status"]) == (200, "completed")
    other = await create(running, schedule={"kind": "interval", "hours": 1})
    put = await running.http.put(f"{API}/tasks/{other['task_id']}", json={"status": "completed"})
    assert put.json()["status"] == "completed"


async def test_pause_resume_cancel_and_delete(running: Running) -> None:
    task = await create(running, schedule={"kind": "interval", "hours": 1})
    path = f"{API}/tasks/{task['task_id']}"
    assert (await running.http.post(f"{path}/pause", json={"note": "x"})).json()["status"] == "paused"
    assert (await running.http.post(f"{path}/resume")).json()["status"] == "scheduled"
    is_problem(await running.http.post(f"{path}/pause", json={"nope": 1}), 422, "unknown_field")
    assert (await running.http.post(f"{path}/cancel")).json()["status"] == "cancelled"
    gone = await running.http.delete(path)
    assert (gone.status_code, gone.content) == (204, b"")
    is_problem(await running.http.get(path), 404, "not_found")


async def test_what_does_not_exist_and_what_is_not_allowed_are_problems_too(running: Running) -> None:
    is_problem(await running.http.get("/nowhere"), 404, "not_found")
    is_problem(await running.http.get(f"{API}/tasks/nobody"), 404, "not_found")
    response = await running.http.delete(f"{API}/tasks")
    is_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    is_problem(await running.http.get(f"{API}/commands/none"), 404, "not_found")
    is_problem(await running.http.get(f"{API}/tasks", headers={"X-User-Id": "a" * 256}), 422, "invalid_id")


async def test_an_unforeseen_fault_tells_its_trace_and_nothing_else(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(type(running.api.services.tasks), "list", broken)
    problem = is_problem(await running.http.get(f"{API}/tasks"), 500, "internal")
    assert "secret" not in str(problem)


async def test_next_and_preview(running: Running) -> None:
    task = await create(running, schedule={"kind": "interval", "hours": 1})
    found = await running.http.get(f"{API}/tasks/{task['task_id']}/next", params={"count": "3"})
    assert len(found.json()["fires"]) == 3
    assert found.json()["fires"][0]["at"] == task["next_run_time"] or task["next_run_time"] is None
    on_demand = await create(running)
    assert (await running.http.get(f"{API}/tasks/{on_demand['task_id']}/next")).json()["fires"] == []
    is_problem(
        await running.http.get(f"{API}/tasks/{task['task_id']}/next", params={"count": "x"}), 422, "invalid"
    )
    shown = await running.http.post(
        f"{API}/schedules/preview",
        json={
            "schedule": {"kind": "cron", "expression": "30 2 * * *", "timezone": "Europe/Berlin"},
            "after": "2026-03-27T12:00:00Z",
            "until": "2026-03-31T00:00:00Z",
        },
    )
    assert shown.status_code == 200
    fires = shown.json()["fires"]
    assert [fire["note"] for fire in fires] == [None, "dst_gap", None]
    assert fires[1]["local"] == "2026-03-29T03:00:00+02:00"
    bad = await running.http.post(
        f"{API}/schedules/preview",
        json={"schedule": {"kind": "cron", "expression": "x"}, "count": 0, "after": "soon"},
    )
    assert {error["pointer"] for error in is_problem(bad, 422, "invalid")["errors"]} == {
        "#/schedule/expression",
        "#/count",
        "#/after",
    }


async def test_every_kind_of_schedule_is_taken_and_told_in_its_stored_form(running: Running) -> None:
    weekly = {"kind": "weekly", "time": "02:30", "days": [0, "FRI"], "dst": {"gap": "shift"}}
    monthly = {"kind": "monthly", "time": "18:00", "day": -1, "timezone": "UTC"}
    task = await create(
        running,
        schedule={"kind": "any_of", "timezone": "Europe/Berlin", "schedules": [weekly, monthly]},
    )
    assert task["status"] == "scheduled"
    assert task["schedule"]["schedules"] == [
        {
            "kind": "weekly",
            "time": "02:30",
            "days": ["mon", "fri"],
            "timezone": "Europe/Berlin",
            "dst": {"gap": "shift", "overlap": "first"},
        },
        monthly,
    ]
    shown = await running.http.post(
        f"{API}/schedules/preview",
        json={
            "schedule": {
                "kind": "daily",
                "time": "02:30",
                "timezone": "Europe/Berlin",
                "dst": {"gap": "skip"},
            },
            "after": "2026-03-27T12:00:00Z",
            "until": "2026-03-31T00:00:00Z",
        },
    )
    assert [fire["at"] for fire in shown.json()["fires"]] == [
        "2026-03-28T01:30:00.000Z",
        "2026-03-30T00:30:00.000Z",
    ]
    weekly["days"] = []
    bad = await running.http.post(
        f"{API}/tasks",
        json={
            "name": "x",
            "task_type": "echo",
            "schedule": {"kind": "any_of", "schedules": [monthly, weekly]},
        },
    )
    errors = is_problem(bad, 422, "invalid_schedule")["errors"]
    assert [error["pointer"] for error in errors] == ["#/schedule/schedules/1/days"]


async def test_days_without_slots_are_stored_told_and_left_out(running: Running) -> None:
    """Christmas is a holiday, the 2nd of January is a Saturday, and the span holds what is left between."""
    schedule = {
        "kind": "daily",
        "time": "09:00",
        "timezone": "Europe/Berlin",
        "exclude": {
            "holidays": "DE",
            "weekdays": [5, 6],
            "ranges": [{"from": "2026-12-28", "to": "2027-01-04"}],
        },
    }
    task = await create(running, schedule=schedule)
    listed = ["sat", "sun", {"from": "2026-12-28", "to": "2027-01-04"}, {"holidays": "DE"}]
    assert task["schedule"]["exclude"] == listed
    asked = {"schedule": task["schedule"], "after": "2026-12-23T12:00:00Z", "count": 2}
    shown = (await running.http.post(f"{API}/schedules/preview", json=asked)).json()
    assert [fire["local"] for fire in shown["fires"]] == [
        "2026-12-24T09:00:00+01:00",
        "2027-01-04T09:00:00+01:00",
    ]
    assert "holidays" in shown["description"]
    patched = await running.http.patch(
        f"{API}/tasks/{task['task_id']}", json={"schedule": {"exclude": ["2026-12-24"]}}
    )
    assert patched.json()["schedule"] == {**schedule, "exclude": ["2026-12-24"]}
    assert patched.json()["version"] == 2
    for exclude, pointer in (
        ([{"holidays": "DE-XX"}], "#/schedule/exclude/0/holidays"),
        (["2026-02-30"], "#/schedule/exclude/0"),
        (["2026-12-24"] * 1001, "#/schedule/exclude"),
    ):
        bad = {"name": "x", "task_type": "echo", "schedule": {**schedule, "exclude": exclude}}
        errors = is_problem(await running.http.post(f"{API}/tasks", json=bad), 422, "invalid_schedule")[
            "errors"
        ]
        assert [error["pointer"] for error in errors] == [pointer]


async def test_execute_answers_with_the_execution(running: Running) -> None:
    task = await create(running)
    path = f"{API}/tasks/{task['task_id']}"
    response = await running.http.post(f"{path}/execute", json={"trigger_data": {"x": 1.50}})
    assert response.status_code == 202
    execution = response.json()
    assert (execution["status"], execution["trigger"]) == ("queued", "manual")
    assert execution["trigger_data"] == {"x": 1.5}
    assert response.headers["location"] == f"{API}/executions/{execution['execution_id']}"
    read = await running.http.get(response.headers["location"])
    assert read.json() == execution
    listed = await running.http.get(f"{path}/executions", params={"status": "queued"})
    assert [one["run"] for one in listed.json()["items"]] == [execution["run"]]
    assert (await running.http.get(path)).json()["status"] == "running"
    cancelled = await running.http.post(f"{response.headers['location']}/cancel", json={"reason": "enough"})
    assert cancelled.status_code == 202
    assert (cancelled.json()["status"], cancelled.json()["reason"]) == ("skipped", "cancelled")


async def test_a_database_that_hangs_does_not_hold_up_a_run(running: Running, postgres_url: str) -> None:
    """What is decided is answered from its events; statements as such may take ten seconds."""
    task = await create(running)
    holder = await asyncpg.connect(postgres_url)
    try:
        async with holder.transaction(), asyncio.timeout(8):
            await holder.execute("lock table executions in access exclusive mode")
            response = await running.http.post(f"{API}/tasks/{task['task_id']}/execute")
    finally:
        await holder.close()
    assert response.status_code == 202, response.text
    assert response.json()["execution_id"].startswith(f"{task['task_id']}.r-")


@pytest.mark.parametrize("prefer", [False, True])
async def test_execute_waits_for_the_end(running: Running, prefer: bool) -> None:
    task_id = (await create(running))["task_id"]
    heard = len(running.responder.heard)

    async def act() -> None:
        while len(running.responder.heard) == heard:
            running.responder.arrived.clear()
            await running.responder.arrived.wait()
        command_id = running.responder.heard[-1][2][h.MSG_ID]
        await running.responder.run_to_end(running.responder.tasks[task_id], f"r-{command_id}")

    acting = asyncio.create_task(act())
    response = await running.http.post(
        f"{API}/tasks/{task_id}/execute",
        params={} if prefer else {"wait": "10"},
        headers={"Prefer": "wait=10"} if prefer else {},
    )
    await acting
    assert response.status_code == 200, response.text
    assert response.headers["preference-applied"] == "wait=10"
    execution = response.json()
    assert (execution["status"], execution["result"]) == ("completed", {"said": "hello"})
    task = (await running.http.get(f"{API}/tasks/{task_id}")).json()
    assert (task["run_count"], task["success_count"], task["success_rate"]) == (1, 1, 1.0)
    assert task["average_duration_ms"] == execution["duration_ms"]
    assert task["last_execution"]["status"] == "completed"
    assert (task["last_execution"]["result"], task["last_execution"]["error"]) == ({"said": "hello"}, None)
    assert task["running"] == []


async def test_a_wait_that_is_over_answers_202_with_the_execution_as_it_is(running: Running) -> None:
    task_id = (await create(running))["task_id"]
    response = await running.http.post(f"{API}/tasks/{task_id}/execute", params={"wait": "0.1"})
    assert (response.status_code, response.json()["status"]) == (202, "queued")
    is_problem(
        await running.http.post(f"{API}/tasks/{task_id}/execute", params={"wait": "soon"}), 422, "invalid"
    )


async def test_pages_and_documents_are_served(running: Running) -> None:
    await create(running, name="<script>alert(1)</script>")
    page = await running.http.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script>alert(1)" not in page.text
    assert "http://" not in page.text
    assert "https://" not in page.text
    bare = await running.http.get("/", params={"bare": "true"})
    assert "&lt;script&gt;alert(1)" in bare.text, "the same tables"
    assert len(bare.text) < len(page.text) / 2
    is_problem(await running.http.get("/", params={"bare": "1"}), 422, "invalid")
    docs = await running.http.get("/docs")
    assert "Create a task" in docs.text
    document = (await running.http.get("/openapi.json")).json()
    assert "/api/v1/tasks/{task_id}" in document["paths"]
    for path in ("/livez", "/readyz", "/health"):
        assert (await running.http.get(path)).status_code == 200
    for path in ("/", "/livez", "/readyz", "/health", "/metrics", "/openapi.json", "/docs"):
        head = await running.http.head(path)  # as probes and `curl -I` ask
        assert (head.status_code, head.content) == (200, b"")
    assert (await running.http.head("/nothing")).status_code == 404
    assert "gnomon_projected_events_total" in (await running.http.get("/metrics")).text
    for path in ("/scheduler", "/executors", "/task-types"):
        assert (await running.http.get(f"{API}{path}")).status_code == 200


async def test_types_without_work_are_listed_where_no_executor_runs(running: Running) -> None:
    """And a task of one can be made there; one of a type that nobody announces cannot."""
    listed = (await running.http.get(f"{API}/task-types")).json()["items"]
    found = {one["name"]: one for one in listed}
    assert {"todo", "reminder", "calendar_event"} <= found.keys()
    for name in ("todo", "reminder", "calendar_event"):
        assert found[name]["live"], "its shard tells it"
        assert (found[name]["isolation"], found[name]["config_schema"]["type"]) == ("none", "object")
    assert (await running.http.get(f"{API}/executors")).json()["items"] == []
    assert (await create(running, task_type="todo", schedule=None))["task_type"] == "todo"


async def test_a_page_from_elsewhere_may_change_nothing(running: Running) -> None:
    """A browser sends a body of text to any address without asking first."""
    here = running.http.base_url.netloc.decode()
    elsewhere: tuple[dict[str, str], ...] = (
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
        {"Origin": ""},
    )
    for headers in elsewhere:
        text = {**headers, "Content-Type": "text/plain"}
        made = await running.http.post(f"{API}/tasks", json=body(task_id="of-elsewhere"), headers=text)
        is_problem(made, 403, "forbidden")
        assert (await running.http.get(f"{API}/tasks/of-elsewhere", headers=headers)).status_code == 404
    for headers in (
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://before-the-proxy.example"},
        {"Origin": f"http://{here}"},
        {"Origin": "https://gnomon.example", "X-Forwarded-Host": "gnomon.example"},
    ):
        made = await running.http.post(f"{API}/tasks", json=body(), headers=headers)
        assert made.status_code == 201, made.text
