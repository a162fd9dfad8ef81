"""A gate's decisions one by one, and the order in which executions wait."""

from __future__ import annotations

import msgspec
import pytest

from gnomon_scheduler.decisions.gates import Gate
from gnomon_scheduler.decisions.leave import Leave
from gnomon_scheduler.decisions.queue import Item, Queue
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_schemas.gates import Grant, Statement, Waiter
from gnomon_schemas.tasks import RateLimit
from tests.unit.scheduler.making import NOW_S, fly, task_state

AT = 1_000_000


def pool(limit: int | None, *, opened: int = 1, partitions: int = 2) -> Gate:
    """A pool's gate, opened at a version."""
    reg = GateRegister(gate="g", kind="pool", max_in_flight=limit, version=opened, opened=opened)
    return Gate(reg, partitions)


def said(n: int, using: int = 0, wanting: int = 0, *, version: int = 1, since_ms: int = AT) -> Statement:
    """A statement to a pool's gate."""
    first = (Waiter(rank=2, load=0, since_ms=since_ms),) if wanting else ()
    return Statement(
        gate="g",
        kind="pool",
        n=n,
        using=using,
        wanting=wanting,
        first=first,
        oldest_ms=since_ms if wanting else 0,
        version=version,
    )


def told(gate: Gate, at_ms: int = AT) -> dict[int, Grant]:
    """What the gate says now, by shard."""
    gate.give(at_ms)
    return dict(gate.answers())


def test_a_pool_gives_nothing_until_all_shards_have_stated_since_it_was_opened() -> None:
    gate = pool(3, opened=5)
    gate.hear(0, 1, said(1, wanting=2, version=5), AT)
    assert told(gate)[0].units == 0
    gate.hear(1, 1, said(1, using=2, version=4), AT)
    assert gate.unknown == [1]
    gate.hear(1, 1, said(2, using=2, version=5), AT)
    assert told(gate)[0].units == 1


def test_shards_that_have_not_stated_are_asked_each_second() -> None:
    gate = pool(3)
    assert set(told(gate)) == {0, 1}
    assert told(gate, AT + 999) == {}
    assert set(told(gate, AT + 1000)) == {0, 1}
    assert gate.next_ms(AT + 1000) == AT + 2000


def test_an_old_statement_changes_nothing_and_the_newest_is_answered_again() -> None:
    gate = pool(3)
    for shard in (0, 1):
        gate.hear(shard, 2, said(7, using=shard), AT)
    told(gate)
    gate.hear(1, 2, said(7, using=0), AT)
    assert told(gate)[1].units == 1
    gate.hear(1, 2, said(6, using=0), AT)
    gate.hear(1, 1, said(99, using=0), AT)
    assert told(gate) == {}
    assert gate.held == 1


def test_a_lowered_limit_tells_holders_to_give_back_and_gives_nothing_until_there_is_room() -> None:
    gate = pool(4)
    gate.hear(0, 1, said(1, wanting=2), AT)
    gate.hear(1, 1, said(1, wanting=2), AT)
    assert [grant.units for grant in told(gate).values()] == [2, 2]
    gate.set(msgspec.structs.replace(gate.settings, max_in_flight=2, version=2))
    assert all(grant.contended for grant in told(gate, AT + 1).values())
    gate.hear(0, 1, said(2, using=1, wanting=1), AT)
    assert told(gate, AT + 1)[0].units == 1
    gate.hear(1, 1, said(2, using=0), AT)
    assert told(gate, AT + 1)[0].units == 2


def test_closing_forgets_and_opening_again_asks_anew() -> None:
    gate = pool(1)
    for shard in (0, 1):
        gate.hear(shard, 1, said(1, using=1), AT)
    gate.set(msgspec.structs.replace(gate.settings, max_in_flight=None, version=2))
    assert gate.held == 0
    gate.set(msgspec.structs.replace(gate.settings, paused=True, version=3))
    assert gate.unknown == [0, 1]
    gate.hear(0, 1, said(9, using=1, version=1), AT)
    assert gate.unknown == [0, 1]


def test_every_fourth_unit_goes_to_the_oldest_whatever_its_priority() -> None:
    gate = pool(100)
    urgent = (Waiter(rank=0, load=0, since_ms=AT),)
    low = (Waiter(rank=3, load=0, since_ms=AT - 5000),)
    for shard, first in ((0, urgent), (1, low)):
        statement = said(1, wanting=60)
        statement = msgspec.structs.replace(statement, first=first, oldest_ms=first[0].since_ms)
        gate.hear(shard, 1, statement, AT)
    gate.set(msgspec.structs.replace(gate.settings, max_in_flight=20, version=2))
    assert [grant.units for grant in told(gate).values()] == [15, 5]


