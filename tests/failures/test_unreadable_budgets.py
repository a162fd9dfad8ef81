"""What a user has spent, or may spend, in a register of a newer version: nothing paid runs, nothing is forgotten."""

from __future__ import annotations

import pytest

from gnomon_core.rules.account_rules import AccountRules
from gnomon_schemas import subjects
from gnomon_schemas.accounts import account_id_of, micros_of
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.world import World
from tests.integration.scheduler.test_credits import Two

PRICE, OPENING = 4, 10
NEWER = b'{"type":"gnomon.state.of.a.newer.version"}'


@pytest.mark.parametrize("kept", ["budget", "usage"])
async def test_after_a_downgrade_nothing_is_spent_twice(world: World, kept: str) -> None:
    """The account lives in one shard, its task in the other. Whichever's register cannot be read, what has a price is
    skipped; what costs nothing runs; and once it can be read again, the user has what was left before."""
    rules = AccountRules(opening=micros_of(OPENING))
    fake = await world.fake_executor()
    fake.run()
    two = Two(world, fake)
    user = two.user(0)
    account = account_id_of(user)
    subject = (
        subjects.budget_register(0, account) if kept == "budget" else subjects.usage_register(1, account)
    )
    async with world.leader(0, rules=rules), world.leader(1, rules=rules):
        dear = await two.task(user, 1, credits_per_run=PRICE)
        free = await two.task(user, 1)
        await two.run(dear)
        await world.events.one("executed", dear)
        await two.settled(user, PRICE)
    readable = await world.bus.last(EVENTS_STREAM, subject)
    assert readable is not None
    await world.bus.publish(f"gnomon.write.{subject}", NEWER, {"Nats-Rollup": "sub"})
    async with world.leader(0, rules=rules) as keeping, world.leader(1, rules=rules) as spending:
        await two.run(dear, 2)
        await two.run(free)
        await world.events.some(2, "skipped", dear, reason="limit")
        await world.events.one("executed", free)
        told = [leader.shard.book.memory.users_set_aside for leader in (keeping, spending)]
        assert told == ([1, 0] if kept == "budget" else [0, 1])
    newest = await world.bus.last(EVENTS_STREAM, subject)
    assert newest is not None
    assert newest.data == NEWER
    await world.bus.publish(f"gnomon.write.{subject}", readable.data, {"Nats-Rollup": "sub"})
    async with world.leader(0, rules=rules), world.leader(1, rules=rules):
        await two.run(dear, 2)
        await world.events.one("skipped", dear, reason="credits")
        await world.events.some(2, "executed", dear)
        await two.settled(user, 2 * PRICE)
