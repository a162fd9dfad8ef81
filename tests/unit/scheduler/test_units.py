"""Packing units into batches: in order, within the broker's limits, and what a batch says of commands."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_core.runtime.bus import BATCH_MAX
from gnomon_core.runtime.messages import Outgoing
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_scheduler.units import Note, Unit, pack
from gnomon_schemas.codec import decode
from tests.unit.scheduler.making import task_state

_TASKS = [task_state(f"t{number}") for number in range(5)]
_BATCH_BYTES = 4 * 1024 * 1024


def unit(task: TaskState | None, notes: int, size: int = 0, command_seq: int = 0) -> Unit:
    """A unit with so many events of so many bytes."""
    return Unit(
        task=task,
        notes=[Note(Outgoing(f"task.x.0.t.{number}", b"x" * size)) for number in range(notes)],
        command_seq=command_seq,
    )


shapes = st.lists(
    st.tuples(
        st.sampled_from([None, *_TASKS]),
        st.integers(0, 400),
        st.sampled_from([0, 100, 4000]),
    ),
    max_size=60,
)


@given(shapes=shapes)
def test_units_keep_their_order_and_batches_their_limits(
    shapes: list[tuple[TaskState | None, int, int]],
) -> None:
    units = [unit(*shape, command_seq=seq) for seq, shape in enumerate(shapes, 1)]
    batches = list(pack(units))
    assert [packed for batch in batches for packed in batch.units] == units
    for batch in batches:
        messages = batch.messages(0)
        assert len(messages) + 1 <= BATCH_MAX, "the shard register comes on top"
        assert len(batch.units) == 1 or sum(len(m.data) for m in messages) <= _BATCH_BYTES
        registers = [message.subject for message in messages if message.subject.startswith("state.")]
        assert len(registers) == len(set(registers)), "one register message a task and batch"
        assert [message.rollup for message in messages] == [m.subject in registers for m in messages]


@given(shapes=shapes)
def test_a_batch_speaks_of_its_own_commands_and_of_none_after(
    shapes: list[tuple[TaskState | None, int, int]],
) -> None:
    units = [unit(*shape, command_seq=seq) for seq, shape in enumerate(shapes, 1)]
    said = [batch.last_command for batch in pack(units)]
    assert said == [max(u.command_seq for u in batch.units) for batch in pack(units)]
    assert said == sorted(said)
    assert not units or said[-1] == len(units)


def test_of_two_units_of_a_task_the_later_register_is_written() -> None:
    """A register is a whole snapshot: the one of the later unit contains the earlier one's change."""
    task = task_state()
    first = unit(task, 1)
    task.reg = msgspec.structs.replace(task.reg, version=2)
    second = unit(task, 1)
    task.reg = msgspec.structs.replace(task.reg, version=3)
    (batch,) = pack([first, second])
    messages = batch.messages(0)
    assert [message.subject for message in messages] == ["state.task.0.t", "task.x.0.t.0", "task.x.0.t.0"]
    assert decode(messages[0].data, TaskRegister).version == 2, "as it was when the unit was made"


def test_a_unit_that_is_over_the_limit_by_itself_goes_alone() -> None:
    large = unit(None, 5, 1024 * 1024)
    batches = list(pack([unit(None, 1), large, unit(None, 1)]))
    assert [len(batch.units) for batch in batches] == [1, 1, 1]


def test_nothing_makes_no_batch() -> None:
    assert list(pack([])) == []


def _on_chain(run: str, *, expected: int | None) -> Note:
    chain = None if expected is None else f"task.*.0.t.{run}"
    return Note(Outgoing(f"task.skipped.0.t.{run}", b"", None, expected, chain))


def test_what_expects_on_a_chain_goes_into_another_batch_than_what_is_written_there() -> None:
    """The broker answers such a batch with "in process", and would for ever."""
    first, other = Unit(notes=[_on_chain("r-1", expected=0)]), Unit(notes=[_on_chain("r-2", expected=0)])
    again = Unit(notes=[_on_chain("r-1", expected=7)])
    assert [batch.units for batch in pack([first, other, again])] == [[first, other], [again]]


def test_one_unit_that_would_do_so_is_told_at_once() -> None:
    twice = Unit(notes=[_on_chain("r-1", expected=None), _on_chain("r-1", expected=7)])
    with pytest.raises(ValueError, match="twice on the chain"):
        list(pack([twice]))
