"""29: a register that holds whole outcomes or a few large overrides outgrows a message and stops its shard."""

from __future__ import annotations

from gnomon_schemas.events import Updated
from tests.harness.world import World

QUARTER_MIB = 256 * 1024
MESSAGE_MAX = 1024 * 1024


async def test_a_task_with_everything_at_its_limit_stays_far_below_a_message(world: World) -> None:
    """Registers hold references: trigger data and overrides are in the run's `queued` event."""
    task, other = world.task_in(0, "big"), world.task_in(0, "other")
    large = "x" * (QUARTER_MIB - 64)
    async with world.leader():
        fake = await world.fake_executor(types=("echo",))
        await world.commands.create(
            task, config={"blob": large}, metadata={"m": "y" * 60_000}, overlap="allow"
        )
        await fake.announce(task_types=())  # nobody takes the runs: all of them wait in the register
        runs = [
            await world.commands.ok("run", task, {"trigger_data": {"d": large}, "config": {"blob": large}})
            for _ in range(6)
        ]
        for index in range(40):
            refused = await world.commands.send("update", task, {f"no_such_field_{index}" * 50: 1})
            assert refused["ok"] is False
        stored, register = await world.task_register(task)
        assert len(register.entries) == len(runs)
        assert len(register.ring) == 32
        assert len(stored.data) < MESSAGE_MAX // 2
        await world.commands.create(other)
        await fake.announce()
        fake.run()
        await world.events.some(len(runs), "executed", task)


async def test_a_change_of_a_large_config_fits_in_its_event(world: World) -> None:
    """Old, new and the whole task are in `task.updated`: large values are told by their size."""
    task = world.task_in(0)
    await world.fake_executor()
    async with world.leader():
        await world.commands.create(task, config={"blob": "a" * (QUARTER_MIB - 64)})
        await world.commands.ok("update", task, {"config": {"blob": "b" * (QUARTER_MIB - 64)}})
        updated = await world.events.one("updated", task)
        assert isinstance(updated.event, Updated)
        (change,) = updated.event.changes
        assert set(change.old) == {"omitted_bytes"}
        assert b"bbbb" in bytes(updated.event.task.config)
