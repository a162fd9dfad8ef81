"""Catch-up through scheduler and executor: the scheduler is killed, and its successor again amid the backlog."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import parse_slot_run
from gnomon_schemas.subjects import shard_id
from tests.harness.ledger import Audit, audit
from tests.harness.waiting import until_async, until_time
from tests.harness.world import World, now_ms, tell

pytestmark = pytest.mark.timeout(90)

AWAY_SECONDS: Final = 4
LATE_SECONDS: Final = 1
AT_LEAST_HELD: Final = 2 * (AWAY_SECONDS - LATE_SECONDS - 1)
"""Two tasks run all that is late."""
TASKS: Final[dict[str, dict[str, Any]]] = {
    "all": {"overlap": "queue_all", "catch_up": {"policy": "all"}},
    "beside": {"overlap": "allow", "catch_up": {"policy": "all"}},
    "limited": {"overlap": "queue_all", "catch_up": {"policy": "all", "limit": 2}},
    "latest": {"overlap": "queue_all", "catch_up": {"policy": "latest"}},
    "skip": {"overlap": "queue_all", "catch_up": {"policy": "skip"}},
}


async def test_what_an_outage_left_is_caught_up_by_policy_whoever_dies_meanwhile(world: World) -> None:
    """The backlog is held until it is approved, and live slots go meanwhile. Every slot of the outage has the outcome
    that its task's policy says, once; those that run under `all` run oldest first, and who takes the backlog over from
    a leader that dies amid it neither forgets nor repeats one."""
    first, _ = await asyncio.gather(world.scheduler(), world.executor())
    for task, policy in TASKS.items():
        catch_up = {**policy["catch_up"], "after_seconds": LATE_SECONDS}
        await world.commands.create(
            task,
            task_type="sleep",
            config={"seconds": 0.1},
            schedule={"kind": "interval", "every_seconds": 1},
            overlap=policy["overlap"],
            catch_up=catch_up,
        )
    for task in TASKS:
        await world.events.one("executed", task)
    await first.kill()
    killed_ms = now_ms()
    await until_time(killed_ms + AWAY_SECONDS * 1000)
    second = await world.scheduler(GNOMON_CATCH_UP_APPROVAL="1")
    await until_async(partial(_held, world, AT_LEAST_HELD))
    await _fires_on_time(world, "beside")
    assert not any(_caught_up(world, task, killed_ms) for task in TASKS), "what is held has run"
    for partition in range(world.partitions):
        await world.commands.ok("approve_catch_up", shard_id(partition, world.partitions), kind="shard")
    await world.events.wait_for(
        lambda: bool(_caught_up(world, "all", killed_ms)), what="a late slot to be run"
    )
    await second.kill()
    await world.scheduler()
    found = await world.settled()
    tell(f"{found}")
    outcomes = {task: _audit(world, task).outcomes for task in TASKS}
    assert set(outcomes["all"]) == set(outcomes["beside"]) == {"executed"}, outcomes
    assert set(outcomes["limited"]) == {"executed", "coalesced(catch_up_all, span)"}, outcomes
    assert set(outcomes["latest"]) == {"executed", "coalesced(catch_up_latest, span)"}, outcomes
    assert set(outcomes["skip"]) == {"executed", "missed(catch_up_skip, span)"}, outcomes
    assert outcomes["limited"]["coalesced(catch_up_all, span)"] >= AWAY_SECONDS - LATE_SECONDS - 2
    late = _caught_up(world, "all", killed_ms)
    assert len(late) >= AWAY_SECONDS - LATE_SECONDS - 1
    assert late == sorted(late), "the backlog did not run oldest first"


async def _held(world: World, least: int) -> bool:
    """Whether so many late slots are held, over all shards."""
    shards = [shard for status in await world.statuses(within=0.1) for shard in status.shards]
    return sum(shard.catch_up_held for shard in shards) >= least


async def _fires_on_time(world: World, task: str) -> None:
    """Wait until a slot that is still to come has been executed."""
    now, position = now_ms(), len(world.events.all)

    def look() -> bool:
        fresh = [seen for seen in world.events.all[position:] if seen.name == "executed"]
        return any(seen.task_id == task and _nominal_ms(seen.run) > now for seen in fresh)

    await world.events.wait_for(look, what=f"a live slot of {task}")


def _audit(world: World, task: str) -> Audit:
    return audit(world.events.of(task_id=task), now_ms())


def _caught_up(world: World, task: str, killed_ms: int) -> list[str]:
    """Runs of those slots of the outage that were late when it was over, in the order in which they began."""
    late_ms = range(killed_ms, killed_ms + (AWAY_SECONDS - LATE_SECONDS) * 1000)
    runs = [seen.run for seen in world.events.of("started", task) if _nominal_ms(seen.run) in late_ms]
    return list(dict.fromkeys(runs))


def _nominal_ms(run: str) -> int:
    nominal = parse_slot_run(run)
    assert nominal is not None, run
    return int(nominal.timestamp() * 1000)
