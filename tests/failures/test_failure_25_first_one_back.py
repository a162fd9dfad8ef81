"""25: the first scheduler back after a broker restart suspects all the others."""

from __future__ import annotations

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.waiting import until_time
from tests.harness.world import World, now_ms

LATE_BACK_MS = 1200
"""How much later than the first the second scheduler is back: nobody listens on its pings for so long."""


async def test_silence_on_a_young_connection_proves_nothing(world: World, broker: EmbeddedNats) -> None:
    """Everybody is still reconnecting: the leases stay where they are, and so do the epochs."""
    (await world.fake_executor()).run()
    first = await world.scheduler(GNOMON_LEASE_TTL="10s")
    second = await world.scheduler(GNOMON_LEASE_TTL="10s")
    await world.leading(second, 1)
    for partition in range(world.partitions):
        task = world.task_in(partition)
        await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
        await world.events.one("executed", task)
    before = [(await world.shard_register(p))[1].epoch for p in range(world.partitions)]
    lines = len(first.lines)
    await second.pause()
    await broker.restart()
    await first.logged("nats.back", after=lines)
    await until_time(now_ms() + LATE_BACK_MS)
    second.resume()
    for partition in range(world.partitions):
        task = world.task_in(partition)
        await world.events.some(len(world.events.of("executed", task)) + 2, "executed", task)
    assert not [line for line in first.lines[lines:] if line.get("event") == "lease.suspected"]
    assert [(await world.shard_register(p))[1].epoch for p in range(world.partitions)] == before
    await world.settled()


async def test_a_leader_that_is_killed_is_suspected_long_before_its_lease_ends(world: World) -> None:
    """What the suspicion is for: it must not be so careful that it never comes."""
    await world.fake_executor()
    first = await world.scheduler(GNOMON_LEASE_TTL="20s")
    await world.leading(first)
    second = await world.scheduler(GNOMON_LEASE_TTL="20s")
    await world.leading(second, 1)
    mark = len(first.lines)
    await second.kill()
    await first.logged("lease.suspected", after=mark, within=5)
    await first.logged("shard.led", after=mark, within=5)
