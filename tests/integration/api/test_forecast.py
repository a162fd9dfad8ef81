"""The forecast over HTTP: what the schedules that there are fire, and those that a caller adds."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas.schedules import Cron
from tests.integration.api.conftest import Running
from tests.integration.api.stories import Story, a_task
from tests.integration.api.test_explain import store
from tests.integration.api.test_http_tasks import API, create

FORECAST = "/api/v1/forecast"
FROM, TO = "2030-03-04T00:00:00.000Z", "2030-03-05T00:00:00.000Z"
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(running: Running, body: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    params = {"from": FROM, "to": TO, **params}
    if body is None:
        response = await running.http.get(FORECAST, params=params)
    else:
        response = await running.http.post(FORECAST, params=params, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found["total"] == sum(bucket["fires"] for bucket in found["buckets"])
    return found


async def test_only_tasks_that_fire_are_counted_and_each_of_them(running: Running) -> None:
    story = Story()
    for name in ("one", "two", "paused", "deleted", "cancelled", "on-demand"):
        changes: dict[str, Any] = {"schedule": None} if name == "on-demand" else {}
        task = a_task(f"forecast-{name}", **changes)
        story.created(task)
        if name == "paused":
            story.status_changed(task, "scheduled", "paused")
        elif name == "cancelled":
            story.status_changed(task, "scheduled", "cancelled")
        elif name == "deleted":
            story.deleted(task)
    await store(running, story)
    found = await ask(running, bucket=6 * 3600)
    assert (found["tasks"], found["total"], found["bucket"]) == (2, 2 * 1440, 21_600)
    assert [bucket["fires"] for bucket in found["buckets"]] == [720, 720, 720, 720]
    assert [bucket["at"] for bucket in found["buckets"]][:2] == [FROM, "2030-03-04T06:00:00.000Z"]
    assert found["hot"] == []


async def test_schedules_that_do_not_exist_yet_are_counted_and_not_kept(running: Running) -> None:
    before = await ask(running)
    add = {"add": [{"schedule": {"kind": "cron", "expression": "0 9 * * *"}, "tasks": 500}]}
    found = await ask(running, add, tolerance=300)
    assert found["total"] == before["total"] + 500
    (hot,) = found["hot"]
    assert (hot["at"], hot["fires"] - hot["with_jitter"]) == ("2030-03-04T09:00:00.000Z", 400)
    assert await ask(running) == before


async def test_a_task_is_spread_over_its_own_tolerance(running: Running) -> None:
    """Of those at nine that may be ten minutes late a tenth stays in that minute; those that may not, stay all."""
    story = Story()
    nine = Cron(expression="0 9 * * *", timezone="UTC")
    for number in range(20):
        story.created(a_task(f"forecast-patient-{number}", schedule=nine, lateness_slo_seconds=600.0))
        story.created(a_task(f"forecast-strict-{number}", schedule=nine, lateness_slo_seconds=30.0))
    await store(running, story)
    (hot,) = (await ask(running))["hot"]
    assert hot["fires"] - hot["with_jitter"] == 18, "half a minute leaves the others in their minute"
    add = {
        "add": [
            {
                "schedule": {"kind": "cron", "expression": "0 9 * * *"},
                "tasks": 500,
                "lateness_slo_seconds": 600,
            },
            {"schedule": {"kind": "cron", "expression": "0 9 * * *"}, "tasks": 100},
        ]
    }
    (hot,) = (await ask(running, add))["hot"]
    assert hot["fires"] - hot["with_jitter"] == 18 + 450


@pytest.mark.parametrize(
    ("params", "pointers"),
    [
        ({"bucket": "59"}, ["#/bucket"]),
        ({"bucket": "90"}, ["#/bucket"]),
        ({"bucket": "60", "to": "2030-03-20T00:00:00Z"}, ["#/bucket"]),
        ({"to": FROM}, ["#/to"]),
        ({"to": "2031-03-04T00:00:00Z"}, ["#/to"]),
        ({"from": "tomorrow", "tolerance": "-1"}, ["#/tolerance", "#/from"]),
    ],
)
async def test_what_cannot_be_forecast_is_refused(
    running: Running, params: dict[str, str], pointers: list[str]
) -> None:
    response = await running.http.get(FORECAST, params={"from": FROM, "to": TO, **params})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == pointers


async def test_a_bad_schedule_to_add_is_told_by_its_place(running: Running) -> None:
    schedules = [{"schedule": {"kind": "cron", "expression": "0 0 31 2 *"}, "tasks": 0}, {"schedule": None}]
    response = await running.http.post(FORECAST, json={"add": schedules})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [
        "#/add/0/tasks",
        "#/add/0/schedule/expression",
        "#/add/1/schedule",
    ]


@pytest.mark.parametrize("path", ["forecast", "pools", "tasks"])
async def test_a_task_with_a_character_that_the_database_cannot_hold_stops_no_list(
    running: Running, path: str
) -> None:
    """Postgres refuses to look into such a JSON text: then it must not be asked to, for nobody's answer."""
    await create(running, config={"odd": "\x00"}, schedule={"kind": "interval", "hours": 1})
    response = await running.http.get(f"{API}/{path}")
    assert response.status_code == 200, response.text
