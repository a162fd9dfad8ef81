"""What is told of a task that is given up: every slot since it was set aside, once."""

from __future__ import annotations

import msgspec
import pytest

from gnomon_core.timing import fires, jitter_ms
from gnomon_scheduler import giving_up, memory
from gnomon_scheduler.decisions import closing
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.giving_up import GivenUp, come_back
from gnomon_scheduler.memory import Flight
from gnomon_scheduler.registers import Aside
from gnomon_schemas.clock_text import instant_ms, slot_run
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import NOW_S, task_state
from tests.unit.scheduler.test_own_changes import around, command

SINCE_S, AT_S = NOW_S + 20, NOW_S + 60


@pytest.mark.parametrize("jitter", [None, 7.0])
@pytest.mark.parametrize("paused", [False, True])
def test_every_slot_since_then_is_told_once(jitter: float | None, paused: bool) -> None:
    """But for those that were handed out by then, and those that wait in its register."""
    task = task_state()
    schedule = task.reg.spec.schedule
    assert schedule is not None
    schedule = msgspec.structs.replace(schedule, jitter_seconds=jitter)
    spec = msgspec.structs.replace(task.reg.spec, schedule=schedule, paused=paused)
    task.reg = msgspec.structs.replace(task.reg, spec=spec)

    def emission_ms(slot: int) -> int:
        return slot * 1000 + jitter_ms(task.task_id, slot, jitter or 0)

    slots = [slot for slot in fires(schedule, NOW_S, AT_S) if emission_ms(slot) > SINCE_S * 1000]
    handed_out, waits = slots[3], slots[5]
    flight = Flight(
        run=slot_run(waits),
        trigger=Trigger.SCHEDULE,
        scheduled_ms=waits * 1000,
        due_ms=waits * 1000,
        emit_ms=waits * 1000,
        revision=1,
        written=True,
    )
    reg = msgspec.structs.replace(task.reg, entries=(flight.entry(),))
    found = GivenUp(
        9, reg, Aside(SINCE_S * 1000, 5), (), {}, frozenset({slot_run(handed_out), slot_run(waits)})
    )
    left = come_back(found, 0, 77, AT_S * 1000)
    told = [
        slot
        for span in left.spans
        if span.from_ is not None and span.to is not None
        for slot in fires(schedule, instant_ms(span.from_) // 1000 - 1, instant_ms(span.to) // 1000 - 1)
    ]
    told += [slot.nominal_s for slot in left.waiting]
    assert sorted(told) == ([] if paused else [slot for slot in slots if slot not in {handed_out, waits}])
    assert sum(getattr(span, "count", 0) for span in left.spans) + len(left.waiting) == len(told)
    assert list(left.task.flights) == [slot_run(waits)]
    assert (left.task.reg.runtime.folded, left.task.reg.spec) == (77, spec)


@pytest.mark.parametrize("paused", [False, True])
def test_one_whose_schedule_cannot_be_reckoned_with_can_go_too(
    paused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_state()
    spec = msgspec.structs.replace(task.reg.spec, paused=paused)
    reg = msgspec.structs.replace(task.reg, spec=spec)

    def failing(*_: object) -> None:
        raise ArithmeticError

    for module in (memory, closing, giving_up):
        for name in {"next_fire", "count_fires"} & vars(module).keys():
            monkeypatch.setattr(module, name, failing)
    left = come_back(GivenUp(9, reg, Aside(SINCE_S * 1000, 5), (), {}, frozenset()), 0, 77, AT_S * 1000)
    decision = decide(left.task, left.waiting, command("delete"), around(AT_S * 1000))
    assert decision.reg.deleted_ms == AT_S * 1000
    if not paused:
        assert left.spans == []
