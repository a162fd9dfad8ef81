"""A shard's memory: its tasks, what is in flight, and the heap of coming slots.

The same memory serves a leader and a hot standby. A standby fills it from registers and events as the follower
delivers them; a leader changes it by its own decisions. No I/O and no clock in here.

**The heap.** Slots are looked at twice: at their *nominal* time a slot is expanded (the next one of its task is put
on the heap), and at its *emission* time (nominal plus jitter) it is handed out. Without jitter both are one. An item
is its instant in half milliseconds (odd: an emission) with the task's id, and for an emission the nominal time and the
task's generation. What a change of schedule leaves behind is dropped when met: a nominal item counts only while its
task says that it is its next one (`planned`), an emission only in its generation.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Container
from typing import NamedTuple

from gnomon_core.timing import jitter_ms, next_fire
from gnomon_scheduler.budget_registers import BudgetRegister
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_scheduler.object_shelf import ObjectShelf
from gnomon_scheduler.registers import CalendarRegister, ShardRegister, TaskRegister, owes_change
from gnomon_scheduler.task_state import Flight, Outline, TaskState
from gnomon_scheduler.timers import Timers
from gnomon_scheduler.usages import Usages
from gnomon_schemas.events import Event
from gnomon_schemas.gates import GateKind
from gnomon_schemas.problems import Problem
from gnomon_schemas.schedules import Schedule

__all__ = ["Flight", "Over", "ShardMemory", "Slot", "StoredGate", "TaskState"]


class Slot(NamedTuple):
    """One slot that came due: nominal time in seconds, emission time in milliseconds."""

    task: TaskState
    nominal_s: int
    emit_ms: int


class Over(NamedTuple):
    """Since when a task is over, in epoch milliseconds, and whether it was deleted."""

    since_ms: int
    deleted: bool


class StoredGate(NamedTuple):
    """A gate's register, and where it is stored."""

    seq: int
    reg: GateRegister


