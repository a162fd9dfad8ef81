"""Durability on real servers: one line at the start of every process, and no start where a demand is not met."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gnomon_core.runtime.durability import DurabilityError, read_sync, state_durability
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from tests.harness.world import World
from tests.integration.cli.running_up import gnomon
from tests.integration.runtime.connecting import open_bus


async def test_every_process_says_what_an_acknowledgement_means(world: World, postgres_url: str) -> None:
    monitor = world.broker.nodes[0].monitor_url
    processes = await asyncio.gather(
        world.scheduler(GNOMON_NATS_MONITOR=monitor, GNOMON_REQUIRE_DURABILITY="written"),
        world.executor(GNOMON_NATS_MONITOR=monitor, GNOMON_REQUIRE_DURABILITY="written"),
        world.api(postgres_url, GNOMON_NATS_MONITOR=monitor, GNOMON_REQUIRE_DURABILITY="written"),
    )
    for process in processes:
        index = await process.logged("durability.stated")
        line = process.lines[index - 1]
        assert line["meaning"] == (
            "acknowledged means handed to the system of 1 node, which is written to disk every 2m"
        )
        assert (line["required"], line["copies"]) == ("written", 1)


async def test_a_process_does_not_start_where_what_is_demanded_is_not_met(world: World) -> None:
    """The broker of these tests leaves fsync to the system."""
    process = await world.scheduler(
        ready=False,
        GNOMON_NATS_MONITOR=world.broker.nodes[0].monitor_url,
        GNOMON_REQUIRE_DURABILITY="fsync",
    )
    assert await process.ended() == 2
    said = " ".join(str(line.get("text", "")) for line in process.lines)
    assert "GNOMON_REQUIRE_DURABILITY=fsync is not met: nats-server writes to disk every 120 s" in said
    assert "sync_interval: always" in said


async def test_the_doctor_tells_the_same_with_advice(world: World) -> None:
    said = await gnomon(
        "doctor",
        GNOMON_NATS_URL=world.broker.url,
        GNOMON_NATS_MONITOR=world.broker.nodes[0].monitor_url,
        GNOMON_REQUIRE_DURABILITY="replicated_fsync",
    )
    out = " ".join(said.out.split())
    assert said.code == 1
    assert "acknowledged means handed to the system of 1 node, which is written to disk every 2m" in out
    assert "GNOMON_REQUIRE_DURABILITY=replicated_fsync is not met: no process starts" in out
    assert "GNOMON_REPLICAS=3" in out
    assert "sync_interval: always" in out


async def test_a_server_that_syncs_before_it_acknowledges_meets_fsync(servers_folder: Path) -> None:
    server = EmbeddedNats(servers_folder / "synced")
    await server.start()
    try:
        monitor = server.nodes[0].monitor_url
        async with open_bus(server.url) as bus:
            await ensure_topology(bus, TopologySettings(partitions=2))
            settings = CommonSettings(
                nats_url=server.url, nats_monitor=(monitor,), require_durability="fsync"
            )
            found = await state_durability(bus, settings)
            assert found.words == "acknowledged means on disk on 1 node"
            blind = CommonSettings(nats_url=server.url, require_durability="fsync")
            with pytest.raises(DurabilityError, match="GNOMON_NATS_MONITOR is not set"):
                await state_durability(bus, blind)
    finally:
        await server.stop()
    gone = await asyncio.to_thread(read_sync, (monitor,))
    assert (gone.servers, gone.always) == (0, False)
    assert gone.trouble.startswith(f"{monitor}/jsz")