def test_under_a_rate_a_unit_is_leave_for_one_start() -> None:
    """A shard with a unit that has come free does not start another by it, though nobody else waits."""
    leave = Leave("k", "key")
    leave.rate = RateLimit(count=2, per_seconds=10)
    statement = leave.state(1, AT, wanting=1)
    leave.hear(1, Grant(gate="k", kind="key", epoch=1, n=1, units=1, contended=False))
    assert (statement.wanting, leave.room) == (1, 1)
    leave.take()
    leave.started(AT)
    leave.release(started=True)
    assert leave.room == 0
    leave.rate = None
    leave.state(2, AT, wanting=1)
    leave.hear(1, Grant(gate="k", kind="key", epoch=1, n=2, units=1, contended=False))
    leave.take()
    leave.release(started=True)
    assert leave.room == 1


def test_starts_that_a_dead_leader_did_not_tell_count_as_started_when_its_successor_states() -> None:
    gate = Gate(GateRegister(gate="k", kind="key"), 2)
    rate = RateLimit(count=2, per_seconds=5)
    want = Statement(gate="k", kind="key", n=1, wanting=2, oldest_ms=AT, rate=rate)
    gate.hear(0, 1, want, AT)
    assert told(gate)[0].units == 2
    successor = Statement(gate="k", kind="key", n=1, using=1, unstarted=1, wanting=1, rate=rate)
    gate.hear(0, 2, successor, AT + 3000)
    assert told(gate, AT + 3000)[0].units == 1
    assert gate.register().starts == (AT + 3000,)
    assert told(gate, AT + 8001)[0].units == 2


def test_a_start_by_a_clock_that_is_ahead_counts_from_now() -> None:
    gate = Gate(GateRegister(gate="k", kind="key"), 1)
    rate = RateLimit(count=1, per_seconds=5)
    gate.hear(0, 1, Statement(gate="k", kind="key", n=1, wanting=1, oldest_ms=AT, rate=rate), AT)
    assert told(gate)[0].units == 1
    ahead = Statement(
        gate="k", kind="key", n=2, wanting=1, oldest_ms=AT, rate=rate, starts=1, started=(AT + 3_600_000,)
    )
    gate.hear(0, 1, ahead, AT + 100)
    assert gate.register().starts == (AT + 100,)
    assert told(gate, AT + 100)[0].units == 0
    assert told(gate, AT + 5101)[0].units == 1


def queue(load: dict[str | None, int], most: int | None = None) -> Queue:
    """A queue of users with so much in flight each."""
    return Queue(lambda user: load.get(user, 0), lambda user: None if user is None else most)


def item(user: str | None, rank: int = 2, since_ms: int = AT) -> Item:
    """One that waits."""
    task = task_state()
    return Item(task, fly(task, NOW_S + 1, emitted=False), user, rank, since_ms, "p")


def test_priority_then_the_user_with_the_fewest_then_age() -> None:
    waiting = queue({"a": 3, "b": 1})
    low, late, early, busy = item("b", 3), item("b", 2, AT + 2), item("b", 2, AT + 1), item("a", 2)
    for each in (low, late, busy, early):
        waiting.add(each)
    assert [waiting.pick() for _ in range(3)] == [early, late, busy]


def test_every_fourth_pick_is_the_oldest() -> None:
    waiting = queue({})
    old = item("z", 3, AT - 1)
    waiting.add(old)
    for number in range(9):
        waiting.add(item("a", 0, AT + number))
    picked = [waiting.pick() for _ in range(4)]
    assert picked[3] is old
    assert old not in picked[:3]


@pytest.mark.parametrize("most", [2, 3])
def test_a_user_with_as_much_out_as_may_be_is_passed_over(most: int) -> None:
    load: dict[str | None, int] = {"a": 2}
    waiting = queue(load, most)
    flood, other = [item("a", 0, AT + number) for number in range(5)], item("b", 3)
    for each in (*flood, other):
        waiting.add(each)
    assert waiting.wanting == 1 + (most - 2)
    if most == 2:
        assert waiting.pick() is other
        assert waiting.pick() is None
        load["a"] = 1
        waiting.refresh("a")
    assert waiting.pick() is flood[0]


def test_what_is_removed_is_never_picked() -> None:
    waiting = queue({})
    one, two = item("a"), item("a", 2, AT + 1)
    waiting.add(one)
    waiting.add(two)
    waiting.remove(one)
    assert (waiting.waiting, waiting.wanting, waiting.oldest_ms) == (1, 1, AT + 1)
    assert waiting.pick() is two
    assert waiting.pick() is None
