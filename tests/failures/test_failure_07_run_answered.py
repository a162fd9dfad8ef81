"""7: `run` was answered ok, and the leader crashes before the due is published."""

from __future__ import annotations

from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.stopping import Trap
from tests.harness.world import World


async def test_a_run_that_was_answered_runs_whatever_write_the_leader_dies_at(world: World) -> None:
    """It is in the register, and its `queued` on the chain, before anybody is answered."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task)

    async def scene(stage: Stage) -> None:
        outcome = await stage.commands.ok("run", stage.task, {"trigger_data": {"a": 1}})
        await world.events.one("executed", stage.task, run=outcome["execution"]["run"])

    def check(stage: Stage, audit: Audit) -> None:
        assert (audit.runs, audit.executed()) == (1, 1), audit
        (run,) = {seen.run for seen in world.events.of("queued", stage.task)}
        assert world.events.chain(stage.task, run) == ["queued", "started", "executed"]

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 4


async def test_a_scheduler_killed_between_answer_and_due_is_made_good_by_the_next(world: World) -> None:
    """The same with processes: the first dies by SIGKILL when it is about to publish the due."""
    (await world.fake_executor()).run()
    first = await world.scheduler(traps=[Trap(subject="task.due.*", do="kill", flush=True)])
    await world.commands.create("t")
    outcome = await world.commands.ok("run", "t")
    assert await first.ended() == -9
    assert not await world.dues("t")
    await world.scheduler()
    executed = await world.events.one("executed", "t")
    assert executed.run == outcome["execution"]["run"]
    audit = await world.settled()
    assert (audit.runs, audit.executed()) == (1, 1), audit
