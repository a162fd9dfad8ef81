"""Users at work: their credits, templates and subscriptions, and what other services tell of them. See `at_work`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg
import msgspec

from gnomon_scheduler.budget_registers import BudgetRegister
from gnomon_schemas import subjects
from gnomon_schemas.accounts import account_id_of, micros_of
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode
from gnomon_schemas.ecosystem import CALENDAR_EVENT_CREATED, SUBSCRIPTION_CHANGED, USER_DELETED
from gnomon_schemas.events import Created, Executed, StatusChanged
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.workless import CALENDAR_EVENT
from tests.harness.at_work import EVERY_SECOND, Part
from tests.harness.commands import fresh_id
from tests.harness.recorded import most_at_once
from tests.harness.waiting import until_async
from tests.harness.world import now_ms

__all__ = ["OPENING", "USERS", "wrong_books"]

OPENING: Final = 20
"""Credits that an account begins with: `GNOMON_INITIAL_CREDITS` has to say so."""
_WITHIN: Final = 60.0


class Credits(Part):
    """Users who spend in both shards until nothing is left, and go on by themselves when they are given more."""

    name = "credits"
    PRICE: Final = 2.5
    REPORTED: Final = 0.25
    MOST_AT_ONCE: Final = 2

    async def begin(self) -> None:
        """One user of either shard with tasks in both. The second has a limit, and handlers that report use."""
        self.users = [self._user_in(partition) for partition in (0, 1)]
        self.tasks: dict[str, str] = {}
        """Whose they are."""
        self.given = dict.fromkeys(self.users, float(OPENING))
        """Credits that there have been to spend, whatever was taken back."""
        limits = {"max_concurrent": self.MOST_AT_ONCE}
        await self.must("update", account_id_of(self.users[1]), {"limits": limits}, kind="account")
        works: tuple[dict[str, Any], ...] = (
            {},
            {"task_type": "policy_spending", "config": {"credits": self.REPORTED, "fails_every": 3}},
        )
        for user, work in zip(self.users, works, strict=True):
            for partition in (0, 1):
                task = self.world.task_in(partition, f"priced-{self.users.index(user)}-")
                self.tasks[task] = user
                spec = {"schedule": EVERY_SECOND, "overlap": "allow", "credits_per_run": self.PRICE, **work}
                await self.create(task, user=user, **spec)

    def _user_in(self, partition: int) -> str:
        while self.world.partition(account_id_of(user := fresh_id("spender"))) != partition:
            pass
        return user

    async def go_on(self, over: asyncio.Event) -> None:
        """Give some credits, or take a few, under one command id twice: it counts once."""
        while await self.pause(over, 0.5, 2.5):
            user, command_id = self.random.choice(self.users), fresh_id("give")
            kind, amount = self.random.choice((("topup", 12.5), ("grant", 5.0), ("adjustment", -0.5)))
            for _ in range(2):
                body = {"amount": amount, "kind": kind}
                outcome = await self.world.commands.decided(
                    "credit", account_id_of(user), body, kind="account", command_id=command_id
                )
                assert outcome["ok"], outcome
            self.given[user] += max(0, amount)

    async def finish(self) -> None:
        """Nothing is spent any more."""
        for task, user in self.tasks.items():
            await self.must("update", task, {"schedule": None}, user=user)

    async def agree(self) -> None:
        """The account's shard knows what each shard has used."""

        async def agreed() -> bool:
            return all([await self._known(user) == self._consumed(user) for user in self.users])

        await until_async(agreed, within=_WITHIN)

    async def _known(self, user: str) -> int:
        account = account_id_of(user)
        subject = subjects.budget_register(self.world.partition(account), account)
        last = await self.world.bus.last(EVENTS_STREAM, subject)
        return 0 if last is None else sum(share.used for share in decode(last.data, BudgetRegister).shares)

    def _ends(self, user: str) -> list[Executed]:
        ends = (seen.event for seen in self.world.events.of("executed"))
        return [event for event in ends if isinstance(event, Executed) and event.user_id == user]

    def _consumed(self, user: str) -> int:
        return sum(micros_of(event.credits_consumed) for event in self._ends(user))

    def check(self) -> None:
        """Each run cost its price, if it succeeded, and what it reported; nothing was spent that had not been given;
        and of the one with a limit there never ran more at a time."""
        for user, reports in zip(self.users, (0.0, self.REPORTED), strict=True):
            ends = self._ends(user)
            assert ends, f"{user} ran nothing"
            for event in ends:
                price = self.PRICE if event.status == "completed" else 0.0
                assert event.credits_consumed == price + reports, event
            reported = len(ends) * micros_of(reports)
            assert self._consumed(user) <= micros_of(self.given[user]) + reported
        limited = [seen for seen in self.world.events.all if self.tasks.get(seen.task_id) == self.users[1]]
        assert most_at_once(limited) <= self.MOST_AT_ONCE


