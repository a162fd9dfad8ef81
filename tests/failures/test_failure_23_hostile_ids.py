"""23: a task id that is a wildcard is stored without a partition, where no shard would look."""

from __future__ import annotations

import pytest

from tests.harness.world import World


@pytest.mark.parametrize("task_id", ["*", ">", "a" * 65, "_hidden", "analytics", "bulk", "ä"])
async def test_a_command_for_an_impossible_id_is_refused_and_recorded(world: World, task_id: str) -> None:
    """Whatever was wrong with it, it is answered by the problem and by one `task.rejected`, and stores nothing else."""
    await world.fake_executor()
    async with world.leader(0), world.leader(1):
        outcome = await world.commands.send("create", task_id, {"name": "n", "task_type": "echo"})
        assert outcome["ok"] is False
        assert outcome["error"]["code"] == "invalid_id"
        assert outcome["error"]["status"] == 422
        assert task_id in outcome["error"]["detail"]
        rejected = await world.events.one("rejected")
        assert rejected.run == "_"
        assert [seen.name for seen in world.events.of()] == ["rejected"]


async def test_a_wildcard_id_is_refused_in_partition_0_as_invalid(world: World) -> None:
    """The stream's transform leaves it alone, so the consumer on the short form takes it."""
    async with world.leader(0):
        _, ack = await world.commands.post("create", "*", {"name": "n", "task_type": "echo"})
        stored = await world.bus.get("TASK_COMMANDS", ack.seq)
        assert stored is None or stored.subject == "gnomon.cmd.task.create.*"
        rejected = await world.events.one("rejected", "_invalid")
        assert rejected.subject.partition == 0
