"""Units of change, and how they are packed into batches.

A *unit* is what has to be stored together: a task's register as it is after the change, the events of the change, and
the position of the command that asked for it. Units go into a batch in order, as many as fit: one register message
per task and batch (the newest, since a register is a whole snapshot), at most 1,000 messages and 4 MiB, and no message
that expects something of a chain on which the batch itself writes.

What the shard register of a batch says of commands (the last one decided, the ring of those without a task) is what
the units *up to that batch* say, never more: a command whose unit is in a later batch must be decided again after a
crash between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from gnomon_core.runtime.messages import Outgoing
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import CatchUpOrder, RingEntry, TaskRegister
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode

__all__ = ["Batch", "Note", "Unit", "pack"]

_MESSAGES_MAX = 998
_BYTES_MAX = 4 * 1024 * 1024 - 64 * 1024


@dataclass(slots=True)
class Note:
    """One message, an event or a register, and whom to tell its sequence."""

    message: Outgoing
    on_seq: Callable[[int], None] | None = None
    follows: Note | None = None
    """It is stored only where this one is."""


@dataclass(slots=True)
class Unit:
    """What has to be stored together."""

    task: TaskState | None = None
    """The task whose register is written; None: none's."""
    notes: list[Note] = field(default_factory=list)
    others: list[Note] = field(default_factory=list)
    """Registers of other objects."""
    command_seq: int = 0
    ring: RingEntry | None = None
    """A command without a task, for the shard's ring."""
    order: CatchUpOrder | None = None
    """A command about the shard's backlog: for the shard register."""
    stored: list[Callable[[], None]] = field(default_factory=list)
    """Called when the unit is stored."""
    register: bytes = b""
    reg: TaskRegister | None = None
    """What `register` was made of: the task may rest on it once it is stored, unless it has changed since."""

    def __post_init__(self) -> None:
        if self.task is not None and not self.register:
            self.reg = self.task.reg
            self.register = encode(self.task.stored_form())

    @property
    def task_id(self) -> str | None:
        """The task that it is about; None: none."""
        if self.task is not None:
            return self.task.task_id
        kind, _, rest = self.notes[0].message.subject.partition(".") if self.notes else ("", "", "")
        return rest.split(".", 3)[2] if kind == "task" else None

    def when_stored(self, work: Callable[[], None]) -> None:
        """Have `work` done once the unit is stored, and never when it is not."""
        self.stored.append(work)

    @property
    def size(self) -> int:
        """Bytes of payload, with some room for headers."""
        events = sum(len(note.message.data) + 600 for note in self.notes)
        return len(self.register) + events + sum(len(other.message.data) + 600 for other in self.others)


@dataclass(slots=True)
class Batch:
    """Units that go into one atomic batch."""

    registers: dict[str, tuple[TaskState, bytes]] = field(default_factory=dict)
    others: dict[str, Note] = field(default_factory=dict)
    """Registers of other objects, by subject: the newest of each."""
    notes: list[Note] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)
    size: int = 0
    chains: set[str] = field(default_factory=set)
    """The chains on which something is written."""

    def takes(self, unit: Unit) -> bool:
        """Whether the unit still fits. An empty batch takes any: no single unit may be over the limit.

        One that expects on a chain on which the batch writes does not: the broker would answer "in process" for ever.
        """
        if not self.units:
            return True
        if any(note.message.expected_subject in self.chains for note in unit.notes):
            return False
        count = self.count + (unit.task is not None) + len(unit.others) + len(unit.notes)
        return count <= _MESSAGES_MAX and self.size + unit.size <= _BYTES_MAX

    @property
    def count(self) -> int:
        """How many messages it has, without the shard register."""
        return len(self.registers) + len(self.others) + len(self.notes)

    def add(self, unit: Unit) -> None:
        """Put a unit in."""
        if unit.task is not None:
            self.registers[unit.task.task_id] = (unit.task, unit.register)
        for other in unit.others:
            self.others[other.message.subject] = other
        for note in unit.notes:
            if note.message.expected_subject in self.chains:
                raise ValueError(f"one unit writes twice on the chain {note.message.expected_subject}")
            self.chains.add(_chain_of(note.message.subject))
        self.notes += unit.notes
        self.units.append(unit)
        self.size += unit.size

    def messages(self, partition: int) -> list[Outgoing]:
        """The messages after the shard register: task registers, those of other objects, then events."""
        messages = [
            Outgoing(subjects.task_register(partition, task_id), data, None, None, None, rollup=True)
            for task_id, (_, data) in self.registers.items()
        ]
        messages += [note.message for note in (*self.others.values(), *self.notes)]
        return messages

    def order_after(self, before: CatchUpOrder) -> CatchUpOrder:
        """What holds about the shard's backlog with this batch."""
        orders = [before, *(unit.order for unit in self.units if unit.order is not None)]
        return CatchUpOrder(
            max(order.approved_ms for order in orders), max(order.discarded_ms for order in orders)
        )

    @property
    def last_command(self) -> int:
        """Highest command position in it; 0: none."""
        return max((unit.command_seq for unit in self.units), default=0)


def _chain_of(subject: str) -> str:
    """The filter of the chain that an event is on: its subject with any name."""
    kind, _, rest = subject.split(".", 2)
    return f"{kind}.*.{rest}"


def pack(units: Iterable[Unit]) -> Iterator[Batch]:
    """The units in batches, in order. Lazy: a batch is made when the one before it has been stored."""
    batch = Batch()
    for unit in units:
        if not batch.takes(unit):
            yield batch
            batch = Batch()
        batch.add(unit)
    if batch.units:
        yield batch
