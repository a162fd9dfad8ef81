"""Backfills: which slots they are about, how many go at a time, and what they leave alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_scheduler.decisions.backfilling import go_on
from gnomon_scheduler.decisions.overlapping import in_the_way
from gnomon_scheduler.decisions.slots import Course, course_of
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.dues import due_of
from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_scheduler.registers import owes_change
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.codec import encode
from gnomon_schemas.events import Queued, Updated
from gnomon_schemas.limits import BACKFILL_TOTAL_MAX, BACKFILLS_PER_TASK
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import Trigger
from tests.unit.scheduler.making import NOW_S, executed, register, task_state
from tests.unit.scheduler.test_folding import folded
from tests.unit.scheduler.test_own_changes import around, command

NOW_MS = NOW_S * 1000 + 500


def at(offset_s: float) -> str:
    """The instant so many seconds after the task was made."""
    return format_instant(NOW_S * 1000 + int(offset_s * 1000))


def begin(task: TaskState, **body: Any) -> list[str]:
    """Begin a backfill; the runs that it puts in flight at once."""
    decision = decide(
        task,
        [],
        command("backfill", **{"from": at(-10), "to": at(0), "only": "all", **body}),
        around(NOW_MS),
    )
    task.reg = decision.reg
    for flight, _ in decision.queued:
        task.take_off(flight)
    return [flight.run for flight, _ in decision.queued]


def goes_on(task: TaskState) -> list[str]:
    """What follows of a task's backfills; the runs."""
    decision = go_on(task, [], around(NOW_MS))
    if decision is None:
        return []
    task.reg = decision.reg
    for flight, _ in decision.queued:
        task.take_off(flight)
    return [flight.run for flight, _ in decision.queued]


def run(offset_s: int, backfill_id: str = "c-backfill") -> str:
    """The run of a backfill for the slot so many seconds after the task was made."""
    return f"b-{backfill_id}-{slot_run(NOW_S + offset_s)}"


@pytest.mark.parametrize("concurrency", [1, 2, 3, 10, 100])
def test_every_slot_of_the_span_runs_once_and_so_many_at_a_time(concurrency: int) -> None:
    """Half-open, and also before the task was made."""
    task = task_state()
    seen = begin(task, concurrency=concurrency)
    seq = 10
    while task.flights:
        assert len(task.flights) == min(concurrency, len(task.flights) + task.reg.backfills[0].left)
        (record,) = task.reg.backfills
        assert record.left == 10 - len(seen)
        first = next(iter(task.flights))
        folded(task, _result(first), seq=(seq := seq + 1))
        seen += goes_on(task)
    assert seen == [run(offset) for offset in range(-10, 0)]
    assert task.reg.backfills == ()
    assert not owes_change(task.reg)


def _result(run_id: str, status: str = "completed") -> Any:
    return msgspec.structs.replace(executed(run_id, status), trigger=Trigger.BACKFILL)


@pytest.mark.parametrize(
    ("start", "end", "offsets"),
    [
        (-3, -1, [-3, -2]),
        (-3.001, -1, [-3, -2]),
        (-2.999, -0.5, [-2, -1]),
        (-0.999, 0.4, [0]),
    ],
)
def test_a_span_is_half_open_to_the_millisecond(start: float, end: float, offsets: list[int]) -> None:
    task = task_state()
    assert begin(task, **{"from": at(start), "to": at(end)}, concurrency=100) == [run(o) for o in offsets]


def test_slots_that_are_listed_run_in_order_and_once() -> None:
    task = task_state()
    listed = [at(-2), at(-7), at(-2), at(-5)]
    assert begin(task, only="gaps", slots=listed, concurrency=2) == [run(-7), run(-5)]
    assert task.reg.backfills[0].slots == (NOW_S - 2,)
    folded(task, _result(run(-7)))
    assert goes_on(task) == [run(-2)]


def test_its_executions_say_what_they_are() -> None:
    task = task_state(priority="urgent")
    decision = decide(
        task, [], command("backfill", **{"from": at(-1), "to": at(0), "only": "all"}), around(NOW_MS)
    )
    ((flight, event),) = decision.queued
    assert isinstance(event, Queued)
    assert (event.reason, event.trigger, event.scheduled_for) == ("backfill", "backfill", at(-1))
    assert event.due_at == format_instant(NOW_MS)
    assert flight.expires_ms is None, "it never expires: its lane is the last to be served"
    due = due_of(task, flight, partition=0, epoch=1, types={}, traceparent="")
    assert ".low." in due.subject
    updated = decision.events[0]
    assert isinstance(updated, Updated)
    assert updated.updated_fields == ("backfills",)
    (shown,) = updated.task.backfills
    assert (shown.backfill_id, shown.from_, shown.to) == ("c-backfill", at(-1), at(0))
    assert (shown.total, shown.left, shown.in_flight) == (1, 0, 1)
    assert updated.task.version == 2


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel_running", "allow", "queue_all"])
def test_live_slots_and_runs_on_demand_do_not_wait_for_it(overlap: str) -> None:
    task = task_state(overlap=overlap)
    begin(task, concurrency=3)
    assert in_the_way(task) == []
    assert course_of(task, NOW_MS, NOW_MS, runnable=True) is Course.EMIT
    on_demand = decide(task, [], command("run"), around(NOW_MS))
    assert not on_demand.queued[0][0].gated
    assert not on_demand.cancels


