"""What other services tell: acted on once, however often it comes and whoever dies; what will never do is set aside."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.ecosystem import CALENDAR_EVENT_CREATED, SUBSCRIPTION_CHANGED, USER_DELETED
from gnomon_schemas.limits import COMMAND_MAX
from gnomon_schemas.subjects import ECOSYSTEM_STREAM, EVENTS_STREAM
from tests.harness.over_http import OverHttp
from tests.harness.waiting import until_async, until_time
from tests.harness.world import World, now_ms

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]


async def say(world: World, subject: str, told: Any, name: str | None = None) -> None:
    """Tell something, as the service that owns the subject does; until a stream has it."""
    data = told if isinstance(told, bytes) else json.dumps(told).encode()
    headers = {} if name is None else {"Nats-Msg-Id": name}

    async def stored() -> bool:
        answer = await world.bus.api("STREAM.NAMES", {"subject": subject})
        return bool(answer.get("streams"))

    await until_async(stored)  # the listener makes one where there is none
    await world.bus.publish(subject, data, headers)


async def create(http: OverHttp, user: str, task_id: str, **spec: Any) -> None:
    body = {"task_id": task_id, "name": task_id, "task_type": "echo", **spec}
    answer = await http.client.post("/tasks", json=body, headers={"X-User-Id": user})
    assert answer.status_code == 201, answer.text


async def status(http: OverHttp, task_id: str) -> str:
    found: str = (await http.get(f"/tasks/{task_id}"))["status"]
    return found


async def poison(http: OverHttp) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get("/ecosystem/poison"))["items"]
    return found


async def test_the_tasks_of_a_user_who_is_deleted_are_cancelled_and_what_runs_finishes(
    running: World, http: OverHttp
) -> None:
    hourly = {"kind": "interval", "every_seconds": 3600}
    for number in range(25):
        await create(http, "gone", f"gone-{number}", schedule=hourly)
    await create(http, "stays", "stays", schedule=hourly)
    await create(http, "gone", "gone-done")
    await running.commands.ok("complete", "gone-done", {})
    lasting = {"task_type": "policy_scripted", "config": {"steps": ["hang 2"]}, "overlap": "queue"}
    await create(http, "gone", "gone-busy", **lasting)
    for _ in range(2):
        await running.commands.ok("run", "gone-busy")
    await running.events.one("started", "gone-busy")
    await say(running, USER_DELETED, {"user_id": "gone", "reason": "asked for it"}, "deleted-1")
    await running.events.one("status_changed", "gone-busy", new_status="cancelled")

    async def all_cancelled() -> bool:
        tasks = await http.get("/tasks", user_id="gone", limit=100)
        left = {task["status"] for task in tasks["items"] if task["task_id"] != "gone-done"}
        return left == {"cancelled"}

    await until_async(all_cancelled)
    await running.events.one("executed", "gone-busy", status="completed")
    assert len(running.events.of("started", "gone-busy")) == 1
    await running.events.one("skipped", "gone-busy", reason="cancelled")
    assert await status(http, "stays") == "scheduled"
    told = json.dumps(await http.get("/tasks/gone-0/history"))
    assert "user deleted: asked for it" in told
    assert "account_service" in json.dumps(await http.get("/accounts/gone/history"))
    for verb, body in (("create", {"name": "n", "task_type": "echo"}), ("run", {})):
        task_id = "gone-late" if verb == "create" else "gone-done"
        outcome = await running.commands.send(verb, task_id, body, headers={"Gnomon-User": "gone"})
        assert outcome["error"]["code"] == "account_closed"
    version = (await http.get("/tasks/gone-0"))["version"]
    await say(running, USER_DELETED, {"user_id": "gone"}, "deleted-2")
    await say(running, USER_DELETED, {"user_id": "nobody-knows"})
    await _settled(running)
    assert (await http.get("/tasks/gone-0"))["version"] == version
    assert await poison(http) == []


async def test_a_task_that_is_made_while_its_user_is_deleted_does_not_stay(
    running: World, http: OverHttp
) -> None:
    """Creates before, at, and after the moment: each is refused or cancelled, and in the end nothing is left."""
    user, every = {"Gnomon-User": "racing"}, {"kind": "interval", "every_seconds": 1}
    body = {"name": "n", "task_type": "echo", "schedule": every}
    outcomes: list[dict[str, Any]] = []

    async def make(number: int) -> None:
        outcomes.append(await running.commands.send("create", f"racing-{number}", body, headers=user))

    await make(0)
    deleted = asyncio.create_task(say(running, USER_DELETED, {"user_id": "racing"}, "racing"))
    number = 0
    while outcomes[-1]["ok"]:
        await asyncio.gather(*(make(number + more) for more in range(1, 9)))
        number += 8
    await deleted
    assert outcomes[-1]["error"]["code"] == "account_closed"
    made = {outcome["task"]["task_id"] for outcome in outcomes if outcome["ok"]}
    for task_id in made:
        await running.events.one("status_changed", task_id, new_status="cancelled", reason="user deleted")
    await _settled(running)
    begun = len(running.events.of("started"))
    entry = {"user_id": "racing", "event_id": "e", "title": "t", "start_time": "2999-01-01T00:00:00Z"}
    await running.commands.ok("update", account_id_of("racing"), {"calendar_reminders": True}, kind="account")
    await say(running, CALENDAR_EVENT_CREATED, entry)
    await _settled(running)
    assert await poison(http) == []
    assert {task["status"] for task in (await http.get("/tasks", user_id="racing", limit=500))["items"]} == {
        "cancelled"
    }
    assert all(seen.task_id not in made for seen in running.events.of("started")[begun:])


async def _settled(world: World) -> None:
    """Wait until every message of our own stream has been acknowledged."""

    async def idle() -> bool:
        names = (await world.bus.api(f"CONSUMER.NAMES.{ECOSYSTEM_STREAM}"))["consumers"]
        infos = [await world.bus.api(f"CONSUMER.INFO.{ECOSYSTEM_STREAM}.{name}") for name in names]
        return all(info["num_pending"] == info["num_ack_pending"] == 0 for info in infos)

    await until_async(idle)


async def test_a_subscription_sets_the_tier_of_the_account(running: World, http: OverHttp) -> None:
    changed = {"user_id": "zoë", "old_tier": "free", "new_tier": "pro", "of_a_later_version": True}
    await say(running, SUBSCRIPTION_CHANGED, changed)
    account = f"account.*.*.{account_id_of('zoë')}._"

    async def tier() -> str | None:
        last = await running.bus.last(EVENTS_STREAM, account)
        return None if last is None else json.loads(last.data)["account"]["tier"]

    async def is_pro() -> bool:
        return await tier() == "pro"

    await until_async(is_pro)
    await say(running, SUBSCRIPTION_CHANGED, {**changed, "new_tier": "basic"})
    await _settled(running)
    assert await tier() == "basic"


async def test_a_subscription_adjusts_limits_and_opens_templates(running: World, http: OverHttp) -> None:
    """Those of the tier that the user changes to; what there is already stays when it is a lower one."""
    user = "climbs"
    template = {"template_id": "for-pros", "name": "n", "task_type": "echo"}
    await http.post("/templates", {**template, "required_subscription_level": "pro"})

    async def made(**body: Any) -> str:
        """What becomes of another task: `made`, or what it was refused for."""
        answer = await http.client.post(
            "/tasks", json={"name": "n", "task_type": "echo", **body}, headers={"X-User-Id": user}
        )
        return "made" if answer.status_code == 201 else str(answer.json()["code"])

    async def changes_to(tier: str, then: str) -> None:
        await say(running, SUBSCRIPTION_CHANGED, {"user_id": user, "new_tier": tier})

        async def felt() -> bool:
            return await made() == then

        await until_async(felt)

    await changes_to("basic", "account_limit")
    assert (await http.get(f"/accounts/{user}"))["effective_limits"]["max_tasks"] == 1
    assert await made(template_id="for-pros") == "subscription_required"
    await changes_to("pro", "made")
    assert await made(template_id="for-pros") == "made"
    there = len((await http.get("/tasks", user_id=user, status="pending"))["items"])
    assert there >= 3
    await changes_to("basic", "account_limit")
    assert len((await http.get("/tasks", user_id=user, status="pending"))["items"]) >= there


async def test_a_calendar_entry_is_linked_once_where_the_account_asks_for_it(
    running: World, http: OverHttp
) -> None:
    asked = {"calendar_reminders": True}
    command = running.commands.ok("update", account_id_of("cal"), asked, kind="account")
    assert (await command)["ok"]
    start = datetime.now(UTC) + timedelta(hours=3)
    entry = {"user_id": "cal", "event_id": "e-1", "title": "Dentist", "start_time": start.isoformat()}
    for name in ("first", "second"):  # told twice, under two names
        await say(running, CALENDAR_EVENT_CREATED, entry, name)
    await say(running, CALENDAR_EVENT_CREATED, {**entry, "user_id": "quiet"})
    past = {**entry, "event_id": "e-0", "start_time": "2020-01-01T00:00:00Z"}
    await say(running, CALENDAR_EVENT_CREATED, past)
    await _settled(running)
    (task,) = (await http.get("/tasks", user_id="cal"))["items"]
    assert (task["name"], task["task_type"], task["config"]["event_id"]) == (
        "Dentist",
        "calendar_event",
        "e-1",
    )
    lead_ms = instant_ms(task["due_date"]) - instant_ms(task["reminder_time"])
    assert (lead_ms, task["due_date"][:16]) == (900_000, start.isoformat()[:16])
    assert (await http.get("/tasks", user_id="quiet"))["items"] == []
    assert await poison(http) == []


async def test_an_entry_whose_time_to_remind_has_passed_reminds_when_it_begins(
    running: World, http: OverHttp
) -> None:
    """It passes while nobody decides; and between two tellings of an entry that was made in time. Neither is lost, made
    twice, or set aside."""
    asked = {"calendar_reminders": True}
    assert (await running.commands.ok("update", account_id_of("slow"), asked, kind="account"))["ok"]

    async def tell(event: str, start_ms: int, name: str) -> None:
        entry = {"user_id": "slow", "event_id": event, "title": event, "start_time": format_instant(start_ms)}
        await say(running, CALENDAR_EVENT_CREATED, entry, name)

    in_time_ms = now_ms() + 902_000
    await tell("in time", in_time_ms, "in-time-1")
    await running.events.one("created", user_id="slow")
    (scheduler,) = [process for process in running.processes if process.name.startswith("scheduler")]
    await scheduler.pause()
    late_ms = now_ms() + 900_300
    try:
        await tell("late", late_ms, "late-1")
        await until_time(in_time_ms - 900_000)
    finally:
        scheduler.resume()
    await tell("late", late_ms, "late-2")
    await tell("in time", in_time_ms, "in-time-2")
    await _settled(running)
    tasks = (await http.get("/tasks", user_id="slow"))["items"]
    assert {task["name"]: instant_ms(task["reminder_time"]) for task in tasks} == {
        "in time": in_time_ms - 900_000,
        "late": late_ms,
    }
    assert len(tasks) == 2
    assert await poison(http) == []


async def test_an_entry_too_large_for_a_command_is_set_aside(running: World, http: OverHttp) -> None:
    asked = {"calendar_reminders": True}
    assert (await running.commands.ok("update", account_id_of("big"), asked, kind="account"))["ok"]
    start = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    entry = {"user_id": "big", "event_id": "e", "title": "x" * COMMAND_MAX, "start_time": start}
    await say(running, CALENDAR_EVENT_CREATED, entry, "big")
    await _settled(running)
    (one,) = await poison(http)
    assert (one["name"], f"allowed: {COMMAND_MAX:,}" in one["reason"]) == ("big", True)
    assert len(one["payload"]) == 4096
    again = await http.client.post(f"/ecosystem/poison/{one['poison_id']}/retry")
    assert again.json()["payload"] == json.dumps(entry)
    await _settled(running)
    (one,) = await poison(http)  # it still will never do
    dropped = await http.client.delete(f"/ecosystem/poison/{one['poison_id']}")
    assert dropped.status_code == 204, dropped.text


async def test_what_will_never_do_is_set_aside_and_holds_up_nothing(running: World, http: OverHttp) -> None:
    await say(running, SUBSCRIPTION_CHANGED, b"\xff not JSON", "garbage")
    await say(running, SUBSCRIPTION_CHANGED, {"user_id": "u", "new_tier": "platinum"}, "tier")
    await say(running, USER_DELETED, {"user_id": " "}, "nobody")
    await say(running, SUBSCRIPTION_CHANGED, {"user_id": "after", "new_tier": "basic"})
    await _settled(running)
    after = await running.bus.last(EVENTS_STREAM, f"account.*.*.{account_id_of('after')}._")
    assert after is not None
    found = {one["name"]: one for one in await poison(http)}
    assert found.keys() == {"garbage", "tier", "nobody"}
    assert "platinum" in found["tier"]["reason"]
    assert found["tier"]["subject"] == SUBSCRIPTION_CHANGED
    assert json.loads(found["tier"]["payload"])["user_id"] == "u"
    assert "user_id" in found["nobody"]["reason"]
    again = await http.client.post(f"/ecosystem/poison/{found['tier']['poison_id']}/retry")
    assert again.status_code == 202, again.text
    dropped = await http.client.delete(f"/ecosystem/poison/{found['nobody']['poison_id']}")
    assert dropped.status_code == 204, dropped.text
    assert (await http.client.delete(f"/ecosystem/poison/{found['nobody']['poison_id']}")).status_code == 404
    assert (await http.client.delete("/ecosystem/poison/x")).status_code == 422

    async def back() -> bool:
        names = {one["name"] for one in await poison(http)}
        return len(names) == 2 and "tier" not in names

    await until_async(back)  # it still will never do
