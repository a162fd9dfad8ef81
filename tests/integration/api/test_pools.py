"""Pools over HTTP: listed with what is set and what waits, changed by a command of their own."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas import headers as h
from tests.harness.fake_executor import announce_type
from tests.harness.waiting import until
from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, create, fresh_id, is_problem


async def listed(running: Running) -> dict[str, dict[str, Any]]:
    response = await running.http.get(f"{API}/pools")
    assert response.status_code == 200, response.text
    assert response.json()["next_cursor"] is None
    return {one["pool"]: one for one in response.json()["items"]}


async def test_a_pool_is_set_and_shown_at_once(running: Running) -> None:
    name = fresh_id("pool")
    response = await running.http.patch(f"{API}/pools/{name}", json={"max_in_flight": 3})
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"1"'
    assert (response.json()["max_in_flight"], response.json()["paused"]) == (3, False)
    verb, pool, headers = running.responder.heard[-1]
    assert (verb, pool, headers[h.USER]) == ("update", name, "local")
    shown = (await listed(running))[name]
    assert (shown["max_in_flight"], shown["paused"], shown["version"]) == (3, False, 1)
    assert all(shown[name] == 0 for name in ("executors", "capacity", "waiting", "pending", "in_flight"))
    await running.http.patch(f"{API}/pools/{name}", json={"paused": True})
    shown = (await listed(running))[name]
    assert (shown["max_in_flight"], shown["paused"], shown["version"]) == (3, True, 2)
    await running.http.patch(f"{API}/pools/{name}", json={"max_in_flight": None, "paused": False})
    shown = (await listed(running))[name]
    assert (shown["max_in_flight"], shown["paused"]) == (None, False)


async def test_a_pool_that_only_a_type_names_is_listed_with_nothing_set(running: Running) -> None:
    services = running.api.services
    await announce_type(services.bus, "post", pool="letters")
    await until(lambda: "post" in services.cluster.known_types)
    shown = (await listed(running))["letters"]
    assert (shown["version"], shown["updated_at"], shown["max_in_flight"]) == (0, None, None)


async def test_what_is_queued_in_a_pool_is_counted(running: Running) -> None:
    task = await create(running, schedule=None)
    before = (await listed(running))["default"]["waiting"]
    for _ in range(3):
        await running.http.post(f"{API}/tasks/{task['task_id']}/execute")
    assert (await listed(running))["default"]["waiting"] == before + 3


async def test_what_became_of_a_pool_s_command_can_be_looked_up(running: Running) -> None:
    await running.http.patch(f"{API}/pools/{fresh_id('pool')}", json={"paused": True})
    command_id = running.responder.heard[-1][2][h.MSG_ID]
    told = (await running.http.get(f"{API}/commands/{command_id}")).json()
    assert (told["status"], told["event"], told["task_id"]) == ("ok", "updated", None)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"max_in_flight": 0}, "#/max_in_flight"),
        ({"max_in_flight": 1_000_001}, "#/max_in_flight"),
        ({"max_in_flight": "many"}, "#/max_in_flight"),
        ({"paused": 1}, "#/paused"),
        ({"limit": 1}, "#/limit"),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_is_sent(
    running: Running, fields: dict[str, Any], pointer: str
) -> None:
    before = len(running.responder.heard)
    response = await running.http.patch(f"{API}/pools/default", json=fields)
    assert response.status_code == 422, response.text
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    is_problem(await running.http.patch(f"{API}/pools/a.b", json={"paused": True}), 422, "invalid_id")
    assert len(running.responder.heard) == before
