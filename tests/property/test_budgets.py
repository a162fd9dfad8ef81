"""A user's budget and the purses of the shards while messages are lost, late and repeated, events are delivered again,
and leaders change on either side.

The machine keeps the truth beside them: what was let go, what it has consumed, in the log. What is consumed and
promised is never above the credits given, but for what handlers report beyond the price; never is more in flight, nor
started in a day, than the user's limits. Once messages arrive again everybody is served or refused, and what the
budget knows to be used is the sum of what the log says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gnomon_scheduler.budget_registers import DAY_MS, BudgetRegister, UsageRegister
from gnomon_scheduler.decisions.budgets import Budget, Standing
from gnomon_scheduler.decisions.purses import Purse
from gnomon_scheduler.decisions.usage import use
from gnomon_schemas.accounts import account_id_of, credits_of
from gnomon_schemas.budgets import BudgetGrant, BudgetStatement
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.events import Executed
from gnomon_schemas.tasks import NULL, Trigger

# Reckons for a while, and for longer where other workers do too.
pytestmark = pytest.mark.timeout(180)

SHARDS = 3
USER = "u"
ACCOUNT = account_id_of(USER)


@dataclass
class Run:
    """One execution that was let go."""

    shard: int
    price: int
    started_ms: int
    ended: bool = False


@dataclass
class Leader:
    """A leader of a spending shard: what it knows. The truth is in the machine."""

    shard: int
    epoch: int
    purse: Purse
    usage: UsageRegister | None
    n: int = 0
    known: dict[int, int] = field(default_factory=dict)
    """Executions that it knows to be out, and their price."""
    folded: int = 0
    """How far it has read the log; it may read again what it has read."""
    waiting: list[int] = field(default_factory=list)
    """Prices of what waits."""


class Budgets(RuleBasedStateMachine):
    """See the module."""

    limited = False
    overspends = False

    @initialize(credited=st.integers(0, 15), units=st.integers(1, 3), starts=st.integers(1, 4))
    def begin(self, credited: int, units: int, starts: int) -> None:
        """Leaders of every shard, and a budget that nobody has used yet."""
        self.now_ms = 10 * DAY_MS + 5000
        self.credited = credited
        self.units: int | None = units if self.limited else None
        self.starts: int | None = starts if self.limited else None
        self.stored = encode(BudgetRegister(account=ACCOUNT, user=USER))
        self.budget = self._load()
        self.usages: list[UsageRegister | None] = [None] * SHARDS
        self.log: list[tuple[int, int, Executed]] = []
        """Shard, execution, event; the sequence is the place, from 1."""
        self.runs: dict[int, Run] = {}
        self.leaders = [Leader(shard, 1, self._purse(shard), None) for shard in range(SHARDS)]
        self.zombies: list[Leader] = []
        self.to_account: list[tuple[int, int, BudgetStatement]] = []
        self.to_shards: list[tuple[int, BudgetGrant]] = []
        self.refused = 0

    @property
    def standing(self) -> Standing:
        """Of the account."""
        return Standing(self.credited, self.units, self.starts)

    def _load(self) -> Budget:
        return Budget(decode(self.stored, BudgetRegister), SHARDS)

    def _purse(self, shard: int) -> Purse:
        usage = self.usages[shard]
        if usage is None:
            return Purse(ACCOUNT, USER)
        return Purse(ACCOUNT, USER, used=usage.used, day=usage.day, runs=usage.runs)

    # -- what happens in life ----------------------------------------------------------------------

    @rule(shard=st.integers(0, SHARDS - 1), price=st.integers(0, 7))
    def arrive(self, shard: int, price: int) -> None:
        """An execution wants to go."""
        self._arrive(self.leaders[shard], price)

    def _arrive(self, leader: Leader, price: int) -> None:
        if not self.limited and price == 0:
            return
        leader.purse.begin_day(self.now_ms // DAY_MS)
        if leader.purse.dry(price, self.now_ms) is not None:
            self.refused += 1
        else:
            leader.waiting.append(price)
        self._let_go(leader)

    @rule(shard=st.integers(0, SHARDS - 1))
    def let_go(self, shard: int) -> None:
        """A leader lets go what it may."""
        self._let_go(self.leaders[shard])

    def _let_go(self, leader: Leader) -> None:
        purse = leader.purse
        purse.begin_day(self.now_ms // DAY_MS)
        for price in list(leader.waiting):
            if purse.fits(price):
                leader.waiting.remove(price)
                purse.take(price)
                leader.known[len(self.runs)] = price
                self.runs[len(self.runs)] = Run(leader.shard, price, self.now_ms)

    @rule(data=st.data(), succeeds=st.booleans(), extra=st.integers(0, 3))
    def end(self, data: st.DataObject, succeeds: bool, extra: int) -> None:
        """One ends: its event is in the log. A failure costs what the handler said it used."""
        out = [number for number, run in self.runs.items() if not run.ended]
        if out:
            self._end(data.draw(st.sampled_from(out)), succeeds, extra if self.overspends else 0)

    def _end(self, number: int, succeeds: bool, extra: int) -> None:
        run = self.runs[number]
        run.ended = True
        consumed = (run.price if succeeds else 0) + extra
        at = format_instant(run.started_ms)
        event = Executed(
            task_id="t", user_id=USER, partition=run.shard, occurred_at=at, execution_id=f"t.r-{number}",
            run=f"r-{number}", task_type="echo", attempt=1, trigger=Trigger.MANUAL, scheduled_for=at, due_at=at,
            revision=1, status="completed" if succeeds else "failed", result=NULL, error=None, started_at=at,
            completed_at=at, executed_at=at, duration_ms=1, credits_consumed=credits_of(consumed), tokens_used=0,
            api_calls_made=0, executor="e",
        )  # fmt: skip
        self.log.append((run.shard, number, event))

    @rule(shard=st.integers(0, SHARDS - 1), again=st.integers(0, 3), store=st.booleans())
    def fold(self, shard: int, again: int, store: bool) -> None:
        """A leader folds what the log has for it, some of it once more, and stores its register some time."""
        self._fold(self.leaders[shard], again)
        if store:
            self.usages[shard] = self.leaders[shard].usage

    def _fold(self, leader: Leader, again: int = 0) -> None:
        for seq in range(max(0, leader.folded - again), len(self.log)):
            shard, number, event = self.log[seq]
            if shard != leader.shard:
                continue
            usage = use(leader.usage, seq + 1, event)
            if usage is not None:
                leader.usage = usage
                leader.purse.fold(usage.used, usage.day, usage.runs)
            price = leader.known.pop(number, None)
            if price is not None:
                leader.purse.release(price)
        leader.folded = len(self.log)

    @rule(amount=st.integers(1, 7))
    def top_up(self, amount: int) -> None:
        """Credits are given; every process hears of it sooner or later."""
        self.credited += amount
        for leader in self.leaders:
            leader.purse.ask_again()

    @rule(ms=st.sampled_from((10, 300, 1000, 12_000, DAY_MS // 3)))
    def pass_time(self, ms: int) -> None:
        """Time passes."""
        self.now_ms += ms

    @rule(data=st.data())
    def zombie_folds_and_states(self, data: st.DataObject) -> None:
        """One that was deposed goes on as if nothing had happened; what it hands out is refused."""
        if self.zombies:
            zombie = data.draw(st.sampled_from(self.zombies))
            self._fold(zombie)
            self._state(zombie)

    # -- the protocol ------------------------------------------------------------------------------

    @rule(shard=st.integers(0, SHARDS - 1), early=st.booleans())
    def state(self, shard: int, early: bool) -> None:
        """A leader states, when it is time or just so."""
        leader = self.leaders[shard]
        at_ms = leader.purse.next_ms(len(leader.waiting))
        if early or (at_ms is not None and at_ms <= self.now_ms):
            self._state(leader)

    def _state(self, leader: Leader) -> None:
        leader.n += 1
        leader.purse.begin_day(self.now_ms // DAY_MS)
        said = leader.purse.state(
            leader.n, self.now_ms, wanting=len(leader.waiting), wanting_micros=sum(leader.waiting)
        )
        self.to_account.append((leader.shard, leader.epoch, decode(encode(said), BudgetStatement)))

    def _hear_grant(self, leader: Leader, grant: BudgetGrant) -> None:
        if not leader.purse.hear(leader.epoch, grant) or leader not in self.leaders:
            return
        self._let_go(leader)
        if leader.purse.shortage in {"credits", "limit"}:
            for price in leader.waiting:
                leader.purse.run_dry(leader.purse.shortage, price, self.now_ms)
            self.refused += len(leader.waiting)
            leader.waiting.clear()

    @rule(shard=st.integers(0, SHARDS - 1), price=st.integers(1, 7), grant_arrives=st.booleans())
    def whole_round(self, shard: int, price: int, grant_arrives: bool) -> None:
        """What mostly happens: a statement arrives, and mostly the grant."""
        leader = self.leaders[shard]
        self._arrive(leader, price)
        self._fold(leader)
        self._state(leader)
        self.budget.hear(*self.to_account[-1], self.now_ms)
        before = len(self.to_shards)
        self._account_turn()
        if grant_arrives:
            for to, grant in self.to_shards[before:]:
                self._hear_grant(self.leaders[to], grant)

    @rule(data=st.data(), keep=st.booleans())
    def account_hears(self, data: st.DataObject, keep: bool) -> None:
        """A statement arrives, whichever; kept, it arrives again."""
        if self.to_account:
            index = data.draw(st.integers(0, len(self.to_account) - 1))
            said = self.to_account[index] if keep else self.to_account.pop(index)
            self.budget.hear(*said, self.now_ms)
            self._account_turn()

    @rule(data=st.data())
    def account_leader_dies(self, data: st.DataObject) -> None:
        """… while it works at a statement, before or after it has stored; another leads from the register."""
        if self.to_account:
            said = self.to_account.pop(data.draw(st.integers(0, len(self.to_account) - 1)))
            self.budget.hear(*said, self.now_ms)
            self.budget.give(self.standing, self.now_ms)
            if data.draw(st.booleans()):
                self.stored = encode(self.budget.register())
        self.budget = self._load()

    def _account_turn(self) -> None:
        self.budget.give(self.standing, self.now_ms)
        if self.budget.changed:
            self.stored = encode(self.budget.register())
            self.budget.changed = False
        self.to_shards += [(shard, decode(encode(one), BudgetGrant)) for shard, one in self.budget.answers()]

    @rule()
    def account_looks(self) -> None:
        """The budget's own turn."""
        self._account_turn()

    @rule(data=st.data(), keep=st.booleans())
    def shard_hears(self, data: st.DataObject, keep: bool) -> None:
        """A grant arrives, whichever, at whoever leads now and at those who think they do."""
        if self.to_shards:
            index = data.draw(st.integers(0, len(self.to_shards) - 1))
            shard, grant = self.to_shards[index] if keep else self.to_shards.pop(index)
            for leader in [self.leaders[shard], *(z for z in self.zombies if z.shard == shard)]:
                self._hear_grant(leader, grant)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A message is lost."""
        messages: list[Any] = self.to_account if data.draw(st.booleans()) else self.to_shards
        if messages:
            messages.pop(data.draw(st.integers(0, len(messages) - 1)))

    @rule(shard=st.integers(0, SHARDS - 1))
    def succeed(self, shard: int) -> None:
        """Another leads a shard: from the register and the log behind it, and from what is out."""
        old = self.leaders[shard]
        self.zombies = [*self.zombies, old][-2:]
        new = Leader(shard, old.epoch + 1, self._purse(shard), self.usages[shard])
        self._fold(new)
        for number, run in self.runs.items():
            if run.shard == shard and not run.ended:
                new.known[number] = run.price
                new.purse.take(run.price)
        new.purse.ask()
        new.waiting = list(old.waiting)
        self.leaders[shard] = new

    # -- what must hold ----------------------------------------------------------------------------

    @property
    def consumed(self) -> int:
        """What the log says, in micros."""
        return sum(round(event.credits_consumed * 1_000_000) for _, _, event in self.log)

    @invariant()
    def never_more_than_was_given(self) -> None:
        """What is consumed and promised is at most the credits, but for what handlers report beyond the price."""
        if not hasattr(self, "log"):
            return
        beyond = sum(
            max(0, round(event.credits_consumed * 1_000_000) - self.runs[number].price)
            for _, number, event in self.log
        )
        promised = sum(run.price for run in self.runs.values() if not run.ended)
        assert self.consumed + promised <= self.credited + beyond

    @invariant()
    def never_more_than_the_limits(self) -> None:
        """In flight, and started in a day."""
        if not hasattr(self, "log") or self.units is None or self.starts is None:
            return
        assert sum(not run.ended for run in self.runs.values()) <= self.units
        days = [run.started_ms // DAY_MS for run in self.runs.values()]
        assert all(days.count(day) <= self.starts for day in set(days))

    @invariant()
    def an_event_counts_once(self) -> None:
        """However often it was folded."""
        if not hasattr(self, "log"):
            return
        for leader in self.leaders:
            told = sum(
                round(event.credits_consumed * 1_000_000)
                for shard, _, event in self.log[: leader.folded]
                if shard == leader.shard
            )
            assert (leader.usage.used if leader.usage else 0) == told

    def teardown(self) -> None:
        """From here on nothing is lost: everybody is served or refused, and the sums agree."""
        if not hasattr(self, "log"):
            return
        self.zombies = []
        self.to_account, self.to_shards = [], []
        for _ in range(60):
            self._calm_round()
            self.never_more_than_was_given()
            self.never_more_than_the_limits()
        assert not any(leader.waiting for leader in self.leaders), self.budget.register()
        assert all(run.ended for run in self.runs.values())
        assert self.budget.used == self.consumed
        assert self.budget.promised == self.consumed, "nothing lies idle for ever"
        assert all(leader.purse.over(self.now_ms) for leader in self.leaders)
        self._all_of_it_can_be_spent()

    def _all_of_it_can_be_spent(self) -> None:
        """No credit is lost on the way: one execution that costs all there is left goes."""
        left = self.credited - self.consumed
        if left <= 0 or self.limited:
            return
        self.now_ms += DAY_MS
        before = len(self.runs)
        self._arrive(self.leaders[0], left)
        for _ in range(5):
            self._calm_round()
        assert len(self.runs) == before + 1

    def _calm_round(self) -> None:
        self.now_ms += 1000
        for leader in self.leaders:
            self._let_go(leader)
            at_ms = leader.purse.next_ms(len(leader.waiting))
            if at_ms is not None and at_ms <= self.now_ms:
                self._state(leader)
        while self.to_account:
            self.budget.hear(*self.to_account.pop(0), self.now_ms)
        self._account_turn()
        while self.to_shards:
            shard, grant = self.to_shards.pop(0)
            self._hear_grant(self.leaders[shard], grant)
        for number, run in self.runs.items():
            if not run.ended:
                self._end(number, True, 0)
        for leader in self.leaders:
            self._fold(leader)
            self.usages[leader.shard] = leader.usage


class LimitedBudgets(Budgets):
    """The same for a user with limits of executions in flight and of runs a day."""

    limited = True


class OverspendingBudgets(Budgets):
    """The same where handlers report more than the price."""

    overspends = True


@pytest.mark.parametrize("machine", [Budgets, LimitedBudgets, OverspendingBudgets])
def test_never_more_is_spent_than_was_given(machine: type[Budgets]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=30, stateful_step_count=40, deadline=None)
    )
