"""User doors: which executions of a shard may be let go, as far as their users' credits and limits go. ADR 0020.

Of a task that costs nothing, of a user without limits, nothing is known here. Of every other user the shard has a
*purse* (`decisions.purses`), and what lacks leave waits at the user's *door* until the account's shard has answered:
then it goes, or is refused. By then it has been written ahead.

A user about whom deciding fails is *barred* until another leader tries again: nothing that has a price, or counts, is
let go. What that user uses is counted all the same.

`Flight.price` says that an execution holds its price and one unit: from when it is let go until it has ended, over all
of its attempts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from heapq import heappop, heappush
from itertools import count
from typing import Final

import structlog

from gnomon_core.rules.account_rules import AccountRules
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.budget_registers import DAY_MS, UsageRegister
from gnomon_scheduler.decisions.purses import Purse
from gnomon_scheduler.decisions.queue import Item
from gnomon_scheduler.guard import Guard
from gnomon_scheduler.memory import Flight, ShardMemory, TaskState
from gnomon_scheduler.object_registers import KnownAccount, KnownObject
from gnomon_schemas.accounts import AccountLimits, Tier, account_id_of, consumed_micros
from gnomon_schemas.budgets import BudgetGrants, BudgetStatement
from gnomon_schemas.events import Executed
from gnomon_schemas.subjects import partition_of
from gnomon_schemas.tasks import Overlap, TaskSpec, Trigger

__all__ = ["NOT_HELD", "WAIT", "UserDoors"]

_log = structlog.get_logger(__name__)

NOT_HELD: Final = -1
"""`Flight.price` of an execution that holds nothing of its user's."""
_ACCOUNTS_LOOKED_AT: Final = 1000
"""Among more accounts than this some are taken to have limits."""
_LIMITS_KEPT: Final = 100_000
"""Of so many users it is remembered what holds for them."""
WAIT: Final = "account"
"""It is not known yet whether it may go."""


class _Door:
    """What waits for one user's leave here, and the purse."""

    __slots__ = ("asked", "due_ms", "heard", "items", "purse", "version")

    def __init__(self, purse: Purse, version: int) -> None:
        self.purse = purse
        self.version = version
        """Of the account, as known here; 0: there is none."""
        self.items: dict[tuple[str, str], Item] = {}
        self.asked: frozenset[tuple[str, str]] = frozenset()
        """Those of the newest statement."""
        self.due_ms: int | None = None
        """When something is to be said of the user if nothing else happens; None: never."""
        self.heard = False
        """It was answered, and those that are refused are to be told."""

    @property
    def in_order(self) -> list[Item]:
        """What waits, as it goes: by priority, then by age."""
        return sorted(self.items.values(), key=lambda item: (item.rank, item.since_ms))


