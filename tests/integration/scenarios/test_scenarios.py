"""The scenarios of the task domain from end to end, each through both doors: HTTP, and commands over NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.ecosystem import USER_DELETED
from gnomon_schemas.events import Executed, ReminderTriggered
from tests.harness.commands import fresh_id
from tests.harness.live import Live
from tests.harness.over_http import OverHttp
from tests.harness.target import Target
from tests.harness.waiting import until_async, until_time
from tests.harness.world import World, now_ms
from tests.integration.ecosystem.test_listening import say

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

T = TypeVar("T")
OFTEN = {"kind": "interval", "every_seconds": 1}


async def answer_of(ask: Callable[[], Awaitable[T | None]]) -> T:
    """Ask until there is an answer."""
    answers: list[T] = []

    async def holds() -> bool:
        answers.extend(one for one in [await ask()] if one is not None)
        return bool(answers)

    await until_async(holds)
    return answers[0]


class Door:
    """One way in for a user's programs."""

    def __init__(self, world: World, http: OverHttp, kind: str) -> None:
        self.world, self.http, self.kind = world, http, kind
        self.user = fresh_id("u")

    @property
    def headers(self) -> dict[str, str]:
        """Who is asking."""
        return {"X-User-Id" if self.kind == "http" else "Gnomon-User": self.user}

    async def create(self, **body: Any) -> dict[str, Any]:
        """Make a task."""
        if self.kind == "http":
            answer = await self.http.client.post("/tasks", json=body, headers=self.headers)
            assert answer.status_code == 201, answer.text
            made: dict[str, Any] = answer.json()
            return made
        outcome = await self.world.commands.ok("create", fresh_id("t"), body, headers=self.headers)
        return dict(outcome["task"])

    async def refused(self, **body: Any) -> dict[str, Any]:
        """Have a task refused: the problem."""
        if self.kind == "http":
            answer = await self.http.client.post("/tasks", json=body, headers=self.headers)
            assert answer.status_code >= 400, answer.text
            problem: dict[str, Any] = answer.json()
            return problem
        outcome = await self.world.commands.send("create", fresh_id("t"), body, headers=self.headers)
        assert not outcome["ok"]
        return dict(outcome["error"])

    async def update(self, task: str, **body: Any) -> dict[str, Any]:
        """Change a task."""
        if self.kind == "http":
            answer = await self.http.client.put(f"/tasks/{task}", json=body, headers=self.headers)
            assert answer.status_code == 200, answer.text
            changed: dict[str, Any] = answer.json()
            return changed
        return dict((await self.world.commands.ok("update", task, body, headers=self.headers))["task"])

    async def run(self, task: str) -> str:
        """Run a task now: the execution."""
        if self.kind == "http":
            answer = await self.http.client.post(f"/tasks/{task}/execute", headers=self.headers)
            assert answer.status_code == 202, answer.text
            execution: str = answer.json()["execution_id"]
            return execution
        outcome = await self.world.commands.ok("run", task, headers=self.headers)
        return str(outcome["execution"]["execution_id"])

    async def shown(self, task: str, **fields: Any) -> dict[str, Any]:
        """The task as the app shows it, once these fields are so: the read models follow the log."""

        async def look() -> dict[str, Any] | None:
            answer = await self.http.client.get(f"/tasks/{task}")
            found: dict[str, Any] = answer.json()
            there = answer.status_code == 200 and all(found[name] == value for name, value in fields.items())
            return found if there else None

        return await answer_of(look)

    async def execution(self, execution_id: str, status: str) -> dict[str, Any]:
        """An execution as the app shows it, once it has this status."""

        async def look() -> dict[str, Any] | None:
            answer = await self.http.client.get(f"/executions/{execution_id}")
            found: dict[str, Any] = answer.json()
            return found if answer.status_code == 200 and found["status"] == status else None

        return await answer_of(look)


@pytest_asyncio.fixture(loop_scope="module", params=["http", "nats"])
async def door(request: pytest.FixtureRequest, running: World, http: OverHttp) -> Door:
    """HTTP, then NATS."""
    return Door(running, http, request.param)


