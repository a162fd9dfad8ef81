"""Schedulers die, freeze, stop and are all away: every slot has exactly one outcome, and firing hardly pauses."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.fixtures import CLUSTER_IN_CHAOS
from tests.harness.live import Dues
from tests.harness.processes import Process
from tests.harness.waiting import until_async, until_time
from tests.harness.world import World, now_ms, tell

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone, CLUSTER_IN_CHAOS]

SCHEDULERS: Final = 3
PARTITIONS: Final = 6
TASKS: Final = 100
LEASE_SECONDS: Final = 2
AWAY_SECONDS: Final = 20
BEFORE_A_SLOT_MS: Final = 100
"""A process ends so long before the next slots: then the whole fail-over shows as their delay."""


class Fleet:
    """Three schedulers, two executors, and a hundred tasks that fire every second."""

    def __init__(self, world: World, dues: Dues) -> None:
        self.world, self.dues = world, dues
        self.schedulers: list[Process] = []
        self.tasks = [f"t{number}" for number in range(TASKS)]

    async def start(self) -> None:
        """Everything up, shards spread, all tasks firing."""
        self.schedulers += await asyncio.gather(*(self.world.scheduler() for _ in range(SCHEDULERS)))
        await asyncio.gather(self.world.executor(), self.world.executor())
        await self.spread()
        every_second = {"kind": "interval", "every_seconds": 1}
        await asyncio.gather(
            *(self.world.commands.create(task, schedule=every_second, overlap="allow") for task in self.tasks)
        )
        await self.dues.all_of(self.tasks, now_ms() // 1000 + 2)

    async def led_by(self) -> dict[int, set[int]]:
        """The shards that each scheduler says it leads, by process id."""
        return {
            status.pid: {shard.partition for shard in status.shards} for status in await self.world.statuses()
        }

    async def spread(self) -> None:
        """Wait until every scheduler leads its even share."""
        share = PARTITIONS // SCHEDULERS

        async def even() -> bool:
            led = await self.led_by()
            return len(led) == SCHEDULERS and all(len(shards) == share for shards in led.values())

        await until_async(even, within=30)

    def tasks_of(self, partitions: set[int]) -> list[str]:
        """The tasks in these partitions."""
        return [task for task in self.tasks if self.world.partition(task) in partitions]

    async def gap(self, end: Callable[[Process], Awaitable[object]]) -> float:
        """End the oldest scheduler, then start another in its place; by how many seconds its slots were late at most.

        What is late by more than a second delays the next slot too, so that the two slots after the end tell all.
        """
        victim = self.schedulers.pop(0)
        tasks = self.tasks_of((await self.led_by())[victim.pid])
        first = (now_ms() + BEFORE_A_SLOT_MS) // 1000 + 1
        await until_time(first * 1000 - BEFORE_A_SLOT_MS)
        await end(victim)
        await self.dues.all_of(tasks, first + 1)
        delays = self.dues.delays(tasks, first, first + 1)
        self.schedulers.append(await self.world.scheduler())
        await self.spread()
        return max(delays)

    async def freeze_a_leader(self) -> None:
        """Stop one amid its emissions for longer than its lease, and let it go on."""
        victim = self.schedulers[0]
        tasks = set(self.tasks_of((await self.led_by())[victim.pid]))
        count = len(self.dues.times)
        await self.dues.wait_for(lambda: any(task in tasks for task, _ in list(self.dues.times)[count:]))
        await victim.pause()
        logged = len(victim.lines)
        await self.dues.all_of(tasks, now_ms() // 1000 + LEASE_SECONDS + 2)
        victim.resume()
        await victim.logged("lease.lost", after=logged)
        await self.spread()

    async def all_away(self) -> None:
        """Stop two, kill one, and start three others after a while."""
        stopped, killed, also_stopped = self.schedulers
        await asyncio.gather(stopped.stop(), killed.kill(), also_stopped.stop())
        await until_time(now_ms() + AWAY_SECONDS * 1000)
        self.schedulers = list(await asyncio.gather(*(self.world.scheduler() for _ in range(SCHEDULERS))))
        await self.dues.all_of(self.tasks, now_ms() // 1000 + 2, within=30)


async def test_every_slot_has_one_outcome_and_firing_hardly_pauses(
    broker: EmbeddedNats, replicas: int
) -> None:
    """Through kill -9, a pause past the lease, clean stops and twenty seconds without any scheduler, every nominal
    fire of a hundred tasks has exactly one outcome; slots are under 2 s late after kill -9, under 0.5 s after a clean
    stop."""
    async with World(broker, replicas=replicas, partitions=PARTITIONS) as world:
        dues = await Dues.listen(broker.url)
        fleet = Fleet(world, dues)
        await fleet.start()
        after_kill = [await fleet.gap(Process.kill) for _ in range(3)]
        after_stop = [await fleet.gap(Process.stop) for _ in range(3)]
        await fleet.freeze_a_leader()
        await fleet.all_away()
        audit = await world.settled(within=60)
        await dues.close()
    tell(
        f"gaps after kill -9 {after_kill}, after a clean stop {after_stop}; {audit}; repeated dues {dues.repeated}"
    )
    assert audit.outcomes == {"executed": audit.expected}, audit
    assert statistics.median(after_kill) < 2.0, after_kill
    assert statistics.median(after_stop) < 0.5, after_stop