class UserDoors:
    """Credits and limits of the users of one shard, under one leader. To be used inside a turn."""

    def __init__(
        self,
        memory: ShardMemory,
        accounts: Mapping[str, KnownObject],
        rules: AccountRules,
        now_ms: Callable[[], int],
        *,
        partitions: int,
        epoch: int,
        closed: AbstractSet[str] = frozenset(),
    ) -> None:
        """`closed`: the users whose account is closed."""
        self._memory, self._accounts, self._rules, self._now_ms = memory, accounts, rules, now_ms
        self._partitions, self._epoch, self._closed = partitions, epoch, closed
        self.heard: deque[BudgetGrants] = deque()
        """What accounts' shards said, to be taken in the next turn."""
        self._some_bounded = True
        """Whether some account has limits, as far as was looked."""
        self.waiting = 0
        """How many executions wait here."""
        self._limits: dict[str, AccountLimits] = {}
        """What holds for a user; worked out when first asked for, and forgotten when some account changes."""
        self._doors: dict[str, _Door] = {}
        self._stirred: set[str] = set()
        self._due: list[tuple[int, str]] = []
        """Heap of when something is to be said of which user: an item counts while the door says the same."""
        self._numbers = count(1)

    # -- what is known of users --------------------------------------------------------------------

    def account(self, user: str) -> KnownAccount | None:
        """A user's account, as far as this process has heard."""
        found = self._accounts.get(account_id_of(user))
        return found if isinstance(found, KnownAccount) else None

    def limits(self, user: str) -> AccountLimits:
        """What holds for a user."""
        found = self._limits.get(user)
        if found is None:
            account = self.account(user)
            if account is None:
                found = self._rules.limits(Tier.FREE)
            else:
                found = self._rules.limits(account.tier, account.limits)
            if len(self._limits) >= _LIMITS_KEPT:
                self._limits.clear()
            self._limits[user] = found
        return found

    def barred(self, user: str) -> bool:
        """Whether a user may do nothing: the account is closed, or there is none and has to be, or what the user has
        spent here cannot be read, or deciding about the user has failed."""
        return (
            user in self._closed
            or (self._rules.required and self.account(user) is None)
            or self._memory.usages.unreadable(user)
            or user in self._memory.barred_users
        )

    @property
    def bounded(self) -> bool:
        """Whether executions that cost nothing may be of concern, too."""
        return self._some_bounded or self._memory.usages.spent

    def concerns(self, user: str | None, spec: TaskSpec) -> bool:
        """Whether executions of a task are to be asked about here."""
        if user is None:
            return False
        if spec.credits_per_run > 0 or self._rules.required or user in self._closed:
            return True
        if self._memory.usages.has_used(user):
            return True  # the balance may be below zero, and then nothing is let go
        limits = self._limits.get(user) or self.limits(user)
        return limits.max_concurrent is not None or limits.runs_per_day is not None

    def accounts_changed(self) -> None:
        """Something was set of an account, or credits were given: what was refused may be let go now."""
        self._limits.clear()
        self._some_bounded = self._some_are_bounded()
        for user, door in self._doors.items():
            version = self._version(user)
            if version != door.version:
                door.version = version
                door.purse.ask_again()
                self._stirred.add(user)

    def _some_are_bounded(self) -> bool:
        rules = self._rules
        if rules.required or self._closed or any(_bounds(limits) for limits in rules.tiers.values()):
            return True
        if len(self._accounts) > _ACCOUNTS_LOOKED_AT:
            return True
        return any(
            _bounds(account.limits)
            for account in self._accounts.values()
            if isinstance(account, KnownAccount)
        )

    def _version(self, user: str) -> int:
        account = self.account(user)
        return 0 if account is None else account.version

    def _counts_days(self, user: str) -> bool:
        return self.limits(user).runs_per_day is not None

    # -- at the take-over --------------------------------------------------------------------------

    def begin(self) -> None:
        """Count what a predecessor let go, and tell what it may not have told."""
        self.accounts_changed()
        for reg in self._memory.usages.untold():
            self._door(reg.user).purse.ask()
            self._stirred.add(reg.user)
        for task in self._memory.in_flight.values():
            for flight in task.flights.values():
                user = task.reg.user_id or ""
                if (
                    flight.running
                    and self.concerns(task.reg.user_id, task.reg.spec)
                    and not self._memory.usages.unreadable(user)
                ):
                    self.take(task, flight)
                    self._door(user).purse.ask()

    # -- letting go --------------------------------------------------------------------------------

    def hindrance(self, task: TaskState) -> str | None:
        """Why an execution that is of concern cannot go at once: `credits`, `limit`, or `account`, which is to wait."""
        user, price = _user(task), _price(task)
        if self.barred(user):
            return "limit"
        door = self._doors.get(user)
        if door is None:
            return WAIT
        now_ms = self._now_ms()
        door.purse.begin_day(now_ms // DAY_MS)
        refused = door.purse.dry(price, now_ms)
        if refused is not None:
            return refused
        return None if not door.items and door.purse.fits(price) else WAIT

    def crowded(self, task: TaskState) -> bool:
        """Whether a user has executions in flight here, and as many as the shard has leave for."""
        door = self._doors.get(task.reg.user_id or "")
        return door is not None and door.purse.crowded

    def take(self, task: TaskState, flight: Flight) -> None:
        """An execution is let go: it holds its price from now on.

        Not where it cannot be read what its user has used here, as of one that is tried again: a purse would state
        that nothing was, and the account's shard would believe it.
        """
        user = _user(task)
        if self._memory.usages.unreadable(user):
            return
        flight.price = _price(task)
        self._door(user).purse.take(flight.price)
        self._stirred.add(user)

    def release(self, task: TaskState, flight: Flight) -> None:
        """An execution has ended, or is not let go after all."""
        if flight.price != NOT_HELD:
            user = _user(task)
            self._door(user).purse.release(flight.price)
            flight.price = NOT_HELD
            self._stirred.add(user)

    def wait(self, item: Item) -> None:
        """An execution waits here from now on."""
        user = _user(item.task)
        self._door(user).items[_name(item)] = item
        self.waiting += 1
        self._stirred.add(user)

    def waits(self, task: TaskState, flight: Flight) -> bool:
        """Whether an execution waits here."""
        door = self._doors.get(task.reg.user_id or "")
        return door is not None and (task.task_id, flight.run) in door.items

    def stop_waiting(self, task: TaskState, flight: Flight) -> None:
        """An execution waits no more, where it did."""
        door = self._doors.get(task.reg.user_id or "")
        if door is not None and door.items.pop((task.task_id, flight.run), None) is not None:
            self.waiting -= 1
            self._stirred.add(_user(task))

    def free(self) -> Iterable[Item]:
        """Those of the waiting that may go now, one after the other; whoever takes one calls `take` or lets it be."""
        today = self._now_ms() // DAY_MS
        for user in sorted(self._stirred):
            door = self._doors.get(user)
            if door is None:
                continue
            in_order: list[Item] = []
            with self._guard(user, "letting what waits go"):
                door.purse.begin_day(today)
                in_order = door.in_order
            for item in in_order:
                if _name(item) not in door.items:
                    continue  # its task was set aside over one before it
                fits = False
                with self._guard(user, "letting what waits go"):
                    fits = door.purse.fits(_price(item.task))
                if not fits:
                    break
                del door.items[_name(item)]
                self.waiting -= 1
                yield item

    def refused(self) -> list[tuple[Item, str]]:
        """Those of the waiting that were refused, and why. They wait no more."""
        found: list[tuple[Item, str]] = []
        now_ms = self._now_ms()
        for user in sorted(self._stirred):
            door = self._doors.get(user)
            if door is not None and door.heard:
                with self._guard(user, "telling who is refused"):
                    self._refuse(door, now_ms, found)
        return found

    def _refuse(self, door: _Door, now_ms: int, found: list[tuple[Item, str]]) -> None:
        door.heard, why = False, door.purse.shortage
        for item in door.in_order if why is not None else ():
            price = _price(item.task)
            if _name(item) not in door.asked or door.purse.fits(price):
                continue
            if why == "busy":
                if not _may_not_wait(item):
                    continue
            else:
                assert why is not None  # or nothing would be looked at
                door.purse.run_dry(why, price, now_ms)
            del door.items[_name(item)]
            self.waiting -= 1
            found.append((item, "limit" if why == "busy" else str(why)))

    # -- what has been used ------------------------------------------------------------------------

    def executed(self, seq: int, event: Executed) -> bool:
        """Count what an execution has consumed; whether that is to be stored."""
        usage = self._memory.usages.fold(seq, event, self._counts_days)
        if usage is None:
            return False
        with self._guard(usage.user, "counting what was used"):
            self._door(usage.user).purse.fold(usage.used, usage.day, usage.runs)
            self._stirred.add(usage.user)
        return True

    # -- talking with accounts' shards -------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When there is something to say, or to do; None: never by itself."""
        if self.heard:
            return 0
        return self._due[0][0] if self._due else None

    def hear(self) -> bool:
        """Take what accounts' shards have said; whether something is to be stored by it."""
        news = False
        while self.heard:
            for grant in self.heard.popleft().grants:
                if self._memory.usages.unreadable(grant.user):
                    continue  # what it would state of the user, that nothing was used, is wrong
                with self._guard(grant.user, "hearing what is granted"):
                    # Where nothing of the user is known, caps may be kept for a predecessor: say that nothing is used.
                    door = self._door(grant.user)
                    if door.purse.hear(self._epoch, grant):
                        door.heard = True
                        news = self._memory.usages.note_told(grant.user, door.purse.told) or news
                    self._stirred.add(grant.user)
        return news

    def statements(self, now_ms: int) -> list[tuple[int, BudgetStatement]]:
        """What is to be said now, with the partition of the account that it is said to."""
        users, self._stirred = self._stirred, set()
        while self._due and self._due[0][0] <= now_ms:
            due_ms, user = heappop(self._due)
            known = self._doors.get(user)
            if known is not None and known.due_ms == due_ms:
                known.due_ms = None
                users.add(user)
        found: list[tuple[int, BudgetStatement]] = []
        for user in users:
            door = self._doors.get(user)
            if door is not None:
                with self._guard(user, "stating what is used"):
                    self._speak(user, door, now_ms, found)
        return found

    def _speak(self, user: str, door: _Door, now_ms: int, found: list[tuple[int, BudgetStatement]]) -> None:
        purse = door.purse
        purse.begin_day(now_ms // DAY_MS)
        at_ms = purse.next_ms(len(door.items))
        if at_ms is not None and at_ms <= now_ms:
            found.append((partition_of(purse.account, self._partitions), self._state(door, now_ms)))
            at_ms = purse.next_ms(len(door.items))
        if at_ms is None:
            # One that refuses by itself for a while has nothing to say, and goes once that is over.
            at_ms = purse.dry_until_ms(now_ms)
        if at_ms is None and not door.items and purse.over(now_ms):
            del self._doors[user]
            return
        if door.items and purse.fits(_price(door.in_order[0].task)):
            # The turn was full.
            self._stirred.add(user)
            at_ms = 0
        if at_ms is not None and at_ms != door.due_ms:
            heappush(self._due, (at_ms, user))
        door.due_ms = at_ms

    def _guard(self, user: str, doing: str) -> Guard:
        def failed(error: Exception) -> None:
            _log.error(
                LogEvent.USER_SET_ASIDE,
                partition=self._memory.partition,
                user=user,
                doing=doing,
                error=repr(error),
                exc_info=error,
            )
            self._memory.barred_users.add(user)

        return Guard(failed)

    def _state(self, door: _Door, now_ms: int) -> BudgetStatement:
        door.asked = frozenset(door.items)
        return door.purse.state(
            next(self._numbers),
            now_ms,
            wanting=len(door.items),
            wanting_micros=sum(_price(item.task) for item in door.items.values()),
        )

    def _door(self, user: str) -> _Door:
        door = self._doors.get(user)
        if door is None:
            usage = self._memory.usages.of(user) or UsageRegister(account=account_id_of(user), user=user)
            purse = Purse(
                usage.account, user, used=usage.used, told=usage.told, day=usage.day, runs=usage.runs
            )
            door = self._doors[user] = _Door(purse, self._version(user))
        return door


def _bounds(limits: AccountLimits) -> bool:
    """Whether limits, of a tier or an account's own, are about executions."""
    return isinstance(limits.max_concurrent, int) or isinstance(limits.runs_per_day, int)


def _user(task: TaskState) -> str:
    user = task.reg.user_id
    assert user is not None  # of the system's own tasks nothing is known here
    return user


def _price(task: TaskState) -> int:
    return consumed_micros(task.reg.spec.credits_per_run)


def _name(item: Item) -> tuple[str, str]:
    return item.task.task_id, item.flight.run


def _may_not_wait(item: Item) -> bool:
    """Whether it is a slot that does not wait for others of its user, as it would not for others of its task."""
    flight = item.flight
    return (
        item.task.reg.spec.overlap is Overlap.SKIP
        and flight.trigger is Trigger.SCHEDULE
        and not flight.waits_late
    )
