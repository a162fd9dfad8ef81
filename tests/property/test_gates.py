"""A gate and its shards while messages are lost, late and repeated, and leaders change on either side.

The machine keeps the truth beside them: what was handed out, what has started, what has ended. Never is more in use
than the limit, never do more attempts start in a span than the rate; and once messages arrive again and leaders stay,
whoever waits is served.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gnomon_scheduler.decisions.gates import Gate
from gnomon_scheduler.decisions.leave import Leave
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.gates import Grant, Statement, Waiter
from gnomon_schemas.tasks import RateLimit

# Reckons for a while, and for longer where other workers do too.
pytestmark = pytest.mark.timeout(180)

SHARDS = 3
PER_SECONDS = 20


@dataclass
class Leader:
    """A leader of a task's shard: what it knows. The truth is in the machine."""

    shard: int
    epoch: int
    leave: Leave
    n: int = 0
    deposed: bool = False
    known: dict[int, bool] = field(default_factory=dict)
    """The attempts that it knows to be out: whether it has seen them start."""


@dataclass
class Attempt:
    """One attempt that was handed out."""

    shard: int
    started_ms: int | None = None
    ended: bool = False


class Gates(RuleBasedStateMachine):
    """See the module."""

    kind = "key"
    rated = False
    changing = False

    @initialize(limit=st.integers(1, 4), count=st.integers(1, 4))
    def begin(self, limit: int, count: int) -> None:
        """Leaders of every shard, and a gate that nobody has used yet."""
        self.now_ms = 1_000_000
        self.limit, self.most = limit, limit
        self.rate = RateLimit(count=count, per_seconds=PER_SECONDS) if self.rated else None
        if self.kind == "pool":
            reg = GateRegister(gate="g", kind="pool", max_in_flight=limit, version=1, opened=1)
        else:
            reg = GateRegister(gate="g", kind="key")
        self.stored = encode(reg)
        self.gate = self._load()
        self.leaders = [self._lead(shard, 1) for shard in range(SHARDS)]
        self.zombies: list[Leader] = []
        self.waiting = [0] * SHARDS
        self.attempts: dict[int, Attempt] = {}
        self.starts: list[int] = []
        self.to_gate: list[tuple[int, int, Statement]] = []
        self.to_shards: list[tuple[int, Grant]] = []

    def _load(self) -> Gate:
        return Gate(decode(self.stored, GateRegister), SHARDS)

    def _lead(self, shard: int, epoch: int) -> Leader:
        leave = Leave("g", "key" if self.kind == "key" else "pool")
        leave.limit = self.limit if self.kind == "key" else None
        leave.rate = self.rate
        return Leader(shard, epoch, leave)

    # -- what happens in life ----------------------------------------------------------------------

    @rule(shard=st.integers(0, SHARDS - 1), count=st.integers(1, 4))
    def arrive(self, shard: int, count: int) -> None:
        """Executions wait for a unit."""
        self.waiting[shard] += count

    @rule(shard=st.integers(0, SHARDS - 1), count=st.integers(1, 3))
    def start_and_end_and_go_on(self, shard: int, count: int) -> None:
        """What a leader knows to be out starts and ends, and it hands out more, as far as it may."""
        self.waiting[shard] += count
        leader = self.leaders[shard]
        for number in leader.known:
            attempt = self.attempts[number]
            if attempt.started_ms is None and not attempt.ended:
                self._start(number)
            attempt.ended = True
        self._fold(leader)
        self.hand_out_of(leader)

    @rule(shard=st.integers(0, SHARDS - 1))
    def hand_out(self, shard: int) -> None:
        """A leader hands out what it may."""
        leader = self.leaders[shard]
        while self.waiting[shard] and leader.leave.room:
            self.waiting[shard] -= 1
            number = len(self.attempts)
            self.attempts[number] = Attempt(shard)
            leader.leave.take()
            leader.known[number] = False

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """An executor starts one; nobody knows yet."""
        idle = [n for n, a in self.attempts.items() if not a.ended and a.started_ms is None]
        if idle:
            self._start(data.draw(st.sampled_from(idle)))

    def _start(self, number: int) -> None:
        self.attempts[number].started_ms = self.now_ms
        self.starts.append(self.now_ms)

    @rule(data=st.data(), started=st.booleans())
    def end(self, data: st.DataObject, started: bool) -> None:
        """One ends; without a start it was withdrawn."""
        alive = [n for n, a in self.attempts.items() if not a.ended and (a.started_ms is not None) == started]
        if alive:
            self.attempts[data.draw(st.sampled_from(alive))].ended = True

    @rule(shard=st.integers(0, SHARDS - 1))
    def fold(self, shard: int) -> None:
        """A leader hears of starts and ends."""
        self._fold(self.leaders[shard])

    @rule(data=st.data())
    def zombie_folds_and_states(self, data: st.DataObject) -> None:
        """One that was deposed goes on as if nothing had happened; what it hands out is refused."""
        if self.zombies:
            zombie = data.draw(st.sampled_from(self.zombies))
            self._fold(zombie)
            self._state(zombie, 3)

    def _fold(self, leader: Leader) -> None:
        for number in list(leader.known):
            attempt = self.attempts[number]
            if attempt.started_ms is not None and not leader.known[number]:
                leader.known[number] = True
                leader.leave.started(attempt.started_ms)
            if attempt.ended:
                leader.leave.release(started=leader.known.pop(number))

    @rule(ms=st.integers(1, 30_000))
    def pass_time(self, ms: int) -> None:
        """Time passes."""
        self.now_ms += ms

    # -- the protocol ------------------------------------------------------------------------------

    @rule(shard=st.integers(0, SHARDS - 1), early=st.booleans())
    def state(self, shard: int, early: bool) -> None:
        """A leader states, when it is time or just so."""
        leader = self.leaders[shard]
        at_ms = leader.leave.next_ms(self.waiting[shard])
        if early or (at_ms is not None and at_ms <= self.now_ms):
            self._state(leader, self.waiting[shard])

    def _state(self, leader: Leader, wanting: int) -> None:
        leader.n += 1
        said = leader.leave.state(
            leader.n,
            self.now_ms,
            wanting=wanting,
            first=(Waiter(leader.shard, 0, self.now_ms),) if wanting else (),
            oldest_ms=self.now_ms,
            version=1,
        )
        self.to_gate.append((leader.shard, leader.epoch, decode(encode(said), Statement)))

    @rule(shard=st.integers(0, SHARDS - 1), count=st.integers(0, 2), grant_arrives=st.booleans())
    def whole_round(self, shard: int, count: int, grant_arrives: bool) -> None:
        """What mostly happens: a statement arrives, and mostly the grant."""
        leader = self.leaders[shard]
        self.waiting[shard] += count
        self._fold(leader)
        self._state(leader, self.waiting[shard])
        self.gate.hear(*self.to_gate[-1], self.now_ms)
        before = len(self.to_shards)
        self._gate_turn(stored=True)
        if grant_arrives:
            for to, grant in self.to_shards[before:]:
                self.leaders[to].leave.hear(self.leaders[to].epoch, grant)
            self.hand_out(shard)

    @rule(data=st.data(), keep=st.booleans())
    def gate_hears(self, data: st.DataObject, keep: bool) -> None:
        """A statement arrives, whichever; kept, it arrives again."""
        if self.to_gate:
            index = data.draw(st.integers(0, len(self.to_gate) - 1))
            said = self.to_gate[index] if keep else self.to_gate.pop(index)
            self.gate.hear(*said, self.now_ms)
            self._gate_turn(stored=True)

    @rule(data=st.data())
    def gate_dies(self, data: st.DataObject) -> None:
        """… while it works at a statement, before or after it has stored; another leads from the register."""
        if self.to_gate:
            said = self.to_gate.pop(data.draw(st.integers(0, len(self.to_gate) - 1)))
            self.gate.hear(*said, self.now_ms)
            self.gate.give(self.now_ms)
            if data.draw(st.booleans()):
                self.stored = encode(self.gate.register())
        self.gate = self._load()

    def _gate_turn(self, *, stored: bool) -> None:
        self.gate.give(self.now_ms)
        if self.gate.changed:
            self.stored = encode(self.gate.register())
            self.gate.changed = False
        self.to_shards += [(shard, decode(encode(grant), Grant)) for shard, grant in self.gate.answers()]

    @rule()
    def gate_looks(self) -> None:
        """The gate's own turn."""
        self._gate_turn(stored=True)

    @rule(data=st.data(), keep=st.booleans())
    def shard_hears(self, data: st.DataObject, keep: bool) -> None:
        """A grant arrives, whichever, at whoever leads now and at those who think they do."""
        if self.to_shards:
            index = data.draw(st.integers(0, len(self.to_shards) - 1))
            shard, grant = self.to_shards[index] if keep else self.to_shards.pop(index)
            for leader in [self.leaders[shard], *(z for z in self.zombies if z.shard == shard)]:
                leader.leave.hear(leader.epoch, grant)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """A message is lost."""
        messages: list[Any] = self.to_gate if data.draw(st.booleans()) else self.to_shards
        if messages:
            messages.pop(data.draw(st.integers(0, len(messages) - 1)))

    @rule(shard=st.integers(0, SHARDS - 1))
    def succeed(self, shard: int) -> None:
        """Another leads a shard: it knows what is out, from the take-over; the old one does not know of it."""
        old = self.leaders[shard]
        old.deposed = True
        self.zombies = [*self.zombies, old][-2:]
        new = self._lead(shard, old.epoch + 1)
        for number, attempt in self.attempts.items():
            if attempt.shard == shard and not attempt.ended:
                new.known[number] = attempt.started_ms is not None
                new.leave.take(started=new.known[number])
        new.leave.ask()
        self.leaders[shard] = new

    # -- what must hold ----------------------------------------------------------------------------

    @property
    def in_use(self) -> int:
        """Attempts that are out, in truth."""
        return sum(not attempt.ended for attempt in self.attempts.values())

    @invariant()
    def never_more_than_the_limit(self) -> None:
        """The one promise."""
        if hasattr(self, "limit"):
            assert self.in_use <= self.most

    @invariant()
    def never_more_starts_than_the_rate(self) -> None:
        """In any span, half open."""
        if self.rated and hasattr(self, "starts"):
            assert self.rate is not None
            for at_ms in self.starts:
                until_ms = at_ms + PER_SECONDS * 1000
                assert sum(at_ms <= other < until_ms for other in self.starts) <= self.rate.count

    def teardown(self) -> None:
        """From here on nothing is lost, and everybody who waits is served."""
        if not hasattr(self, "limit"):
            return
        self.zombies = []
        for _ in range(1000):
            if not any(self.waiting) and not self.in_use:
                break
            self._calm_round()
            self.never_more_than_the_limit()
            self.never_more_starts_than_the_rate()
        assert not any(self.waiting), (self.waiting, self.gate.register())
        for _ in range(6):
            self._calm_round()
        if not self.rated:
            assert self.gate.idle, self.gate.register()

    def _calm_round(self) -> None:
        self.now_ms += 7000 if self.rated else 1000
        for leader in self.leaders:
            self.hand_out_of(leader)
            at_ms = leader.leave.next_ms(self.waiting[leader.shard])
            if at_ms is not None and at_ms <= self.now_ms:
                self._state(leader, self.waiting[leader.shard])
        while self.to_gate:
            self.gate.hear(*self.to_gate.pop(0), self.now_ms)
        self._gate_turn(stored=True)
        while self.to_shards:
            shard, grant = self.to_shards.pop(0)
            self.leaders[shard].leave.hear(self.leaders[shard].epoch, grant)
        for leader in self.leaders:
            self.hand_out_of(leader)
        for number, attempt in self.attempts.items():
            if not attempt.ended and attempt.started_ms is None:
                self._start(number)
            elif not attempt.ended:
                attempt.ended = True
        for leader in self.leaders:
            self._fold(leader)

    def hand_out_of(self, leader: Leader) -> None:
        """Hand out what a leader may."""
        while self.waiting[leader.shard] and leader.leave.room:
            self.waiting[leader.shard] -= 1
            number = len(self.attempts)
            self.attempts[number] = Attempt(leader.shard)
            leader.leave.take()
            leader.known[number] = False


class Pools(Gates):
    """A pool: it has to hear of all shards first."""

    kind = "pool"


class Rates(Gates):
    """A key with a rate."""

    rated = True


@pytest.mark.parametrize("machine", [Gates, Pools, Rates])
def test_no_more_than_the_limit_and_everybody_is_served(machine: type[Gates]) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=40, stateful_step_count=50, deadline=None, derandomize=True)
    )
