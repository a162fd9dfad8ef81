"""Catch-up while its leader dies: every late slot has one outcome, and those that run do so one after another."""

from __future__ import annotations

from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


def assert_one_at_a_time(world: World, task: str) -> None:
    """No execution of the task began before the one before it had ended."""
    running = 0
    for seen in world.events.of(task_id=task):
        running += (seen.name == "started") - (seen.name == "executed")
        assert running <= 1, f"{seen.run} ran beside another"


async def test_a_backlog_that_runs_whole_is_run_once_whenever_the_leader_dies(world: World) -> None:
    """Policy `all`: cursor, span and entries are one batch; the newest `limit` run, the others are coalesced."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        catch_up = {"policy": "all", "after_seconds": 5, "limit": 4}
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="skip", catch_up=catch_up)
        stage.advance(2)
        await stage.settle()

    async def scene(stage: Stage) -> None:
        stage.advance(60)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes["coalesced(catch_up_all, span)"] >= 46, audit
        late = [seen.event for seen in world.events.of("coalesced", stage.task)]
        assert len(late) == 1
        assert_one_at_a_time(world, stage.task)

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8