@pytest_asyncio.fixture(loop_scope="module")
async def service() -> AsyncIterator[Target]:
    """A weather, or news, service."""
    async with Target() as target:
        yield target


async def _template(door: Door, **changes: Any) -> str:
    template = fresh_id("tpl")
    spec = {"template_id": template, "name": "Template", "task_type": "http_request", **changes}
    answer = await door.http.client.post("/templates", json=spec)
    assert answer.status_code == 201, answer.text
    return template


async def _subscribes(door: Door, tier: str) -> None:
    answer = await door.http.client.put(f"/accounts/{door.user}", json={"tier": tier})
    assert answer.status_code == 200, answer.text


async def test_scenario_1_a_daily_weather_task(door: Door, service: Target) -> None:
    """From a template of a tier, with what the user has to give, to the first call of the service."""
    template = await _template(
        door,
        name="Daily weather",
        default_config={"method": "POST", "body": {"units": "metric"}},
        required_fields=["url", "body.location"],
        required_subscription_level="basic",
        defaults={"schedule": {"kind": "daily", "time": "07:00"}},
    )
    config = {"url": f"{service.url}/weather", "body": {"location": "Berlin"}}
    assert (await door.refused(template_id=template, config=config))["code"] == "subscription_required"
    await _subscribes(door, "basic")
    missing = await door.refused(template_id=template, config={"url": config["url"]})
    assert [error["pointer"] for error in missing["errors"]] == ["#/config/body/location"]
    live = await Live.open(door.world.broker.url, "task.*")
    task = await door.create(template_id=template, config=config)
    assert (task["name"], task["status"], task["schedule"]["kind"]) == ("Daily weather", "scheduled", "daily")
    assert task["next_run_time"] is not None
    await live.wait_for(lambda: bool(live.of("task.created", task_id=task["task_id"])), what="task.created")
    # Nobody waits until seven in here.
    await door.update(task["task_id"], schedule=OFTEN)
    await live.wait_for(lambda: bool(live.of("task.executed", task_id=task["task_id"])), what="task.executed")
    assert service.calls[0].path == "/weather"
    assert service.calls[0].body == b'{"units":"metric","location":"Berlin"}'
    await live.close()


async def test_scenario_2_run_now(door: Door, service: Target) -> None:
    """Owned, recorded while it runs, its result kept, counted, told, and paid for."""
    task = (
        await door.create(
            name="n", task_type="http_request", config={"url": f"{service.url}/held"}, credits_per_run=2
        )
    )["task_id"]
    stranger = await door.world.commands.send("run", task, headers={"Gnomon-User": "somebody-else"})
    assert stranger["error"]["code"] == "not_found"
    before = (await door.http.get(f"/accounts/{door.user}"))["balance"]
    execution = await door.run(task)
    await service.called(execution)
    assert (await door.execution(execution, "running"))["trigger"] == "manual"
    await door.shown(task, status="running")
    service.open()
    ended = await door.execution(execution, "completed")
    assert (ended["result"]["status"], ended["error"], ended["credits_consumed"]) == (200, None, 2)
    shown = await door.shown(task, run_count=1, success_count=1, status="pending")
    assert shown["last_execution"]["execution_id"] == execution
    event = (await door.world.events.one("executed", task)).event
    assert isinstance(event, Executed)
    assert (event.status, event.credits_consumed) == ("completed", 2)

    async def paid() -> bool:
        return bool((await door.http.get(f"/accounts/{door.user}"))["balance"] == before - 2)

    await until_async(paid)


