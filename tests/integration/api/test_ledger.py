"""The audit over HTTP: what a test takes away, doubles or misplaces is found, and what is on its way is not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from gnomon_core.timing import own_rules
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.schedules import AnyOf, Cron
from gnomon_schemas.subjects import (
    DUE_STREAM,
    EVENTS_STREAM,
    calendar_register,
    chain,
    due,
    partition_of,
    shard_register,
    task_register,
)
from gnomon_schemas.tasks import Task
from tests.harness.zone_rules import made_rules
from tests.integration.api.conftest import Running
from tests.integration.api.stories import START_MS, Story, a_task
from tests.integration.api.test_explain import store
from tests.integration.cli.running_up import gnomon

PARTITIONS = 8
AUDIT = "/api/v1/ledger/audit"


async def audited(running: Running, task: Task, *, slots: int = 6) -> dict[str, Any]:
    """The audit of a task's first slots, of which there is one a minute."""
    params = {
        "task_id": task.task_id,
        "since": format_instant(START_MS),
        "until": format_instant(START_MS + slots * 60_000),
    }
    response = await running.http.get(AUDIT, params=params)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found["expected"] == sum(found["outcomes"].values()) + found["pending"] + found["missing_count"]
    return found


async def handed_out(running: Running, task: Task, until_ms: int = START_MS + 3_600_000) -> None:
    """Let the shard's register say that every slot up to then was handed out."""
    subject = shard_register(partition_of(task.task_id, PARTITIONS))
    await running.api.services.bus.store(
        subject, msgspec.json.encode({"watermark_ms": until_ms}), {"Nats-Rollup": "sub"}
    )


def minutes(task: Task) -> list[int]:
    """The nominal times of its first six slots, in milliseconds."""
    first = START_MS - START_MS % 60_000 + 60_000
    return [first + number * 60_000 for number in range(6)]


