"""Schedules that cannot be: refused over HTTP and over NATS with the same problem, and nothing is left of them.

A dry run is refused with that problem, too; and what it tells of a schedule that can be is what then comes of it.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import Any

import pytest

from gnomon_schemas.events import Rejected
from tests.harness.commands import fresh_id
from tests.harness.over_http import OverHttp
from tests.harness.waiting import until_async
from tests.harness.world import World

DAILY: dict[str, Any] = {"kind": "daily", "time": "09:00"}
HOURLY: dict[str, Any] = {"kind": "interval", "every_seconds": 3600}


def _union(*schedules: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "any_of", "schedules": list(schedules)}


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "31 February": (
        {"kind": "cron", "expression": "0 0 31 2 *"},
        "#/schedule/expression",
        "can never fire: no month has such a day",
    ),
    "30 February by fields": (
        {"kind": "cron", "month": 2, "day": 30},
        "#/schedule/day",
        "can never fire: no month has such a day",
    ),
    "no weekday": ({"kind": "weekly", "time": "09:00", "days": []}, "#/schedule/days", "no day is named"),
    "ends before it starts": (
        {**DAILY, "start_at": "2030-02-01T00:00:00Z", "end_at": "2030-01-01T00:00:00Z"},
        "#/schedule/end_at",
        "is not after start_at",
    ),
    "interval of 0 s": (
        {"kind": "interval", "every_seconds": 0},
        "#/schedule/every_seconds",
        "allowed are whole seconds, 1 to",
    ),
    "interval of half a second": (
        {"kind": "interval", "every_seconds": 0.5},
        "#/schedule/every_seconds",
        "allowed are whole seconds, 1 to",
    ),
    "nested too deep": (
        _union(_union(_union(_union(DAILY)))),
        "#/schedule/schedules/0/schedules/0/schedules/0",
        "down to level 3",
    ),
    "a bad part of a union": (
        _union(DAILY, {"kind": "monthly", "time": "09:00", "day": 32}),
        "#/schedule/schedules/1/day",
        "32 is no day of a month",
    ),
    "more than a thousand days left out": (
        {**DAILY, "exclude": [str(date(2030, 1, 1) + timedelta(days=number)) for number in range(1001)]},
        "#/schedule/exclude",
        "allowed are 1000 in one schedule",
    ),
    "a day that is none left out": (
        {**DAILY, "exclude": ["2030-02-31"]},
        "#/schedule/exclude/0",
        "is no date",
    ),
    "zone unknown": ({**DAILY, "timezone": "Mars/Olympus"}, "#/schedule/timezone", "is no time zone"),
}
"""What was sent, at which field it is refused, and a word of the reason."""


@pytest.mark.parametrize("verb", ["create", "update"])
@pytest.mark.parametrize("name", BAD)
async def test_a_bad_schedule_is_refused_alike_over_http_and_nats(
    running: World, http: OverHttp, name: str, verb: str
) -> None:
    """The same status, code, pointer and reason; a task that was there keeps its schedule."""
    schedule, pointer, word = BAD[name]
    over_http, over_nats, dry = await _refused(running, http, verb, schedule)
    assert over_http == over_nats == dry
    assert (over_http["status"], over_http["code"]) == (422, "invalid_schedule")
    assert [error["pointer"] for error in over_http["errors"]] == [pointer]
    assert word in over_http["errors"][0]["message"]


async def test_what_a_dry_run_tells_is_what_comes_of_it(running: World, http: OverHttp) -> None:
    """Of a create, of a change and of a pause: the task as it is then, and its next fires."""
    task, dry = fresh_id("t"), {"dry_run": "true"}
    body = {"task_id": task, "name": task, "task_type": "echo", "schedule": {**DAILY, "max_runs": 3}}
    told = (await http.client.post("/tasks", json=body, params=dry)).json()
    await running.events.catch_up()
    assert not running.events.of(task_id=task), "a dry run has made a task"
    await _is_as_told(http, task, told, (await http.client.post("/tasks", json=body)).json())
    for change in (
        {"schedule": {"time": "10:00", "exclude": ["sat"]}, "priority": "high"},
        {"status": "paused"},
        {"schedule": {"kind": "weekly", "time": "02:30", "days": ["sun"], "timezone": "Europe/Berlin"}},
        {"status": "scheduled", "schedule": None},
    ):
        told = (await http.client.patch(f"/tasks/{task}", json=change, params=dry)).json()
        made = (await http.client.patch(f"/tasks/{task}", json=change)).json()
        await _is_as_told(http, task, told, made)


async def _is_as_told(http: OverHttp, task: str, told: dict[str, Any], made: dict[str, Any]) -> None:
    by_the_clock = ("created_at", "updated_at", "revision_from")
    expected = {name: value for name, value in told["task"].items() if name not in by_the_clock}
    assert {name: made[name] for name in expected} == expected
    assert (await http.get(f"/tasks/{task}/next"))["fires"] == told["plan"]["fires"]


async def _is_readable(http: OverHttp, task: str) -> bool:
    return (await http.client.get(f"/tasks/{task}")).status_code == 200


async def _refused(
    world: World, http: OverHttp, verb: str, schedule: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The problems over HTTP, over NATS and of a dry run, without what differs by nature: the trace."""
    task = fresh_id("t")
    body: dict[str, Any] = {"schedule": schedule}
    if verb == "create":
        body |= {"task_id": task, "name": task, "task_type": "echo"}
        dry = await http.client.post("/tasks", json=body, params={"dry_run": "true"})
        answer = await http.client.post("/tasks", json=body)
    else:
        await world.commands.create(task, schedule=HOURLY)
        answer = await http.client.patch(f"/tasks/{task}", json=body)
        # A dry run knows the task from the read models, which hear of it a moment later.
        await until_async(partial(_is_readable, http, task))
        dry = await http.client.patch(f"/tasks/{task}", json=body, params={"dry_run": "true"})
    body.pop("task_id", None)
    outcome = await world.commands.send(verb, task, body)
    assert not outcome["ok"]
    await world.events.catch_up()
    told = [seen for seen in world.events.of(task_id=task) if seen.name != "created"]
    assert all(isinstance(seen.event, Rejected) for seen in told), told
    if verb == "update":
        assert (await world.task_register(task))[1].version == 1
    problems = [answer.json(), outcome["error"], dry.json()]
    for problem in problems:
        problem.pop("trace_id", None)
    return problems[0], problems[1], problems[2]
