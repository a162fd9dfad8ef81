"""Repair while its leader dies, is deposed or is asked twice: a slot that was lost gets one outcome, and no other
slot a second one."""

from __future__ import annotations

import asyncio

from gnomon_core.runtime.messages import Stored
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Queued
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.subjects import chain as chain_of
from tests.harness.commands import fresh_id
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.stopping import Trap
from tests.harness.tampering import lose
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}
ALL = {"policy": "all", "after_seconds": 3600, "grace_seconds": 7200}


async def with_lost_slots(stage: Stage, *lost: int) -> list[int]:
    """A task of which six slots ran, and nothing is recorded of some; when those were."""
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow", catch_up=ALL)
    first_s = stage.clock.now_ms() // 1000 + 1
    stage.advance(6)
    await stage.settle()
    slots = [first_s + number for number in lost]
    for slot in slots:
        await lose(stage.world, stage.task, slot_run(slot))
    assert len(stage.audit(first_s * 1000 + 5000).missing) == len(lost)
    return slots


def body(slots: list[int]) -> dict[str, list[str]]:
    return {"slots": [format_instant(slot * 1000) for slot in slots]}


def assert_repaired_once(stage: Stage, slots: list[int]) -> None:
    """Each of them was queued for repair and ran, once."""
    for slot in slots:
        chain = [seen for seen in stage.world.events.of(task_id=stage.task) if seen.run == slot_run(slot)]
        assert [seen.name for seen in chain] == ["queued", "started", "executed"], chain
        head = chain[0].event
        assert isinstance(head, Queued)
        assert head.reason == "repair"


async def events_of(world: World, task: str, run: str) -> list[Stored]:
    """A slot's chain as stored."""
    subject = chain_of(world.partition(task), task, run)
    return [stored async for stored in world.bus.scan(EVENTS_STREAM, subject)]


async def test_lost_slots_get_one_outcome_whenever_the_leader_dies(world: World) -> None:
    """Killed before or after any write: the command is delivered again, and decided once."""
    (await world.fake_executor()).run()
    lost: dict[str, list[int]] = {}

    async def prepare(stage: Stage) -> None:
        lost[stage.task] = await with_lost_slots(stage, 1, 3)

    async def scene(stage: Stage) -> None:
        await stage.commands.decided("repair", stage.task, body(lost[stage.task]))
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert set(audit.outcomes) == {"executed"}, audit
        assert_repaired_once(stage, lost[stage.task])

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


async def test_asked_again_by_the_same_command_or_another_nothing_more_happens(world: World) -> None:
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    slots = await with_lost_slots(stage, 2)
    command_id = fresh_id()
    for _ in range(2):
        await stage.commands.post("repair", stage.task, body(slots), command_id=command_id)
    await stage.commands.outcome(command_id)
    await stage.settle()
    assert_repaired_once(stage, slots)
    outcome = await stage.commands.ok("repair", stage.task, body([slots[0] - 1, *slots]))
    assert outcome["ok"], "nothing is lost any more"
    await stage.settle()
    assert_repaired_once(stage, slots)
    assert len(world.events.of("unchanged", stage.task)) == 2, "one for each command"


async def test_a_deposed_leaders_repair_is_refused(world: World) -> None:
    """It has decided, and stands still before its batch; its successor decides the same command."""
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    slots = await with_lost_slots(stage, 0, 4)
    deposed = stage.leader
    trap = Trap(subject="task.queued.*", on="batch", do="hold")
    deposed.bus.traps.append(trap)
    command_id, _ = await stage.commands.post("repair", stage.task, body(slots))
    async with asyncio.timeout(10):
        await trap.reached.wait()
    await stage.lead()
    assert (await stage.commands.outcome(command_id))["ok"]
    trap.release()
    async with asyncio.timeout(10):
        await deposed.shard.deposed.wait()
    await deposed.die()
    await stage.settle()
    assert_repaired_once(stage, slots)


async def test_a_slot_that_is_recorded_meanwhile_keeps_what_it_has(world: World) -> None:
    """Between the shard's look at the log and its batch somebody stores the slot's result: the batch expects an empty
    chain, and leaves it."""
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow", catch_up=ALL)
    first_s = stage.clock.now_ms() // 1000 + 1
    stage.advance(4)
    await stage.settle()
    slots = [first_s + 1, first_s + 2]
    chain = await events_of(world, stage.task, slot_run(slots[0]))
    for slot in slots:
        await lose(world, stage.task, slot_run(slot))
    trap = Trap(subject="task.queued.*", on="batch", do="hold")
    stage.leader.bus.traps.append(trap)
    command_id, _ = await stage.commands.post("repair", stage.task, body(slots))
    async with asyncio.timeout(10):
        await trap.reached.wait()
    for stored in chain:
        headers = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
        await world.bus.store(stored.subject, stored.data, headers)
    trap.release()
    assert (await stage.commands.outcome(command_id))["ok"]
    found = await stage.settle()
    assert set(found.outcomes) == {"executed"}, found
    assert_repaired_once(stage, slots[1:])
    names = [seen.name for seen in world.events.of(task_id=stage.task) if seen.run == slot_run(slots[0])]
    assert names == ["started", "executed"], "it was not queued"
    await stage.commands.ok("update", stage.task, {"description": "a turn later"})
    assert slot_run(slots[0]) not in stage.leader.shard.book.memory.tasks[stage.task].flights
