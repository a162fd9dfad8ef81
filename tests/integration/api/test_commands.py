"""Commands whose answers get lost, callers who repeat themselves, and a broker or a shard that is away."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from gnomon_api.bootstrap import build
from gnomon_api.commander import RESEND_SECONDS
from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.clock import ManualClock, SystemClock
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas import headers as h
from gnomon_schemas.subjects import COMMANDS_STREAM
from tests.integration.api.conftest import Running, settings_for
from tests.integration.api.test_http_tasks import API, body, fresh_id, is_problem


async def test_failure_12_a_lost_outcome_is_asked_for_again_and_answered(running: Running) -> None:
    """Reply lost, caller retries: the retry reaches the shard, past the broker's duplicate window."""
    running.responder.lose = 1
    before = len(running.responder.heard)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    response = await running.http.post(f"{API}/tasks", json=body())
    assert response.status_code in (200, 201), response.text
    assert loop.time() - begun >= RESEND_SECONDS
    copies = running.responder.heard[before:]
    assert len(copies) == 2
    assert copies[0][2][h.MSG_ID] == copies[1][2][h.MSG_ID]
    # Both copies are stored: the second one came later than the duplicate window.
    assert (await running.http.get(f"{API}/tasks/{response.json()['task_id']}")).status_code == 200


async def test_without_an_outcome_the_caller_is_told_where_to_look(running: Running) -> None:
    running.responder.silent = True
    try:
        response = await running.http.post(f"{API}/tasks", json=body())
    finally:
        running.responder.silent = False
    assert response.status_code == 202
    command_id = response.json()["command_id"]
    assert response.headers["location"] == f"{API}/commands/{command_id}"
    pending = (await running.http.get(response.headers["location"])).json()
    assert (pending["status"], pending["command_id"]) == ("pending", command_id)


async def test_a_key_makes_a_request_one_command(running: Running) -> None:
    headers = {"Idempotency-Key": fresh_id("key")}
    first = await running.http.post(f"{API}/tasks", json=body(), headers=headers)
    again = await running.http.post(f"{API}/tasks", json=body(), headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["task_id"] == again.json()["task_id"]
    ids = {
        headers[h.MSG_ID]
        for _, task_id, headers in running.responder.heard
        if task_id == first.json()["task_id"]
    }
    assert len(ids) == 1
    other = await running.http.post(f"{API}/tasks", json=body(name="Other"), headers=headers)
    is_problem(other, 422, "idempotency_mismatch")


async def test_a_key_belongs_to_its_user_and_its_route(running: Running) -> None:
    key = fresh_id("key")
    first = await running.http.post(f"{API}/tasks", json=body(), headers={"Idempotency-Key": key})
    theirs = await running.http.post(
        f"{API}/tasks", json=body(), headers={"Idempotency-Key": key, "X-User-Id": "other"}
    )
    assert first.json()["task_id"] != theirs.json()["task_id"]
    for task in (first.json(), theirs.json()):
        run = await running.http.post(
            f"{API}/tasks/{task['task_id']}/execute", headers={"Idempotency-Key": key}
        )
        assert run.status_code == 202
        assert run.json()["task_id"] == task["task_id"]


async def test_a_repeated_execute_is_one_execution(running: Running) -> None:
    task_id = (await running.http.post(f"{API}/tasks", json=body())).json()["task_id"]
    headers = {"Idempotency-Key": fresh_id("key")}
    runs = await asyncio.gather(
        *(running.http.post(f"{API}/tasks/{task_id}/execute", headers=headers) for _ in range(5))
    )
    assert len({run.json()["execution_id"] for run in runs}) == 1
    listed = await running.http.get(f"{API}/tasks/{task_id}/executions")
    assert len(listed.json()["items"]) == 1


async def test_a_key_is_free_again_after_a_day(running: Running) -> None:
    headers = {"Idempotency-Key": fresh_id("key")}
    first = await running.http.post(f"{API}/tasks", json=body(), headers=headers)
    await running.api.services.database.execute(
        "update requests set asked_at = now() - interval '25 hours' where body_hash is not null"
    )
    later = await running.http.post(f"{API}/tasks", json=body(name="Other"), headers=headers)
    assert later.status_code == 201
    assert later.json()["task_id"] != first.json()["task_id"]
    again = await running.http.post(f"{API}/tasks", json=body(name="Other"), headers=headers)
    assert again.json()["task_id"] == later.json()["task_id"]


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused(running: Running, key: str) -> None:
    response = await running.http.post(f"{API}/tasks", json=body(), headers={"Idempotency-Key": key})
    assert is_problem(response, 422, "invalid")["errors"][0]["pointer"] == "#/Idempotency-Key"


async def test_commands_wait_in_the_stream_while_no_shard_is_there(running: Running) -> None:
    running.responder.silent = True
    try:
        headers = {"Idempotency-Key": fresh_id("key")}
        pending = await running.http.post(f"{API}/tasks", json=body(), headers=headers)
    finally:
        running.responder.silent = False
    assert pending.status_code == 202
    info = await running.api.services.bus.stream_info(COMMANDS_STREAM)
    assert info.messages > 0
    # The caller tries again with the same key, and now somebody answers.
    answered = await running.http.post(f"{API}/tasks", json=body(), headers=headers)
    assert answered.status_code == 201
    command = await running.http.get(f"{API}/commands/{pending.json()['command_id']}")
    assert command.json()["status"] == "ok"


async def test_without_nats_writes_say_503_and_readiness_tells(
    running: Running, nats_server: EmbeddedNats
) -> None:
    await nats_server.stop()
    try:
        response = await running.http.post(f"{API}/tasks", json=body())
        is_problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) > 0
        ready = await running.http.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["nats"] != "ok"
        assert (await running.http.get("/livez")).status_code == 200
        # Reads need Postgres only.
        assert (await running.http.get(f"{API}/tasks")).status_code == 200
    finally:
        await nats_server.start()
    await running.api.services.bus.wait_connected()
    probe = await connect(running.api.services.settings, name="probe")
    await probe.close()
    async with asyncio.timeout(20):
        while (await running.http.post(f"{API}/tasks", json=body())).status_code != 201:
            assert not running.responder.silent
    assert (await running.http.get("/readyz")).status_code == 200


async def test_a_process_whose_clock_is_off_is_not_ready(nats_url: str, postgres_url: str) -> None:
    clock = ManualClock(SystemClock().now_ms() - 3_600_000)
    api = await build(settings_for(nats_url, postgres_url), clock=clock)
    await api.supervisor.start()
    try:
        async with httpx.AsyncClient(base_url=api.http.url) as http:
            ready = await http.get("/readyz")
    finally:
        await api.supervisor.stop()
    assert ready.status_code == 503
    assert ready.json()["checks"]["clock"].startswith("off by ")
