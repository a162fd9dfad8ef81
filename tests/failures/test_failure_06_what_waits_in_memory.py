"""6: a crash while a jittered slot waits, a past slot is in the backlog, or a queued slot waits in memory."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_scheduler import units
from tests.harness.fake_executor import Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.waiting import until_async
from tests.harness.world import World

JITTERED = {"kind": "interval", "every_seconds": 2, "jitter_seconds": 8}
EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


async def test_a_slot_that_waits_for_its_jitter_survives_every_crash(world: World) -> None:
    """The watermark is an emission time: what is nominal before it and due after it is looked at again."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=JITTERED, overlap="allow")

    async def scene(stage: Stage) -> None:
        for _ in range(6):
            stage.advance(2)
            # Something unrelated is stored while they wait, and with it the watermark.
            await stage.commands.ok("update", stage.task, {"description": f"at {stage.clock.now_ms()}"})
        stage.advance(8)

    assert await at_every_write(world, scene, prepare=prepare, subject="state.shard.*") >= 6


async def test_a_backlog_is_decided_once_whenever_the_leader_dies(world: World) -> None:
    """Cursor, span and the slot that runs are one batch, stored before the slot's due is published."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        catch_up = {"policy": "latest", "after_seconds": 5}
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow", catch_up=catch_up)
        stage.advance(2)
        await stage.settle()

    async def scene(stage: Stage) -> None:
        stage.advance(60)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes["coalesced(catch_up_latest, span)"] >= 50, audit
        assert len(world.events.of("coalesced", stage.task)) == 1

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


async def test_a_slot_queued_behind_another_survives_every_crash(world: World) -> None:
    """Overlap `queue`: one waits, written ahead with a `queued` event, the next ones are skipped."""
    fake = await world.fake_executor()
    held: dict[str, Work] = {}

    async def hold_first(work: Work) -> None:
        if work.due.task_id in held:
            await fake.complete(work)
        else:
            held[work.due.task_id] = work
            await fake.claim(work)

    fake.run(hold_first)

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="queue")

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        await world.events.one("started", stage.task)
        stage.advance(1)
        await world.events.one("queued", stage.task)
        stage.advance(1)
        await world.events.one("skipped", stage.task)
        await fake.finish(held[stage.task])
        await fake.ack(held[stage.task])
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes["executed"] >= 2, audit
        queued: Any = world.events.of("queued", stage.task)[0]
        assert world.events.chain(stage.task, queued.run) == ["queued", "started", "executed"]

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 4


async def test_a_slot_in_a_register_that_is_stored_before_its_watermark_is_looked_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one turn decides may take several batches, and only the last has the watermark behind its slots."""
    monkeypatch.setattr(units, "_MESSAGES_MAX", 1)
    fake = await world.fake_executor()

    async def prepare(stage: Stage) -> None:
        await fake.announce()
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="skip")
        await fake.announce(task_types=())  # nobody runs its type: its slots are written ahead

        async def gone() -> bool:
            return not stage.leader.types.is_live("default", "echo")

        await until_async(gone)

    async def scene(stage: Stage) -> None:
        async def ahead() -> bool:
            return len((await world.task_register(stage.task))[1].entries) == 1

        stage.advance(4)
        await until_async(ahead)
        await fake.announce()

    fake.run()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes["executed"] >= 1, audit
        assert set(audit.outcomes) <= {"executed", "skipped(overlap)"}, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check, subject="state.shard.*") >= 4
