"""A shard's memory: slots in order of emission, once each, whoever took over where; and what the fold position says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.timing import fires, jitter_ms
from gnomon_scheduler.memory import TaskState
from tests.unit.scheduler.making import NOW_S, memory_of, task_state

SPAN_S = 400
paces = st.integers(1, 60)
jitters = st.integers(0, 90)
moments = st.integers(0, SPAN_S * 1000)


def jittered(task_id: str, every: int, jitter: int) -> TaskState:
    """A task of this pace and jitter."""
    return task_state(
        task_id, schedule={"kind": "interval", "every_seconds": every, "jitter_seconds": jitter or None}
    )


def emissions(task: TaskState) -> dict[int, int]:
    """Emission time of every slot of the time in question, computed one by one."""
    schedule = task.reg.spec.schedule
    assert schedule is not None
    slots = fires(schedule, NOW_S, NOW_S + SPAN_S)
    return {
        slot: slot * 1000 + (jitter_ms(task.task_id, slot, schedule.jitter_seconds or 0)) for slot in slots
    }


@given(
    shapes=st.lists(st.tuples(paces, jitters), min_size=1, max_size=4), steps=st.lists(moments, max_size=8)
)
def test_slots_come_in_order_of_emission_and_once_whatever_the_steps(
    shapes: list[tuple[int, int]], steps: list[int]
) -> None:
    tasks = [jittered(f"t{number}", *shape) for number, shape in enumerate(shapes)]
    memory = memory_of(*tasks)
    until_ms = (NOW_S + SPAN_S) * 1000
    got = []
    for step in [*sorted(steps), SPAN_S * 1000]:
        due_ms = memory.next_due_ms()
        popped = memory.pop_due(NOW_S * 1000 + step, 10_000)
        assert not popped or (due_ms is not None and due_ms <= min(slot.emit_ms for slot in popped))
        got += popped
    expected = sorted(
        (emit_ms, slot, task.task_id)
        for task in tasks
        for slot, emit_ms in emissions(task).items()
        if emit_ms <= until_ms
    )
    assert [slot.emit_ms for slot in got] == [emit_ms for emit_ms, _, _ in expected]
    assert sorted((slot.emit_ms, slot.nominal_s, slot.task.task_id) for slot in got) == expected


@given(every=paces, jitter=jitters, watermark=moments)
def test_a_successor_that_starts_at_the_watermark_hands_out_just_the_rest(
    every: int, jitter: int, watermark: int
) -> None:
    """What has a nominal time before the watermark and an emission time after it is not forgotten."""
    task = jittered("t", every, jitter)
    watermark_ms, until_ms = NOW_S * 1000 + watermark, (NOW_S + SPAN_S) * 1000
    first = memory_of(task)
    before = [slot.nominal_s for slot in first.pop_due(watermark_ms, 10_000)]
    without_crash = [slot.nominal_s for slot in first.pop_due(until_ms, 10_000)]
    successor = memory_of(jittered("t", every, jitter), watermark_ms=watermark_ms)
    after = [slot.nominal_s for slot in successor.pop_due(until_ms, 10_000)]
    assert after == without_crash
    assert not set(before) & set(after)


@given(every=paces, jitter=jitters, at=moments)
def test_what_waits_for_its_jitter_is_past_its_nominal_time_and_not_yet_due(
    every: int, jitter: int, at: int
) -> None:
    task = jittered("t", every, jitter)
    at_ms = NOW_S * 1000 + at
    waiting = memory_of(task).waiting_for_jitter(task, at_ms)
    expected = {slot: emit for slot, emit in emissions(task).items() if slot * 1000 <= at_ms < emit}
    assert {slot.nominal_s: slot.emit_ms for slot in waiting} == expected


def test_no_more_than_asked_for_come_at_a_time_and_the_rest_later() -> None:
    memory = memory_of(task_state())
    until_ms = (NOW_S + 100) * 1000
    first, rest = memory.pop_due(until_ms, 30), memory.pop_due(until_ms, 1000)
    assert [slot.nominal_s for slot in first + rest] == list(range(NOW_S + 1, NOW_S + 101))
    assert len(first) == 30


def test_a_changed_schedule_drops_what_was_on_the_heap() -> None:
    task = task_state()
    memory = memory_of(task)
    task.reg = task_state(schedule={"kind": "interval", "every_seconds": 7}).reg
    memory.schedule(task, (NOW_S + 3) * 1000)
    slots = memory.pop_due((NOW_S + 21) * 1000, 100)
    assert [slot.nominal_s - NOW_S for slot in slots] == [7, 14, 21]


def test_the_fold_position_stays_before_what_is_only_in_memory() -> None:
    """Whichever tasks a batch writes."""
    one, two = task_state("one"), task_state("two")
    memory = memory_of(one, two)
    memory.position = 50
    assert memory.fold_position() == 50
    memory.note_dirty(one, 20)
    memory.note_dirty(one, 30)
    memory.note_dirty(two, 40)
    assert memory.fold_position() == 19
    assert memory.fold_position({"two"}) == 19
    assert memory.fold_position({"one"}) == 39
    assert memory.fold_position({"one", "two"}) == 50
    memory.note_written(one, 51)
    assert memory.fold_position() == 39
    memory.note_dirty(one, 60)
    memory.note_written(two, 52)
    assert memory.fold_position() == 59