class Templates(Part):
    """Tasks from templates, which change meanwhile, and of which one is only for those who pay for it."""

    name = "templates"
    UNITS: Final = ("metric", "imperial")
    MOST: Final = 12

    async def begin(self) -> None:
        """A template for everybody and one for `pro`."""
        self.user = fresh_id("templater")
        self.made: dict[str, str] = {}
        """Tasks, and which template they are of."""
        for level in ("free", "pro"):
            body = {
                "name": f"For {level}",
                "task_type": "echo",
                "default_config": {"units": self.UNITS[0]},
                "required_fields": ["location"],
                "required_subscription_level": level,
                "credits_per_run": 1,
                "defaults": {"schedule": EVERY_SECOND, "overlap": "allow"},
            }
            await self.must("create", f"for-{level}", body, kind="template")

    async def go_on(self, over: asyncio.Event) -> None:
        """Make tasks of either; change a template; subscribe to another level."""
        while await self.pause(over, 0.5, 2):
            act = self.random.choice(("make", "make", "change", "subscribe"))
            level = self.random.choice(("free", "pro"))
            if act == "make" and len(self.made) < self.MOST:
                await self._make(f"for-{level}")
            elif act == "change":
                body = {"default_config": {"units": self.random.choice(self.UNITS)}}
                await self.must("update", f"for-{level}", body, kind="template")
            elif act == "subscribe":
                await self._subscribe(level)

    async def _make(self, template: str) -> bool:
        task = fresh_id("from")
        body = {"template_id": template, "config": {"location": task}}
        outcome = await self.ask("create", task, body, user=self.user)
        if outcome["ok"]:
            self.made[task] = template
        else:
            refused = (template, outcome["error"]["code"])
            assert refused == ("for-pro", "subscription_required"), outcome
        return bool(outcome["ok"])

    async def _subscribe(self, tier: str) -> None:
        told = {"user_id": self.user, "new_tier": tier}
        await self.announce(SUBSCRIPTION_CHANGED, told, fresh_id("subscription"))

    async def finish(self) -> None:
        """Whoever pays gets what is for those who do, and no more task of these runs."""
        await self._subscribe("pro")
        await self._make("for-free")

        async def open_now() -> bool:
            return await self._make("for-pro")

        await until_async(open_now, within=_WITHIN)
        for task in self.made:
            await self.must("update", task, {"schedule": None}, user=self.user)

    def check(self) -> None:
        """Each task is what its template said at one time, and what was asked for."""
        for task, template in self.made.items():
            (created,) = (seen.event for seen in self.world.events.of("created", task))
            assert isinstance(created, Created)
            config = msgspec.json.decode(created.task.config)
            assert (created.task.template_id, created.task.credits_per_run) == (template, 1)
            assert config.pop("units") in self.UNITS
            assert config == {"location": task}


class Leavers(Part):
    """Users whose account is deleted: their tasks are cancelled, however often that is told."""

    name = "leavers"
    USERS: Final = 4

    async def begin(self) -> None:
        """Each has tasks in both shards, of which some fire and one is a todo."""
        self.tasks: dict[str, list[str]] = {}
        self.gone: list[str] = []
        for _ in range(self.USERS):
            user = fresh_id("leaver")
            self.tasks[user] = [self.world.task_in(partition, f"{user}-") for partition in (0, 1)]
            for task in self.tasks[user]:
                await self.create(task, user=user, schedule=EVERY_SECOND, overlap="queue_all")
            self.tasks[user].append(f"{user}-todo")
            await self.create(f"{user}-todo", user=user, task_type="todo")

    async def go_on(self, over: asyncio.Event) -> None:
        """One after another goes."""
        while await self.pause(over, 1, 4):
            staying = [user for user in self.tasks if user not in self.gone]
            if len(staying) > 1:
                self.gone.append(self.random.choice(staying))
                await self._leave(self.gone[-1])

    async def _leave(self, user: str) -> None:
        for _ in range(2):
            await self.announce(USER_DELETED, {"user_id": user}, fresh_id("deleted"))

    async def finish(self) -> None:
        """One goes now, if none has, and all that have to be cancelled are."""
        if not self.gone:
            self.gone.append(next(iter(self.tasks)))
            await self._leave(self.gone[0])
        for user in self.gone:
            for task in self.tasks[user]:
                await self.world.events.one("status_changed", task, within=_WITHIN, new_status="cancelled")

    def check(self) -> None:
        """Cancelled once each; and those of who stayed, never."""
        for user, tasks in self.tasks.items():
            for task in tasks:
                changes = [seen.event for seen in self.world.events.of("status_changed", task)]
                ends = [one.new_status.value for one in changes if isinstance(one, StatusChanged)]
                assert ends.count("cancelled") == (user in self.gone), f"{task}: {ends}"


