"""Commands that are refused, over raw NATS: the contract's problem object, one `task.rejected`, nothing else stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nats.js.errors import NoStreamResponseError

from gnomon_schemas.limits import COMMAND_MAX, CONFIG_MAX, TRIGGER_DATA_MAX
from gnomon_schemas.problems import Code
from tests.harness.commands import fresh_id
from tests.integration.scheduler.led import EVERY_SECOND, FAR, Led

GOOD: dict[str, Any] = {"name": "n", "task_type": "echo"}
INVALID, SCHEDULE = Code.INVALID, Code.INVALID_SCHEDULE


def _union(*schedules: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "any_of", "schedules": list(schedules)}


def _daily(**fields: Any) -> dict[str, Any]:
    return {"kind": "daily", "time": "09:00", **fields}


NESTED = _union(_union(_union(_union({"kind": "daily", "time": "09:00"}))))


@pytest.mark.parametrize(
    ("spec", "code", "pointer"),
    [
        ({"nme": "typo"}, Code.UNKNOWN_FIELD, "#/nme"),
        ({"schedule": {**FAR, "evry": 1}}, Code.UNKNOWN_FIELD, "#/schedule/evry"),
        ({"name": ""}, INVALID, "#/name"),
        ({"name": None}, INVALID, "#/name"),
        ({"name": 7}, INVALID, "#/name"),
        ({"priority": "soon"}, INVALID, "#/priority"),
        ({"due_date": "2030-01-01T00:00:00"}, INVALID, "#/due_date"),
        ({"schedule": {"kind": "cron", "expression": "61 * * * *"}}, SCHEDULE, "#/schedule/expression"),
        ({"schedule": {"kind": "cron", "expression": "* * *"}}, SCHEDULE, "#/schedule/expression"),
        ({"schedule": {"kind": "cron", "expression": "R * * * *"}}, SCHEDULE, "#/schedule/expression"),
        ({"schedule": {**FAR, "timezone": "Mars/Olympus"}}, SCHEDULE, "#/schedule/timezone"),
        ({"schedule": {"kind": "interval", "every_seconds": 0}}, SCHEDULE, "#/schedule/every_seconds"),
        ({"schedule": {"kind": "interval", "every_seconds": 1.5}}, SCHEDULE, "#/schedule/every_seconds"),
        ({"schedule": {"kind": "once", "at": "2001-01-01T00:00:00Z"}}, SCHEDULE, "#/schedule/at"),
        ({"schedule": {"kind": "whenever"}}, SCHEDULE, "#/schedule/kind"),
        ({"schedule": {"kind": "cron", "expression": "0 0 31 2 *"}}, SCHEDULE, "#/schedule/expression"),
        ({"schedule": {"kind": "weekly", "time": "09:00", "days": []}}, SCHEDULE, "#/schedule/days"),
        ({"schedule": {"kind": "daily", "time": "25:00"}}, SCHEDULE, "#/schedule/time"),
        ({"schedule": _daily(exclude=["someday"])}, SCHEDULE, "#/schedule/exclude/0"),
        ({"schedule": _daily(exclude=[{"holidays": "XX"}])}, SCHEDULE, "#/schedule/exclude/0/holidays"),
        ({"schedule": _daily(exclude=["2026-12-24"] * 1001)}, SCHEDULE, "#/schedule/exclude"),
        ({"schedule": _daily(exclude=[*range(7)])}, SCHEDULE, "#/schedule/exclude"),
        ({"schedule": _daily(max_runs=0)}, SCHEDULE, "#/schedule/max_runs"),
        ({"schedule": NESTED}, SCHEDULE, "#/schedule/schedules/0/schedules/0/schedules/0"),
        ({"schedule": {**FAR, "end_at": "2001-01-01T00:00:00Z"}}, SCHEDULE, "#/schedule"),
        ({"task_type": "no_such_type"}, Code.UNKNOWN_TASK_TYPE, "#/task_type"),
        ({"task_type": "a.b"}, Code.INVALID_ID, "#/task_type"),
        ({"pool": "a b"}, Code.INVALID_ID, "#/pool"),
        ({"task_type": "strict", "config": {}}, Code.INVALID_CONFIG, "#/config/seconds"),
        ({"task_type": "strict", "config": {"seconds": "9"}}, Code.INVALID_CONFIG, "#/config/seconds"),
        ({"task_type": "strict", "config": {"seconds": 99}}, Code.INVALID_CONFIG, "#/config/seconds"),
        ({"config": {"x": "y" * CONFIG_MAX}}, Code.TOO_LARGE, "#/config"),
        ({"overlap": "queue_some"}, INVALID, "#/overlap"),
        ({"retry": {"max_attempts": 0}}, INVALID, "#/retry/max_attempts"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else None,
)
async def test_a_task_that_is_not_valid_is_refused_by_field(
    led: Led, spec: dict[str, Any], code: Code, pointer: str
) -> None:
    await led.refused("create", fresh_id("t"), GOOD | spec, code=code, pointer=pointer)


@pytest.mark.parametrize("data", [b"{", b"[]", b"7", b"\xff\xfe", b"", b'{"name": NaN}'])
async def test_what_is_no_json_object_is_refused(led: Led, data: bytes) -> None:
    outcome = await led.commands.send("create", fresh_id("t"), data=data)
    assert outcome["error"]["code"] in {"not_json", "invalid"}, outcome
    assert outcome["error"]["status"] in {400, 422}


async def test_every_fault_of_an_input_is_named_at_once(led: Led) -> None:
    spec = {"name": "", "task_type": "echo", "nme": 1, "schedule": {"kind": "cron", "expression": "no"}}
    outcome = await led.commands.send("create", fresh_id("t"), spec)
    pointers = {error["pointer"] for error in outcome["error"]["errors"]}
    assert {"#/name", "#/nme", "#/schedule/expression"} <= pointers


async def test_a_command_over_the_limit_is_refused_before_it_is_read(led: Led) -> None:
    padding = b'{"name": "' + b"x" * COMMAND_MAX + b'"}'
    await led.refused("create", fresh_id("t"), code=Code.TOO_LARGE, data=padding)


@pytest.mark.parametrize("task_id", ["*", ">", "x" * 65, "analytics", "bulk", "_x", "ä", "a$b", "%2e"])
async def test_a_hostile_task_id_is_refused(led: Led, task_id: str) -> None:
    """Also one that the partition's transform does not touch: it is refused as of task `_invalid`."""
    problem = await led.refused("create", task_id, GOOD, code=Code.INVALID_ID)
    assert "1 to 64" in problem["detail"] or "reserved" in problem["detail"]
    rejected = led.events.of("rejected")[-1]
    assert rejected.task_id in {task_id, "_invalid"}
    assert rejected.subject.partition == 0


