"""Credits and limits of users, between two shards with a leader each. ADR 0020."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gnomon_core.rules.account_rules import AccountRules
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_scheduler.budget_registers import BudgetRegister, UsageRegister
from gnomon_scheduler.object_registers import AccountRegister
from gnomon_schemas import subjects
from gnomon_schemas.accounts import AccountCreated, account_id_of, micros_of
from gnomon_schemas.codec import decode
from gnomon_schemas.events import Skipped
from gnomon_schemas.problems import Code
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.commands import RefusedError, fresh_id
from tests.harness.fake_executor import FakeExecutor
from tests.harness.waiting import until_async
from tests.harness.world import World

EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}
OPENING = 10.0
RULES = AccountRules(opening=micros_of(OPENING))


class Two:
    """Two shards, each led on a connection of its own, and an executor of the default pool."""

    def __init__(self, world: World, fake: FakeExecutor) -> None:
        self.world, self.fake = world, fake

    def user(self, partition: int) -> str:
        """A new user whose account lives in a partition."""
        while self.world.partition(account_id_of(user := fresh_id("u"))) != partition:
            pass
        return user

    async def task(self, user: str, partition: int, **spec: Any) -> str:
        """A task of a user in a partition."""
        task = self.world.task_in(partition, fresh_id("t")[:12] + "-")
        await self.world.commands.create(task, **{"overlap": "allow", **spec}, headers={"Gnomon-User": user})
        return task

    async def run(self, task: str, count: int = 1) -> None:
        """Run a task so often at once."""
        for _ in range(count):
            await self.world.commands.ok("run", task, {})

    async def set(self, user: str, verb: str = "update", **body: Any) -> dict[str, Any]:
        """Say something of a user's account; the account after it."""
        outcome = await self.world.commands.ok(verb, account_id_of(user), body, kind="account")
        account: dict[str, Any] = outcome["account"]
        return account

    async def budget(self, user: str) -> BudgetRegister:
        """What is stored of a user's budget."""
        account = account_id_of(user)
        subject = subjects.budget_register(self.world.partition(account), account)
        last = await self.world.bus.last(EVENTS_STREAM, subject)
        return (
            BudgetRegister(account=account, user=user) if last is None else decode(last.data, BudgetRegister)
        )

    async def used(self, user: str) -> float:
        """Credits that the account's shard knows to be used."""
        return sum(share.used for share in (await self.budget(user)).shares) / 1_000_000

    async def settled(self, user: str, credits_used: float) -> None:
        """Wait until the account's shard knows of so much."""

        async def so() -> bool:
            return await self.used(user) == credits_used

        await until_async(so)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(broker: EmbeddedNats) -> AsyncIterator[Two]:
    """The module's two shards."""
    async with World(broker, partitions=2) as world:
        async with world.leader(0, rules=RULES), world.leader(1, rules=RULES):
            fake = await world.fake_executor()
            yield Two(world, fake)


async def test_what_is_spent_in_two_shards_is_known_to_the_account(two: Two) -> None:
    """An account is made by the first credits that are spent, each execution costs its price, once."""
    user = two.user(0)
    tasks = [await two.task(user, partition, credits_per_run=1.5) for partition in (0, 1)]
    for task in tasks:
        await two.run(task, 2)
    for _ in range(4):
        await two.fake.complete(await two.fake.next())
    for task in tasks:
        await two.world.events.some(2, "executed", task)
    await two.settled(user, 6)
    account = await two.world.bus.last(EVENTS_STREAM, f"account.created.*.{account_id_of(user)}._")
    assert account is not None
    created = decode(account.data, AccountCreated)
    assert (created.opening, created.reason, created.user_id) == (OPENING, "first_use", user)
    usages = await two.world.bus.multi_last(EVENTS_STREAM, [f"state.usage.*.{account_id_of(user)}"])
    assert [decode(stored.data, UsageRegister).used for stored in usages] == [3_000_000, 3_000_000]


