"""What a leader changes of its own accord, over the real server, and what its death in the middle changes: nothing."""

from __future__ import annotations

import json
from typing import Any

from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.events import Skipped, StatusChanged
from gnomon_schemas.problems import Code
from tests.harness.fake_executor import Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World
from tests.integration.scheduler.led import EVERY_SECOND, FAR, Led


def own(stage_or_led: Stage | Led, task: str, reason: str) -> list[StatusChanged]:
    """The changes of a task with this reason."""
    events = (stage_or_led.world if isinstance(stage_or_led, Stage) else stage_or_led).events
    found = [seen.event for seen in events.of("status_changed", task)]
    return [event for event in found if isinstance(event, StatusChanged) and event.reason == reason]


async def test_a_pause_until_a_time_ends_by_itself_whenever_the_leader_dies(world: World) -> None:
    """The slot of the very second fires, those before it are one span, and one event tells of it."""
    (await world.fake_executor()).run()
    until: dict[str, int] = {}

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow")
        stage.advance(2)
        await stage.settle()

    async def scene(stage: Stage) -> None:
        until[stage.task] = stage.clock.now_ms() // 1000 * 1000 + 5000
        body = {"until": format_instant(until[stage.task]), "note": "n"}
        await stage.commands.ok("pause", stage.task, body)
        stage.advance(8)
        await world.events.some(2, "status_changed", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        (told,) = own(stage, stage.task, "pause_over")
        assert instant_ms(told.changed_at) == until[stage.task]
        (span,) = (seen.event for seen in world.events.of("skipped", stage.task, run="_"))
        assert isinstance(span, Skipped)
        assert (span.reason, span.count) == ("paused", 4)
        live = slot_run(until[stage.task] // 1000)
        assert world.events.chain(stage.task, live)[-1] == "executed"
        assert world.events.chain(stage.task, slot_run(until[stage.task] // 1000 - 1)) == []

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_failures_in_a_row_pause_a_task_whenever_the_leader_dies(world: World) -> None:
    """Exactly one event, in whichever register write; the slots after it are the pause's."""
    fake = await world.fake_executor()

    async def fail(work: Work) -> None:
        await fake.claim(work)
        await fake.finish(work, "failed")
        await fake.ack(work)

    fake.run(fail)

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(
            stage.task, schedule=EVERY_SECOND, overlap="allow", max_consecutive_failures=2
        )

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        await world.events.some(1, "executed", stage.task)
        stage.advance(1)
        await world.events.some(2, "executed", stage.task)
        await world.events.one("status_changed", stage.task)
        stage.advance(3)
        await stage.commands.ok("resume", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        assert own(stage, stage.task, "max_consecutive_failures")
        assert audit.outcomes["skipped(paused, span)"] >= 3, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_the_pause_is_in_the_register_that_counts_the_last_failure(led: Led) -> None:
    """No register of the task shows as many failures as it takes and is not paused."""
    task = await led.task(schedule=FAR, max_consecutive_failures=2, overlap="allow")
    seen = await _registers_while(led, task, lambda: _fail_twice(led, task))
    assert [(reg["failures"], reg["paused"]) for reg in seen][-1] == (2, True)
    assert all(reg["paused"] for reg in seen if reg["failures"] >= 2)
    (told,) = own(led, task, "max_consecutive_failures")
    assert told.task is not None
    assert told.task.paused
    assert "2 executions in a row failed" in (told.task.pause_note or "")
    assert (told.old_status, told.new_status) == ("scheduled", "paused")
    # Runs on demand are allowed while it is paused; a resume counts anew.
    resumed = (await led.commands.ok("resume", task))["task"]
    assert (resumed["status"], resumed["consecutive_failures"], resumed["failure_count"]) == (
        "scheduled",
        0,
        2,
    )


async def _fail_twice(led: Led, task: str) -> None:
    async def fail(work: Work) -> None:
        await led.fake.claim(work)
        await led.fake.finish(work, "failed")
        await led.fake.ack(work)

    led.fake.run(fail)
    try:
        for _ in range(2):
            run = (await led.commands.ok("run", task))["execution"]["run"]
            await led.events.one("executed", task, run=run)
        await led.events.one("status_changed", task)
    finally:
        await led.fake.rest()


async def _registers_while(led: Led, task: str, work: Any) -> list[dict[str, Any]]:
    """What each register of a task says, that was stored while something happened."""
    subscription = await led.world.bus.nc.subscribe(f"gnomon.write.state.task.*.{task}")
    found: list[dict[str, Any]] = []
    try:
        await work()
        while subscription.pending_msgs:
            message = await subscription.next_msg()
            body: dict[str, Any] = json.loads(message.data)
            found.append(body)
    finally:
        await subscription.unsubscribe()
    return [
        {
            "failures": reg.get("runtime", {}).get("consecutive_failures", 0),
            "paused": reg["spec"].get("paused", False),
        }
        for reg in found
    ]


async def test_a_pause_in_the_past_is_refused_with_the_field(led: Led) -> None:
    task = await led.task(schedule=FAR)
    await led.refused("pause", task, {"until": "2020-01-01T00:00:00Z"}, code=Code.INVALID, pointer="#/until")
    await led.refused("pause", task, {"until": "soon"}, code=Code.INVALID, pointer="#/until")


async def test_a_task_that_is_created_paused_fires_once_it_is_resumed(led: Led) -> None:
    task = await led.task(schedule=EVERY_SECOND, paused=True, overlap="allow")
    created = await led.events.one("created", task)
    assert created.event.task.status == "paused"  # type: ignore[attr-defined]  # a Created
    assert created.event.task.next_run_time is None  # type: ignore[attr-defined]  # a Created
    led.fake.run()
    try:
        run = (await led.commands.ok("run", task))["execution"]["run"]
        await led.events.one("executed", task, run=run)
        await led.commands.ok("resume", task)
        await led.events.some(2, "executed", task)
    finally:
        await led.fake.rest()
        await led.commands.ok("delete", task)
