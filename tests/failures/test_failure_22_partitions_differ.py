"""22: two processes disagree on the number of partitions."""

from __future__ import annotations

import pytest

from tests.harness.world import World


@pytest.mark.parametrize("service", ["scheduler", "executor"])
async def test_a_process_with_another_number_of_partitions_stops_and_names_both(
    world: World, service: str
) -> None:
    """It would look for tasks in shards that nobody leads, or lead shards that nobody asks."""
    start = world.scheduler if service == "scheduler" else world.executor
    process = await start(ready=False, GNOMON_PARTITIONS="5")
    assert await process.ended() == 2
    told = " ".join(str(line.get("text", "")) for line in process.lines)
    assert "5" in told, told
    assert str(world.partitions) in told, told
    assert "partition" in told.lower(), told