@pytest.mark.parametrize("task_id", ["a.b", "a.b.c"])
async def test_an_id_that_makes_another_subject_reaches_no_stream(led: Led, task_id: str) -> None:
    """NATS itself refuses: nobody listens there, and the caller is told at once."""
    before = await led.newest()
    with pytest.raises(NoStreamResponseError):
        await led.commands.post("create", task_id, GOOD)
    assert await led.newest() == before


@pytest.mark.parametrize("command_id", ["a.b", "*", ">", "a b", "x" * 65, "_x", "ä"])
async def test_a_hostile_command_id_is_refused(led: Led, command_id: str) -> None:
    await led.refused("create", fresh_id("t"), GOOD, code=Code.MISSING_COMMAND_ID, command_id=command_id)


async def test_a_command_without_an_id_is_refused(led: Led) -> None:
    problem = await led.refused("create", fresh_id("t"), GOOD, code=Code.MISSING_COMMAND_ID, command_id="")
    assert "Nats-Msg-Id" in problem["detail"]


@pytest.mark.parametrize(
    ("verb", "kind", "code"),
    [
        ("explode", "task", Code.UNKNOWN_VERB),
        ("create", "playlist", Code.UNSUPPORTED),
        ("create", "nonsense", Code.UNSUPPORTED),
        ("explode", "shard", Code.UNKNOWN_VERB),
        ("approve_catch_up", "shard", Code.NOT_FOUND),
    ],
)
async def test_a_verb_or_kind_that_is_not_taken_is_refused(
    led: Led, verb: str, kind: str, code: Code
) -> None:
    await led.refused(verb, fresh_id("t"), GOOD, code=code, kind=kind)


@pytest.mark.parametrize("verb", ["update", "pause", "resume", "cancel", "delete", "run", "cancel_execution"])
async def test_a_task_that_is_not_there_or_anothers_is_not_found(led: Led, verb: str) -> None:
    """Another user's task answers as if it did not exist; its owner and an admin reach it."""
    body = {"run": "r-x"} if verb == "cancel_execution" else None
    missing = await led.refused(verb, "nobody", body, code=Code.NOT_FOUND)
    task = fresh_id("t")
    await led.commands.create(task, headers={"Gnomon-User": "owner"})
    anothers = await led.refused(verb, task, body, code=Code.NOT_FOUND, headers={"Gnomon-User": "stranger"})
    assert anothers["detail"] == missing["detail"].replace("nobody", task)
    for headers in ({"Gnomon-User": "owner"}, {"Gnomon-User": "boss", "Gnomon-Roles": "x, admin"}):
        same = await led.commands.send("update", task, {"name": task}, headers=headers)
        assert same["ok"], same


