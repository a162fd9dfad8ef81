"""26: dues of a type that a deploy removed fill their pool and starve it."""

from __future__ import annotations

from gnomon_schemas.events import Missed
from tests.harness.world import World

BACKLOG = 30


async def test_work_that_no_live_executor_runs_is_written_ahead_and_not_published(world: World) -> None:
    """The pool's other types go on; the work runs when somebody announces its type again, each slot once."""
    fake = await world.fake_executor(types=("echo", "removed"))
    fake.run()
    gone, other = world.task_in(0, "gone"), world.task_in(0, "other")
    async with world.leader() as leader:
        every_second = {"kind": "interval", "every_seconds": 1}
        await world.commands.create(gone, task_type="removed", schedule=every_second, overlap="allow")
        await world.commands.create(other, schedule=every_second, overlap="allow")
        await world.events.one("executed", gone)
        await fake.announce(task_types=("echo",))
        # Runs on demand come faster than slots: a backlog as after hours.
        for _ in range(BACKLOG):
            await world.commands.ok("run", gone, {})
        await world.events.more(len(world.events.of("executed", other)) + 1)
        assert await world.dues(gone) == []
        _, register = await world.task_register(gone)
        assert len(register.entries) >= BACKLOG - 1
        assert leader.shard.running
        await fake.announce(task_types=("echo", "removed"))
        await world.events.some(BACKLOG, "executed", gone, trigger="manual")
        audit = await world.settled()
        assert audit.executed() == audit.expected + BACKLOG, audit


async def test_work_that_nobody_runs_in_time_is_missed_and_not_forgotten(world: World) -> None:
    """It expires like any other work that was not claimed."""
    fake = await world.fake_executor(types=("echo", "removed"))
    task = world.task_in(0)
    async with world.leader():
        await world.commands.create(task, task_type="removed", expires_seconds=1)
        await fake.announce(task_types=("echo",))
        outcome = await world.commands.ok("run", task)
        run = outcome["execution"]["run"]
        await world.events.one("queued", task, run=run)
        await fake.announce(task_types=("echo", "nothing"))  # any change has the waiting work looked at again
        missed = await world.events.wait_for(lambda: next(iter(world.events.of("missed", task)), None), 20)
        assert isinstance(missed.event, Missed)
        assert missed.event.reason == "expired"
        assert world.events.chain(task, run) == ["queued", "missed"]