class ShardMemory:
    """All of one shard."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.tasks: dict[str, TaskState] = {}
        self.unreadable: dict[str, int] = {}
        """Ids of the tasks that are set aside, with the sequence of their register: see `setting_aside`."""
        self.failing: dict[str, Exception] = {}
        """Tasks whose next slot could not be reckoned, and why: to be set aside by whoever sees it."""
        self.resumed: dict[str, int] = {}
        """Tasks that are tried again after they were set aside: their slots from that instant on, in milliseconds, are
        still to be handed out, whatever the watermark says."""
        self.shard: ShardRegister | None = None
        self.shard_seq = 0
        self.position = 0
        """Last sequence of `TASKS` that has been applied or folded."""
        self.recent: deque[tuple[int, str, Event]] = deque()
        """Standby only: (sequence, run, event) after the fold position, for a take-over to fold."""
        self.gates: dict[tuple[GateKind, str], StoredGate] = {}
        """Registers of the pools and keys whose gates live in this partition; of keys only those that are in use."""
        self.unreadable_gates: set[tuple[GateKind, str]] = set()
        """Pools and keys that are set aside: their register cannot be read, or deciding about them failed. Nothing is
        given of them, and nothing is stored over it."""
        self.idle_keys: dict[str, int] = {}
        """Keys whose register says that nobody uses them, with its sequence: the oldest first, to be removed."""
        self.budgets: dict[str, BudgetRegister] = {}
        """Of the accounts that live in this partition: what each shard may use of them."""
        self.barred_users: set[str] = set()
        """Users about whose credits and limits deciding has failed: see `user_doors`."""
        self.unreadable_budgets: set[str] = set()
        """Accounts whose budget does not decode: nothing is granted of them, and nothing is stored over it."""
        self.usages = Usages(partition)
        """What users have used in this partition."""
        self.objects = ObjectShelf()
        """Templates, calendars and accounts that live in this partition."""
        self.in_flight: dict[str, TaskState] = {}
        """The tasks that have flights."""
        self.dirty: dict[str, TaskState] = {}
        """The tasks whose register lacks something that was folded."""
        self.over: dict[str, Over] = {}
        """The tasks that ended or were deleted: whose register goes some day."""
        self.on_over: Callable[[TaskState], None] | None = None
        """Told of a task that is over from now on, or not any more, or dropped."""
        self.ending: dict[str, TaskState] = {}
        """The tasks that a register told of as having executions that are being ended."""
        self.owing: dict[str, TaskState] = {}
        """The tasks whose register asked for a change of its own accord: see `decisions.own_changes`."""
        self.calendars: dict[str, CalendarRegister] = {}
        """The rules that the slots were made by, by name of the part of the calendar: see `replanning`."""
        self.slo_broken: set[str] = set()
        """The tasks that are not over and whose lateness objective is broken."""
        self.handled: dict[str, set[int]] = {}
        """Slots (task id, nominal times) that a predecessor emitted after the watermark: not to be emitted again."""
        self._answers: dict[str, tuple[int, Problem | None]] = {}
        self._heap: list[tuple[int, str] | tuple[int, str, int, int]] = []
        self._pauses = Timers()
        """When the tasks resume that are paused until a time."""
        self._reminders = Timers()
        """When the tasks are to be told of."""
        self._generation = 0
        """Given out once each, so that what an id's former life left on the heap is not taken for its present one's."""
        self._horizon_ms = 0

    # -- slots ---------------------------------------------------------------------------------

    def schedule(self, task: TaskState, watermark_ms: int) -> None:
        """Put a task's coming slots on the heap: those after its cursor whose emission time is after the watermark."""
        self.note_times(task)
        task.planned = task.generation = 0
        reg = task.reg
        schedule = reg.spec.schedule
        if schedule is None or not reg.active or reg.exhausted:
            return
        watermark_ms = min(watermark_ms, self.resumed.get(task.task_id, watermark_ms))
        after_s = max(reg.cursor_s, watermark_ms // 1000)
        if schedule.jitter_seconds:
            after_s = self._schedule_emissions(task, schedule, watermark_ms)
        nominal = next_fire(schedule, after_s)
        if nominal is not None:
            self._plan(task, nominal)

    def reschedule(self, task: TaskState, before: TaskRegister, watermark_ms: int) -> None:
        """The same after a change, where `before` made other slots.

        Otherwise what is on the heap stays: by the time that a turn decides, it has handed out slots after the
        watermark, and they must not come a second time.
        """
        if _same_slots(before, task.reg):
            self.note_times(task)
        else:
            self.schedule(task, watermark_ms)

    def note_times(self, task: TaskState) -> None:
        """Keep true when the task resumes by itself, is told of, and since when it is over."""
        reg = task.reg
        over_since_ms = reg.deleted_ms or (reg.ended_ms if reg.ended is not None else None)
        was_over = task.task_id in self.over
        if over_since_ms is not None:
            self.over[task.task_id] = Over(over_since_ms, reg.deleted_ms is not None)
        else:
            self.over.pop(task.task_id, None)
        if self.on_over is not None and was_over is not (over_since_ms is not None):
            self.on_over(task)
        self._pauses.set(task.task_id, reg.paused_until_ms if over_since_ms is None else None)
        self._reminders.set(task.task_id, reg.reminder_due_ms)
        self.note_objective(task)

    def next_pause_end_ms(self) -> int | None:
        """When the next task resumes by itself, in milliseconds; None: none does."""
        return self._pauses.next_ms()

    def pop_pause_end(self) -> TaskState | None:
        """The task that resumes next (see `next_pause_end_ms`), once; None: its register cannot be read."""
        return self.tasks.get(self._pauses.pop())

    def next_reminder_ms(self) -> int | None:
        """When the next task is to be told of, in milliseconds; None: none is."""
        return self._reminders.next_ms()

    def pop_reminder(self) -> TaskState | None:
        """The task that is to be told of next (see `next_reminder_ms`), once; None: its register cannot be read."""
        return self.tasks.get(self._reminders.pop())

    def _schedule_emissions(self, task: TaskState, schedule: Schedule, watermark_ms: int) -> int:
        """Put on the heap what waits for its jitter at the watermark; the instant from which nominal times count."""
        self._generation += 1
        task.generation = self._generation
        after_s = max(task.reg.cursor_s, (watermark_ms - _jitter_span_ms(schedule)) // 1000)
        nominal = next_fire(schedule, after_s)
        while nominal is not None and nominal * 1000 <= watermark_ms:
            emit_ms = nominal * 1000 + jitter_ms(task.task_id, nominal, schedule.jitter_seconds or 0)
            if emit_ms > watermark_ms:
                self._push_emission(emit_ms, task, nominal)
            after_s = nominal
            nominal = next_fire(schedule, nominal)
        return after_s

    def pop_due(self, until_ms: int, limit: int) -> list[Slot]:
        """Hand out, in order, the slots whose emission time is up to `until_ms`; `limit` of them at the most.

        When fewer than `limit` come back there are no more, and every slot up to `until_ms` was handed out.
        """
        slots: list[Slot] = []
        heap, beyond = self._heap, until_ms * 2 + 2
        while heap and heap[0][0] < beyond and len(slots) < limit:
            item = heapq.heappop(heap)
            task = self._task_of(item)
            if task is None:
                continue
            at_ms = item[0] // 2
            if len(item) == 4:
                slots.append(Slot(task, item[2], at_ms))
                continue
            nominal = at_ms // 1000
            try:
                offset = self._go_on(task, task.reg.spec.schedule, nominal)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this task alone
                self.failing[task.task_id] = error
                continue
            if not offset:
                slots.append(Slot(task, nominal, at_ms))
        return slots

    def pass_over(self, until_ms: int) -> None:
        """Take the slots up to `until_ms` off the heap: somebody else has handed them out. Wakes no task.

        A task whose next slot cannot be reckoned is `failing` then."""
        heap, beyond = self._heap, until_ms * 2 + 2
        while heap and heap[0][0] < beyond:
            item = heapq.heappop(heap)
            task = self._task_of(item)
            if task is None or len(item) == 4:
                continue
            try:
                self._go_on(task, task.outline.spec.schedule, item[0] // 2000)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this task alone
                self.failing[task.task_id] = error

    def _go_on(self, task: TaskState, schedule: Schedule | None, nominal_s: int) -> int:
        """From a slot at its nominal time to the next one: plan that; the jitter of this one, in milliseconds.

        One that has jitter is put on the heap for its emission.
        """
        task.planned = 0
        if schedule is None:
            return 0
        following = next_fire(schedule, nominal_s)
        if following is not None:
            self._plan(task, following)
        if not schedule.jitter_seconds:
            return 0
        offset = jitter_ms(task.task_id, nominal_s, schedule.jitter_seconds)
        if offset:
            self._push_emission(nominal_s * 1000 + offset, task, nominal_s)
        return offset

    def waiting_for_jitter(self, task: TaskState, at_ms: int) -> list[Slot]:
        """The slots of a task that are past their nominal time at `at_ms` and not yet due, because of their jitter."""
        schedule = task.reg.spec.schedule
        if schedule is None or not task.reg.active or task.reg.exhausted or not schedule.jitter_seconds:
            return []
        waiting = []
        after_s = max(task.reg.cursor_s, (at_ms - _jitter_span_ms(schedule)) // 1000 - 1)
        nominal = next_fire(schedule, after_s)
        while nominal is not None and nominal * 1000 <= at_ms:
            emit_ms = nominal * 1000 + jitter_ms(task.task_id, nominal, schedule.jitter_seconds)
            if emit_ms > at_ms:
                waiting.append(Slot(task, nominal, emit_ms))
            nominal = next_fire(schedule, nominal)
        return waiting

    def behind(self, at_ms: int) -> bool:
        """Whether a slot that was due by `at_ms` was not looked at yet."""
        due_ms = self.next_due_ms()
        return due_ms is not None and due_ms <= at_ms

    def next_due_ms(self) -> int | None:
        """When the next slot has to be looked at, in milliseconds; None: nothing is scheduled."""
        heap = self._heap
        while heap:
            if self._task_of(heap[0]) is not None:
                return heap[0][0] // 2
            heapq.heappop(heap)
        return None

    def _plan(self, task: TaskState, nominal_s: int) -> None:
        task.planned = key = nominal_s * 2000
        heapq.heappush(self._heap, (key, task.task_id))

    def _push_emission(self, emit_ms: int, task: TaskState, nominal_s: int) -> None:
        heapq.heappush(self._heap, (emit_ms * 2 + 1, task.task_id, nominal_s, task.generation))

    def _task_of(self, item: tuple[int, str] | tuple[int, str, int, int]) -> TaskState | None:
        """The task that an item of the heap stands for; None: it was left behind."""
        task = self.tasks.get(item[1])
        if task is None or (task.generation != item[3] if len(item) == 4 else task.planned != item[0]):
            return None
        return task

    # -- what the follower delivered -------------------------------------------------------------

    def apply_task(self, seq: int, reg: TaskRegister, stored: bytes) -> None:
        """Take over a task's register, decoded and as stored; one older than what is known is ignored."""
        known = self.tasks.get(reg.task_id)
        if known is not None and known.seq >= seq:
            return
        task = TaskState(reg, seq)
        if known is not None:
            task.task_id = known.task_id
        for entry in reg.entries:
            task.take_off(Flight.of_entry(entry))
        for item in reg.cancelling:
            task.wish(item)
        self.tasks[task.task_id] = task
        self.note_flights(task)
        if reg.cancelling:
            self.ending[task.task_id] = task
        else:
            self.ending.pop(task.task_id, None)
        if owes_change(reg):
            self.owing[task.task_id] = task
        else:
            self.owing.pop(task.task_id, None)
        self.unreadable.pop(task.task_id, None)
        self.note_objective(task)
        if known is not None and _same_slots(known.outline, reg):
            # Most registers tell of a run: what waits on the heap stays true, and must not be put there once more.
            task.planned, task.generation = known.planned, known.generation
            self._reminders.set(task.task_id, reg.reminder_due_ms)
        else:
            self.schedule(task, self._horizon_ms)
        task.rest(reg, stored)

    def apply_gate(self, seq: int, reg: GateRegister) -> None:
        """Take over a gate's register; one older than what is known is ignored."""
        known = self.gates.get((reg.kind, reg.gate))
        if seq <= (known.seq if known is not None else self.idle_keys.get(reg.gate, 0)):
            return
        self.unreadable_gates.discard((reg.kind, reg.gate))
        self.idle_keys.pop(reg.gate, None)
        if reg.kind == "pool" or reg.starts or any(holding.held for holding in reg.holdings):
            self.gates[reg.kind, reg.gate] = StoredGate(seq, reg)
            return
        self.gates.pop((reg.kind, reg.gate), None)
        self.idle_keys[reg.gate] = seq
        while len(self.idle_keys) > _IDLE_KEYS_MAX:
            del self.idle_keys[next(iter(self.idle_keys))]

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
            self.pass_over(reg.watermark_ms)

    def apply_calendar(self, reg: CalendarRegister) -> None:
        """Take over what is kept of a part of the calendar."""
        self.calendars[reg.name] = reg

    def drop_task(self, task_id: str) -> None:
        """Forget a task whose register was removed."""
        task = self.tasks.get(task_id)
        tables = (self.tasks, self.unreadable, self.in_flight, self.dirty, self.over, self.ending, self.owing)
        for table in tables:
            table.pop(task_id, None)
        self._pauses.set(task_id, None)
        self._reminders.set(task_id, None)
        self.slo_broken.discard(task_id)
        if task is not None and self.on_over is not None:
            self.on_over(task)

    def set_aside(self, task_id: str, seq: int) -> None:
        """A task that nothing can be decided about here stops as it is."""
        self.drop_task(task_id)
        self.failing.pop(task_id, None)
        self.unreadable[task_id] = seq

    def apply_budget(self, reg: BudgetRegister) -> None:
        """Take over a budget as it is stored."""
        self.budgets[reg.account] = reg
        self.unreadable_budgets.discard(reg.account)

    def put_gate_aside(self, kind: GateKind, gate: str) -> None:
        """What shards hold of a pool or key is not known."""
        self.gates.pop((kind, gate), None)
        self.unreadable_gates.add((kind, gate))

    def put_budget_aside(self, account: str) -> None:
        """The budget of an account cannot be read."""
        self.budgets.pop(account, None)
        self.unreadable_budgets.add(account)

    @property
    def users_set_aside(self) -> int:
        """Of how many users what they have spent, or may spend, cannot be read, or deciding about it failed."""
        return self.usages.set_aside + len(self.unreadable_budgets) + len(self.barred_users)

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

    def note_objective(self, task: TaskState) -> None:
        """Keep `slo_broken` true after the task's register changed."""
        reg = task.reg
        if reg.slo_broken is not None and reg.ended is None and reg.deleted_ms is None:
            self.slo_broken.add(task.task_id)
        else:
            self.slo_broken.discard(task.task_id)

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

    def fold_position(self, written: Container[str] = (), others: Container[str] = ()) -> int:
        """The greatest sequence such that its effects and all before it are in registers, once those of the tasks
        `written` are, and those with the subjects `others`.

        Never simply the follower's own position: an event folded into a task that this batch does not write is
        only in memory yet.
        """
        oldest = min(
            (task.dirty_from for task_id, task in self.dirty.items() if task_id not in written), default=0
        )
        oldest_usage = self.usages.oldest_dirty(others)
        if oldest_usage:
            oldest = min(oldest, oldest_usage) if oldest else oldest_usage
        return oldest - 1 if oldest else self.position


def _same_slots(old: TaskRegister | Outline, after: TaskRegister) -> bool:
    """Whether a register makes the same slots as the one before it."""
    return (
        old.active
        and after.active
        and old.revision == after.revision
        and old.cursor_s == after.cursor_s
        and old.exhausted == after.exhausted
        and old.spec.schedule == after.spec.schedule
    )


def _jitter_span_ms(schedule: Schedule) -> int:
    return int((schedule.jitter_seconds or 0) * 1000)


_ANSWERS_MAX = 8192
_IDLE_KEYS_MAX = 50_000
