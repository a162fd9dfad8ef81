"""What the overlap policies make of executions that meet."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_scheduler.decisions.departing import Departure, departure
from gnomon_scheduler.decisions.overlapping import Way, in_the_way, next_gated, replaced, way_past
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.tasks import Overlap, Trigger
from tests.unit.scheduler.making import NOW_S, fly, run_at, task_state

NOW_MS = (NOW_S + 100) * 1000


def task_with(flights: str, **spec: Any) -> TaskState:
    """A task with executions in flight, second after second: `e` was handed out, `g` waits for others, `l` is late and
    waits, `b` is of a backfill."""
    task = task_state(**spec)
    for number, kind in enumerate(flights, 1):
        flight = fly(task, NOW_S + number, emitted=kind in "eb", gated=kind in "gl")
        flight.late_ms = 1 if kind == "l" else 0
        flight.trigger = Trigger.BACKFILL if kind == "b" else Trigger.SCHEDULE
        flight.expires_ms = None
    return task


@pytest.mark.parametrize(
    ("overlap", "flights", "slot", "on_demand"),
    [
        (Overlap.SKIP, "", Way.GO, Way.GO),
        (Overlap.SKIP, "e", Way.GIVE_WAY, Way.GIVE_WAY),
        (Overlap.QUEUE, "e", Way.WAIT, Way.WAIT),
        (Overlap.QUEUE, "eg", Way.GIVE_WAY, Way.WAIT),
        (Overlap.QUEUE_ALL, "egggg", Way.WAIT, Way.WAIT),
        (Overlap.ALLOW, "eeg", Way.GO, Way.GO),
        (Overlap.CANCEL_RUNNING, "g", Way.REPLACE, Way.REPLACE),
        (Overlap.CANCEL_RUNNING, "lb", Way.GO, Way.GO),
        (Overlap.SKIP, "lb", Way.GO, Way.GO),
    ],
)
def test_slots_and_runs_on_demand_meet_what_is_in_their_way(
    overlap: Overlap, flights: str, slot: Way, on_demand: Way
) -> None:
    others = in_the_way(task_with(flights))
    assert way_past(overlap, others) is slot
    assert way_past(overlap, others, on_demand=True) is on_demand


def test_who_replaces_ends_what_runs_and_what_waits_but_no_backfill_and_nothing_twice() -> None:
    task = task_with("egelb", overlap="cancel_running")
    task.wish(Cancelling(run=run_at(1), reason="cancelled", deadline_ms=5))
    task.wish(Cancelling(run=run_at(2), reason="paused", deadline_ms=5))
    found = replaced(task, 7, "c1")
    assert [(item.run, item.reason, item.deadline_ms, item.command_id) for item in found] == [
        (run_at(2), "cancelled", 7, "c1"),
        (run_at(3), "cancelled", 7, "c1"),
    ]


@pytest.mark.parametrize(
    ("flights", "ending", "expected"),
    [
        ("e", (), None),
        ("gg", (), 1),
        ("gg", (1,), 2),
        ("llg", (), 3),
        ("ll", (), 1),
        ("lg", (2,), 1),
        ("b", (), None),
    ],
)
def test_of_those_that_wait_the_first_goes_and_live_ones_before_late_ones(
    flights: str, ending: tuple[int, ...], expected: int | None
) -> None:
    task = task_with(flights)
    for number in ending:
        task.wish(Cancelling(run=run_at(number), reason="cancelled", deadline_ms=5))
    found = next_gated(task)
    assert (None if found is None else found.run) == (None if expected is None else run_at(expected))


def _last(task: TaskState) -> Flight:
    return list(task.flights.values())[-1]


@pytest.mark.parametrize(
    ("overlap", "flights", "runnable", "expected"),
    [
        ("queue", "g", True, Departure.GO),
        ("queue", "g", False, Departure.NO_EXECUTOR),
        ("queue", "eg", True, Departure.WAIT),
        ("queue_all", "bg", True, Departure.GO),
        ("cancel_running", "eg", True, Departure.WAIT),
        ("skip", "eg", True, Departure.GIVE_WAY),
        ("skip", "gg", True, Departure.GO),
        ("allow", "ee", True, Departure.GO),
    ],
)
def test_who_waits_goes_when_nothing_runs_beside_it(
    overlap: str, flights: str, runnable: bool, expected: Departure
) -> None:
    task = task_with(flights, overlap=overlap)
    assert departure(task, _last(task), NOW_MS, runnable=runnable) is expected


def test_a_first_attempt_that_is_not_handed_out_in_time_expires_and_a_later_one_does_not() -> None:
    task = task_with("eg", overlap="queue")
    flight = _last(task)
    flight.expires_ms = NOW_MS
    assert departure(task, flight, NOW_MS, runnable=True) is Departure.EXPIRED
    assert departure(task, flight, NOW_MS - 1, runnable=True) is Departure.WAIT
    flight.attempt, flight.gated = 2, False
    assert departure(task, flight, NOW_MS, runnable=True) is Departure.GO