class Entries(Part):
    """Calendar entries that another service tells: a task each, however often it is told; and nonsense."""

    name = "entries"
    LEAD_SECONDS: Final = 900
    """The default of `GNOMON_CALENDAR_LEAD`."""

    async def begin(self) -> None:
        """A user who has asked for it."""
        self.user = fresh_id("keeper")
        self.told: list[str] = []
        self.nonsense: list[str] = []
        await self.must("update", account_id_of(self.user), {"calendar_reminders": True}, kind="account")

    async def go_on(self, over: asyncio.Event) -> None:
        """Tell one entry after another, twice each, and something that is none."""
        while await self.pause(over, 0.5, 3):
            await self._tell()
            if self.random.random() < 0.3:
                self.nonsense.append(fresh_id("nonsense"))
                await self.announce(CALENDAR_EVENT_CREATED, b"\xff", self.nonsense[-1])

    async def _tell(self) -> None:
        event = fresh_id("entry")
        start = format_instant(now_ms() + (self.LEAD_SECONDS + 2) * 1000)
        self.told.append(event)
        told = {"user_id": self.user, "event_id": event, "title": event, "start_time": start}
        for _ in range(2):
            await self.announce(CALENDAR_EVENT_CREATED, told, fresh_id("told"))

    async def finish(self) -> None:
        """All of them are tasks. They remind in a moment; or, where nobody listened then, in a quarter of an hour."""
        await self._tell()
        await self.world.events.wait_for(
            lambda: len(self._named("created")) >= len(self.told),
            within=_WITHIN,
            what=f"a task of each of {len(self.told)} entries",
        )

    def _named(self, name: str) -> list[str]:
        """Which entries there is such an event of."""
        return [
            seen.event.task.name if isinstance(seen.event, Created) else str(getattr(seen.event, "name", ""))
            for seen in self.world.events.of(name, user_id=self.user)
            if getattr(seen.event, "task_type", CALENDAR_EVENT) == CALENDAR_EVENT
        ]

    def check(self) -> None:
        """One task each, and at most one reminder."""
        assert sorted(self._named("created")) == sorted(self.told)
        reminded = self._named("reminder_triggered")
        assert len(reminded) == len(set(reminded))

    async def check_rows(self, db: asyncpg.Connection[asyncpg.Record]) -> None:
        """What is no entry was set aside, once each."""
        rows = await db.fetch("select name from ecosystem_poison")
        assert sorted(row["name"] for row in rows) == sorted(self.nonsense)


async def wrong_books(db: asyncpg.Connection[asyncpg.Record], ends: list[Executed]) -> list[str]:
    """What is wrong with the books of all users, in words: entries of a matter that do not add up to nothing; a balance
    that is not the sum of its entries, or not what was given less what the log says was consumed."""
    crooked = await db.fetch("select seq from credit_entries group by seq having sum(amount) <> 0")
    consumed: dict[str, int] = {}
    for event in ends:
        if event.user_id is not None:
            consumed[event.user_id] = consumed.get(event.user_id, 0) + micros_of(event.credits_consumed)
    rows = await db.fetch(
        "select user_id, a.credited, b.balance, b.consumed, "
        "(select sum(amount)::bigint from credit_entries e where e.user_id = a.user_id and book = 'user') as entered "
        "from accounts a left join credit_balances b using (user_id)"
    )
    found = [f"the entries of {row['seq']} do not add up" for row in crooked]
    for row in rows:
        of_log = consumed.pop(row["user_id"], 0)
        if not row["balance"] == row["entered"] == row["credited"] - of_log or row["consumed"] != of_log:
            found.append(f"{dict(row)}; the log says {of_log} consumed")
    found += [f"{user} has consumed {micros} and no account" for user, micros in consumed.items() if micros]
    return found


USERS: Final[tuple[type[Part], ...]] = (Credits, Templates, Leavers, Entries)