def test_its_failures_do_not_pause_the_task_and_its_successes_forgive_none() -> None:
    task = task_state(max_consecutive_failures=2, overlap="allow")
    task.reg = msgspec.structs.replace(
        task.reg, runtime=msgspec.structs.replace(task.reg.runtime, consecutive_failures=1)
    )
    begin(task, concurrency=2)
    folded(task, _result(run(-10), "failed"), seq=10)
    folded(task, _result(run(-9)), seq=11)
    runtime = task.reg.runtime
    assert (runtime.consecutive_failures, runtime.run_count, runtime.failure_count) == (1, 2, 1)
    assert runtime.previous is None


def test_a_change_of_the_schedule_leaves_it_as_it_was() -> None:
    task = task_state()
    begin(task)
    now = around(NOW_MS)
    task.reg = decide(task, [], command("update", schedule=None), now).reg
    folded(task, _result(run(-10)))
    assert goes_on(task) == [run(-9)]


def test_a_pause_leaves_it_alone_and_cancelling_or_deleting_the_task_ends_it() -> None:
    for verb, ends in (("pause", False), ("cancel", True), ("delete", True)):
        task = task_state()
        runs = begin(task, concurrency=2)
        decision = decide(task, [], command(verb), around(NOW_MS))
        assert (decision.reg.backfills == ()) is ends, verb
        assert [item.run for item in decision.cancels] == (runs if ends else []), verb


def test_one_that_is_cancelled_hands_out_no_more() -> None:
    task = task_state()
    runs = begin(task, concurrency=3)
    decision = decide(task, [], command("backfill", cancel="c-backfill"), around(NOW_MS))
    assert [item.run for item in decision.cancels] == runs
    updated = decision.events[0]
    assert isinstance(updated, Updated)
    (shown,) = updated.task.backfills
    assert (shown.total, shown.left, shown.in_flight) == (3, 0, 3)
    task.reg = decision.reg
    assert goes_on(task) == []
    for number, each in enumerate(runs):
        folded(task, _result(each, "cancelled"), seq=20 + number)
    assert goes_on(task) == []
    assert task.reg.backfills == ()
    with pytest.raises(Refused) as caught:
        decide(task, [], command("backfill", cancel="c-backfill"), around(NOW_MS))
    assert caught.value.problem.errors[0].pointer == "#/cancel"


def test_one_whose_id_begins_as_anothers_leaves_the_other_alone() -> None:
    """`c-backfill` is the beginning of `c-backfill-2`, and so is what their runs begin with."""
    task = task_state()
    first = begin(task, concurrency=2)
    longer = msgspec.structs.replace(task.reg.backfills[0], backfill_id="c-backfill-2", left=8)
    task.reg = msgspec.structs.replace(task.reg, backfills=(*task.reg.backfills, longer))
    second = goes_on(task)
    assert second == [run(offset, "c-backfill-2") for offset in (-8, -7)]
    assert [record.in_flight(task.flights) for record in task.reg.backfills] == [2, 2]
    decision = decide(task, [], command("backfill", cancel="c-backfill"), around(NOW_MS))
    assert [item.run for item in decision.cancels] == first


def test_one_of_which_nothing_is_in_flight_is_gone_when_it_is_cancelled() -> None:
    task = task_state()
    begin(task)
    task.land(run(-10))
    decision = decide(task, [], command("backfill", cancel="c-backfill"), around(NOW_MS))
    assert decision.reg.backfills == ()
    assert decision.cancels == []


def test_a_new_leader_finds_it_in_the_register_and_goes_on() -> None:
    """From the cursor and the entries alone: nothing of it is counted twice or forgotten."""
    task = task_state()
    begin(task, concurrency=2)
    memory = ShardMemory(0)
    stored = encode(task.stored_form())
    memory.apply_task(1, msgspec.json.decode(stored, type=type(task.reg)), stored)
    (after,) = memory.owing.values()
    assert goes_on(after) == []
    folded(after, _result(run(-10)))
    assert goes_on(after) == [run(-8)]


