"""When late slots may go: at their rate, and not while they are held."""

from __future__ import annotations

import pytest

from gnomon_scheduler import late_runs
from gnomon_scheduler.late_runs import LateKey, LateRuns
from gnomon_scheduler.memory import Flight
from gnomon_scheduler.registers import CatchUpOrder
from tests.unit.scheduler.making import NOW_S, fly, task_state

NOW_MS = NOW_S * 1000
NO_ORDER = CatchUpOrder()


class Late:
    """A backlog, and the executions that are in it."""

    def __init__(self, *, rate: float = 0, hold_above: float = 0, order: CatchUpOrder = NO_ORDER) -> None:
        self.flights: dict[LateKey, Flight] = {}
        self.runs = LateRuns(
            lambda task_id, run: self.flights.get(LateKey(task_id, run)),
            order,
            rate=rate,
            hold_above=hold_above,
        )

    def add(self, count: int, late_ms: int = NOW_MS, prefix: str = "t") -> None:
        for number in range(count):
            task = task_state(f"{prefix}{number}")
            flight = fly(task, NOW_S - 500 + number, emitted=False)
            flight.late_ms = late_ms
            self.flights[LateKey(task.task_id, flight.run)] = flight
            self.runs.add(task.task_id, flight)

    def go(self, now_ms: int) -> list[str]:
        """Hand out what may go at an instant; the tasks."""
        gone = []
        self.runs.look(now_ms)
        while (key := self.runs.take(now_ms)) is not None:
            self.flights.pop(key).emitted = True
            self.runs.let_go()
            self.runs.over(key)
            gone.append(key.task_id)
        return gone


def test_without_a_rate_all_go_at_once_the_oldest_first() -> None:
    late = Late()
    late.add(4)
    assert late.go(NOW_MS) == ["t0", "t1", "t2", "t3"]
    assert (late.runs.waiting, late.runs.next_ms(NOW_MS)) == (0, None)


@pytest.mark.parametrize(("rate", "seconds", "expected"), [(2.0, 10, 20), (0.25, 10, 2), (7.5, 4, 30)])
def test_no_more_go_than_the_rate_allows_and_none_at_the_first_instant(
    rate: float, seconds: int, expected: int
) -> None:
    late = Late(rate=rate)
    late.add(100)
    assert late.go(NOW_MS) == []
    now_ms, gone = NOW_MS, 0
    while True:
        wake_ms = late.runs.next_ms(now_ms)
        assert wake_ms is not None
        assert wake_ms > now_ms
        if wake_ms > NOW_MS + seconds * 1000 + 10:
            break
        now_ms = wake_ms
        gone += len(late.go(now_ms))
    assert gone == expected


def test_a_quiet_hour_saves_up_no_more_than_a_second() -> None:
    late = Late(rate=5)
    assert late.go(NOW_MS) == []
    late.add(100)
    assert len(late.go(NOW_MS + 3_600_000)) == 5


def test_a_clock_that_goes_back_lets_nothing_go_twice() -> None:
    late = Late(rate=5)
    late.add(100)
    assert late.go(NOW_MS) == []
    assert late.go(NOW_MS - 60_000) == []
    assert len(late.go(NOW_MS - 59_000)) == 5


@pytest.mark.parametrize(("count", "held"), [(3, 0), (4, 4)])
def test_more_than_the_share_are_held(count: int, held: int) -> None:
    late = Late(hold_above=3)
    late.add(count)
    assert (late.runs.waiting, late.runs.held) == (count, held)
    assert len(late.go(NOW_MS)) == count - held


def test_what_was_found_late_before_an_approval_goes_and_a_later_backlog_is_held_again() -> None:
    late = Late(hold_above=3)
    late.add(5)
    assert late.go(NOW_MS) == []
    late.runs.obey(CatchUpOrder(approved_ms=NOW_MS))
    late.add(6, NOW_MS + 1, "later")
    assert late.go(NOW_MS + 1) == ["t0", "t1", "t2", "t3", "t4"]
    assert late.runs.held == 6


def test_another_leader_finds_the_same_ones_approved_and_discarded() -> None:
    late = Late(hold_above=1, order=CatchUpOrder(approved_ms=NOW_MS, discarded_ms=NOW_MS - 5))
    late.add(2, NOW_MS - 5, "discarded")
    late.add(2, NOW_MS, "approved")
    late.add(2, NOW_MS + 1, "held")
    assert late.go(NOW_MS + 10) == ["approved0", "approved1"]
    discarded = set()
    while (key := late.runs.take_discarded()) is not None:
        discarded.add(key.task_id)
        late.runs.over(key)
    assert discarded == {"discarded0", "discarded1"}
    assert (late.runs.waiting, late.runs.held) == (2, 2)


def test_what_is_discarded_never_goes_whether_it_was_held_or_not() -> None:
    for hold_above in (0, 3):
        late = Late(hold_above=hold_above, rate=1)
        late.add(5)
        assert late.go(NOW_MS) == []
        late.runs.obey(CatchUpOrder(discarded_ms=NOW_MS))
        assert late.runs.next_ms(NOW_MS) == NOW_MS
        assert late.go(NOW_MS + 60_000) == []
        keys = {key for _ in range(6) if (key := late.runs.take_discarded()) is not None}
        assert len(keys) == 5


def test_what_has_ended_otherwise_holds_nothing_back() -> None:
    late = Late(hold_above=3)
    late.add(5)
    assert late.go(NOW_MS) == []
    for key in list(late.flights)[:2]:
        del late.flights[key]
    assert len(late.go(NOW_MS + 2000)) == 3
    assert late.runs.waiting == 0


def test_one_that_could_not_go_is_added_again_and_counted_once() -> None:
    late = Late()
    late.add(1)
    key = late.runs.take(NOW_MS)
    assert key is not None
    flight = late.flights[key]
    for _ in range(3):
        late.runs.add(key.task_id, flight)
    assert late.runs.waiting == 1
    assert late.go(NOW_MS) == ["t0"]


def test_no_step_takes_longer_for_more_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held, or has ended otherwise, is gone through some at a time; whoever asks again comes to the end."""
    monkeypatch.setattr(late_runs, "_AT_ONCE", 10)
    late = Late(hold_above=3)
    late.add(25, prefix="held")
    looked_at: list[LateKey] = []
    find = late.runs._find

    def finding(task_id: str, run: str) -> Flight | None:
        looked_at.append(LateKey(task_id, run))
        return find(task_id, run)

    monkeypatch.setattr(late.runs, "_find", finding)
    assert late.go(NOW_MS) == []
    assert len(looked_at) == 10
    assert late.runs.next_ms(NOW_MS) == NOW_MS
    late.runs.obey(CatchUpOrder(approved_ms=NOW_MS))
    late.add(25, NOW_MS + 1, "later")
    gone: list[str] = []
    for _ in range(12):
        gone += late.go(NOW_MS + 1)
    assert len(gone) == 25
    assert late.runs.held == 25
    for key in list(late.flights):
        del late.flights[key]
    for _ in range(4):
        assert late.go(NOW_MS + 5000) == []
    assert late.runs.waiting == 0
