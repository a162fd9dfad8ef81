"""Runs of a day, when the day turns: on two shards whose clock goes as the machine's, and jumps over midnight."""

from __future__ import annotations

from gnomon_core.rules.account_rules import AccountRules
from gnomon_core.runtime.clock import SystemClock
from gnomon_scheduler.budget_registers import DAY_MS
from tests.harness.clocks import OffsetClock
from tests.harness.world import World
from tests.integration.scheduler.test_credits import Two

_NOON_MS = DAY_MS // 2


async def test_the_runs_of_a_day_begin_anew_at_midnight_utc(world: World) -> None:
    """What is in flight then counts for the new day until it ends; a leader that dies before forgets nothing."""
    now_ms = SystemClock().now_ms()
    clock = OffsetClock(DAY_MS - now_ms % DAY_MS + _NOON_MS)
    fake = await world.fake_executor(clock=clock)
    two, rules = Two(world, fake), AccountRules()
    user = two.user(0)
    async with world.leader(0, rules=rules, clock=clock):
        async with world.leader(1, rules=rules, clock=clock):
            await two.set(user, limits={"runs_per_day": 2})
            task = await two.task(user, 1)
            await two.run(task, 2)
            await fake.complete(await fake.next())
            lasting = await fake.next()
            await fake.claim(lasting)
            await two.run(task)
            await world.events.some(1, "skipped", task, reason="limit")
        async with world.leader(1, rules=rules, clock=clock):
            await two.run(task)
            await world.events.some(2, "skipped", task, reason="limit")
            clock.offset_ms += _NOON_MS  # now it is tomorrow
            await two.run(task)
            await fake.complete(await fake.next())
            await world.events.some(2, "executed", task)
            await two.run(task)
            await world.events.some(3, "skipped", task, reason="limit")
            await fake.finish(lasting)
            await fake.ack(lasting)
            await world.events.some(3, "executed", task)
            clock.offset_ms += 6000  # a shard that was refused asks no more for five seconds
            await two.run(task)
            await fake.complete(await fake.next())
            await world.events.some(4, "executed", task)
            await two.run(task)
            await world.events.some(4, "skipped", task, reason="limit")
