"""Credits while leaders die, of the account's shard and of the shards that spend. See ADR 0020.

Never is more spent than was given, whatever is killed when; each execution is counted once; and in the end what is
left can be spent.
"""

from __future__ import annotations

import pytest

from gnomon_core.rules.account_rules import AccountRules
from gnomon_scheduler.budget_registers import BudgetRegister
from gnomon_schemas import subjects
from gnomon_schemas.accounts import account_id_of, micros_of
from gnomon_schemas.codec import decode
from gnomon_schemas.events import Executed, Skipped
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.commands import fresh_id
from tests.harness.ledger import Audit
from tests.harness.processes import Process
from tests.harness.stage import Stage, at_every_write
from tests.harness.waiting import until_async
from tests.harness.world import World

PRICE = 4
OPENING = 10


def user_in(world: World, partition: int) -> str:
    """A new user whose account lives in a partition."""
    while world.partition(account_id_of(user := fresh_id("u"))) != partition:
        pass
    return user


def consumed(world: World, user: str) -> float:
    """What the log says that a user has consumed."""
    return sum(
        seen.event.credits_consumed
        for seen in world.events.of("executed")
        if isinstance(seen.event, Executed) and seen.event.user_id == user
    )


async def told(world: World, user: str) -> float:
    """What the account's shard knows a user to have consumed."""
    account = account_id_of(user)
    last = await world.bus.last(EVENTS_STREAM, subjects.budget_register(world.partition(account), account))
    shares = () if last is None else decode(last.data, BudgetRegister).shares
    return sum(share.used for share in shares) / 1_000_000


@pytest.mark.parametrize(
    "subject",
    [
        "state.budget.*",
        "state.usage.*",
        pytest.param("*", marks=[pytest.mark.chaos, pytest.mark.timeout(120)]),
    ],
)
async def test_no_death_of_a_leader_spends_twice_or_too_much(world: World, subject: str) -> None:
    """At every write of a leader that has both the account and the task: three runs, of which two can be paid.

    Of a budget, before what was granted is sent; of a usage, when the events are folded and nothing is stored; or any.
    """
    fake = await world.fake_executor()
    fake.run()
    users: dict[str, str] = {}

    async def prepare(stage: Stage) -> None:
        user = users[stage.task] = user_in(world, 0)
        await stage.commands.create(
            stage.task, overlap="allow", credits_per_run=PRICE, headers={"Gnomon-User": user}
        )

    async def scene(stage: Stage) -> None:
        for _ in range(3):
            await stage.commands.decided("run", stage.task)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes == {"executed": 2, "skipped(credits)": 1}, audit
        assert consumed(world, users[stage.task]) == 2 * PRICE

    rules = AccountRules(opening=micros_of(OPENING))
    deaths = await at_every_write(world, scene, prepare=prepare, check=check, rules=rules, subject=subject)
    assert deaths >= 2


async def test_credits_are_kept_when_schedulers_are_killed(world: World) -> None:
    """Users whose accounts live in either shard spend in both, on and on. Schedulers are killed one after the other,
    whatever they lead; a top-up lets everything run again by itself; and the sums agree in the end."""
    fake = await world.fake_executor()
    fake.run()
    world.settings["GNOMON_INITIAL_CREDITS"] = str(OPENING)
    alive: list[Process] = [await world.scheduler() for _ in range(2)]
    users = [user_in(world, partition) for partition in (0, 1)]
    tasks: dict[str, str] = {}
    for user in users:
        for partition in (0, 1):
            task = world.task_in(partition, fresh_id("t")[:12] + "-")
            tasks[task] = user
            await world.commands.create(
                task,
                overlap="allow",
                credits_per_run=PRICE,
                schedule={"kind": "interval", "every_seconds": 1},
                headers={"Gnomon-User": user},
            )
    given = dict.fromkeys(users, float(OPENING))
    await alive[0].kill()
    for user in users:
        await world.commands.decided("credit", account_id_of(user), {"amount": 8}, kind="account")
        given[user] += 8

    async def spent() -> bool:
        """All that can be: what is left is less than a price."""
        for user in users:
            assert consumed(world, user) <= given[user]
        return all(given[user] - consumed(world, user) < PRICE for user in users)

    await until_async(spent, within=30)
    alive.append(await world.scheduler())
    await alive[1].kill()
    for task in tasks:
        await world.commands.decided("update", task, {"schedule": None})
    await world.settled()

    async def agreed() -> bool:
        return all([await told(world, user) == consumed(world, user) for user in users])

    await until_async(agreed, within=20)
    reasons = {seen.event.reason for seen in world.events.of("skipped") if isinstance(seen.event, Skipped)}
    assert reasons <= {"credits"}
