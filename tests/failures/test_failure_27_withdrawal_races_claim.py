"""27: withdrawing 50 dues, one of them just claimed, refuses the whole batch, and other callers' commands with it."""

from __future__ import annotations

from gnomon_schemas.events import Skipped
from tests.harness.fixtures import BOTH
from tests.harness.stage import Stage
from tests.harness.waiting import until_async
from tests.harness.world import World

RUNS = 20
DUES = 50


async def test_a_claim_amid_a_withdrawal_costs_only_itself(world: World) -> None:
    """The change commits first; withdrawals are a batch of their own, and are read again when it is refused."""
    fake = await world.fake_executor()
    task, other = world.task_in(0, "many"), world.task_in(0, "other")
    async with world.leader() as leader:
        await world.commands.create(task, overlap="allow")
        await world.commands.create(other)
        for _ in range(RUNS):
            await world.commands.ok("run", task)
        works = [await fake.next(task_id=task) for _ in range(RUNS)]
        trap = leader.bus.trap("task.skipped.*", "hold")
        await world.commands.ok("cancel", task)
        await trap.reached.wait()
        # The chains have been read and the batch is on its way: now one of them is claimed.
        claimed = works[7]
        await fake.claim(claimed)
        answered, _ = await world.commands.post("update", other, {"description": "in the same breath"})
        trap.release()
        assert (await world.commands.outcome(answered))["ok"] is True
        skipped = await world.events.some(RUNS - 1, "skipped", task)
        assert {seen.event.reason for seen in skipped if isinstance(seen.event, Skipped)} == {"cancelled"}
        assert claimed.due.run not in {seen.run for seen in skipped}
        await fake.finish(claimed)
        await world.events.one("executed", task, run=claimed.due.run)
        assert len(world.events.of("skipped", task)) == RUNS - 1


@BOTH
async def test_a_claim_between_reading_and_withdrawing_costs_nobody_anything(world: World) -> None:
    """The pause was stored before, alone; the withdrawals are a batch of their own, which is read and made again."""
    fake = await world.fake_executor()
    stage = Stage(world)
    leader = await stage.lead()
    await stage.commands.create(
        stage.task, schedule={"kind": "interval", "every_seconds": 1}, overlap="allow", expires_seconds=3600
    )
    other = world.task_in(0, "other")
    await stage.commands.create(other)
    stage.advance(DUES)
    works = [await fake.next() for _ in range(DUES)]
    withdrawal = leader.bus.trap("task.skipped.*", on="batch")
    paused = await stage.commands.ok("pause", stage.task)
    assert paused["task"]["status"] == "paused"
    await withdrawal.reached.wait()
    claimed = works[17]
    await fake.claim(claimed)
    command, _ = await stage.commands.post("update", other, {"description": "of another caller"})
    withdrawal.release()
    assert (await stage.commands.outcome(command))["ok"]
    await fake.finish(claimed)
    await fake.ack(claimed)
    audit = await stage.settle()
    assert audit.outcomes == {"executed": 1, "skipped(paused)": DUES - 1}, audit
    assert withdrawal.seen >= 2, "the first batch was to be refused and made again"

    async def gone() -> bool:
        return not await world.dues(stage.task)

    await until_async(gone)
    assert not leader.shard.deposed.is_set()