async def a_story(running: Running, task_id: str, *, without: tuple[int, ...] = ()) -> tuple[Task, Story]:
    """A task of which every slot was executed, but those `without`."""
    task = a_task(task_id)
    story = Story(at_ms=START_MS)
    story.created(task)
    for number, at_ms in enumerate(minutes(task)):
        if number not in without:
            story.now_ms = at_ms
            story.started(task, slot_run(at_ms // 1000))
            story.executed(task, slot_run(at_ms // 1000))
    await handed_out(running, task)
    return task, story


def names(found: dict[str, Any], what: str) -> list[str]:
    assert found["sound"] is False
    assert found[f"{what}_count"] == len(found[what])
    return [slot["execution_id"].rpartition(".")[2] for slot in found[what]]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_of_which_every_slot_ran_is_sound(running: Running) -> None:
    task, story = await a_story(running, "sound")
    await store(running, story)
    found = await audited(running, task)
    assert found["sound"] is True
    assert (found["tasks"], found["expected"], found["outcomes"]["executed"]) == (1, 6, 6)
    assert found["missing"] == found["duplicate"] == found["misplaced"] == found["miscounted"] == []


@pytest.mark.asyncio(loop_scope="module")
async def test_slots_before_a_new_calendar_are_those_of_the_old_one(running: Running) -> None:
    """By the rules that the shard has kept: minutes that Beirut's clock showed by them, and shows by the new ones."""
    minute = minutes(a_task("any"))[0] // 60_000 % 60

    def cron(ahead: int) -> Cron:
        listed = ",".join(str(each) for each in sorted({(minute + ahead + more) % 60 for more in range(10)}))
        return Cron(expression=f"{listed} * * * *", timezone="Asia/Beirut")

    # By the old rules, half an hour ahead of the present ones, it has every minute; by these every second one.
    every_other = Cron(
        expression="*/2 * * * *", timezone="UTC", start_at=format_instant(minutes(a_task("any"))[3])
    )
    task = a_task("moved", schedule=AnyOf(schedules=(cron(30), every_other), timezone="UTC"))
    partition = partition_of(task.task_id, PARTITIONS)
    story = Story(at_ms=START_MS)
    story.created(task)
    first_three, others = minutes(task)[:3], [ms for ms in minutes(task)[3:] if ms // 60_000 % 2 == 0]
    for at_ms in first_three:
        story.now_ms = at_ms
        story.started(task, slot_run(at_ms // 1000))
        story.executed(task, slot_run(at_ms // 1000))
    story.now_ms = minutes(task)[5]
    moved = msgspec.structs.replace(task, revision=2)
    story.replanned(moved, first_three[-1] + 500)
    for at_ms in others:
        story.started(moved, slot_run(at_ms // 1000))
        story.executed(moved, slot_run(at_ms // 1000))
    old = {"rules": made_rules("<+0330>-3:30"), "until_ms": story.now_ms}
    register = {
        "name": "zone-Asia/Beirut",
        "kept": [{"rules": own_rules("zone-Asia/Beirut", 2026)}],
        "past": [old],
    }
    subject = calendar_register(partition, "zone-Asia/Beirut")
    await running.api.services.bus.store(subject, msgspec.json.encode(register), {"Nats-Rollup": "sub"})
    await handed_out(running, task)
    await store(running, story)
    found = await audited(running, task)
    assert found["sound"] is True, found
    assert found["expected"] == found["outcomes"]["executed"] == 3 + len(others)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_that_was_taken_from_the_log_is_missing(running: Running) -> None:
    task, story = await a_story(running, "taken", without=(3,))
    await store(running, story)
    assert names(await audited(running, task), "missing") == [slot_run(minutes(task)[3] // 1000)]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_beyond_the_watermark_is_pending(running: Running) -> None:
    task, story = await a_story(running, "later", without=(4, 5))
    await handed_out(running, task, minutes(task)[3])
    await store(running, story)
    found = await audited(running, task)
    assert (found["sound"], found["pending"]) == (True, 2)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_that_is_due_and_not_claimed_is_pending(running: Running) -> None:
    task, story = await a_story(running, "unclaimed", without=(2,))
    await store(running, story)
    run = slot_run(minutes(task)[2] // 1000)
    subject = due("default", "medium", partition_of(task.task_id, PARTITIONS), task.task_id)
    body = msgspec.json.encode({"execution_id": f"{task.task_id}.{run}"})
    stored = await running.api.services.bus.store(subject, body)
    found = await audited(running, task)
    assert (found["sound"], found["pending"]) == (True, 1)
    assert await running.api.services.bus.delete(DUE_STREAM, stored.seq)
    assert names(await audited(running, task), "missing") == [run]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_that_is_written_ahead_is_pending(running: Running) -> None:
    task, story = await a_story(running, "ahead", without=(1,))
    await store(running, story)
    register = {"task_id": task.task_id, "entries": [{"run": slot_run(minutes(task)[1] // 1000)}]}
    subject = task_register(partition_of(task.task_id, PARTITIONS), task.task_id)
    await running.api.services.bus.store(subject, msgspec.json.encode(register), {"Nats-Rollup": "sub"})
    found = await audited(running, task)
    assert (found["sound"], found["pending"]) == (True, 1)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_second_outcome_on_a_chain_and_a_span_over_a_slot_that_ran_are_duplicates(
    running: Running,
) -> None:
    task, story = await a_story(running, "doubled")
    story.executed(task, slot_run(minutes(task)[1] // 1000))
    story.now_ms = minutes(task)[4] + 1000
    story.tell(
        ev.Missed(
            **story.common(task),
            reason="grace_exceeded",
            revision=task.revision,
            count=1,
            from_=format_instant(minutes(task)[4]),
            to=format_instant(minutes(task)[4] + 1000),
        )
    )
    await store(running, story)
    doubled = [slot_run(minutes(task)[number] // 1000) for number in (1, 4)]
    assert names(await audited(running, task), "duplicate") == doubled


@pytest.mark.asyncio(loop_scope="module")
async def test_a_slot_that_ran_under_a_wrong_revision_is_misplaced(running: Running) -> None:
    task, story = await a_story(running, "misplaced", without=(5,))
    wrong = msgspec.structs.replace(task, revision=task.revision + 1)
    run = slot_run(minutes(task)[5] // 1000)
    story.started(wrong, run)
    story.executed(wrong, run)
    await store(running, story)
    last = await running.api.services.bus.last(
        EVENTS_STREAM, chain(partition_of(task.task_id, PARTITIONS), task.task_id, run)
    )
    assert last is not None
    assert names(await audited(running, task), "misplaced") == [run]


@pytest.mark.asyncio(loop_scope="module")
async def test_slots_of_a_pause_are_pending_until_its_span_is_recorded(running: Running) -> None:
    task, story = await a_story(running, "paused", without=(2, 3, 4, 5))
    story.now_ms = minutes(task)[1] + 5_000
    story.status_changed(task, "scheduled", "paused")
    await store(running, story)
    found = await audited(running, task)
    assert (found["sound"], found["pending"]) == (True, 4)
    more = Story(at_ms=minutes(task)[5] + 5_000)
    more.status_changed(task, "paused", "scheduled")
    await store(running, more)
    assert len(names(await audited(running, task), "missing")) == 4


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"since": "yesterday"}, "#/since"),
        ({"until": "2026-09-21"}, "#/until"),
        ({"since": "2026-09-21T09:00:00Z", "until": "2026-09-21T09:00:00Z"}, "#/since"),
        ({"since": "2020-09-21T09:00:00Z"}, "#/since"),
    ],
)
async def test_a_span_that_cannot_be_audited_is_refused(
    running: Running, params: dict[str, str], pointer: str
) -> None:
    response = await running.http.get(AUDIT, params=params)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_without_slots_is_not_found(running: Running) -> None:
    response = await running.http.get(AUDIT, params={"task_id": "nobody"})
    assert response.status_code == 404


async def told_by_the_cli(running: Running, *arguments: str) -> tuple[int, Any]:
    """`gnomon audit` against the same api: its exit code and what it wrote."""
    said = await gnomon("audit", "--url", running.api.http.url, "--json", *arguments)
    return said.code, msgspec.json.decode(said.out)


@pytest.mark.asyncio(loop_scope="module")
async def test_cronsim_reckons_the_slots_of_a_cron_over_http_and_in_the_terminal(running: Running) -> None:
    """In the night in which Berlin's clock skips two to three: one slot is Gnomon's alone, and the report says why."""
    night_ms = int(datetime(2026, 3, 28, 23, 30, tzinfo=UTC).timestamp()) * 1000
    cron = Cron(expression="*/30 1-2 * * *", timezone="Europe/Berlin")
    task = a_task("night", at_ms=night_ms, schedule=cron)
    story = Story(at_ms=night_ms)
    story.created(task)
    # 01:00 and 01:30, then 03:00 for all that was skipped, on Berlin's clock.
    slots = [night_ms + minutes * 60_000 for minutes in (30, 60, 90)]
    for at_ms in slots:
        story.now_ms = at_ms
        story.started(task, slot_run(at_ms // 1000))
        story.executed(task, slot_run(at_ms // 1000))
    await handed_out(running, task, START_MS + 3_600_000)
    await store(running, story)
    since, until = format_instant(night_ms), format_instant(night_ms + 4 * 3_600_000)
    params = {"task_id": task.task_id, "since": since, "until": until, "engine": "cronsim"}
    response = await running.http.get(AUDIT, params=params)
    found = response.json()
    assert (found["sound"], found["engine"], found["expected"]) == (True, "cronsim", 3), found
    check = found["cross_check"]
    assert (check["checked"], check["unchecked"], check["explained"], check["disputed"]) == (2, 0, 1, 0)
    (other,) = check["differences"]
    assert (other["scheduled_for"], other["named_by"], other["why"]) == (
        "2026-03-29T01:00:00.000Z",
        "gnomon",
        "real_time",
    )
    code, told = await told_by_the_cli(
        running, "--task", "night", "--since", since, "--until", until, "--engine", "cronsim"
    )
    assert (code, told) == (0, found)
    wrong = await running.http.get(AUDIT, params={"engine": "croniter"})
    assert wrong.status_code == 422
    assert [error["pointer"] for error in wrong.json()["errors"]] == ["#/engine"]
