"""A shard's memory: its tasks, what is in flight, and the heap of coming slots.

The same memory serves a leader and a hot standby. A standby fills it from registers and events as the follower
delivers them; a leader changes it by its own decisions. No I/O and no clock in here.

**The heap.** Slots are looked at twice: at their *nominal* time a slot is expanded (the next one of its task is put
on the heap), and at its *emission* time (nominal plus jitter) it is handed out. Without jitter both are one. Items
carry their task's generation: a change of schedule raises it, and items of an older one are dropped when met.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container
from typing import NamedTuple

import msgspec

from gnomon_core.timing import jitter_ms, next_fire
from gnomon_scheduler.registers import Cancelling, Entry, ShardRegister, TaskRegister
from gnomon_schemas.events import Event
from gnomon_schemas.problems import Problem
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Trigger

__all__ = ["Flight", "ShardMemory", "Slot", "TaskState"]


class Slot(NamedTuple):
    """One slot that came due: nominal time in seconds, emission time in milliseconds."""

    task: TaskState
    nominal_s: int
    emit_ms: int


class Flight:
    """One unfinished execution: waiting, emitted, started, or waiting for its next attempt."""

    __slots__ = (
        "attempt",
        "cause_seq",
        "due_ms",
        "due_seq",
        "emit_ms",
        "emitted",
        "executor",
        "expires_ms",
        "first_seq",
        "first_started_ms",
        "gated",
        "has_input",
        "last_seq",
        "queued",
        "retry_of",
        "revision",
        "run",
        "scheduled_ms",
        "started",
        "traceparent",
        "trigger",
        "written",
    )

    def __init__(
        self,
        *,
        run: str,
        trigger: Trigger,
        scheduled_ms: int,
        due_ms: int,
        emit_ms: int,
        revision: int,
        written: bool,
        attempt: int = 1,
        cause_seq: int = 0,
        queued: bool = False,
        gated: bool = False,
        expires_ms: int | None = None,
        has_input: bool = False,
        retry_of: str | None = None,
        first_started_ms: int | None = None,
        traceparent: str | None = None,
    ) -> None:
        self.run = run
        self.trigger = trigger
        self.scheduled_ms = scheduled_ms
        self.due_ms = due_ms
        self.emit_ms = emit_ms
        self.revision = revision
        self.attempt = attempt
        self.cause_seq = cause_seq
        self.queued = queued
        self.gated = gated
        self.expires_ms = expires_ms
        self.has_input = has_input
        self.retry_of = retry_of
        self.first_started_ms = first_started_ms
        self.traceparent = traceparent
        self.written = written
        """It is (or goes with this batch) in the task's register."""
        self.emitted = False
        """A due of the present attempt has been published."""
        self.started = False
        """The present attempt was claimed."""
        self.due_seq = 0
        self.executor: str | None = None
        self.first_seq = 0
        """First sequence of its chain that is known; 0: none."""
        self.last_seq = cause_seq
        """Last sequence of its chain that is known."""

    @classmethod
    def of_entry(cls, entry: Entry) -> Flight:
        """The flight of an entry found in a register."""
        return cls(
            run=entry.run,
            trigger=entry.trigger,
            scheduled_ms=entry.scheduled_ms,
            due_ms=entry.due_ms,
            emit_ms=entry.emit_ms,
            revision=entry.revision,
            written=True,
            attempt=entry.attempt,
            cause_seq=entry.cause_seq,
            queued=entry.queued,
            gated=entry.gated,
            expires_ms=entry.expires_ms,
            has_input=entry.has_input,
            retry_of=entry.retry_of,
            first_started_ms=entry.first_started_ms,
            traceparent=entry.traceparent,
        )

    def entry(self) -> Entry:
        """What the register keeps of it."""
        return Entry(
            run=self.run,
            trigger=self.trigger,
            scheduled_ms=self.scheduled_ms,
            due_ms=self.due_ms,
            emit_ms=self.emit_ms,
            revision=self.revision,
            attempt=self.attempt,
            cause_seq=self.cause_seq if self.attempt > 1 else 0,
            queued=self.queued,
            gated=self.gated,
            expires_ms=self.expires_ms,
            has_input=self.has_input,
            retry_of=self.retry_of,
            first_started_ms=self.first_started_ms,
            traceparent=self.traceparent,
        )

    @property
    def running(self) -> bool:
        """Whether it counts against the overlap policy: it was handed out, or has had an attempt."""
        return self.emitted or self.started or self.attempt > 1

    @property
    def unclaimed(self) -> bool:
        """Whether no attempt of it was ever claimed, as far as is known."""
        return not self.started and self.attempt == 1


