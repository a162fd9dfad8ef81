"""27: withdrawing 50 dues, one of them just claimed, refuses the whole batch, and other callers' commands with it."""

from __future__ import annotations

from gnomon_schemas.events import Skipped
from tests.harness.world import World

RUNS = 20


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
