"""A user whose account is closed, while leaders die: whatever is killed when, no task of that user is left."""

from __future__ import annotations

from gnomon_schemas.accounts import account_id_of
from tests.harness.commands import fresh_id
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.waiting import until
from tests.harness.world import World


async def test_no_death_of_a_leader_leaves_a_task_of_a_closed_account(world: World) -> None:
    """At every write of a leader that has the account and two tasks: closing it cancels both, once."""
    users: dict[str, str] = {}
    fake = await world.fake_executor()
    fake.run()

    async def prepare(stage: Stage) -> None:
        while world.partition(account_id_of(user := fresh_id("u"))) != 0:
            pass
        users[stage.task] = user
        for task in (stage.task, f"{stage.task}-2"):
            if world.partition(task) == 0:
                await stage.commands.create(
                    task, schedule={"kind": "daily", "time": "07:00"}, headers={"Gnomon-User": user}
                )

    async def scene(stage: Stage) -> None:
        body = {"closed": True, "closed_note": "gone"}
        account = account_id_of(users[stage.task])
        await stage.commands.decided("update", account, body, kind="account")
        await world.events.one("status_changed", stage.task, new_status="cancelled", reason="gone")

    def check(stage: Stage, audit: Audit) -> None:
        assert len(world.events.of("status_changed", stage.task)) == 1

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 2


async def test_what_waits_of_a_completed_task_does_not_run_once_the_account_is_closed(world: World) -> None:
    """It was run on demand, and its pool is paused."""
    stage = Stage(world)
    await stage.lead()
    await world.leader(1).__aenter__()
    fake = await world.fake_executor(clock=stage.clock)
    fake.run()
    while world.partition(account_id_of(user := fresh_id("u"))) != 0:
        pass
    of_user, once = {"Gnomon-User": user}, {"kind": "interval", "every_seconds": 1, "max_runs": 1}
    await stage.commands.create(stage.task, schedule=once, headers=of_user)
    stage.advance(1)
    await world.events.some(1, "executed", stage.task)
    await stage.settle()
    await stage.commands.ok("update", stage.task, {"description": "that its end was folded"})
    stage.advance(1)
    await world.events.one("status_changed", stage.task, new_status="completed")
    await stage.commands.ok("update", "default", {"paused": True}, kind="pool")
    await until(lambda: "default" in stage.leader.pools.limited)
    answer = await stage.commands.ok("run", stage.task)
    await stage.commands.decided("update", account_id_of(user), {"closed": True}, kind="account")
    stage.advance(1)
    run = answer["execution"]["run"]
    await world.events.one("skipped", stage.task, reason="cancelled", run=run)
    await stage.commands.ok("update", "default", {"paused": False}, kind="pool")
    stage.advance(1)
    await stage.settle()
    assert len(world.events.of("executed", stage.task)) == 1


async def test_an_account_that_is_open_again_before_a_shard_hears_leaves_it_none_of_its_tasks(
    world: World,
) -> None:
    """The shard has no leader meanwhile. What is made after that stays, under every later leader."""
    stage = Stage(world)
    await stage.lead()
    await world.leader(1, clock=stage.clock).__aenter__()
    await world.fake_executor()
    while world.partition(account_id_of(user := fresh_id("u"))) != 1:
        pass
    of_user, daily = {"Gnomon-User": user}, {"kind": "daily", "time": "07:00"}
    await stage.commands.create(stage.task, schedule=daily, headers=of_user)
    await stage.leader.die()
    stage.clock.advance(1)
    for closed in (True, False):
        await stage.commands.ok("update", account_id_of(user), {"closed": closed}, kind="account")
    stage.clock.advance(60)
    await stage.lead()
    await world.events.one("status_changed", stage.task, new_status="cancelled", reason="account_closed")
    after = world.task_in(0, fresh_id("after"))
    await stage.commands.create(after, schedule=daily, headers=of_user)
    await stage.leader.die()
    await stage.lead()
    shown = await stage.commands.ok("update", after, {"description": "it stays"})
    stage.advance(1)
    shown = await stage.commands.ok("update", after, {"description": "still"})
    assert shown["task"]["status"] == "scheduled"
    await stage.leader.stop()
