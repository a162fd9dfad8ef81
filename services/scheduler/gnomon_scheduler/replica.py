"""One partition's registers and events as the log tells them: what makes a standby hot and feeds a leader.

Two phases. *Load* (`loading`): the newest message of every register of the partition, which tells the fold position.
*Follow*: registers and events from the fold position on, in order. While nobody leads here the messages are applied to
the memory as they come (`standby`); a leader takes them as an inbox (`lead`) and folds them in its own turns.

After leading, the memory is thrown away and loaded again: it may hold what was decided and never stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.holiday_loading import holidays_at_hand
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.budget_registers import BudgetRegister, UsageRegister
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_scheduler.loading import load
from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.object_kinds import KINDS
from gnomon_scheduler.registers import CalendarRegister, ShardRegister, TaskRegister
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode, decode_event
from gnomon_schemas.events import Event, Rejected
from gnomon_schemas.subjects import EVENTS_STREAM, TASK_RUN

__all__ = ["Delivered", "Replica", "note_answer", "read_event"]

_REGISTERS_A_READ = 256
_log = structlog.get_logger(__name__)

Delivered = tuple[int, str, Event]
"""Sequence, run and event."""
Listener = Callable[[list[Stored]], None]


class Replica(Service):
    """Follows one partition of `TASKS` into a `ShardMemory`."""

    def __init__(self, bus: NatsBus, partition: int) -> None:
        super().__init__(f"replica-{partition}")
        self._bus = bus
        self.partition = partition
        self.memory = ShardMemory(partition)
        self._shard_subject = subjects.shard_register(partition)
        self._leader: Listener | None = None
        self._moved = asyncio.Event()
        self._prepared = False
        """The registers are loaded (`load_together`), and nothing is followed yet."""

    async def on_start(self) -> None:
        """Load, then follow; ready when all that was there at the start has been applied."""
        self._leader = None
        if not self._prepared:
            self.memory = ShardMemory(self.partition)
            await load(self._bus, [self])
        self._prepared, memory = False, self.memory
        registers = [subjects.task_registers(self.partition), self._shard_subject]
        start_seq = (memory.shard.fold_position if memory.shard else 0) + 1
        follower = Follower(
            self._bus,
            EVENTS_STREAM,
            [*registers, subjects.partition_events(self.partition)],
            start_seq=start_seq,
            handler=self._follow,
            name=self.name,
            headers=False,
        )
        await self.start_child(follower)
        await follower.caught_up.wait()

    @staticmethod
    async def load_together(bus: NatsBus, replicas: Sequence[Replica]) -> None:
        """Load several replicas at once, before they are started: the broker passes over its stream only once."""
        await load(bus, replicas)
        for replica in replicas:
            replica._prepared = True

    def lead(self, listener: Listener) -> None:
        """From now on hand what is delivered to `listener` instead of applying it."""
        self._leader = listener

    async def forget_removed(self, before_ms: int) -> int:
        """Let go of tasks that were over, and of objects that were deleted, before an instant and whose register is
        gone; how many.

        A leader that removes a register tells nobody, and a follower hears only of what is there. For a replica that
        does not lead. Raises NoAnswer, BusRefused.
        """
        memory, forgotten = self.memory, 0
        old = [
            (task_id, memory.tasks[task_id].seq)
            for task_id, over in memory.over.items()
            if over.since_ms < before_ms and task_id in memory.tasks
        ]
        for start in range(0, len(old), _REGISTERS_A_READ):
            group = old[start : start + _REGISTERS_A_READ]
            present = await self._bus.multi_last(
                EVENTS_STREAM,
                [subjects.task_register(self.partition, task_id) for task_id, _ in group],
                at_least_seq=memory.position,
            )
            if self._leader is not None or self.memory is not memory:
                break
            there = {stored.subject for stored in present}
            for task_id, seq in group:
                task = memory.tasks.get(task_id)
                # One that was made anew meanwhile stays.
                if (
                    task is not None
                    and task.seq == seq
                    and subjects.task_register(self.partition, task_id) not in there
                ):
                    memory.drop_task(task_id)
                    forgotten += 1
        return forgotten + await self._forget_objects(before_ms)

    async def _forget_objects(self, before_ms: int) -> int:
        memory, forgotten = self.memory, 0
        old = memory.objects.tombstones(before_ms)
        for start in range(0, len(old), _REGISTERS_A_READ):
            group = old[start : start + _REGISTERS_A_READ]
            registers = {
                subjects.object_register(kind, self.partition, object_id): (kind, object_id, seq)
                for kind, object_id, seq in group
            }
            present = await self._bus.multi_last(EVENTS_STREAM, list(registers), at_least_seq=memory.position)
            if self._leader is not None or self.memory is not memory:
                break
            for subject in registers.keys() - {stored.subject for stored in present}:
                memory.objects.forget(*registers[subject])
                forgotten += 1
        return forgotten

    async def wait_for(self, seq: int) -> None:
        """Wait until everything of this partition up to `seq` has been delivered; `seq` must be of this partition."""
        while self.memory.position < seq:
            self._moved.clear()
            await self._moved.wait()

    async def _follow(self, messages: list[Stored]) -> None:
        if self._leader is not None:
            self._leader(messages)
            return
        await holidays_at_hand(message.data for message in messages)
        for message in messages:
            if message.subject.startswith("state."):
                self.apply_register(message)
            else:
                self._apply_event(message)
            self.memory.position = message.seq
        self._moved.set()

    def apply_register(self, message: Stored) -> None:
        """Take over a register as it is stored; one that cannot be read is set aside."""
        if subjects.register_word(message.subject) == "calendar":
            self._apply_calendar(message)
            return
        named = subjects.parse_object_register(message.subject)
        if named is not None:
            self._apply_object(*named, message)
            return
        try:
            self._apply_own(message)
        except Exception as error:
            # Also what is not a fault of decoding: a zone or holiday calendar that this release does not have, or an
            # instant that is none. That task stops, never the shard.
            expected = isinstance(error, msgspec.DecodeError | RecursionError | ValueError)
            if not expected and subjects.register_word(message.subject) != "task":
                raise
            self._set_aside(message)
            _log.error(
                LogEvent.REGISTER_UNREADABLE,
                subject=message.subject,
                seq=message.seq,
                error=str(error),
            )

    def _apply_own(self, message: Stored) -> None:
        """Take over what only this partition has. Raises what decoding does, and what the register's values do."""
        seq, data = message.seq, message.data
        match subjects.register_word(message.subject):
            case "task":
                self.memory.apply_task(seq, decode(data, TaskRegister), data)
            case "usage":
                self.memory.usages.apply(seq, decode(data, UsageRegister))
            case "budget":
                self.memory.apply_budget(decode(data, BudgetRegister))
            case "pool" | "key":
                self.memory.apply_gate(seq, decode(data, GateRegister))
            case "shard" if message.subject == self._shard_subject:
                self.memory.apply_shard(seq, decode(data, ShardRegister))
                self._set_failing_aside()
            case _:
                pass  # another partition's, or of a release that keeps more

    def _set_failing_aside(self) -> None:
        """Set those aside whose slots cannot be followed any further; a leader may still know better."""
        failing = self.memory.failing
        while failing:
            task_id, error = failing.popitem()
            task = self.memory.tasks.get(task_id)
            if task is not None:
                self.memory.set_aside(task_id, task.seq)
                _log.error(
                    LogEvent.TASK_SET_ASIDE,
                    partition=self.partition,
                    task_id=task_id,
                    doing="reckoning its next slot, as a standby",
                    error=repr(error),
                    exc_info=error,
                )

    def _set_aside(self, message: Stored) -> None:
        """Stop what a register is about that cannot be read; nothing is stored over it."""
        name = message.subject.rpartition(".")[2]
        match subjects.register_word(message.subject):
            case "task":
                self.memory.set_aside(name, message.seq)
            case "usage":
                self.memory.usages.put_aside(name)
            case "budget":
                self.memory.put_budget_aside(name)
            case "pool" | "key" as kind:
                self.memory.put_gate_aside(kind, name)
            case _:
                pass  # the shard's own: memory keeps what it had

    def _apply_calendar(self, message: Stored) -> None:
        try:
            self.memory.apply_calendar(decode(message.data, CalendarRegister))
        except msgspec.DecodeError as error:
            # Whoever leads keeps its own rules from then on, as if there had been none.
            _log.error(
                LogEvent.CALENDAR_UNREADABLE,
                subject=message.subject,
                seq=message.seq,
                error=str(error),
            )

    def _apply_object(self, kind: str, object_id: str, message: Stored) -> None:
        known = KINDS.get(kind)
        if known is None:
            # Of a newer version: its commands are refused here as of an unknown kind.
            return
        try:
            self.memory.objects.apply(kind, message.seq, decode(message.data, known.register))
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            self.memory.objects.set_aside(kind, object_id, message.seq)
            _log.error(
                LogEvent.REGISTER_UNREADABLE, subject=message.subject, seq=message.seq, error=str(error)
            )

    def _apply_event(self, message: Stored) -> None:
        read = read_event(message)
        if read is None:
            self._note_other_answer(message)
            return
        seq, run, event = read
        note_answer(self.memory, seq, event)
        if run != TASK_RUN:
            self.memory.recent.append((seq, run, event))

    def _note_other_answer(self, message: Stored) -> None:
        """Remember the command that an event of another kind than `task` answers."""
        if subjects.parse_event(message.subject).kind == "task":
            return
        try:
            answered = decode(message.data, _Answering).command_id
        except (msgspec.DecodeError, RecursionError) as error:
            _log.error(LogEvent.EVENT_UNREADABLE, subject=message.subject, seq=message.seq, error=str(error))
            return
        if answered is not None:
            self.memory.note_answer(answered, message.seq, None)


class _Answering(msgspec.Struct, frozen=True, gc=False):
    """The part of an event that tells which command it answers."""

    command_id: str | None = None


def note_answer(memory: ShardMemory, seq: int, event: Event) -> None:
    """Remember the command that an event answers."""
    if event.command_id is not msgspec.UNSET:
        memory.note_answer(event.command_id, seq, event.error if isinstance(event, Rejected) else None)


def read_event(message: Stored) -> Delivered | None:
    """A stored event of kind task with its sequence and run; None for other kinds, and, loudly, for one unreadable."""
    subject = subjects.parse_event(message.subject)
    if subject.kind != "task":
        return None
    try:
        return message.seq, subject.run, decode_event(message.data)
    except (msgspec.DecodeError, RecursionError) as error:
        _log.error(LogEvent.EVENT_UNREADABLE, subject=message.subject, seq=message.seq, error=str(error))
        return None
