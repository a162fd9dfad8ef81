"""A pool, key or user about which deciding fails: what needs it waits or is skipped, and its shards go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gnomon_core.rules.account_rules import AccountRules
from gnomon_scheduler.decisions.budgets import Budget
from gnomon_scheduler.decisions.gates import Gate
from gnomon_scheduler.decisions.leave import Leave
from gnomon_scheduler.decisions.purses import Purse
from gnomon_schemas.accounts import micros_of
from tests.failures.test_poison_task import Fault
from tests.failures.test_policy_gates import in_partition
from tests.harness.commands import fresh_id
from tests.harness.waiting import until
from tests.harness.world import World
from tests.integration.scheduler.test_credits import Two

PRICE = 4


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Gate, "hear"),
        (Gate, "give"),
        (Leave, "hear"),
        (Leave, "state"),
        (Budget, "give"),
        (Purse, "hear"),
        (Purse, "state"),
    ],
)
async def test_the_shards_go_on_without_it(
    world: World, monkeypatch: pytest.MonkeyPatch, of: type, name: str
) -> None:
    """While the fault lasts nothing of it goes; once it is mended, the next leaders let go what has waited."""
    rules = AccountRules(opening=micros_of(100))
    fake = await world.fake_executor()
    fake.run()
    two = Two(world, fake)
    pool = in_partition(world, 0, "p")
    limited = await world.fake_executor(pool=pool)
    limited.run()
    user = two.user(0)
    failed: list[object] = []
    whole: Callable[..., Any] = getattr(of, name)

    def failing(one: Any, *args: Any, **named: Any) -> Any:
        failed.append(one)
        raise Fault(name)

    async with world.leader(0, rules=rules) as keeping, world.leader(1, rules=rules) as using:
        pooled = await two.task(user, 1, pool=pool)
        dear = await two.task(user, 1, pool="default", credits_per_run=PRICE)
        free = [await two.task(fresh_id("u"), partition, pool="default") for partition in (0, 1)]
        await world.commands.ok("update", pool, {"max_in_flight": 1}, kind="pool")
        with monkeypatch.context() as patch:
            patch.setattr(of, name, failing)
            await two.run(pooled if of in {Gate, Leave} else dear)
            await until(lambda: bool(failed))
            for task in free:
                await two.run(task)
                await world.events.one("executed", task)
            assert keeping.shard.running
            assert using.shard.running
        assert not world.events.of("executed", pooled)
        assert not world.events.of("executed", dear)
        assert getattr(of, name) is whole
    async with world.leader(0, rules=rules), world.leader(1, rules=rules):
        await two.run(pooled)
        await two.run(dear)
        await world.events.some(2 if of in {Gate, Leave} else 1, "executed", pooled)
        await world.events.some(1, "executed", dear)