async def test_scenario_3_a_todo_with_a_reminder(door: Door) -> None:
    """Told once at its time; done by its owner; and no reminder of what is done."""
    at = format_instant(now_ms() + 1500)
    due = format_instant(now_ms() + 86_400_000)
    task = (await door.create(name="Buy groceries", task_type="todo", due_date=due, reminder_time=at))[
        "task_id"
    ]
    done = (await door.create(name="Done before", task_type="todo", reminder_time=at))["task_id"]
    assert (await door.update(done, status="completed"))["status"] == "completed"
    reminder = (await door.world.events.one("reminder_triggered", task)).event
    assert isinstance(reminder, ReminderTriggered)
    assert (reminder.name, reminder.due_date, reminder.scheduled_for) == ("Buy groceries", due, at)
    assert (await door.update(task, status="completed"))["status"] == "completed"
    later = (await door.create(name="Later", task_type="todo", reminder_time=format_instant(now_ms() + 500)))[
        "task_id"
    ]
    await door.world.events.one("reminder_triggered", later)
    await door.world.events.catch_up()
    assert [len(door.world.events.of("reminder_triggered", one)) for one in (task, done)] == [1, 0]
    why = [one.event.reason for one in door.world.events.of("status_changed", task)]  # type: ignore[attr-defined]  # StatusChanged
    assert why == ["complete"]
    entry = (await door.http.get(f"/tasks/{task}/history"))["items"][0]
    assert (entry["status_reason"], entry["changes"][0]["new"]) == ("complete", "completed")


async def test_scenario_4_failure_and_retry(door: Door, service: Target) -> None:
    """Recorded with its error, counted, told; the schedule goes on; and Run Now works once the cause is mended."""
    gone = "http://127.0.0.1:1/news"
    task = (await door.create(name="n", task_type="http_request", config={"url": gone}, schedule=OFTEN))[
        "task_id"
    ]
    failed = (await door.world.events.one("failed", task)).event
    shown = await door.shown(task, status="scheduled")
    assert shown["failure_count"] >= 1
    assert shown["next_run_time"] is not None
    execution = await door.execution(failed.execution_id, "failed")  # type: ignore[attr-defined]  # a Failed
    assert execution["error"]["message"]
    assert execution["attempts"][0]["error"]["type"] == execution["error"]["type"]
    history = await door.http.get(f"/tasks/{task}/executions", status="failed")
    assert execution["execution_id"] in [one["execution_id"] for one in history["items"]]
    await door.update(task, config={"url": f"{service.url}/news"}, schedule=None)
    again = await door.run(task)
    assert (await door.execution(again, "completed"))["result"]["status"] == 200
    assert (await door.shown(task, consecutive_failures=0))["success_count"] >= 1


