"""Schedules that cannot be: refused over HTTP and over NATS with the same problem, and nothing is left of them."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from gnomon_schemas.events import Rejected
from tests.harness.commands import fresh_id
from tests.harness.over_http import OverHttp
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
    over_http, over_nats = await _refused(running, http, verb, schedule)
    assert over_http == over_nats
    assert (over_http["status"], over_http["code"]) == (422, "invalid_schedule")
    assert [error["pointer"] for error in over_http["errors"]] == [pointer]
    assert word in over_http["errors"][0]["message"]


async def _refused(
    world: World, http: OverHttp, verb: str, schedule: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two problems, without what differs by nature: the trace."""
    task = fresh_id("t")
    body: dict[str, Any] = {"schedule": schedule}
    if verb == "create":
        body |= {"task_id": task, "name": task, "task_type": "echo"}
        answer = await http.client.post("/tasks", json=body)
    else:
        await world.commands.create(task, schedule=HOURLY)
        answer = await http.client.patch(f"/tasks/{task}", json=body)
    body.pop("task_id", None)
    outcome = await world.commands.send(verb, task, body)
    assert not outcome["ok"]
    await world.events.catch_up()
    told = [seen for seen in world.events.of(task_id=task) if seen.name != "created"]
    assert all(isinstance(seen.event, Rejected) for seen in told), told
    if verb == "update":
        assert (await world.task_register(task))[1].version == 1
    problems = [answer.json(), outcome["error"]]
    for problem in problems:
        problem.pop("trace_id", None)
    return problems[0], problems[1]
