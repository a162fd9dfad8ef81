"""Broken and kept again: each is told exactly once, whenever the leader dies."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gnomon_core.runtime.clock import SystemClock
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import LatenessSloBroken, LatenessSloRecovered
from tests.harness.fake_executor import Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

pytestmark = pytest.mark.timeout(120)

MINUTES = {"kind": "interval", "every_seconds": 60, "anchor": "2026-01-01T00:00:00Z"}
BROKEN, RECOVERED = "lateness_slo_broken", "lateness_slo_recovered"


class StageClock(SystemClock):
    """The time of whichever stage is played."""

    stage: Stage | None = None

    def now_ms(self) -> int:
        """See `Clock`."""
        return super().now_ms() if self.stage is None else self.stage.clock.now_ms()


async def passing(stage: Stage, name: str) -> None:
    """Let time pass until the stage's task tells this."""
    events = stage.world.events
    while not events.of(name, stage.task):
        stage.advance(5)
        with contextlib.suppress(TimeoutError):
            await events.more(len(events.all), within=0.02)


async def test_one_event_each_whenever_the_leader_dies_at_a_write_that_tells_it(world: World) -> None:
    """A slot that nobody claims breaks the objective while it waits; the next one, in time, ends that."""
    clock = StageClock()
    fake = await world.fake_executor(clock=clock)
    go = asyncio.Event()

    async def when_told(work: Work) -> None:
        await go.wait()
        await fake.complete(work)

    fake.run(when_told)

    async def prepare(stage: Stage) -> None:
        clock.stage = stage
        go.clear()
        await stage.commands.create(stage.task, schedule=MINUTES, lateness_slo_seconds=30, overlap="allow")

    async def scene(stage: Stage) -> None:
        await passing(stage, BROKEN)
        go.set()
        await passing(stage, RECOVERED)

    def check(stage: Stage, _audit: Audit) -> None:
        (broken,) = (seen.event for seen in world.events.of(BROKEN, stage.task))
        (recovered,) = (seen.event for seen in world.events.of(RECOVERED, stage.task))
        assert isinstance(broken, LatenessSloBroken)
        assert isinstance(recovered, LatenessSloRecovered)
        assert (broken.reason, recovered.reason) == ("not_started", "on_time")
        assert broken.lateness_seconds > broken.objective_seconds == 30
        assert recovered.broken_at == broken.broken_at
        assert instant_ms(recovered.recovered_at) > instant_ms(broken.broken_at)

    deaths = await at_every_write(
        world, scene, prepare=prepare, check=check, subject="task.lateness_slo_*", lateness_quiet_ms=1000
    )
    assert deaths == 4


async def test_a_scheduler_that_is_killed_while_an_objective_is_broken_tells_nothing_twice(
    world: World,
) -> None:
    """Nobody claims: slots are late, and the leader goes. Its successor tells of no further break; once the executor
    goes on, the end is told."""
    leader = await world.scheduler(GNOMON_LATENESS_QUIET="1s")
    await world.leading(leader)
    await world.scheduler(GNOMON_LATENESS_QUIET="1s")
    fake = await world.fake_executor()
    task = world.task_in(0, "t")
    schedule = {"kind": "interval", "every_seconds": 1}
    await world.commands.create(task, schedule=schedule, lateness_slo_seconds=0.8, overlap="queue")
    await world.events.one(BROKEN, task)
    await leader.kill()
    fake.run()
    await world.events.one(RECOVERED, task, within=30)
    await world.commands.ok("pause", task)
    await world.settled()
    told = [seen.name for seen in world.events.of(task_id=task) if seen.name in (BROKEN, RECOVERED)]
    assert told == [BROKEN, RECOVERED] * (len(told) // 2), told