async def test_who_is_out_of_credits_is_skipped_and_resumes_by_itself(two: Two) -> None:
    """No run that cannot be paid; each slot says so; after a top-up they run again without anybody's doing."""
    user = two.user(1)
    task = await two.task(user, 0, credits_per_run=4, schedule=EVERY_SECOND)
    for _ in range(2):
        await two.fake.complete(await two.fake.next(task_id=task))
    skipped = await two.world.events.some(2, "skipped", task)
    for seen in skipped:
        assert isinstance(seen.event, Skipped)
        assert (seen.event.reason, seen.event.detail) == ("credits", f"user {user!r} has no 4 credits left")
    account = await two.set(user, "credit", amount=6)
    assert account["credited"] == OPENING + 6
    for _ in range(2):
        await two.fake.complete(await two.fake.next(task_id=task))
    more = len(two.world.events.of("skipped", task)) + 1
    await two.world.events.some(more, "skipped", task)
    assert len(two.world.events.of("executed", task)) == 4
    await two.world.commands.ok("cancel", task, {})


async def test_a_run_on_demand_that_cannot_be_paid_is_recorded(two: Two) -> None:
    """It is accepted, and skipped: the balance is not known where the command is decided."""
    user = two.user(0)
    task = await two.task(user, 1, credits_per_run=OPENING + 1)
    await two.run(task)
    await two.world.events.one("skipped", task, reason="credits", trigger="manual")
    cheap = await two.task(user, 1, credits_per_run=1)
    await two.run(cheap)
    await two.fake.complete(await two.fake.next(task_id=cheap))


async def test_a_failure_costs_what_the_handler_reported_and_a_retry_is_not_refused(two: Two) -> None:
    """The price stays held over the attempts; a failure costs none of it."""
    user = two.user(0)
    task = await two.task(user, 1, credits_per_run=OPENING, retry={"max_attempts": 3})
    await two.run(task)
    work = await two.fake.next(task_id=task)
    await two.fake.claim(work)
    await two.fake.retry(work, 0.1)
    await two.fake.ack(work)
    work = await two.fake.next(task_id=task)
    assert work.due.attempt == 2
    await two.fake.claim(work)
    await two.fake.finish(work, "failed", reported=2.25)
    await two.fake.ack(work)
    await two.settled(user, 2.25)
    await two.run(task)
    await two.world.events.one("skipped", task, reason="credits")


async def test_more_than_the_price_is_counted_and_the_balance_goes_below_zero(two: Two) -> None:
    """What a handler reports beyond its price is known when it has been used; nothing more is let go then."""
    user = two.user(1)
    task = await two.task(user, 0, credits_per_run=1)
    await two.run(task)
    work = await two.fake.next(task_id=task)
    await two.fake.claim(work)
    await two.fake.finish(work, reported=OPENING + 5)
    await two.fake.ack(work)
    await two.settled(user, OPENING + 6)
    await two.run(task)
    await two.world.events.one("skipped", task)
    await two.set(user, "credit", amount=6, kind="adjustment")
    await two.run(task)
    assert len(await two.world.events.some(2, "skipped", task)) == 2
    await two.set(user, "credit", amount=1, kind="grant")
    await two.run(task)
    await two.fake.complete(await two.fake.next(task_id=task))


async def test_executions_in_flight_are_bounded_over_both_shards(two: Two) -> None:
    """Runs on demand wait for one another; a slot of a task whose overlap is skip is skipped."""
    user = two.user(0)
    await two.set(user, limits={"max_concurrent": 1})
    tasks = [await two.task(user, partition) for partition in (0, 1)]
    for task in tasks:
        await two.run(task, 2)
    impatient = await two.task(user, 1, overlap="skip", schedule=EVERY_SECOND)
    await two.world.events.one("skipped", impatient, reason="limit")
    await two.world.commands.ok("cancel", impatient, {})
    work = await two.fake.next()
    patient = await two.task(user, work.partition, overlap="queue", schedule=EVERY_SECOND)
    await two.world.events.one("queued", patient, reason="limit")
    await two.world.commands.ok("cancel", patient, {})
    for number in range(4):
        work = await two.fake.next() if number else work
        await two.fake.claim(work)
        await asyncio.sleep(0.05)
        assert len(await two.world.dues()) == 1
        await two.fake.finish(work)
        await two.fake.ack(work)
    for task in tasks:
        await two.world.events.some(2, "executed", task)


