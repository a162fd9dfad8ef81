"""The book of a shard: its memory, what has to be stored of it, and storing it.

The desks (slots, commands, endings) change the memory and hand in *units*; the book packs them into batches, writes
the shard register at the head of each, and tells everybody their sequences once a batch is stored. What was folded,
and what may be armed only when it is in a register, goes along with the next unit of its task.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import time
from collections.abc import Callable, Container, Iterable
from itertools import count
from typing import NamedTuple

import msgspec
import structlog

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import IN_PROCESS_PAUSE
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.messages import Outgoing
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import calendar_versions, names_of, own_rules
from gnomon_scheduler import patient_reads
from gnomon_scheduler.commit import ChainMoved, Committer
from gnomon_scheduler.emission import Emitter
from gnomon_scheduler.lateness_watch import LatenessWatch
from gnomon_scheduler.measures import ShardMeasures
from gnomon_scheduler.memory import Flight, ShardMemory, TaskState
from gnomon_scheduler.registers import (
    RING_SIZE,
    CalendarRegister,
    CatchUpOrder,
    KeptRules,
    RingEntry,
    ShardRegister,
)
from gnomon_scheduler.setting_aside import SetAside
from gnomon_scheduler.units import Batch, Note, Unit, pack
from gnomon_schemas import subjects
from gnomon_schemas.codec import cloud_event_headers, encode
from gnomon_schemas.events import CalendarName, Event, ExecutionEvent, Queued, SlotOutcome, event_name
from gnomon_schemas.object_kinds import object_event_name
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.pools import PoolUpdated
from gnomon_schemas.subjects import TASK_RUN

__all__ = ["Armed", "Book"]

_log = structlog.get_logger(__name__)

_FLUSH_AFTER_SECONDS = 0.1
_FLUSH_A_TURN = 600
_NOT_YET_MS = 1 << 62
_DERIVED_A_UNIT = 100
"""Events that follow from folding, of one task: each may hold an error of some 30 KiB, and a batch some MiB."""
_FLUSH_BYTES = 3 * 1024 * 1024
_HEARTBEAT_SECONDS = 1.0
"""While slots are handed out the stored watermark is at most this old: what a successor has to look through again."""
_IDLE_HEARTBEAT_SECONDS = 15.0


class Armed(NamedTuple):
    """An execution that is in a register and whose due is to be published at `at_ms`."""

    at_ms: int
    task_id: str
    run: str


class Book:
    """Memory and storage of one shard under one epoch."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        memory: ShardMemory,
        committer: Committer,
        emitter: Emitter,
        measures: ShardMeasures,
        *,
        epoch: int,
        owner: str,
        fingerprint: str,
    ) -> None:
        self.memory, self.epoch, self.owner = memory, epoch, owner
        self.partition = memory.partition
        self.emitter = emitter
        self.measures = measures
        self.watermark_ms = committer.current.watermark_ms or clock.now_ms()
        """Every plain slot with an emission time up to here has a stored outcome."""
        self.last_command = committer.current.last_command
        self.ring = committer.current.ring
        self.handled_until_ms = _NOT_YET_MS
        """Once the watermark is here, what a predecessor handed out matters no more. Set by the take-over."""
        self.aside = SetAside(
            memory, committer.current.set_aside, self.watermark_ms, committer.current.fold_position
        )
        """The tasks that nothing is decided about."""
        self.armed: list[Armed] = []
        """Heap of executions by the time that their due is to be published."""
        self.lateness = LatenessWatch()
        """When a slot of a task with an objective should have started: for the lateness desk."""
        self._bus, self._clock, self._committer = bus, clock, committer
        self.calendar = CalendarName(fingerprint=fingerprint, versions=calendar_versions())
        """The calendar of this process."""
        self.calendars_kept = committer.current.calendars_kept
        """Every part of a calendar that a task of the shard depends on has its register."""
        self._to_arm: dict[str, list[Flight]] = {}
        self._derived: dict[str, list[Event]] = {}
        self._full: set[str] = set()
        """Tasks with so many of these that nothing more is to be folded before they are stored."""
        self._flush_at: float | None = None
        self._stored_at = clock.monotonic()
        self._oldest, self._oldest_at = 0, float("-inf")
        self._handed_out = True
        self._source = f"gnomon/scheduler/{owner}"
        self._id_prefix = secrets.token_hex(8)
        self._ids = count(1)

    @property
    def register_seq(self) -> int:
        """Sequence of the shard register as stored last: a replica that has it shows all that this leader wrote."""
        return self._committer.expected

    @property
    def catch_up_order(self) -> CatchUpOrder:
        """What was ordered about the shard's backlog, as stored."""
        return self._committer.current.catch_up_order

    def now_ms(self) -> int:
        """The shard's clock: never before the watermark, so that no slot is looked at twice."""
        return max(self._clock.now_ms(), self.watermark_ms)

    def seconds_to_next(self) -> float:
        """Until something is to be stored or published, if nothing else happens."""
        now = self._clock.monotonic()
        pause = _HEARTBEAT_SECONDS if self._handed_out else _IDLE_HEARTBEAT_SECONDS
        wait = self._stored_at + pause - now
        if self._flush_at is not None:
            wait = min(wait, self._flush_at - now)
        if self.armed:
            wait = min(wait, (self.armed[0].at_ms - self._clock.now_ms()) / 1000)
        return wait

    # -- what goes with the next unit of a task ----------------------------------------------------

    def arm(self, task_id: str, flight: Flight) -> None:
        """Have the due of an execution that is in a register published when its time comes."""
        heapq.heappush(self.armed, Armed(flight.emit_ms, task_id, flight.run))

    def arm_once_stored(self, task_id: str, flight: Flight) -> None:
        """The same for an execution that goes into the register with the task's next unit."""
        self._to_arm.setdefault(task_id, []).append(flight)

    def derive(self, task_id: str, events: Iterable[Event]) -> None:
        """Events that follow from folding, to be stored with the task's register."""
        waiting = self._derived.setdefault(task_id, [])
        waiting.extend(events)
        if len(waiting) >= _DERIVED_A_UNIT:
            self._full.add(task_id)
            self._flush_at = self._clock.monotonic()

    @property
    def full(self) -> bool:
        """Whether what was folded is to be stored before more is: a task's events have to fit into one batch."""
        return bool(self._full)

    def forget(self, task_id: str) -> None:
        """Nothing of a task is to be stored any more besides the units that are made."""
        self._full.discard(task_id)
        self._derived.pop(task_id, None)
        self._to_arm.pop(task_id, None)

    def take_off(self, task: TaskState, flight: Flight) -> None:
        """The execution is in flight from now on."""
        task.take_off(flight)
        self.memory.note_flights(task)
        if task.reg.spec.lateness_slo_seconds is not None:
            self.lateness.watch(task, flight)

    def touch(self, task: TaskState) -> None:
        """The task's memory has changed without an event: have its register written soon."""
        self.memory.note_dirty(task, self.memory.position + 1)
        self.flush_soon()

    def flush_soon(self) -> None:
        """Something was folded: have it stored within a tenth of a second."""
        if self._flush_at is None:
            self._flush_at = self._clock.monotonic() + _FLUSH_AFTER_SECONDS

    def flush(self, *, everything: bool = False) -> list[Unit]:
        """Units for the tasks whose register lacks something that was folded, when it is time."""
        if not everything and (self._flush_at is None or self._clock.monotonic() < self._flush_at):
            return []
        self._flush_at = None
        units: list[Unit] = []
        size = 0
        for task in list(self.memory.dirty.values()):
            if not everything and (len(units) >= _FLUSH_A_TURN or size >= _FLUSH_BYTES):
                self._flush_at = self._clock.monotonic()
                break
            with self.aside.task(task.task_id, "writing its register"):
                units.append(self.unit(task))
                size += units[-1].size
        units += [
            Unit(others=[Note(Outgoing(usage.subject, usage.data, rollup=True), usage.stored)])
            for usage in self.memory.usages.unsaved()
        ]
        return units

    # -- making units ------------------------------------------------------------------------------

    def unit(self, task: TaskState, notes: Iterable[Note] = (), *, command_seq: int = 0) -> Unit:
        """A unit with the task's register as it is now, what follows from folding, and what is armed once stored."""
        self._full.discard(task.task_id)
        derived = [self.note(event, run=_run_of(event)) for event in self._derived.pop(task.task_id, ())]
        unit = Unit(
            task=task, notes=[*notes, *derived], others=self.keep_rules(task), command_seq=command_seq
        )
        for flight in self._to_arm.pop(task.task_id, ()):
            unit.when_stored(_arming(self, task.task_id, flight))
        return unit

    def keep_rules(self, task: TaskState) -> list[Note]:
        """The registers to store with a task so that the rules are kept which its slots are made by."""
        schedule = task.reg.spec.schedule
        if schedule is None:
            return []
        calendars = self.memory.calendars
        missing = [name for name in names_of(schedule) if name not in calendars]
        return [
            self.calendar_register(CalendarRegister(name=name, kept=(own,)))
            for name in missing
            if (own := self.own(name)) is not None
        ]

    def own(self, name: str, known: bytes | None = None) -> KeptRules | None:
        """The process's own rules of a part of the calendar; None where its release knows no such part.

        They say at least as much as what is `known`.
        """
        try:
            rules = own_rules(name, time.gmtime(self.now_ms() / 1000).tm_year, known)
        except ValueError:
            return None
        return KeptRules(fingerprint=self.calendar.fingerprint, versions=self.calendar.versions, rules=rules)

    def calendar_register(self, reg: CalendarRegister) -> Note:
        """What is kept of a part of the calendar from now on: to be stored."""
        self.memory.apply_calendar(reg)
        subject = subjects.calendar_register(self.partition, reg.name)
        return Note(Outgoing(subject, encode(reg), rollup=True))

    def note(
        self,
        event: Event,
        *,
        run: str = TASK_RUN,
        expected: int | None = None,
        on_seq: Callable[[int], None] | None = None,
        traceparent: str | None = None,
        follows: Note | None = None,
    ) -> Note:
        """An event to store; `expected` is the last sequence that its chain must have. It is left out where the one
        that it `follows` is."""
        if isinstance(event, ExecutionEvent | SlotOutcome):
            event = msgspec.structs.replace(event, epoch=self.epoch)
        subject = subjects.event("task", event_name(event), self.partition, event.task_id, run)
        headers = cloud_event_headers(
            event,
            ce_id=f"{self._id_prefix}-{next(self._ids)}",
            source=self._source,
            traceparent=traceparent,
        )
        chain = None if expected is None else subjects.chain(self.partition, event.task_id, run)
        return Note(Outgoing(subject, encode(event), headers, expected, chain), on_seq, follows)

    def pool_note(self, event: PoolUpdated, traceparent: str | None = None) -> Note:
        """An event of a pool to store."""
        return self._note(subjects.event("pool", "updated", self.partition, event.pool), event, traceparent)

    def object_note(self, kind: str, event: ObjectEvent, traceparent: str | None = None) -> Note:
        """An event of another object to store."""
        name = object_event_name(event)
        return self._note(subjects.event(kind, name, self.partition, event.object_id), event, traceparent)

    def _note(self, subject: str, event: PoolUpdated | ObjectEvent, traceparent: str | None) -> Note:
        headers = cloud_event_headers(
            event,
            ce_id=f"{self._id_prefix}-{next(self._ids)}",
            source=self._source,
            traceparent=traceparent,
        )
        return Note(Outgoing(subject, encode(event), headers))

    def chain_head(self, flight: Flight, event: Queued, traceparent: str | None = None) -> Note:
        """The `queued` event that an execution's chain begins with."""

        def stored(seq: int) -> None:
            flight.first_seq = flight.last_seq = flight.cause_seq = seq

        return self.note(event, run=flight.run, expected=0, on_seq=stored, traceparent=traceparent)

    # -- storing -----------------------------------------------------------------------------------

    async def store(self, units: list[Unit], until_ms: int, *, handed_out: bool = False) -> None:
        """Store units, and with the last batch the watermark `until_ms`. Without units, when a heartbeat is due.

        `handed_out`: dues were published that only the watermark tells of. Raises Deposed.
        """
        self._handed_out = self._handed_out or handed_out
        batches = list(pack(units))
        if not batches and self.seconds_to_heartbeat() > 0:
            self._advance(until_ms)
            return
        for index, batch in enumerate(batches or [Batch()]):
            last = index >= len(batches) - 1
            await self._store_batch(batch, until_ms if last else self.watermark_ms)
        # Only now, after the last batch: what these change in memory must not be taken for stored with a snapshot of
        # the same task that was made before.
        for unit in units:
            self._tell_stored(unit)
        for unit in units:
            if unit.task is not None and unit.reg is not None:
                unit.task.rest(unit.reg, unit.register)
        self._stored_at, self._handed_out = self._clock.monotonic(), False
        self._advance(until_ms)

    def _tell_stored(self, unit: Unit) -> None:
        """Do what was to be done once a unit is stored; nothing of it for a task that was set aside since."""
        if not unit.stored:
            return
        task_id = unit.task_id
        if task_id is None:
            for work in unit.stored:
                work()
        elif task_id not in self.aside:
            with self.aside.task(task_id, "going on after its change was stored"):
                for work in unit.stored:
                    work()

    async def store_endings(self, notes: list[Note]) -> None:
        """Store terminal events that race with executors, in a batch of their own.

        Raises ChainMoved where one of the executions was claimed meanwhile: nothing is stored then. Raises Deposed.
        """
        # With the watermark, as in every batch: behind the fold position nothing tells any more that a slot after the
        # stored watermark was handed out and has ended.
        register = msgspec.structs.replace(
            self._committer.current,
            watermark_ms=self.watermark_ms,
            fold_position=self._fold_position(self.watermark_ms),
            set_aside=self.aside.entries(caught_up=self._caught_up(self.watermark_ms)),
        )
        await self._committer.store(register, [note.message for note in notes])

    def seconds_to_heartbeat(self) -> float:
        """Until the shard register is to be written even if nothing changes."""
        pause = _HEARTBEAT_SECONDS if self._handed_out else _IDLE_HEARTBEAT_SECONDS
        return self._stored_at + pause - self._clock.monotonic()

    def _advance(self, until_ms: int) -> None:
        self.watermark_ms = self.aside.watermark_ms = max(self.watermark_ms, until_ms)
        if self.memory.handled and self.watermark_ms >= self.handled_until_ms:
            self.memory.handled.clear()

    async def _store_batch(self, batch: Batch, watermark_ms: int) -> None:
        memory = self.memory
        entries = [unit.ring for unit in batch.units if unit.ring is not None]
        ring: tuple[RingEntry, ...] = (*self.ring, *entries)[-RING_SIZE:]
        last_command = max(self.last_command, batch.last_command)
        order = batch.order_after(self.catch_up_order)
        caught_up = self._caught_up(watermark_ms, batch.registers.keys())
        register = msgspec.structs.replace(
            self._committer.current,
            epoch=self.epoch,
            owner=self.owner,
            watermark_ms=watermark_ms,
            fold_position=self._fold_position(watermark_ms, batch.registers.keys(), batch.others.keys()),
            oldest_unfinished=self._oldest_unfinished(),
            last_command=last_command,
            due_fence=self.emitter.fence,
            fingerprint=self.calendar.fingerprint,
            ring=ring,
            catch_up_approved_ms=order.approved_ms,
            catch_up_discarded_ms=order.discarded_ms,
            calendars_kept=self.calendars_kept,
            set_aside=self.aside.entries(caught_up=caught_up),
        )
        started = self._clock.monotonic()
        seq = await self._store_or_drop_moved(register, batch)
        self.measures.stored(self._clock.monotonic() - started, batch.count + 1)
        self.ring, self.last_command = ring, last_command
        if caught_up:
            self.aside.caught_up()
        if watermark_ms >= self.handled_until_ms:
            memory.resumed.clear()
        for offset, (task, _) in enumerate(batch.registers.values(), 1):
            memory.note_written(task, seq + offset)
        first_other = seq + len(batch.registers) + 1
        for offset, note in enumerate([*batch.others.values(), *batch.notes]):
            if note.on_seq is not None:
                note.on_seq(first_other + offset)

    def _caught_up(self, watermark_ms: int, written: Container[str] = ()) -> bool:
        """Whether all that was tried again is done with a batch of that watermark and the registers `written`.

        Not before all of it is in registers: a standby has let go of what a former leader had passed by.
        """
        dirty = self.memory.dirty
        return watermark_ms >= self.handled_until_ms and not any(
            task_id in dirty and task_id not in written for task_id in self.aside.resumed
        )

    def _fold_position(
        self, watermark_ms: int, written: Container[str] = (), others: Container[str] = ()
    ) -> int:
        """Up to where nobody has to fold again, to be stored with a watermark."""
        if watermark_ms < self.handled_until_ms:
            # By the events behind it a successor finds which slots after the watermark a predecessor handed out.
            return self._committer.current.fold_position
        return self.memory.fold_position(written, others)

    def _oldest_unfinished(self) -> int:
        """Looked up at most once a second: an old answer stays true, and with many in flight it is not free."""
        now = self._clock.monotonic()
        if now - self._oldest_at >= _HEARTBEAT_SECONDS:
            self._oldest, self._oldest_at = self.memory.oldest_unfinished(), now
        oldest = self.aside.oldest()
        return self._oldest if oldest is None else min(self._oldest, oldest)

    async def _store_or_drop_moved(self, register: ShardRegister, batch: Batch) -> int:
        """Store a batch. An event whose chain has moved after all is left out, loudly, with what follows it, and the
        rest stored.

        The chains in here are of slots that this shard never handed out, so nobody else writes on them; were it to
        happen, callers' commands must not hang on it.
        """
        while True:
            try:
                return await self._committer.store(register, batch.messages(self.partition))
            except ChainMoved:
                moved = {id(note) for note in batch.notes if await self._has_moved(note.message)}
                batch.notes = [note for note in batch.notes if not {id(note), id(note.follows)} & moved]
                await asyncio.sleep(IN_PROCESS_PAUSE)

    async def _has_moved(self, message: Outgoing) -> bool:
        if message.expected is None or message.expected_subject is None:
            return False
        last = await patient_reads.last(self._bus, subjects.EVENTS_STREAM, message.expected_subject)
        moved = (0 if last is None else last.seq) != message.expected
        if moved:
            _log.error(
                LogEvent.CHAIN_MOVED,
                subject=message.subject,
                expected=message.expected,
                last=0 if last is None else last.seq,
            )
        return moved


def _arming(book: Book, task_id: str, flight: Flight) -> Callable[[], None]:
    return lambda: book.arm(task_id, flight)


def _run_of(event: Event) -> str:
    return event.run if isinstance(event, ExecutionEvent) else TASK_RUN
