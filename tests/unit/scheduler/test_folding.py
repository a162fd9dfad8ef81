"""Folding execution events into a task: what each does, and that a crash in between changes nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_scheduler.decisions.folding import Folded, fold
from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_scheduler.registers import Cancelling
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.events import DeadLettered, ExecutionEvent, Failed
from gnomon_schemas.tasks import RetryPolicy
from tests.unit.scheduler.making import NOW_S, executed, fly, queued, retrying, run_at, started, task_state

ONCE, THRICE = RetryPolicy(), RetryPolicy(max_attempts=3)


def folded(task: TaskState, *events: ExecutionEvent, retry: RetryPolicy = ONCE, seq: int = 10) -> Folded:
    """Fold events one after the other; what the last one did."""
    result = Folded()
    for number, event in enumerate(events, seq):
        result = fold(task, number, event.run, event, retry=retry)
    return result


def test_a_claim_is_noted_and_needs_no_register() -> None:
    task = task_state()
    flight = fly(task, NOW_S + 1)
    result = folded(task, started(flight.run))
    assert (flight.started, flight.executor, flight.first_seq, flight.last_seq) == (True, "e", 10, 10)
    assert not result.dirty
    assert task.running


def test_a_claim_of_a_slot_that_a_predecessor_handed_out_is_in_flight() -> None:
    task = task_state()
    folded(task, started(run_at(1)))
    assert task.flights[run_at(1)].started
    assert not task.flights[run_at(1)].written


def test_a_retry_is_written_ahead_and_not_before_its_time() -> None:
    task = task_state()
    run = fly(task, NOW_S + 1).run
    result = folded(task, started(run), retrying(run, after_s=30))
    flight = task.flights[run]
    assert result.dirty
    assert result.written_ahead is flight
    assert (flight.attempt, flight.cause_seq, flight.written, flight.emitted) == (2, 11, True, False)
    assert flight.emit_ms == (NOW_S + 30) * 1000
    assert flight.expires_ms is None, "a retry never expires"
    (entry,) = task.stored_form().entries
    assert (entry.attempt, entry.cause_seq) == (2, 11)


@pytest.mark.parametrize(
    ("status", "counts", "derived"),
    [
        ("completed", (1, 1, 0, 0), []),
        ("failed", (1, 0, 1, 1), [Failed]),
        ("timed_out", (1, 0, 1, 1), [Failed]),
        ("cancelled", (1, 0, 0, 0), []),
    ],
)
def test_a_result_counts_once_and_ends_the_flight(
    status: str, counts: tuple[int, ...], derived: list[type]
) -> None:
    task = task_state()
    run = fly(task, NOW_S + 1).run
    task.wish(Cancelling(run=run, reason="cancelled", deadline_ms=0))
    result = folded(task, started(run), executed(run, status))
    runtime = task.reg.runtime
    assert (
        runtime.run_count,
        runtime.success_count,
        runtime.failure_count,
        runtime.consecutive_failures,
    ) == counts
    assert [type(event) for event in result.derived] == derived
    assert (result.ended, result.dirty, task.flights, task.cancelling) == (True, True, {}, {})
    assert (runtime.previous is not None) == (status == "completed")


@pytest.mark.parametrize(
    ("attempt", "reason", "dead"),
    [(1, None, None), (3, None, "retries_exhausted"), (1, "crash_loop", "crash_loop")],
)
def test_what_failed_for_good_is_a_dead_letter(attempt: int, reason: str | None, dead: str | None) -> None:
    task = task_state()
    result = folded(task, executed(run_at(1), "failed", attempt, reason=reason), retry=THRICE)
    letters = [event.reason for event in result.derived if isinstance(event, DeadLettered)]
    assert letters == ([dead] if dead else [])


def test_failures_in_a_row_end_with_a_success_and_not_with_a_cancel() -> None:
    task = task_state()
    for number, status in enumerate(["failed", "timed_out", "cancelled", "failed"]):
        folded(task, executed(run_at(number), status), seq=10 + number)
    assert task.reg.runtime.consecutive_failures == 3
    folded(task, executed(run_at(9)), seq=20)
    assert task.reg.runtime.consecutive_failures == 0


def test_an_event_whose_effect_is_in_the_register_changes_nothing() -> None:
    task = task_state()
    folded(task, executed(run_at(1)), seq=10)
    before = msgspec.structs.asdict(task.reg)
    assert folded(task, executed(run_at(1)), seq=10) == Folded()
    assert folded(task, retrying(run_at(2)), seq=9) == Folded()
    assert msgspec.structs.asdict(task.reg) == before
    assert task.flights == {}


def test_a_queued_run_learns_where_its_chain_begins() -> None:
    task = task_state()
    flight = fly(task, NOW_S + 1, emitted=False)
    folded(task, queued(flight.run))
    assert (flight.first_seq, flight.cause_seq) == (10, 10)


runs = st.integers(1, 4).map(run_at)


@st.composite
def lives(draw: st.DrawFn) -> list[ExecutionEvent]:
    """Chains of a few executions, interleaved: claims, retries, results, in an order that could have been stored."""
    events: list[list[ExecutionEvent]] = []
    for run in draw(st.lists(runs, unique=True, min_size=1)):
        chain: list[ExecutionEvent] = []
        attempts = draw(st.integers(1, 3))
        for attempt in range(1, attempts + 1):
            chain.append(started(run, attempt))
            if attempt < attempts:
                chain.append(retrying(run, attempt))
        if draw(st.booleans()):
            status = draw(st.sampled_from(["completed", "failed", "cancelled", "timed_out"]))
            chain.append(executed(run, status, attempts))
        events.append(chain)
    woven: list[ExecutionEvent] = []
    while any(events):
        chain = draw(st.sampled_from([chain for chain in events if chain]))
        woven.append(chain.pop(0))
    return woven


def shape(task: TaskState) -> tuple[Any, ...]:
    """What a leader knows of a task's runs."""
    flights = {
        run: (flight.attempt, flight.started, flight.cause_seq, flight.written, flight.last_seq)
        for run, flight in task.flights.items()
    }
    return msgspec.structs.replace(task.reg.runtime, folded=0), flights


