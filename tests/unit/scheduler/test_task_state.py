"""A task at rest is its stored register, and nothing is lost by resting."""

from __future__ import annotations

import msgspec

from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.codec import encode
from tests.unit.scheduler.making import NOW_S, fly, register, task_state

LATER = {"kind": "interval", "every_seconds": 60}


def test_a_task_that_was_stored_rests_and_wakes_as_it_was() -> None:
    task = task_state()
    before = task.reg
    task.rest(before, encode(task.stored_form()))
    assert not task.awake
    assert task.outline.spec.schedule == before.spec.schedule
    assert task.outline.active
    assert not task.awake
    assert task.reg == before


def test_a_task_does_not_rest_on_what_it_was() -> None:
    task = task_state()
    before, stored = task.reg, encode(task.stored_form())
    task.reg = msgspec.structs.replace(before, version=2)
    task.rest(before, stored)
    assert task.reg.version == 2


def test_a_task_with_something_in_flight_or_being_ended_stays_awake() -> None:
    flying, ending = task_state(), task_state()
    flight = fly(flying, NOW_S + 1)
    ending.wish(Cancelling(run="r-1", reason="cancelled", deadline_ms=0))
    for task in (flying, ending):
        task.rest(task.reg, encode(task.stored_form()))
        assert task.awake
    flying.land(flight.run)
    ending.unwish("r-1")
    for task in (flying, ending):
        assert not task.flights
        assert not task.cancelling
        task.rest(task.reg, encode(task.stored_form()))
        assert not task.awake


def test_a_standby_that_follows_wakes_nothing() -> None:
    memory = ShardMemory(0)
    reg = register(schedule=LATER)
    memory.apply_task(1, reg, encode(reg))
    memory.pass_over((NOW_S + 600) * 1000)
    assert not memory.tasks["t"].awake
    assert memory.next_due_ms() == (NOW_S + 660) * 1000


def test_emissions_of_a_schedule_with_jitter_are_dropped_with_it() -> None:
    """Also where the new schedule has none: its slots must not share a generation with those of the old one."""
    memory = ShardMemory(0)
    task = task_state(schedule={**LATER, "jitter_seconds": 50})
    memory.tasks["t"] = task
    memory.schedule(task, NOW_S * 1000)
    memory.pop_due((NOW_S + 60) * 1000, 10)  # at its nominal time: it waits for its jitter now
    task.reg = register(schedule={"kind": "interval", "every_seconds": 86_400})
    memory.schedule(task, (NOW_S + 60) * 1000)
    assert memory.pop_due((NOW_S + 3600) * 1000, 10) == []
