"""Commands over raw NATS, as any program sends them: what each verb does, and what is told of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from nats.aio.msg import Msg

from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import (
    Created,
    Executed,
    Queued,
    Skipped,
    StatusChanged,
    Unchanged,
    Updated,
)
from gnomon_schemas.subjects import COMMANDS_STREAM
from tests.harness.commands import fresh_id
from tests.harness.waiting import until_async, until_time
from tests.integration.scheduler.led import EVERY_SECOND, FAR, Led

CRON = {"kind": "cron", "expression": "0 9 * * mon-fri", "timezone": "Europe/Berlin"}


async def test_a_created_task_is_answered_stored_and_told_alike(led: Led) -> None:
    """Outcome, event and register say the same; fields that only the system sets are ignored on input."""
    task, command = fresh_id("t"), fresh_id()
    spec = {"schedule": CRON, "tags": ["a"], "version": 99, "status": "failed", "run_count": 7}
    outcome = await led.commands.create(task, command_id=command, headers={"Gnomon-User": "u1"}, **spec)
    shown = outcome["task"]
    assert (outcome["ok"], outcome["created"], outcome["command_id"]) == (True, True, command)
    assert (shown["task_id"], shown["user_id"], shown["version"], shown["status"]) == (
        task,
        "u1",
        1,
        "scheduled",
    )
    assert (shown["run_count"], shown["resolved"]["pool"]) == (0, "default")
    assert shown["next_run_time"] is not None
    seen = await led.events.one("created", task)
    assert isinstance(seen.event, Created)
    assert seen.event.command_id == command
    assert seen.event.task.schedule == (await led.world.task_register(task))[1].spec.schedule
    assert seen.seq <= outcome["seq"]
    assert seen.headers["ce-type"] == "gnomon.task.created.v1"
    assert seen.headers["ce-subject"] == task


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_refusal_names_the_trace_of_its_command(led: Led) -> None:
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    outcome = await led.commands.send("pause", fresh_id("t"), headers=headers)
    assert outcome["error"]["trace_id"] == TRACE
    of_its_own = await led.commands.send("pause", fresh_id("t"))
    assert len(of_its_own["error"]["trace_id"]) == 32


@pytest.mark.parametrize("user", ["a\tb", "x" * 256, "a\x7fb", "a\u00a0b"])
async def test_a_user_id_is_printable_text_over_nats_too(led: Led, user: str) -> None:
    body = {"name": "t", "task_type": "echo"}
    outcome = await led.commands.send("create", fresh_id("t"), body, headers={"Gnomon-User": user})
    assert (outcome["ok"], outcome["error"]["code"]) == (False, "invalid_id")


async def test_an_update_merges_and_tells_every_field_that_changed(led: Led) -> None:
    """RFC 7396: null takes back to the default; a schedule with its `kind` and a config replace the old one whole."""
    task = await led.task(schedule=CRON, config={"a": 1, "b": 2}, metadata={"x": 1, "y": 2}, priority="high")
    patch = {
        "config": {"c": 3},
        "metadata": {"x": None, "z": 3},
        "priority": None,
        "schedule": {"expression": "30 8 * * *"},
        "description": "new",
    }
    outcome = await led.commands.ok("update", task, patch)
    shown = outcome["task"]
    assert (shown["config"], shown["metadata"], shown["priority"]) == ({"c": 3}, {"y": 2, "z": 3}, "medium")
    assert (shown["schedule"]["expression"], shown["schedule"]["timezone"]) == ("30 8 * * *", "Europe/Berlin")
    assert (shown["version"], shown["revision"]) == (2, 2)
    event = (await led.events.one("updated", task)).event
    assert isinstance(event, Updated)
    assert set(event.updated_fields) == {"config", "metadata", "priority", "schedule", "description"}
    assert {change.field for change in event.changes} == set(event.updated_fields)
    before_after = {change.field: (change.old, change.new) for change in event.changes}
    assert before_after["priority"] == ("high", "medium")
    replaced = await led.commands.ok("update", task, {"schedule": FAR})
    assert "expression" not in replaced["task"]["schedule"]


async def test_version_counts_changes_and_revision_those_that_move_slots(led: Led) -> None:
    task = await led.task(schedule=FAR)
    for patch, version, revision in (
        ({"description": "a"}, 2, 1),
        ({"description": "a"}, 2, 1),
        ({}, 2, 1),
        ({"schedule": {**FAR, "jitter_seconds": 5}}, 3, 2),
        ({"tags": ["b"]}, 4, 2),
        ({"schedule": None}, 5, 3),
    ):
        shown = (await led.commands.ok("update", task, patch))["task"]
        assert (shown["version"], shown["revision"]) == (version, revision), patch
    assert shown["status"] == "pending"
    assert [
        seen.event.verb for seen in led.events.of("unchanged", task) if isinstance(seen.event, Unchanged)
    ] == [
        "update",
        "update",
    ]


async def test_a_pause_is_recorded_as_one_span_when_it_ends(led: Led) -> None:
    """No slot fires meanwhile; runs on demand still do."""
    task = await led.task(schedule=EVERY_SECOND, overlap="allow")
    led.fake.run()
    try:
        await led.events.one("executed", task)
        paused = (await led.commands.ok("pause", task, {"note": "repairs"}))["task"]
        assert (paused["status"], paused["pause_note"], paused["paused"]) == ("paused", "repairs", True)
        assert paused["next_run_time"] is None
        run = await led.commands.ok("run", task)
        await led.events.one("executed", task, run=run["execution"]["run"])
        since_ms = instant_ms(paused["updated_at"])
        await until_time(since_ms + 2100)
        resumed = (await led.commands.ok("resume", task))["task"]
        assert (resumed["status"], resumed["pause_note"]) == ("scheduled", None)
        span = next(seen.event for seen in led.events.of("skipped", task, run="_"))
        assert isinstance(span, Skipped)
        assert span.reason == "paused"
        assert span.count >= 2
        assert span.from_ is not None
        assert instant_ms(span.from_) >= since_ms // 1000 * 1000
        await led.events.some(len(led.events.of("executed", task)) + 1, "executed", task)
        await led.commands.ok("delete", task)
        audit = led.world.audit(instant_ms(resumed["updated_at"]))
        assert audit.sound, audit
    finally:
        await led.fake.rest()
    changes = [seen.event for seen in led.events.of("status_changed", task)]
    assert [event.new_status for event in changes if isinstance(event, StatusChanged)] == [
        "paused",
        "scheduled",
    ]


async def test_pausing_what_is_paused_and_resuming_what_runs_changes_nothing(led: Led) -> None:
    task = await led.task(schedule=FAR)
    await led.commands.ok("resume", task)
    await led.commands.ok("pause", task)
    again = await led.commands.ok("pause", task)
    assert again["task"]["version"] == 2
    assert len(await led.events.some(2, "unchanged", task)) == 2


async def test_a_run_carries_its_input_in_its_queued_event(led: Led) -> None:
    """Trigger data and overrides; the due only says that there is some, and the register neither."""
    task = await led.task(config={"a": 1})
    outcome = await led.commands.ok("run", task, {"trigger_data": {"k": [1]}, "config": {"a": 2}})
    execution = outcome["execution"]
    assert execution["execution_id"] == f"{task}.{execution['run']}"
    assert execution["run"] == f"r-{outcome['command_id']}"
    queued = await led.events.one("queued", task)
    assert isinstance(queued.event, Queued)
    assert queued.event.command_id == outcome["command_id"]
    assert json.loads(bytes(queued.event.trigger_data)) == {"k": [1]}
    assert json.loads(bytes(queued.event.config_overrides)) == {"a": 2}
    work = await led.fake.next(task_id=task)
    assert work.due.has_input
    assert (work.due.cause_seq, work.due.trigger) == (queued.seq, "manual")
    stored, _ = await led.world.task_register(task)
    assert b'"k"' not in stored.data
    await led.fake.complete(work)
    shown = await _settled_run(led, task)
    assert (shown["run_count"], shown["success_count"], shown["status"]) == (1, 1, "pending")
    assert shown["last_execution"]["run"] == execution["run"]


async def _settled_run(led: Led, task: str) -> dict[str, Any]:
    """The task once a run of it has been folded."""
    shown: dict[str, Any] = {}

    async def folded() -> bool:
        shown.update((await led.commands.ok("update", task, {}))["task"])
        return bool(shown["run_count"] != 0)

    await until_async(folded)
    return shown


async def test_runs_that_wait_for_one_another_go_in_order(led: Led) -> None:
    task = await led.task(overlap="queue")
    runs = [(await led.commands.ok("run", task))["execution"]["run"] for _ in range(3)]
    for run in runs:
        work = await led.fake.next(task_id=task)
        assert work.due.run == run
        await led.fake.complete(work)
    reasons = [seen.event.reason for seen in led.events.of("queued", task) if isinstance(seen.event, Queued)]
    assert reasons == ["manual", "overlap", "overlap"]


async def test_cancel_ends_the_task_and_what_waits(led: Led) -> None:
    task = await led.task(schedule=FAR, overlap="allow")
    waiting = (await led.commands.ok("run", task))["execution"]["run"]
    work = await led.fake.next(task_id=task)
    cancelled = (await led.commands.ok("cancel", task, {"reason": "not needed"}))["task"]
    assert (cancelled["status"], cancelled["next_run_time"]) == ("cancelled", None)
    skipped = await led.events.one("skipped", task, run=waiting)
    assert isinstance(skipped.event, Skipped)
    assert skipped.event.reason == "cancelled"
    await led.fake.ack(work)
    changed = (await led.events.one("status_changed", task)).event
    assert isinstance(changed, StatusChanged)
    assert (changed.old_status, changed.new_status) == ("scheduled", "cancelled")
    again = await led.commands.ok("cancel", task)
    assert again["task"]["version"] == cancelled["version"]


async def test_delete_leaves_a_tombstone_and_no_due(led: Led) -> None:
    task = await led.task(schedule=FAR, config={"secret": "x"})
    run = (await led.commands.ok("run", task))["execution"]["run"]
    await led.events.one("queued", task)
    deleted = await led.commands.ok("delete", task)
    assert deleted["task"]["deleted_at"] is not None
    skipped = await led.events.one("skipped", task, run=run)
    assert isinstance(skipped.event, Skipped)
    assert skipped.event.reason == "deleted"
    stored, register = await led.world.task_register(task)
    assert register.deleted_ms is not None
    assert b"secret" not in stored.data

    async def gone() -> bool:
        return not await led.world.dues(task)

    await until_async(gone)


async def test_a_running_execution_is_told_to_stop_and_after_the_grace_is_ended(led: Led) -> None:
    """The handler hears of it each second; what it reports later is refused."""
    task = await led.task()
    run = (await led.commands.ok("run", task))["execution"]["run"]
    signals: asyncio.Queue[Msg] = asyncio.Queue()
    await led.world.bus.subscribe(subjects.cancel_signal(task, run), signals.put)
    work = await led.fake.next(task_id=task)
    await led.fake.claim(work)
    await led.events.one("started", task)
    outcome = await led.commands.ok("cancel_execution", task, {"run": run})
    assert outcome["execution"]["run"] == run
    async with asyncio.timeout(5):
        assert b"cancelled" in (await signals.get()).data
    executed = await led.events.one("executed", task, run=run)
    assert isinstance(executed.event, Executed)
    assert (executed.event.status, executed.event.executor) == ("cancelled", None)
    with pytest.raises(Exception, match="wrong last sequence"):
        await led.fake.finish(work)
    shown = await _settled_run(led, task)
    assert (shown["success_count"], shown["failure_count"]) == (0, 0)


async def test_commands_that_come_together_are_stored_together(led: Led) -> None:
    """Two hundred commands: answered each, in order, by far fewer batches."""
    task = await led.task()
    counting = led.leader.bus.trap("state.shard.*", "hold", on="batch", nth=10**6)
    posted = [await led.commands.post("update", task, {"description": str(n)}) for n in range(20)]
    gathered = [led.commands.post("update", task, {"description": f"g{n}"}) for n in range(180)]
    posted += await asyncio.gather(*gathered)
    outcomes = [await led.commands.outcome(command) for command, _ in posted]
    assert all(outcome["ok"] for outcome in outcomes)
    assert counting.seen < len(posted) / 2, f"{counting.seen} batches for {len(posted)} commands"
    led.leader.bus.traps.remove(counting)
    await led.events.catch_up()
    in_stream_order = [command for command, _ in sorted(posted, key=lambda item: item[1].seq)]
    assert [seen.event.command_id for seen in led.events.of("updated", task)] == in_stream_order


async def test_a_command_sent_at_once_from_two_places_is_decided_once(led: Led) -> None:
    """Whether JetStream's window or the shard recognises it."""
    task, command = await led.task(), fresh_id()
    for _ in range(8):
        await led.commands.post("update", task, {"description": "once"}, command_id=command)
    outcome = await led.commands.outcome(command)
    assert outcome["task"]["version"] == 2
    await led.commands.ok("update", task, {"description": "and after"})
    assert Counter(seen.event.command_id for seen in led.events.of("updated", task))[command] == 1


