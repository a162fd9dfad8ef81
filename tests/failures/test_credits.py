"""Credits while leaders die, of the account's shard and of the shards that spend. See ADR 0020.

Never is more spent than was given, whatever is killed when; each execution is counted once; and in the end what is
left can be spent.
"""

from __future__ import annotations

import time

import pytest

from gnomon_core.rules.account_rules import AccountRules
from gnomon_core.runtime.embedded import EmbeddedNats
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
from tests.harness.world import World, tell

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


@pytest.mark.chaos
@pytest.mark.timeout(240)
async def test_bound_and_lag_are_measured_while_schedulers_are_killed(broker: EmbeddedNats) -> None:
    """Eight shards, two schedulers of which one is killed every few seconds, real executors: what users overspend, and
    how late what matters is felt. Half of the users run handlers that report more than the price."""
    price, opening, extra, users_of_each = 1.0, 60.0, 0.5, 5
    async with World(broker, partitions=8, settings={"GNOMON_INITIAL_CREDITS": str(opening)}) as world:
        await world.executor(GNOMON_EXECUTOR_TASKS="tests.integration.executor.handlers")
        alive = [await world.scheduler() for _ in range(2)]
        tasks: dict[str, str] = {}
        for number in range(2 * users_of_each):
            user = fresh_id("u")
            for partition in range(8):
                task = world.task_in(partition, fresh_id("t")[:12] + "-")
                tasks[task] = user
                spec = (
                    {"task_type": "test_spend", "config": {"used": extra, "fails": False}}
                    if number < users_of_each
                    else {"task_type": "echo"}
                )
                await world.commands.create(
                    task,
                    **spec,
                    overlap="allow",
                    credits_per_run=price,
                    schedule={"kind": "interval", "every_seconds": 1},
                    headers={"Gnomon-User": user},
                )
        users = list(dict.fromkeys(tasks.values()))
        over, frugal = users[:users_of_each], users[users_of_each:]
        given, worst = dict.fromkeys(users, opening), dict.fromkeys(users, 0.0)
        felt: list[float] = []
        deaths = 0

        def spent() -> dict[str, float]:
            sums = dict.fromkeys(users, 0.0)
            for seen in world.events.of("executed"):
                if isinstance(seen.event, Executed):
                    sums[tasks[seen.task_id]] += seen.event.credits_consumed
            return sums

        async def all_spent() -> bool:
            sums = spent()
            for user in users:
                worst[user] = max(worst[user], sums[user] - given[user])
            return all(given[user] - sums[user] < price for user in users)

        for _ in range(5):
            await until_async(all_spent, within=40)
            victim = alive.pop(0)
            await victim.kill()
            deaths += 1
            alive.append(await world.scheduler())
            for user in users:
                before, at = spent()[user], time.monotonic()
                amount = 10 * price + max(0.0, worst[user])
                await world.commands.decided(
                    "credit", account_id_of(user), {"amount": amount}, kind="account"
                )
                given[user] += amount

                async def goes(user: str = user, before: float = before) -> bool:
                    return spent()[user] > before

                await until_async(goes, within=30)
                felt.append(time.monotonic() - at)
        await until_async(all_spent, within=40)
        begun = time.monotonic()

        async def agreed() -> bool:
            sums = spent()
            return all([await told(world, user) == pytest.approx(sums[user]) for user in users])

        await until_async(agreed, within=20)
        lag = time.monotonic() - begun
    felt.sort()
    most = max(worst[user] for user in over)
    tell(
        f"{len(tasks)} tasks, {sum(given.values()):.0f} credits given, {deaths} schedulers killed: too much by "
        f"{max(worst[user] for user in frugal):g} at the price, by {most:g} where handlers report {extra:g} more; "
        f"top-up to next end {felt[len(felt) // 2]:.2f} s in the middle, {felt[-1]:.2f} s at most; "
        f"the accounts' shards agree {lag:.2f} s after the last end was seen"
    )
    assert all(worst[user] <= 0 for user in frugal)
    # What was in flight when the last credits were let go: one of each task at the most, unless they last longer.
    assert most <= 8 * 2 * extra + price
