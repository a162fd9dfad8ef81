"""Tasks that no longer fit their type: listed with what is wrong, and counted when the type's schema changes."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_api.misfits import MisfitWatch, rest_until
from gnomon_core.runtime.metrics import Meter
from tests.harness.fake_executor import announce_type
from tests.harness.waiting import until
from tests.integration.api.conftest import Running
from tests.integration.api.test_http_tasks import API, create, fresh_id, is_problem

LOOSE = b'{"type":"object"}'
STRICT = b'{"type":"object","required":["to"],"properties":{"to":{"type":"string"}}}'


async def _announce(running: Running, name: str, schema: bytes) -> None:
    services = running.api.services
    await announce_type(services.bus, name, schema=schema)
    known = services.cluster.known_types
    await until(lambda: name in known and bytes(known[name].announcement.config_schema) == schema)


def _counted(meter: Meter, name: str) -> float:
    wanted = f'gnomon_task_type_misfits{{task_type="{name}"}} '
    found = [line for line in meter.render().decode().splitlines() if line.startswith(wanted)]
    return float(found[0].removeprefix(wanted))


async def _listed(running: Running, name: str, **params: Any) -> dict[str, Any]:
    response = await running.http.get(f"{API}/task-types/{name}/misfits", params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_changed_schema_lists_the_tasks_that_do_not_fit(running: Running) -> None:
    name = fresh_id("post")
    await _announce(running, name, LOOSE)
    configs: list[dict[str, Any]] = [{}, {"to": "you"}, {"to": 7}, {"from": "me"}, {}]
    tasks = [
        (await create(running, task_type=name, config=config, schedule=None))["task_id"] for config in configs
    ]
    await running.http.post(f"{API}/tasks/{tasks[4]}/cancel")
    meter = Meter()
    services = running.api.services
    watch = MisfitWatch(services.misfits, services.cluster, meter, every_seconds=60)
    await watch.look()
    assert (await _listed(running, name)) == {"items": [], "checked": 4, "next_cursor": None}
    await _announce(running, name, STRICT)
    found = (await _listed(running, name))["items"]
    assert [one["task_id"] for one in found] == [tasks[0], tasks[2], tasks[3]]
    assert [error["pointer"] for one in found for error in one["errors"]] == [
        *("#/config/to", "#/config/to", "#/config/to"),
    ]
    first = await _listed(running, name, limit=2)
    assert [one["task_id"] for one in first["items"]] == [tasks[0], tasks[2]]
    rest = await _listed(running, name, limit=2, cursor=first["next_cursor"])
    assert ([one["task_id"] for one in rest["items"]], rest["next_cursor"]) == ([tasks[3]], None)
    await watch.look()
    assert _counted(meter, name) == 3
    for task in (tasks[0], tasks[2], tasks[3]):
        await running.http.patch(f"{API}/tasks/{task}", json={"config": {"to": "you"}})
    await watch.look()
    assert _counted(meter, name) == 0


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nobody-announced/misfits", 404, "not_found"),
        ("todo/misfits?limit=0", 422, "invalid"),
        ("todo/misfits?cursor=x", 422, "invalid"),
        ("todo/misfits?all=1", 422, "unknown_field"),
    ],
)
async def test_what_is_wrong_is_refused(running: Running, path: str, status: int, code: str) -> None:
    is_problem(await running.http.get(f"{API}/task-types/{path}"), status, code)


@pytest.mark.parametrize(("took", "rest"), [(0.01, 0), (1.0, 0), (1.5, 30), (240, 4800)])
def test_a_long_count_is_made_again_after_a_long_rest(took: float, rest: float) -> None:
    assert rest_until(1000.0, 1000.0 + took) - (1000.0 + took) == rest
