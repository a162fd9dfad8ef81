"""32: an unrelated batch moves the fold position past a `retrying` that is only in memory; crash."""

from __future__ import annotations

from tests.harness.commands import fresh_id
from tests.harness.fake_executor import FakeExecutor, Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World


async def test_a_batch_of_other_tasks_does_not_pass_over_what_is_only_in_memory(world: World) -> None:
    """The fold position that is written stays before the `retrying`; the successor folds it and emits the attempt."""
    fake = await world.fake_executor()
    stage = Stage(world)
    leader = await stage.lead()
    await stage.commands.create(stage.task, retry={"max_attempts": 3, "initial_seconds": 1})
    other = world.task_in(0, "other")
    await stage.commands.create(other)
    await stage.commands.ok("run", stage.task)
    work = await fake.next()
    await fake.claim(work)
    retrying = await fake.retry(work, after_seconds=2)
    await fake.ack(work)
    # The clock stands still, so nothing of this is flushed by itself; the unrelated command's batch is.
    while leader.replica.memory.position < retrying:
        await stage.commands.ok("update", other, {"description": fresh_id()})
    _, register = await world.shard_register()
    assert register.fold_position < retrying, "the fold position claims what is only in memory"
    assert not (await world.task_register(stage.task))[1].entries[0].attempt > 1
    await leader.die()

    await stage.lead()
    stage.advance(3)
    again = await fake.next()
    assert (again.due.run, again.due.attempt, again.due.cause_seq) == (work.due.run, 2, retrying)
    await fake.complete(again)
    audit = await stage.settle()
    assert audit.executed() == 1, audit


async def test_a_retry_is_made_whatever_write_the_leader_dies_at(world: World) -> None:
    """And counted once, in the register, whoever folds it."""
    fake = await world.fake_executor()
    fake.run(lambda work: _fail_once(fake, work))

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, retry={"max_attempts": 3, "initial_seconds": 1})

    async def scene(stage: Stage) -> None:
        await stage.commands.ok("run", stage.task)
        await world.events.one("retrying", stage.task)
        stage.advance(0.2)
        await stage.commands.ok("update", stage.task, {"description": "unrelated"})
        stage.advance(1)
        await stage.settle()
        stage.advance(0.2)

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.executed() == 1, audit
        (run,) = {seen.run for seen in world.events.of("queued", stage.task)}
        chain = world.events.chain(stage.task, run)
        assert chain == ["queued", "started", "retrying", "started", "executed"]

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def _fail_once(fake: FakeExecutor, work: Work) -> None:
    if work.due.attempt > 1:
        await fake.complete(work)
        return
    await fake.claim(work)
    await fake.retry(work, after_seconds=1)
    await fake.ack(work)