class TaskState:
    """One task in memory."""

    __slots__ = ("cancelling", "dirty_from", "flights", "generation", "reg", "seq")

    def __init__(self, reg: TaskRegister, seq: int) -> None:
        self.reg = reg
        self.seq = seq
        """Sequence of the register as stored; 0: not stored yet."""
        self.generation = 0
        self.dirty_from = 0
        """Sequence of the oldest folded event whose effect is not in a stored register; 0: none."""
        self.flights: dict[str, Flight] = {}
        self.cancelling: dict[str, Cancelling] = {}

    @property
    def task_id(self) -> str:
        """Its id."""
        return self.reg.task_id

    @property
    def running(self) -> bool:
        """Whether something of it is in flight, as the overlap policy sees it."""
        return any(flight.running for flight in self.flights.values())

    def stored_form(self) -> TaskRegister:
        """The register as it has to be written now: with its entries and what is being cancelled."""
        return msgspec.structs.replace(
            self.reg,
            entries=tuple(flight.entry() for flight in self.flights.values() if flight.written),
            cancelling=tuple(self.cancelling.values()),
        )


class ShardMemory:
    """All of one shard."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.tasks: dict[str, TaskState] = {}
        self.unreadable: dict[str, int] = {}
        """Ids whose register does not decode, with its sequence: set aside, loudly; the shard goes on."""
        self.shard: ShardRegister | None = None
        self.shard_seq = 0
        self.position = 0
        """Last sequence of `TASKS` that has been applied or folded."""
        self.recent: deque[tuple[int, str, Event]] = deque()
        """Standby only: (sequence, run, event) after the fold position, for a take-over to fold."""
        self.in_flight: dict[str, TaskState] = {}
        """The tasks that have flights."""
        self.dirty: dict[str, TaskState] = {}
        """The tasks whose register lacks something that was folded."""
        self.over: dict[str, TaskState] = {}
        """The tasks that ended or were deleted: whose register goes some day."""
        self.handled: dict[str, set[int]] = {}
        """Slots (task id, nominal times) that a predecessor emitted after the watermark: not to be emitted again."""
        self._answers: dict[str, tuple[int, Problem | None]] = {}
        self._heap: list[tuple[int, int, int, str, int]] = []
        self._generation = 0
        """Given out once each, so that what an id's former life left on the heap is not taken for its present one's."""
        self._horizon_ms = 0

    # -- slots ---------------------------------------------------------------------------------

    def schedule(self, task: TaskState, watermark_ms: int) -> None:
        """Put a task's coming slots on the heap: those after its cursor whose emission time is after the watermark."""
        self._generation += 1
        task.generation = self._generation
        reg = task.reg
        if reg.deleted_ms is not None or reg.ended is not None:
            self.over[task.task_id] = task
        else:
            self.over.pop(task.task_id, None)
        schedule = reg.spec.schedule
        if schedule is None or not reg.active:
            return
        span_ms = _jitter_span_ms(schedule)
        after_s = max(reg.cursor_s, (watermark_ms - span_ms) // 1000)
        nominal = next_fire(schedule, after_s)
        while nominal is not None and nominal * 1000 <= watermark_ms:
            emit_ms = nominal * 1000 + _jitter(reg, nominal)
            if emit_ms > watermark_ms:
                self._push(emit_ms, _EMIT, task, nominal)
            nominal = next_fire(schedule, nominal)
        if nominal is not None:
            self._push(nominal * 1000, _NOMINAL, task, nominal)

    def pop_due(self, until_ms: int, limit: int) -> list[Slot]:
        """Hand out, in order, the slots whose emission time is up to `until_ms`; `limit` of them at the most.

        When fewer than `limit` come back there are no more, and every slot up to `until_ms` was handed out.
        """
        slots: list[Slot] = []
        heap = self._heap
        while heap and heap[0][0] <= until_ms and len(slots) < limit:
            at_ms, kind, nominal, task_id, generation = heapq.heappop(heap)
            task = self.tasks.get(task_id)
            if task is None or task.generation != generation:
                continue
            if kind == _NOMINAL:
                schedule = task.reg.spec.schedule
                following = None if schedule is None else next_fire(schedule, nominal)
                if following is not None:
                    self._push(following * 1000, _NOMINAL, task, following)
                offset = _jitter(task.reg, nominal)
                if offset:
                    self._push(at_ms + offset, _EMIT, task, nominal)
                    continue
            slots.append(Slot(task, nominal, at_ms))
        return slots

    def waiting_for_jitter(self, task: TaskState, at_ms: int) -> list[Slot]:
        """The slots of a task that are past their nominal time at `at_ms` and not yet due, because of their jitter."""
        schedule = task.reg.spec.schedule
        if schedule is None or not task.reg.active or not schedule.jitter_seconds:
            return []
        waiting = []
        after_s = max(task.reg.cursor_s, (at_ms - _jitter_span_ms(schedule)) // 1000 - 1)
        nominal = next_fire(schedule, after_s)
        while nominal is not None and nominal * 1000 <= at_ms:
            emit_ms = nominal * 1000 + _jitter(task.reg, nominal)
            if emit_ms > at_ms:
                waiting.append(Slot(task, nominal, emit_ms))
            nominal = next_fire(schedule, nominal)
        return waiting

    def next_due_ms(self) -> int | None:
        """When the next slot has to be looked at, in milliseconds; None: nothing is scheduled."""
        heap = self._heap
        while heap:
            task = self.tasks.get(heap[0][3])
            if task is not None and task.generation == heap[0][4]:
                return heap[0][0]
            heapq.heappop(heap)
        return None

    def _push(self, at_ms: int, kind: int, task: TaskState, nominal_s: int) -> None:
        heapq.heappush(self._heap, (at_ms, kind, nominal_s, task.reg.task_id, task.generation))

    # -- what the follower delivered -------------------------------------------------------------

    def apply_task(self, seq: int, reg: TaskRegister) -> None:
        """Take over a task's register; one older than what is known is ignored."""
        known = self.tasks.get(reg.task_id)
        if known is not None and known.seq >= seq:
            return
        task = TaskState(reg, seq)
        task.flights = {entry.run: Flight.of_entry(entry) for entry in reg.entries}
        task.cancelling = {item.run: item for item in reg.cancelling}
        self.tasks[reg.task_id] = task
        self.note_flights(task)
        self.unreadable.pop(reg.task_id, None)
        if known is not None and _same_slots(known.reg, reg):
            # Most registers tell of a run: what waits on the heap stays true, and must not be put there once more.
            task.generation = known.generation
        else:
            self.schedule(task, self._horizon_ms)

    def apply_shard(self, seq: int, reg: ShardRegister) -> None:
        """Take over the shard register, and let go of what it says is done."""
        if seq <= self.shard_seq:
            return
        self.shard, self.shard_seq = reg, seq
        while self.recent and self.recent[0][0] <= reg.fold_position:
            self.recent.popleft()
        if reg.watermark_ms > self._horizon_ms:
            # The leader has stored the outcomes of these slots: a standby walks its heap along, to be warm.
            self._horizon_ms = reg.watermark_ms
            while self.pop_due(reg.watermark_ms, _STRIDE):
                pass

    def drop_task(self, task_id: str) -> None:
        """Forget a task whose register was removed."""
        for table in (self.tasks, self.unreadable, self.in_flight, self.dirty, self.over):
            table.pop(task_id, None)

    def note_answer(self, command_id: str, seq: int, problem: Problem | None) -> None:
        """Remember how a command was answered, and by the event at which sequence. The newest few thousand are kept."""
        self._answers[command_id] = (seq, problem)
        if len(self._answers) > _ANSWERS_MAX:
            for old in list(self._answers)[: _ANSWERS_MAX // 2]:
                del self._answers[old]

    def answer(self, command_id: str) -> tuple[int, Problem | None] | None:
        """How a command was answered, if that was lately."""
        return self._answers.get(command_id)

    # -- book-keeping ------------------------------------------------------------------------------

    def note_flights(self, task: TaskState) -> None:
        """Keep `in_flight` true after a task's flights changed."""
        if task.flights:
            self.in_flight[task.task_id] = task
        else:
            self.in_flight.pop(task.task_id, None)

    def note_dirty(self, task: TaskState, seq: int) -> None:
        """The effect of the event at `seq` is in memory and not in the task's register."""
        if not task.dirty_from:
            task.dirty_from = seq
        self.dirty[task.task_id] = task

    def note_written(self, task: TaskState, seq: int) -> None:
        """The task's register, with all that was folded, is stored at `seq`."""
        task.seq = seq
        task.dirty_from = 0
        self.dirty.pop(task.task_id, None)

    def oldest_unfinished(self) -> int:
        """No unfinished execution's chain has an event below this sequence.

        As true later as it is now: what begins after this begins at a higher sequence.
        """
        return min(
            (f.first_seq for task in self.in_flight.values() for f in task.flights.values() if f.first_seq),
            default=self.position + 1,
        )

    def fold_position(self, written: Container[str] = ()) -> int:
        """The greatest sequence such that its effects and all before it are in registers, once those of `written` are.

        Never simply the follower's own position: an event folded into a task that this batch does not write is
        only in memory yet.
        """
        oldest = min(
            (task.dirty_from for task_id, task in self.dirty.items() if task_id not in written), default=0
        )
        return oldest - 1 if oldest else self.position


def _same_slots(before: TaskRegister, after: TaskRegister) -> bool:
    """Whether two registers of one task make the same slots."""
    return (
        before.active
        and after.active
        and before.revision == after.revision
        and before.cursor_s == after.cursor_s
        and before.spec.schedule == after.spec.schedule
    )


def _jitter(reg: TaskRegister, nominal_s: int) -> int:
    schedule = reg.spec.schedule
    if schedule is None or not schedule.jitter_seconds:
        return 0
    return jitter_ms(reg.task_id, nominal_s, schedule.jitter_seconds)


def _jitter_span_ms(schedule: Schedule) -> int:
    return int((schedule.jitter_seconds or 0) * 1000)


_NOMINAL, _EMIT = 0, 1
_STRIDE = 1000
_ANSWERS_MAX = 8192
