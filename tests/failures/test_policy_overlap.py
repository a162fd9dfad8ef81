"""The overlap policies while their leader dies: no slot is lost, doubled, or run beside another."""

from __future__ import annotations

from tests.harness.fake_executor import FakeExecutor, Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


def holding_the_first(fake: FakeExecutor) -> dict[str, Work]:
    """Claim the first execution of each task and leave it running; complete the others."""
    held: dict[str, Work] = {}

    async def take(work: Work) -> None:
        if work.due.task_id in held:
            await fake.complete(work)
        else:
            held[work.due.task_id] = work
            await fake.claim(work)

    fake.run(take)
    return held


async def test_slots_that_all_wait_run_one_after_another_whenever_the_leader_dies(world: World) -> None:
    """Overlap `queue_all`: each is written ahead with its `queued` event, and goes when the one before has ended."""
    fake = await world.fake_executor()
    held = holding_the_first(fake)

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="queue_all")

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        await world.events.one("started", stage.task)
        for waiting in (1, 2, 3):
            stage.advance(1)
            await world.events.some(waiting, "queued", stage.task)
        await fake.finish(held[stage.task])
        await fake.ack(held[stage.task])
        await world.events.some(4, "executed", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        assert set(audit.outcomes) == {"executed"}, audit
        assert audit.outcomes["executed"] >= 4, audit
        running = 0
        for seen in world.events.of(task_id=stage.task):
            running += (seen.name == "started") - (seen.name == "executed")
            assert running <= 1, f"{seen.run} ran beside another"
        started = [seen.run for seen in world.events.of("started", stage.task)]
        assert started == sorted(started)

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


async def test_a_slot_replaces_what_runs_whenever_the_leader_dies(world: World) -> None:
    """Overlap `cancel_running`: the wish to end the other is in the register with the slot that waits for that."""
    fake = await world.fake_executor()
    holding_the_first(fake)

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="cancel_running")

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        first = await world.events.one("started", stage.task)
        stage.advance(1)
        await world.events.one("queued", stage.task)
        stage.advance(1)  # past the grace: its handler does not answer
        await world.events.one("executed", stage.task, run=first.run)

    def check(stage: Stage, audit: Audit) -> None:
        first = world.events.of("started", stage.task)[0].run
        assert world.events.chain(stage.task, first) == ["started", "executed"]
        (ended,) = (seen.event for seen in world.events.of("executed", stage.task) if seen.run == first)
        assert ended.status == "cancelled"  # type: ignore[attr-defined]  # an Executed
        assert set(audit.outcomes) <= {"executed", "skipped(cancelled)"}, audit
        assert audit.outcomes["executed"] >= 2, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check, cancel_grace_ms=900) >= 4