@pytest.mark.parametrize("stale", ["1", '"1"', 'W/"1"', "3", "x"])
async def test_a_stale_version_is_refused_and_the_present_one_taken(led: Led, stale: str) -> None:
    task = await led.task()
    await led.commands.ok("update", task, {"description": "two"})
    problem = await led.refused(
        "update", task, {"description": "?"}, code=Code.VERSION_MISMATCH, headers={"Gnomon-If-Match": stale}
    )
    assert "version 2" in problem["detail"]
    for version in ('"2"', "*"):
        body = {"description": f"by {version}"}
        assert (await led.commands.send("update", task, body, headers={"Gnomon-If-Match": version}))["ok"]


async def test_an_id_that_is_taken_is_refused_unless_the_body_is_the_same(led: Led) -> None:
    task = await led.task(schedule=FAR, config={"a": 1})
    same = await led.commands.ok(
        "create", task, {"config": {"a": 1.0}, "schedule": FAR, "task_type": "echo", "name": task}
    )
    assert (same.get("created", False), same["task"]["version"]) == (False, 1)
    other = {"name": task, "task_type": "echo", "schedule": FAR, "config": {"a": 2}}
    problem = await led.refused("create", task, other, code=Code.ALREADY_EXISTS)
    assert "config" in problem["detail"]
    await led.commands.ok("delete", task)
    await led.refused("create", task, other, code=Code.DELETED)


@pytest.mark.parametrize("verb", ["update", "pause", "resume", "cancel", "delete", "run", "cancel_execution"])
async def test_a_deleted_task_is_not_found(led: Led, verb: str) -> None:
    task = await led.task()
    await led.commands.ok("delete", task)
    await led.refused(verb, task, {"run": "r-x"}, code=Code.NOT_FOUND)


async def test_a_cancelled_task_takes_no_change_and_no_run(led: Led) -> None:
    task = await led.task(schedule=EVERY_SECOND)
    await led.commands.ok("cancel", task)
    await led.refused("update", task, {"description": "late"}, code=Code.INVALID_STATE)
    await led.refused("run", task, code=Code.INVALID_STATE)


async def test_an_update_is_checked_as_the_task_it_makes(led: Led) -> None:
    task = fresh_id("t")
    await led.commands.create(task, task_type="strict", config={"seconds": 1}, schedule=FAR)
    for patch, code, pointer in (
        ({"config": {"seconds": 61}}, Code.INVALID_CONFIG, "#/config/seconds"),
        ({"task_type": "echo"}, INVALID, "#/task_type"),
        ({"schedule": {"timezone": "Nowhere/Land"}}, SCHEDULE, "#/schedule/timezone"),
        ({"schedule": {"every_seconds": None}}, SCHEDULE, "#/schedule/every_seconds"),
        ({"name": None}, INVALID, "#/name"),
        ({"colour": "red"}, Code.UNKNOWN_FIELD, "#/colour"),
    ):
        await led.refused("update", task, patch, code=code, pointer=pointer)
    assert (await led.world.task_register(task))[1].version == 1


async def test_a_run_is_checked_before_it_is_made(led: Led) -> None:
    task = fresh_id("t")
    await led.commands.create(task, task_type="strict", config={"seconds": 1})
    large = "x" * TRIGGER_DATA_MAX
    for body, code, pointer in (
        ({"config": {"seconds": 99}}, Code.INVALID_CONFIG, "#/config/seconds"),
        ({"trigger_data": large}, Code.TOO_LARGE, "#/trigger_data"),
        ({"config": {"x": large}}, Code.TOO_LARGE, "#/config"),
        ({"trigger": {}}, INVALID, "#/trigger"),
        ({"triggered": {}}, Code.UNKNOWN_FIELD, "#/triggered"),
        ({"overlap": "cancel"}, INVALID, "#/overlap"),
    ):
        await led.refused("run", task, body, code=code, pointer=pointer)


async def test_a_second_run_is_refused_while_one_is_in_flight_unless_it_may_wait(led: Led) -> None:
    task = await led.task()
    first = await led.commands.ok("run", task)
    problem = await led.refused("run", task, code=Code.OVERLAP)
    assert first["execution"]["run"] in problem["detail"]
    waiting = await led.commands.ok("run", task, {"overlap": "queue"})
    assert waiting["execution"]["run"] != first["execution"]["run"]
    assert (await led.commands.ok("run", task, {"overlap": "allow"}))["ok"]


async def test_an_execution_that_is_not_in_flight_cannot_be_cancelled(led: Led) -> None:
    task = await led.task()
    await led.refused("cancel_execution", task, {"run": "r-none"}, code=Code.INVALID_STATE, pointer="#/run")
    await led.refused("cancel_execution", task, {}, code=INVALID)
