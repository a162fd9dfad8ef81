"""8: two updates applied in reverse after a take-over; a fold dropped as a replay."""

from __future__ import annotations

from gnomon_schemas.events import Updated
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World


async def test_commands_that_a_dead_leader_had_fetched_are_decided_before_later_ones(world: World) -> None:
    """Each epoch has a consumer of its own, which begins at the oldest command that is not acknowledged."""
    task = world.task_in(0)
    await world.fake_executor()
    first = await world.leader().__aenter__()
    await world.commands.create(task)
    trap = first.bus.trap("task.updated.*", "hold")
    await world.commands.post("update", task, {"description": "first"})
    await trap.reached.wait()
    await world.commands.post("update", task, {"description": "second"})
    await first.die()
    async with world.leader():
        await world.commands.ok("update", task, {"description": "third"})
        _, register = await world.task_register(task)
    assert (register.spec.description, register.version) == ("third", 4)
    said = [seen.event for seen in world.events.of("updated", task)]
    assert [event.task.description for event in said if isinstance(event, Updated)] == [
        "first",
        "second",
        "third",
    ]


async def test_every_result_is_counted_once_whatever_write_the_leader_dies_at(world: World) -> None:
    """A result is folded into a register only if that register does not contain it, and then never again."""
    (await world.fake_executor()).run()
    runs = 4

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, overlap="allow")

    async def scene(stage: Stage) -> None:
        for _ in range(runs):
            outcome = await stage.commands.ok("run", stage.task)
            await world.events.one("executed", stage.task, run=outcome["execution"]["run"])
            # An unrelated change of the same task: its register goes with whatever has been folded by now.
            await stage.commands.ok("update", stage.task, {"description": outcome["command_id"]})
            stage.advance(0.2)

    counted: list[tuple[int, int]] = []

    def check(stage: Stage, audit: Audit) -> None:
        runtime = stage.leader.shard.book.memory.tasks[stage.task].reg.runtime
        counted.append((runtime.run_count, runtime.success_count))
        assert audit.executed() == runs, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check, subject="state.shard.*") >= 6
    assert set(counted) == {(runs, runs)}