async def test_every_command_is_answered_by_one_event_and_leaves_the_queue(led: Led) -> None:
    """Accepted, refused, without effect, without a usable id: none stays behind for the next leader."""
    task = await led.task()
    sent = [
        await led.commands.post(verb, name, body)
        for verb, name, body in (
            ("update", task, {"description": "x"}),
            ("update", task, {"description": "x"}),
            ("update", task, {"nonsense": 1}),
            ("run", task, None),
            ("create", "*", {}),
            ("create", ">", {}),
            ("pause", "nobody", None),
        )
    ]
    for command, _ in sent:
        await led.commands.outcome(command)
    await led.events.catch_up()
    answers = Counter(seen.event.command_id for seen in led.events.all)
    assert [answers[command] for command, _ in sent] == [1] * len(sent)

    async def empty() -> bool:
        return (await led.world.bus.stream_info(COMMANDS_STREAM)).messages == 0

    await until_async(empty)


async def test_a_run_that_cancels_what_runs_waits_until_that_has_ended(led: Led) -> None:
    """`cancel_running`, of the task or of the run alone: what runs is ended, what waits is not run."""
    task = await led.task(overlap="queue_all")
    first = (await led.commands.ok("run", task))["execution"]["run"]
    work = await led.fake.next(task_id=task)
    await led.fake.claim(work)
    await led.events.one("started", task)
    second = (await led.commands.ok("run", task))["execution"]["run"]
    third = (await led.commands.ok("run", task, {"overlap": "cancel_running"}))["execution"]["run"]
    ended = (await led.events.one("executed", task, run=first)).event
    assert isinstance(ended, Executed)
    assert (ended.status, ended.reason) == ("cancelled", "cancelled")
    skipped = (await led.events.one("skipped", task, run=second)).event
    assert isinstance(skipped, Skipped)
    assert skipped.reason == "cancelled"
    last = await led.fake.next(task_id=task)
    assert last.due.run == third
    await led.fake.complete(last)
    assert led.events.chain(task, third)[0] == "queued"
