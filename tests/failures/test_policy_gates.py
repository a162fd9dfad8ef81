"""Pools and keys while leaders die: never more in flight than may be, and everything runs. See ADR 0016."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import count

from gnomon_scheduler.admission import key_of
from gnomon_schemas import subjects
from gnomon_schemas.tasks import TaskSpec
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import FakeExecutor, Work
from tests.harness.ledger import Audit
from tests.harness.processes import Process
from tests.harness.stage import Stage, at_every_write
from tests.harness.waiting import until
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


class Watched:
    """Runs what comes, a while each, and keeps how many ran at a time of each pool and key."""

    def __init__(self, fake: FakeExecutor, groups: dict[str, str], hold_seconds: float) -> None:
        self._fake, self._groups, self._hold = fake, groups, hold_seconds
        self._running: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)
        self.done = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, work: Work) -> None:
        """Run one beside the others."""
        task = asyncio.create_task(self._run(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, work: Work) -> None:
        groups = [work.due.pool, self._groups.get(work.due.task_id, "")]
        await self._fake.claim(work)
        for group in groups:
            self._running[group] += 1
            self.most[group] = max(self.most[group], self._running[group])
        await asyncio.sleep(self._hold)
        for group in groups:
            self._running[group] -= 1
        await self._fake.finish(work)
        await self._fake.ack(work)
        self.done += 1


def in_partition(world: World, partition: int, prefix: str) -> str:
    """A name of this partition."""
    return world.task_in(partition, fresh_id(prefix)[:10] + "-")


def key_in(world: World, partition: int) -> str:
    """A concurrency key whose gate lives in this partition."""
    for number in count():
        text = f"k-{number}"
        gate = key_of("t", TaskSpec(name="n", task_type="echo", concurrency_key=text))
        assert gate is not None
        if subjects.partition_of(gate, world.partitions) == partition:
            return text
    raise AssertionError


async def test_gates_hold_whenever_their_leader_dies_which_is_the_tasks_too(world: World) -> None:
    """At every write: before a register of the gate is stored, after it and before the answer, with units in use."""
    pool, key = in_partition(world, 0, "p"), key_in(world, 0)
    fake = await world.fake_executor(pool=pool)
    watched = Watched(fake, {}, 0.005)
    fake.run(watched.take)

    async def prepare(stage: Stage) -> None:
        await stage.commands.ok("update", pool, {"max_in_flight": 1}, kind="pool")
        async with world.leader(1):
            # The other shard has nothing in the pool, and has to say so once.
            await stage.commands.create(
                stage.task, pool=pool, overlap="allow", concurrency_key=key, concurrency_limit=2
            )
            await stage.commands.ok("run", stage.task)
            await world.events.one("executed", stage.task)

    async def scene(stage: Stage) -> None:
        for _ in range(2):
            await stage.commands.decided("run", stage.task)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes == {"executed": 3}, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8
    assert watched.most[pool] == 1


async def test_units_are_kept_when_schedulers_are_killed_with_them_in_use(world: World) -> None:
    """Two tasks of one key in two partitions never overlap; a pool never has more out than it may, while its limit
    changes; and nothing is stuck in the end. Schedulers are killed one after the other, whatever they lead."""
    pool = in_partition(world, 1, "p")
    fake = await world.fake_executor(pool=pool)
    keyed = [world.task_in(partition, "keyed-") for partition in (0, 1)]
    free = [world.task_in(partition, "free-") for partition in (0, 1)]
    watched = Watched(fake, dict.fromkeys(keyed, "key"), 0.15)
    fake.run(watched.take)
    alive: list[Process] = [await world.scheduler() for _ in range(2)]
    await world.commands.decided("update", pool, {"max_in_flight": 3}, kind="pool")
    for task in keyed:
        await world.commands.create(
            task, pool=pool, overlap="queue", concurrency_key="one", schedule=EVERY_SECOND
        )
    for task in free:
        await world.commands.create(task, pool=pool, overlap="allow", schedule=EVERY_SECOND)
    for limit in (2, 3):
        done = watched.done
        await until(lambda done=done: watched.done >= done + 4, within=20)  # type: ignore[misc] # bound now
        await alive.pop(0).kill()
        alive.append(await world.scheduler())
        await world.commands.decided("update", pool, {"max_in_flight": limit}, kind="pool")
    for task in (*keyed, *free):
        await world.commands.decided("update", task, {"schedule": None})
    await world.settled()
    assert watched.most["key"] == 1
    assert watched.most[pool] <= 3
    # Nothing is held for those that died: the whole limit can be used.
    for task in free:
        for _ in range(2):
            await world.commands.ok("run", task)
    await world.settled()
    done = watched.done
    for task in keyed:
        await world.commands.ok("run", task, {"overlap": "queue"})
    await until(lambda: watched.done == done + 2)