@given(events=lives(), data=st.data())
def test_folding_goes_on_after_a_crash_as_if_there_had_been_none(
    events: list[ExecutionEvent], data: st.DataObject
) -> None:
    """The register is stored after any of them, and the successor folds from the fold position of that moment on."""
    straight, task = task_state(), task_state()
    memory = ShardMemory(0)
    memory.tasks["t"] = task
    for seq, event in enumerate(events, 10):
        fold(straight, seq, event.run, event, retry=THRICE)
    stored_at = data.draw(st.integers(0, len(events)), label="stored after")
    written = task.stored_form()
    memory.position = 9
    for seq, event in enumerate(events[:stored_at], 10):
        if fold(task, seq, event.run, event, retry=THRICE).dirty:
            memory.note_dirty(task, seq)
        memory.position = seq
        if data.draw(st.booleans(), label="flush"):
            memory.note_written(task, seq)
            written = task.stored_form()
    position = memory.fold_position()
    successor = ShardMemory(0)
    stored = encode(written)
    successor.apply_task(1, decode(stored, type(written)), stored)
    again = successor.tasks["t"]
    for seq, event in enumerate(events, 10):
        if seq > position:
            fold(again, seq, event.run, event, retry=THRICE)
    # A claim that is in no register is found again on its chain, which the take-over reads: here only what has to
    # be in registers or behind the fold position is compared.
    assert shape(again)[0] == shape(straight)[0]
    waiting = {run: flight.attempt for run, flight in straight.flights.items() if flight.written}
    assert {run: flight.attempt for run, flight in again.flights.items() if flight.written} == waiting