async def test_runs_of_a_day_are_bounded_over_both_shards(two: Two) -> None:
    """What comes after them is skipped, and a higher limit is felt at once."""
    user = two.user(1)
    await two.set(user, limits={"runs_per_day": 3})
    tasks = [await two.task(user, partition) for partition in (0, 1)]
    for _ in range(2):
        for task in tasks:
            await two.run(task)
    for _ in range(3):
        await two.fake.complete(await two.fake.next())

    async def refused() -> bool:
        return sum(len(two.world.events.of("skipped", task, reason="limit")) for task in tasks) == 1

    await until_async(refused)
    await two.set(user, limits={"runs_per_day": 4})

    async def goes() -> bool:
        await two.run(tasks[0])
        return bool(len(two.fake.seen) and two.fake.seen[-1].task_id == tasks[0])

    await until_async(goes)
    await two.fake.complete(await two.fake.next(task_id=tasks[0]))


async def test_tasks_are_counted_over_both_shards(two: Two) -> None:
    """One more than the account allows is refused, wherever it would be; one that has ended counts no more."""
    user = two.user(0)
    await two.set(user, limits={"max_tasks": 2})
    first = await two.task(user, 0)
    await two.task(user, 1)
    for partition in (0, 1):
        assert await refusal(two.task(user, partition)) is Code.ACCOUNT_LIMIT
    await two.world.commands.ok("cancel", first, {})
    await two.task(user, 1)
    await two.task("somebody else", 1)


async def test_slots_may_not_be_closer_than_the_account_allows(two: Two) -> None:
    """When a task is made, and when its schedule changes."""
    user = two.user(1)
    await two.set(user, limits={"min_interval_seconds": 60})
    assert await refusal(two.task(user, 0, schedule=EVERY_SECOND)) is Code.ACCOUNT_LIMIT
    often = {"kind": "cron", "expression": "0,1 0 9 * * *"}
    assert await refusal(two.task(user, 0, schedule=often)) is Code.ACCOUNT_LIMIT
    task = await two.task(user, 0, schedule={"kind": "cron", "expression": "* * * * *"})
    change = two.world.commands.ok("update", task, {"schedule": {"every_seconds": 59, "kind": "interval"}})
    assert await refusal(change) is Code.ACCOUNT_LIMIT
    await two.world.commands.ok("update", task, {"description": "as it was"})


async def test_a_command_is_counted_once(two: Two) -> None:
    """A top-up that is sent again under its id gives nothing more, and says what there is."""
    user = two.user(0)
    for replayed in (False, True):
        outcome = await two.world.commands.decided(
            "credit", account_id_of(user), {"amount": 7}, kind="account", command_id=f"c-{user}", within=0.5
        )
        assert outcome.get("replayed", False) is replayed
        assert outcome["account"]["credited"] == OPENING + 7
    account = account_id_of(user)
    subject = subjects.object_register("account", two.world.partition(account), account)
    stored = await two.world.bus.last(EVENTS_STREAM, subject)
    assert stored is not None
    assert decode(stored.data, AccountRegister).credited == micros_of(OPENING + 7)


async def refusal(what: Any) -> Code:
    """The code by which something is refused."""
    try:
        await what
    except RefusedError as error:
        return next(code for code in Code if f"'code': '{code}'" in str(error))
    raise AssertionError("it was accepted")