async def test_scenario_5_the_analytics_of_a_user(door: Door) -> None:
    """Thirty days of counts, rates and times, of this user alone."""
    good = (await door.create(name="good", task_type="echo"))["task_id"]
    bad = (await door.create(name="bad", task_type="http_request", config={"url": "http://127.0.0.1:1/"}))[
        "task_id"
    ]
    for task in (good, good, good, bad):
        execution = await door.run(task)
        await door.execution(execution, "failed" if task == bad else "completed")
    await door.update(bad, status="paused")

    async def report() -> dict[str, Any] | None:
        headers = {"X-User-Id": door.user, "Cache-Control": "no-cache"}
        answer = await door.http.client.get("/tasks/analytics", params={"days": 30}, headers=headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found if found["total_executions"] == 4 and found["paused_tasks"] == 1 else None

    found = await answer_of(report)
    assert (found["total_tasks"], found["successful_executions"], found["failed_executions"]) == (2, 3, 1)
    assert found["success_rate"] == 0.75
    assert found["task_types_distribution"] == {"echo": 1, "http_request": 1}
    assert sum(one["executions"] for one in found["busiest_hours"]) == 4


async def test_scenario_6_browsing_templates(door: Door, service: Target) -> None:
    """The user sees what their tier may use, gives what is required, and the task runs."""
    tag = fresh_id("tag")
    required = {"required_fields": ["url"], "tags": [tag], "defaults": {"schedule": OFTEN}}
    news = await _template(door, name="Daily News Digest", required_subscription_level="pro", **required)
    await _template(door, name="For large firms", required_subscription_level="enterprise", **required)
    await _template(door, name="Of yesterday", is_active=False, **required)
    await _subscribes(door, "pro")
    listed = await door.http.client.get(
        "/templates", params={"subscription_level": "pro", "tag": tag}, headers={"X-User-Id": door.user}
    )
    assert [one["template_id"] for one in listed.json()["items"]] == [news], listed.text
    task = await door.create(template_id=news, name="My news", config={"url": f"{service.url}/news"})
    assert (task["name"], task["template_id"], task["status"]) == ("My news", news, "scheduled")
    await door.world.events.one("executed", task["task_id"])
    assert service.calls[0].path == "/news"


async def test_scenario_7_a_user_is_deleted(door: Door, service: Target) -> None:
    """All that was to come is cancelled, what runs may finish, and what is known stays for the audit."""
    scheduled = (await door.create(name="n", task_type="echo", schedule={"kind": "daily", "time": "07:00"}))[
        "task_id"
    ]
    todo = (await door.create(name="n", task_type="todo", reminder_time="2099-01-01T00:00:00Z"))["task_id"]
    held = {"url": f"{service.url}/held"}
    busy = (await door.create(name="n", task_type="http_request", config=held))["task_id"]
    other = (await Door(door.world, door.http, door.kind).create(name="n", task_type="todo"))["task_id"]
    execution = await door.run(busy)
    await service.called(execution)
    await say(door.world, USER_DELETED, {"user_id": door.user, "reason": "asked for it"})
    for task in (scheduled, todo, busy):
        assert (await door.shown(task, status="cancelled"))["next_run_time"] is None
        (told,) = door.world.events.of("status_changed", task)
        assert "user deleted" in told.event.reason  # type: ignore[attr-defined]  # a StatusChanged
    service.open()
    assert (await door.execution(execution, "completed"))["result"]["status"] == 200
    refused = await door.world.commands.send("run", scheduled, headers=door.headers)
    assert refused["error"]["code"] == "invalid_state"
    assert (await door.http.get(f"/tasks/{other}"))["status"] == "pending"
    headers = {"X-User-Id": door.user, "Cache-Control": "no-cache"}
    report = (await door.http.client.get("/tasks/analytics", headers=headers)).json()
    assert (report["total_executions"], report["total_tasks"]) == (1, 3)


async def test_what_is_overdue_and_what_is_to_come_are_in_the_app(door: Door) -> None:
    """The list of what is late, and the calendar of the rest."""
    past, coming = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    late = (await door.create(name="Late", task_type="todo", due_date=past.isoformat()))["task_id"]
    soon = (await door.create(name="Soon", task_type="todo", due_date=coming.isoformat()))["task_id"]
    await door.shown(soon, status="pending")
    listed = await door.http.get("/tasks", overdue="true", user_id=door.user)
    assert [one["task_id"] for one in listed["items"]] == [late]
    feed = await door.http.client.get("/calendar.ics", params={"user_id": door.user})
    assert f"UID:{soon}.due@gnomon" in feed.text
    await door.update(late, status="completed")
    await door.shown(late, status="completed")
    assert (await door.http.get("/tasks", overdue="true", user_id=door.user))["items"] == []


async def test_the_slots_of_a_reminder_have_one_outcome_each(running: World, http: OverHttp) -> None:
    """Told, passed over by a pause, and ended by a deletion: both engines of the audit count them like any others."""
    task = fresh_id("t")
    schedule = {"kind": "cron", "expression": "* * * * * *"}
    await http.create(task, task_type="reminder", schedule=schedule)
    await running.events.some(2, "reminder_triggered", task)
    await http.post(f"/tasks/{task}/pause")
    resumed_at = now_ms() // 1000 * 1000 + 2000
    await until_time(resumed_at)
    await http.post(f"/tasks/{task}/resume")
    told = len(running.events.of("reminder_triggered", task))
    await running.events.some(told + 1, "reminder_triggered", task)
    await http.client.delete(f"/tasks/{task}")

    async def audit(engine: str) -> dict[str, Any] | None:
        report: dict[str, Any] = await http.get("/ledger/audit", task_id=task, engine=engine)
        return None if report["pending"] else report

    for engine in ("timing", "cronsim"):
        report = await answer_of(partial(audit, engine))
        assert (report["missing"], report["duplicate"], report["misplaced"]) == ([], [], []), report
        reminders = len(running.events.of("reminder_triggered", task))
        assert report["outcomes"]["executed"] == reminders
        assert report["expected"] == sum(report["outcomes"].values()) >= reminders + 1, "of the pause too"
