"""16: two leaders coalesce overlapping spans."""

from __future__ import annotations

from typing import Any

from tests.harness.fixtures import BOTH
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

SCHEDULE = {"kind": "interval", "every_seconds": 1}


async def _create(stage: Stage, policy: str = "latest", **spec: Any) -> None:
    catch_up = {"policy": policy, "after_seconds": 5, "grace_seconds": 40}
    await stage.commands.create(
        stage.task, schedule=SCHEDULE, overlap="allow", catch_up=catch_up, expires_seconds=3600, **spec
    )


@BOTH
async def test_the_span_of_a_leader_that_was_deposed_meanwhile_is_not_stored(world: World) -> None:
    """It decided up to its now, its successor up to a later one: the two spans would overlap. One is recorded."""
    (await world.fake_executor()).run()
    stage = Stage(world)
    zombie = await stage.lead()
    await _create(stage)
    held = zombie.bus.trap("task.coalesced.*", on="batch")
    stage.advance(30)
    await held.reached.wait()
    stage.clock.advance(30)
    await stage.lead()
    await world.events.one("coalesced", stage.task)
    held.release()
    await zombie.shard.deposed.wait()
    audit = await stage.settle()
    # Two spans of coalesced slots, around those that the zombie had handed out before it was held.
    spans = [seen.name for seen in world.events.of(task_id=stage.task, run="_") if seen.name != "created"]
    assert spans == ["missed", "coalesced", "coalesced"], audit
    assert audit.outcomes["missed(grace_exceeded, span)"] > 10, audit
    assert audit.outcomes["coalesced(catch_up_latest, span)"] > 20, audit


async def test_a_backlog_that_is_skipped_is_recorded_once_whenever_the_leader_dies(world: World) -> None:
    """Policy `skip`: one span of missed slots, however often the decision is begun again."""
    (await world.fake_executor()).run()

    async def scene(stage: Stage) -> None:
        stage.advance(20)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert len(world.events.of("missed", stage.task)) == 1, audit

    async def prepare(stage: Stage) -> None:
        await _create(stage, "skip")

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 4
