"""3: all schedulers stop for longer than the lease TTL; the watermark is not kept in the lease."""

from __future__ import annotations

from gnomon_core.runtime.kv import kv_get
from gnomon_schemas.subjects import LEASES_BUCKET
from tests.harness.fixtures import BOTH
from tests.harness.waiting import until_async
from tests.harness.world import World, now_ms

pytestmark = BOTH

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


async def _lease_gone(world: World) -> None:
    """Wait until the lease of every shard has expired."""

    async def gone() -> bool:
        leases = [await kv_get(world.bus, LEASES_BUCKET, f"shard.{p}") for p in range(world.partitions)]
        return not any(leases)

    await until_async(gone)


async def test_slots_of_an_outage_longer_than_the_lease_have_their_outcomes(world: World) -> None:
    """The leases are gone, and with them nothing: the successor goes on from the watermark in the shard register."""
    fake = await world.fake_executor()
    fake.run()
    scheduler = await world.scheduler()
    # However long the outage is on a busy machine, its slots fire by themselves.
    await world.commands.create("t", schedule=EVERY_SECOND, overlap="allow", catch_up={"after_seconds": 600})
    await world.events.some(2, "executed", "t")
    await scheduler.kill()
    gone_at = now_ms()
    await _lease_gone(world)
    await world.scheduler()
    audit = await world.settled()
    in_outage = [seen for seen in world.events.of("executed", "t") if seen.time_ms > gone_at]
    assert audit.outcomes == {"executed": audit.expected}, audit
    assert in_outage, audit
