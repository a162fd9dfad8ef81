"""When a shard speaks to a gate: at once where that lets somebody go, and again and again where it was not heard."""

from __future__ import annotations

from gnomon_scheduler.decisions.leave import GIVE_BACK_MS, REPEAT_MS, Leave
from gnomon_schemas.gates import Grant

STATED_MS = 1000
EPOCH = 1


def granted(wanting: int, units: int, *, contended: bool = True) -> Leave:
    """A shard that asked for so many units and was given some, which it uses."""
    leave = Leave("p", "pool")
    leave.state(1, STATED_MS, wanting=wanting)
    leave.hear(EPOCH, Grant(gate="p", kind="pool", epoch=EPOCH, n=1, units=units, contended=contended))
    for _ in range(units):
        leave.take(started=True)
    return leave


def test_what_has_ended_is_given_back_at_once_while_this_shard_waits_for_more() -> None:
    """Its own executions may be the only ones that wait, and the gate does not know that a unit is free."""
    leave = granted(wanting=5, units=2)
    assert leave.next_ms(3) == STATED_MS + REPEAT_MS, "all is said"
    leave.release(started=True)
    assert leave.room == 0, "others may be before it"
    assert leave.next_ms(3) == 0


def test_what_has_ended_is_kept_for_a_moment_where_nobody_waits() -> None:
    leave = granted(wanting=2, units=2, contended=False)
    leave.release(started=True)
    assert leave.next_ms(0) == STATED_MS + GIVE_BACK_MS
    assert (leave.next_ms(1), leave.room) == (None, 1), "it is used again without asking"


def test_a_statement_without_an_answer_is_repeated() -> None:
    leave = Leave("p", "pool")
    leave.state(1, STATED_MS, wanting=1)
    assert leave.next_ms(1) == STATED_MS + REPEAT_MS


def test_a_wish_that_grew_is_stated_at_once_and_one_that_is_known_is_not() -> None:
    leave = granted(wanting=3, units=1)
    assert leave.next_ms(2) == STATED_MS + REPEAT_MS
    assert leave.next_ms(3) == 0
