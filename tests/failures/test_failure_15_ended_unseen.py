"""15: an execution that finished before the new leader's fold position blocks its task for ever."""

from __future__ import annotations

from tests.harness.world import World


async def test_an_execution_whose_acknowledgement_was_lost_does_not_block_its_task(world: World) -> None:
    """Its due is still in `TASK_DUE` when the next leader looks, its end is folded and forgotten: the chain tells."""
    fake = await world.fake_executor()
    task = world.task_in(0)
    first = await world.leader().__aenter__()
    await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1}, overlap="skip")
    work = await fake.next(task_id=task)
    await fake.claim(work)
    executed = await fake.finish(work)
    # Never acknowledged. Wait until the leader has folded the end and stored that.
    while (await world.shard_register(0))[1].fold_position < executed:
        await world.commands.ok("update", task, {"description": f"{executed}"})
        await world.commands.ok("update", task, {"description": None})
    await first.die()
    assert [due.run for _, due in await world.dues(task)][:1] == [work.due.run]
    async with world.leader():
        following = await fake.next(task_id=task)
        assert following.due.run > work.due.run
        await fake.complete(following)
        await world.events.one("executed", task, run=following.due.run)
