"""The budget desk: keeps the budgets of the accounts that live in a shard. See ADR 0020; what is decided is in
`decisions.budgets`.

In a turn it takes the statements that came, gives what is free, and hands in the registers that have changed as units;
its answers are sent once these are stored. A leader that was deposed finds that out when it stores, and answers
nothing. A user who wants to spend and has no account gets one here.

Of a budget whose register cannot be read (of a newer version), or about which deciding fails, it is not known what was
granted to whom: everybody keeps what they say they have, nobody is given more, and nothing is stored.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable

import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.messages import Outgoing
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.book import Book
from gnomon_scheduler.budget_registers import BudgetRegister
from gnomon_scheduler.decisions.accounts import open_account
from gnomon_scheduler.decisions.budgets import Budget, Standing
from gnomon_scheduler.decisions.command import Surroundings
from gnomon_scheduler.guard import Guard
from gnomon_scheduler.long_messages import in_messages
from gnomon_scheduler.object_registers import AccountRegister
from gnomon_scheduler.units import Note, Unit
from gnomon_schemas import subjects
from gnomon_schemas.accounts import Tier
from gnomon_schemas.budgets import BudgetGrant, BudgetGrants, BudgetStatement, BudgetStatements
from gnomon_schemas.codec import encode

__all__ = ["BudgetDesk"]

_log = structlog.get_logger(__name__)


class BudgetDesk:
    """The budgets of one shard's accounts, under one leader."""

    def __init__(
        self, bus: Bus, book: Book, surroundings: Callable[[int], Surroundings], partitions: int
    ) -> None:
        self._bus, self._book, self._surroundings, self._partitions = bus, book, surroundings, partitions
        self.heard: deque[BudgetStatements] = deque()
        """What shards said, to be taken in the next turn."""
        self._budgets: dict[str, Budget] = {}
        self._stirred: set[str] = set()
        self._next: dict[str, int] = {}
        self._answers: dict[int, list[BudgetGrant]] = defaultdict(list)

    @property
    def next_ms(self) -> int | None:
        """When some budget is to be looked at if nobody says anything; None: none is."""
        if self.heard or self._stirred:
            return 0
        return min(self._next.values(), default=None)

    def accounts_changed(self) -> None:
        """Credits were given, or a limit set: there may be something to give to those that wait."""
        self._stirred |= self._next.keys()

    def decide(self, now_ms: int) -> list[Unit]:
        """Take what was said, and give what is free: the registers to store."""
        units: list[Unit] = []
        while self.heard:
            said = self.heard.popleft()
            for statement in said.statements:
                with self._guard(statement.account, "hearing what a shard states"):
                    self._budget(statement).hear(said.shard, said.epoch, statement, now_ms)
                    self._stirred.add(statement.account)
                    if statement.micros_wanted or statement.used:
                        units += self._open(statement, now_ms)
        self._stirred |= {account for account, at_ms in self._next.items() if at_ms <= now_ms}
        for account in sorted(self._stirred & self._budgets.keys()):
            with self._guard(account, "giving what is free"):
                units += self._give(account, now_ms)
        self._stirred.clear()
        return units

    def _give(self, account: str, now_ms: int) -> list[Unit]:
        budget = self._budgets[account]
        budget.give(self._standing(account, now_ms), now_ms)
        units: list[Unit] = []
        if account in self._book.memory.unreadable_budgets:
            budget.changed = False
        elif budget.changed:
            units.append(self._unit(budget))
        for shard, grant in budget.answers():
            self._answers[shard].append(grant)
        at_ms = budget.next_ms(now_ms)
        if at_ms is None:
            self._next.pop(account, None)
        else:
            self._next[account] = at_ms
        return units

    def _guard(self, account: str, doing: str) -> Guard:
        def failed(error: Exception) -> None:
            _log.error(
                LogEvent.USER_SET_ASIDE,
                partition=self._book.partition,
                account=account,
                doing=doing,
                error=repr(error),
                exc_info=error,
            )
            self._book.memory.put_budget_aside(account)
            self._budgets.pop(account, None)
            self._next.pop(account, None)

        return Guard(failed)

    def _budget(self, said: BudgetStatement) -> Budget:
        found = self._budgets.get(said.account)
        if found is None:
            reg = self._book.memory.budgets.get(said.account)
            reg = reg or BudgetRegister(account=said.account, user=said.user)
            found = self._budgets[said.account] = Budget(reg, self._partitions)
        return found

    def _open(self, said: BudgetStatement, now_ms: int) -> list[Unit]:
        """Give a user who spends an account, where there is none yet and none is demanded."""
        around, shelf = self._surroundings(now_ms), self._book.memory.objects
        known = shelf.get("account", said.account) is not None or shelf.unreadable("account", said.account)
        if known or around.rules.required:
            return []
        reg, event = open_account(said.user, around)
        shelf.put("account", reg)
        register = Outgoing(
            subjects.object_register("account", self._book.partition, reg.object_id), encode(reg), rollup=True
        )
        stored = Note(register, lambda seq: shelf.stored("account", reg.object_id, seq))
        return [Unit(others=[stored], notes=[self._book.object_note("account", event)])]

    def _standing(self, account: str, now_ms: int) -> Standing:
        rules, memory = self._surroundings(now_ms).rules, self._book.memory
        if account in memory.unreadable_budgets or memory.objects.unreadable("account", account):
            return Standing(0, barred=True, opened=False)
        reg = memory.objects.get("account", account)
        if not isinstance(reg, AccountRegister):
            limits = rules.limits(Tier.FREE)
            return Standing(
                0,
                _number(limits.max_concurrent),
                _number(limits.runs_per_day),
                barred=rules.required,
                opened=False,
            )
        limits = rules.limits(reg.tier, reg.limits)
        return Standing(
            reg.credited, _number(limits.max_concurrent), _number(limits.runs_per_day), barred=reg.closed
        )

    def _unit(self, budget: Budget) -> Unit:
        budget.changed = False
        reg, memory = budget.register(), self._book.memory
        subject = subjects.budget_register(self._book.partition, reg.account)

        def stored(_seq: int) -> None:
            memory.budgets[reg.account] = reg

        return Unit(others=[Note(Outgoing(subject, encode(reg), rollup=True), stored)])

    async def answer(self) -> None:
        """Send what was granted, now that it is stored."""
        if not self._answers:
            return
        answers, self._answers = self._answers, defaultdict(list)
        partition = self._book.partition
        await self._bus.send_all(
            [
                (subjects.budget_grants(shard), data)
                for shard, grants in answers.items()
                for data in in_messages(grants, lambda some: BudgetGrants(partition=partition, grants=some))
            ]
        )


def _number(limit: object) -> int | None:
    """A limit that holds, which is a number or none."""
    return limit if isinstance(limit, int) else None