def test_several_go_side_by_side_and_only_so_many() -> None:
    task = task_state()
    for number in range(BACKFILLS_PER_TASK):
        task.reg = decide(
            task,
            [],
            command("backfill", **{"from": at(-10), "to": at(0), "only": "all"})._replace(
                command_id=f"c{number}"
            ),
            around(NOW_MS),
        ).reg
    with pytest.raises(Refused) as caught:
        begin(task)
    assert caught.value.problem.code == Code.LIMIT


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"from": None}, "#/from", "required"),
        ({"to": None}, "#/to", "required"),
        ({"from": "yesterday"}, "#/from", "RFC 3339"),
        ({"to": at(1)}, "#/to", "not in the past"),
        ({"from": at(0), "to": at(0)}, "#/to", "empty"),
        ({"only": "gaps"}, "#/slots", "lists the slots without a success"),
        ({"only": "some"}, "#/only", ""),
        ({"concurrency": 0}, "#/concurrency", "1 to 100"),
        ({"concurrency": 101}, "#/concurrency", "1 to 100"),
        ({"slots": []}, "#/slots", "1 to 1,000"),
        ({"slots": [at(-5)] * 1001}, "#/slots", "1 to 1,000"),
        ({"slots": [at(-5), at(0)]}, "#/slots/1", "not in the span"),
        ({"slots": [at(-4.5)]}, "#/slots/0", "whole second"),
        ({"slots": ["soon"]}, "#/slots/0", "RFC 3339"),
        ({"cancel": "c1"}, "#/from", "with cancel"),
        ({"from": at(-0.6), "to": at(-0.5)}, "#/to", "empty"),
        ({"from": at(-BACKFILL_TOTAL_MAX - 1)}, "#/from", "up to 100,000"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(body: dict[str, Any], pointer: str, words: str) -> None:
    task = task_state()
    with pytest.raises(Refused) as caught:
        begin(task, **body)
    error = next(each for each in caught.value.problem.errors if each.pointer == pointer)
    assert words in error.message


def test_a_slot_that_the_schedule_does_not_have_is_refused() -> None:
    task = task_state(schedule={"kind": "interval", "every_seconds": 60})
    with pytest.raises(Refused) as caught:
        begin(task, **{"from": at(-59), "to": at(-1)})
    assert "no slot" in caught.value.problem.errors[0].message
    with pytest.raises(Refused) as caught:
        begin(task, **{"from": at(-300), "slots": [at(-120), at(-119)]})
    (error,) = caught.value.problem.errors
    assert (error.pointer, caught.value.problem.code) == ("#/slots/1", Code.INVALID)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"ended": "cancelled"}, Code.INVALID_STATE), ({"schedule": None}, Code.INVALID_STATE)],
)
def test_a_task_that_has_no_slots_takes_none(change: dict[str, Any], code: Code) -> None:
    reg = register(schedule=None) if "schedule" in change else msgspec.structs.replace(register(), **change)
    with pytest.raises(Refused) as caught:
        begin(TaskState(reg, 1))
    assert caught.value.problem.code == code


def test_a_completed_task_can_still_be_backfilled() -> None:
    task = TaskState(msgspec.structs.replace(register(), ended="completed", ended_ms=NOW_MS), 1)
    assert begin(task) == [run(-10)]


def test_backfills_leave_room_for_everything_else_of_their_task() -> None:
    """Ten of a hundred at a time would fill the register, and every live slot would be `skipped(limit)`."""
    task = task_state(overlap="allow")
    for number in range(BACKFILLS_PER_TASK):
        asked = command("backfill", **{"from": at(-500), "to": at(0), "only": "all", "concurrency": 100})
        decision = decide(task, [], asked._replace(command_id=f"c-{number}"), around(NOW_MS))
        task.reg = decision.reg
        for flight, _ in decision.queued:
            task.take_off(flight)
    while goes_on(task):
        pass
    assert course_of(task, NOW_MS, NOW_MS, runnable=True) is Course.EMIT


def test_a_backfill_is_through_when_it_has_no_slot_left_whatever_was_counted() -> None:
    """Another calendar's rules may give its span fewer slots, or more, than there were when it began."""
    for counted in (9, 11):
        task = task_state()
        begin(task, concurrency=10)
        (record,) = task.reg.backfills
        task.reg = msgspec.structs.replace(
            task.reg, backfills=(msgspec.structs.replace(record, left=counted - 10),)
        )
        for number, name in enumerate(list(task.flights)):
            folded(task, _result(name), seq=10 + number)
        goes_on(task)
        assert task.reg.backfills == ()
