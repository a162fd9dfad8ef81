"""A shard while this process leads it: one mailbox, one state, no locks.

Everything happens in *turns* of one task. A turn freezes the time, T, and then, in this order:

1. *folds* what the follower delivered (`folding_desk`);
2. *pauses* what has failed too often, *ends the pauses* that last until T at the latest (`own_changes`), *tells the
   reminders* that are due (`reminding`), then *hands out the slots* whose emission time is up to T: plain ones are
   published at once, under the due fence;
3. *decides* what tasks change of their own accord, and *the commands* that wait, at T, so that every slot up to T
   belongs to the revision before them;
4. *stores* one or more batches: what 1 to 3 decided, what its gates grant (`gate_desk`), and, in the last of them, the
   watermark T, since by then the due of every plain slot up to T is stored and the outcome of every other one is in
   these very batches;
5. *answers* the commands, then acknowledges them, and tells what was granted;
6. *publishes the dues* of executions that are written ahead and whose time has come: only now are they in a register;
7. *ends* what is to be ended (`withdrawals`), in batches of their own.

A crash between any two of these loses nothing and doubles nothing: before 4 no command was answered, and the slots
that were published are found by the successor in `TASK_DUE` or on their chains (`takeover`); after 4 the registers
hold whatever 6 and 7 have still to do. A leader that was deposed finds out at its next batch or due and ends; the
memory goes with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice

import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler import patient_reads, takeover
from gnomon_scheduler.admission import Admission
from gnomon_scheduler.applying import Applier
from gnomon_scheduler.aside_runs import AsideRuns
from gnomon_scheduler.book import Book
from gnomon_scheduler.budget_desk import BudgetDesk
from gnomon_scheduler.closed_users import ClosedUsers
from gnomon_scheduler.command_desk import CommandDesk
from gnomon_scheduler.commit import Deposed
from gnomon_scheduler.decisions.command import Surroundings
from gnomon_scheduler.departure_desk import DepartureDesk
from gnomon_scheduler.ending_desk import EndingDesk
from gnomon_scheduler.folding_desk import FoldingDesk, read_of_execution
from gnomon_scheduler.gate_desk import GateDesk
from gnomon_scheduler.intake import STRAYS, Intake, Received
from gnomon_scheduler.late_runs import LateRuns
from gnomon_scheduler.lateness_desk import LatenessDesk
from gnomon_scheduler.measures import ShardMeasures
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.object_catalogue import ObjectCatalogue
from gnomon_scheduler.own_desk import OwnDesk
from gnomon_scheduler.pool_catalogue import PoolCatalogue
from gnomon_scheduler.replanning import settle_calendar
from gnomon_scheduler.replica import Replica
from gnomon_scheduler.shard_lines import ShardLines, lines_of_users, lines_to_gates
from gnomon_scheduler.shard_options import ShardOptions
from gnomon_scheduler.slot_desk import SlotDesk
from gnomon_scheduler.task_counts import TaskCounts
from gnomon_scheduler.task_ends import TaskEnds
from gnomon_scheduler.telling_desk import TellingDesk
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_scheduler.user_doors import UserDoors
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.members import ShardStatus
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["Shard"]

_log = structlog.get_logger(__name__)
_ASIDE_SHOWN = 20


class Shard(Service):
    """One shard, led by this process from `start` to `stop` or until deposed."""

    def __init__(
        self,
        bus: NatsBus,
        replica: Replica,
        types: TypeCatalogue,
        pools: PoolCatalogue,
        objects: ObjectCatalogue,
        clock: Clock,
        options: ShardOptions,
        lease_epoch: int,
        measures: ShardMeasures,
    ) -> None:
        super().__init__(f"shard-{replica.partition}")
        self._bus, self._replica, self._types, self._clock = bus, replica, types, clock
        self._pools, self._objects = pools, objects
        self._options, self._lease_epoch, self._measures = options, lease_epoch, measures
        self.partition = replica.partition
        self.deposed = asyncio.Event()
        """Set when another process leads the shard after this one."""
        self._inbox: deque[Stored] = deque()
        self._requests: deque[Callable[[], None]] = deque()
        self._wake = asyncio.Event()
        self._halting = False
        self._lead_task: asyncio.Task[None] | None = None
        self._intakes: list[Intake] = []
        self._book: Book
        self._applier: Applier
        self._ends: TaskEnds
        self._folding: FoldingDesk
        self._slots: SlotDesk
        self._own: OwnDesk
        self._departures: DepartureDesk
        self._commands: CommandDesk
        self._admission: Admission
        self._aside_runs: AsideRuns
        self._gates: GateDesk
        self._lines: tuple[ShardLines, ...]
        self._users: UserDoors
        self._budgets: BudgetDesk
        self._counts: TaskCounts
        self._closed_users: ClosedUsers
        self._endings: EndingDesk
        self._lateness: LatenessDesk

    # -- life ------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Take the shard over and begin to act. Raises Deposed."""
        started = self._clock.monotonic()
        taken = await takeover.seize(
            self._bus, self._replica, self._options.owner, self._lease_epoch, self._options.fingerprint
        )
        self._replica.lead(self._deliver)
        self._set_up(taken)
        # Slots are compared with calendars, and tasks made from templates, as whoever led the shard before may have.
        await self._objects.reach()
        await self._remember(taken)
        partition = self.partition
        # A predecessor may have told gates what it uses by settings that have not come here yet.
        await self._pools.reach(taken.barrier)
        self._departures.calendars_changed()
        self._admission.begin()
        for lines in self._lines:
            await self.start_child(lines)
        await self._open(
            f"cmd-{partition}", (subjects.partition_commands(partition),), self._commands.commands
        )
        if partition == 0:
            # Commands whose id got them no partition are refused by whoever leads the first one.
            await self._open("cmd-invalid", STRAYS, self._commands.strays)
        self._lead_task = self.spawn(self._lead(), "lead")
        seconds = self._clock.monotonic() - started
        self._measures.took_over(seconds)
        _log.info(
            LogEvent.SHARD_LED,
            partition=partition,
            epoch=taken.epoch,
            tasks=len(self._book.memory.tasks),
            seconds=round(seconds, 3),
        )

    async def on_stop(self) -> None:
        """Take no more commands, finish the turn, and store what was folded."""
        for intake in self._intakes:
            await self.stop_child(intake)
        self._halting = True
        self.wake()
        if self._lead_task is not None:
            await asyncio.wait([self._lead_task])

    def wake(self) -> None:
        """There is something to do."""
        self._wake.set()

    def request(self, work: Callable[[], None]) -> None:
        """Have `work` done inside the next turn, where it may change the memory."""
        self._requests.append(work)
        self.wake()

    def executors_changed(self) -> None:
        """Other types are live now: what waits for an executor is looked at again."""
        self.request(self._admission.executors_changed)
        self.request(self._departures.unpark)

    def pools_changed(self) -> None:
        """Something was set of a pool."""
        self.request(self._admission.pools_changed)
        self.request(self._departures.pools_changed)

    def accounts_changed(self) -> None:
        """Something was set of an account, or credits were given."""
        self.request(self._users.accounts_changed)
        self.request(self._budgets.accounts_changed)

    def calendars_changed(self) -> None:
        """Something was set of a calendar of blackouts."""
        self.request(self._departures.calendars_changed)

    @property
    def book(self) -> Book:
        """The shard's book: to be read between turns, changed only inside one."""
        return self._book

    @property
    def admission(self) -> Admission:
        """Who waits for pools and keys: to be used inside a turn."""
        return self._admission

    @property
    def gates(self) -> GateDesk:
        """The gates that live here: to be used inside a turn."""
        return self._gates

    @property
    def folding(self) -> FoldingDesk:
        """Where events are folded: to be used inside a turn."""
        return self._folding

    @property
    def endings(self) -> EndingDesk:
        """Where executions are ended: to be used inside a turn."""
        return self._endings

    @property
    def late(self) -> LateRuns:
        """Its late slots that wait to be handed out: to be read."""
        return self._departures.late

    def status(self) -> ShardStatus:
        """The shard as it is now."""
        memory, now_ms = self._book.memory, self._clock.now_ms()
        due_ms = memory.next_due_ms()
        late_ms = 0 if due_ms is None else max(0, now_ms - due_ms)
        return ShardStatus(
            partition=self.partition,
            leader=self._options.owner,
            epoch=self._book.epoch,
            watermark=format_instant(self._book.watermark_ms),
            lag_seconds=late_ms / 1000,
            tasks=len(memory.tasks) - sum(over.deleted for over in memory.over.values()),
            in_flight=sum(len(task.flights) for task in memory.in_flight.values()),
            next_fire=None if due_ms is None else format_instant(due_ms),
            catch_up_waiting=self.late.waiting,
            catch_up_held=self.late.held,
            set_aside=len(memory.unreadable),
            set_aside_tasks=tuple(islice(memory.unreadable, _ASIDE_SHOWN)),
        )

    def _set_up(self, taken: takeover.Taken) -> None:
        options = self._options
        self._book = Book(
            self._bus,
            self._clock,
            self._replica.memory,
            taken.committer,
            taken.emitter,
            self._measures,
            epoch=taken.epoch,
            owner=options.owner,
            fingerprint=options.fingerprint,
        )
        self._book.aside.on_set = self._let_go_of
        self._endings = EndingDesk(self._bus, self._book)
        self._lateness = LatenessDesk(self._book, options.lateness_quiet_ms)
        self._users = UserDoors(
            self._book.memory,
            self._objects.known["account"],
            options.rules,
            self._book.now_ms,
            partitions=options.partitions,
            epoch=self._book.epoch,
            closed=self._objects.closed,
        )
        self._admission = Admission(
            self._book.memory,
            self._types,
            self._pools,
            self._users,
            partitions=options.partitions,
            epoch=self._book.epoch,
        )
        self._aside_runs = AsideRuns(self._admission)
        self._gates = GateDesk(self._bus, self._book, options.partitions)
        self._budgets = BudgetDesk(self._bus, self._book, self._surroundings, options.partitions)
        self._counts = TaskCounts(self._bus, self._book.memory, options.partitions, self._book.now_ms)
        self._lines = (
            lines_to_gates(self._bus, self._book, self._admission, self._gates, self.wake),
            lines_of_users(self._bus, self._book, self._users, self._budgets, self._counts, self.wake),
        )
        self._ends = TaskEnds(self._book, self.partition)
        self._applier = Applier(self._book, self._endings.wish, self._ends.after_end)
        self._own = OwnDesk(self._book, self._applier, self._surroundings)
        self._folding = FoldingDesk(
            self._book,
            self._types,
            self._admission,
            self._users,
            self._aside_runs,
            self._endings,
            self._lateness,
            self._own,
            self._ends,
            self._measures,
        )
        telling = TellingDesk(self._book, self._surroundings)
        self._departures = DepartureDesk(
            self._book,
            self._types,
            self._admission,
            telling,
            self._objects.blackouts,
            self._folding.ended_unseen,
            catch_up_rate=options.catch_up_rate,
            catch_up_hold_above=options.catch_up_hold_above,
        )
        self._slots = SlotDesk(
            self._bus,
            self._book,
            self._types,
            self._departures,
            self._admission,
            telling,
            self._objects.blackouts,
            self._ends.after_end,
            self._folding.ended_unseen,
            self._endings.wish,
            self._lateness,
            cancel_grace_ms=options.cancel_grace_ms,
        )
        self._closed_users = ClosedUsers(self._book.memory, self._objects.closings, self._counts, self._own)
        self._commands = CommandDesk(
            self._bus,
            self._book,
            self._types,
            self._applier,
            self._surroundings,
            self._own.look_at,
            self._departures.look_again,
            self._departures.late.obey,
            self._gates,
            self._objects,
            self._users,
            self._counts,
        )

    def _surroundings(self, now_ms: int) -> Surroundings:
        return Surroundings(
            now_ms=now_ms,
            partition=self.partition,
            types=self._types.known,
            default_timezone=self._options.default_timezone,
            fingerprint=self._options.fingerprint,
            cancel_grace_ms=self._options.cancel_grace_ms,
            rules=self._options.rules,
            objects=self._objects.known,
            blackouts=self._objects.blackouts.present,
        )

    async def _open(self, prefix: str, filters: tuple[str, ...], queue: deque[Received]) -> None:
        def take(received: Received) -> None:
            queue.append(received)
            self.wake()

        intake = Intake(self._bus, self.partition, prefix, self._book.epoch, filters, take)
        await self.start_child(intake)
        self._intakes.append(intake)

    async def _remember(self, taken: takeover.Taken) -> None:
        """The last steps of a take-over: bring the memory up to the log, and see what is in flight."""
        book, memory = self._book, self._book.memory
        await self._resume()
        while memory.recent:
            seq, run, event = memory.recent.popleft()
            takeover.note_handled(memory, event.task_id, run)
            self._folding.fold(seq, run, event)
            if book.full:
                # A crash in between has all of it folded again: what is in registers is folded only once.
                await book.store(book.flush(everything=True), book.watermark_ms)
        wanted = {(found.due.task_id, found.due.run) for found in taken.dues}
        wanted |= {(task_id, run) for task_id, task in memory.in_flight.items() for run in task.flights}
        for task_id, run in wanted:
            # Also what is only written ahead: a register may be stored and the watermark behind its slot not yet.
            takeover.note_handled(memory, task_id, run)
        chains = await takeover.read_chains(self._bus, self.partition, wanted, taken.barrier)
        over = takeover.reconcile(memory, taken.dues, chains, book.aside)
        if over:
            # Beside the turns: nothing waits for it, and after the death of many executors there may be thousands.
            _ = self.spawn(self._endings.delete_dues(over), "delete dues")
        # After the watermark in any case: slots before it may be left of tasks that are tried again.
        book.handled_until_ms = max(book.now_ms(), book.watermark_ms + 1)
        for task_id, task in memory.in_flight.items():
            book.lateness.watch_all(task)
            for flight in task.flights.values():
                if flight.emitted and flight.due_seq:
                    continue
                # Waiting, or handed out and its due is gone: it is (still, or again) to be published. One that is
                # only in memory yet is armed when its register is stored.
                flight.emitted, flight.pool, flight.key = False, None, None
                (book.arm_once_stored if task_id in memory.dirty else book.arm)(task_id, flight)
        # All that was decided is in memory now, and nothing is handed out yet.
        await settle_calendar(book, self._surroundings, self._applier)
        for task in memory.ending.values():
            for item in task.cancelling.values():
                self._endings.wish(task, item)
        memory.ending.clear()
        for task in memory.owing.values():
            self._own.look_at(task)
        memory.owing.clear()
        if memory.dirty:
            book.flush_soon()

    async def _resume(self) -> None:
        """Try those again that were set aside: fold what they missed, and plan their slots since then."""
        book, memory = self._book, self._book.memory
        for task_id, entry in list(book.aside.resumed.items()):
            # Before anything of it is folded: what ends must not end the task while slots of it are left.
            memory.resumed[task_id] = entry.since_ms
            chains = subjects.chain(self.partition, task_id, "*")
            for stored in await patient_reads.scan(self._bus, EVENTS_STREAM, chains, entry.from_seq):
                read = read_of_execution(stored)
                if read is not None:
                    takeover.note_handled(memory, task_id, read[1])
                    self._folding.fold(*read, again=True)
                    if book.full:
                        # A unit has to fit into a batch. Neither the entry nor the fold position moves by it.
                        await book.store(book.flush(everything=True), book.watermark_ms)
            task = memory.tasks.get(task_id)
            if task is None:
                memory.resumed.pop(task_id, None)
            else:
                with book.aside.task(task_id, "planning the slots that it missed"):
                    memory.schedule(task, book.watermark_ms)
        if book.aside.resumed:
            _log.info(LogEvent.TASKS_RESUMED, partition=self.partition, tasks=len(memory.resumed))

    def _let_go_of(self, task: TaskState) -> None:
        """A task was set aside: what waits does not any more, and what is out is seen to its end."""
        self._ends.forget(task.task_id)
        self._book.forget(task.task_id)
        for run in task.cancelling:
            self._endings.done(task.task_id, run)
        for flight in task.flights.values():
            self._endings.done(task.task_id, flight.run)
            if flight.emitted and self._lead_task is not None:
                self._aside_runs.keep(task, flight)
            else:
                self._admission.release(task, flight, over=True)

    # -- turns -----------------------------------------------------------------------------------

    async def _lead(self) -> None:
        try:
            while not self._halting:
                await self._take_turn()
                await self._rest()
            await self._book.store(self._book.flush(everything=True), self._book.watermark_ms)
            await self._commands.answer()
        except Deposed as error:
            _log.warning(
                LogEvent.SHARD_DEPOSED, partition=self.partition, epoch=self._book.epoch, error=str(error)
            )
            self._measures.deposed()
            self.deposed.set()

    async def _take_turn(self) -> None:
        self._folding.fold_all(self._inbox)
        while self._requests:
            self._requests.popleft()()
        await self._commands.prepare()
        await self._closed_users.look()
        self._admission.hear()
        if self._users.hear():
            self._book.flush_soon()
        now_ms = self._book.now_ms()
        units = self._own.pause_failing(now_ms, self._slots.ahead)
        of_pauses, paused_ms = self._own.end_pauses(now_ms, self._slots.ahead)
        of_reminders, told_ms = self._own.remind(paused_ms)
        of_slots, until_ms, handed_out = await self._slots.hand_out(told_ms)
        units += of_pauses + of_reminders + of_slots
        units += self._own.decide(until_ms, self._slots.ahead)
        units += self._commands.decide(until_ms, self._slots.ahead)
        units += self._gates.decide(now_ms)
        self._lateness.work(now_ms)
        units += self._budgets.decide(now_ms)
        units += self._book.flush()
        before_ms = self._book.watermark_ms
        await self._book.store(units, until_ms, handed_out=handed_out)
        if self._book.watermark_ms > before_ms:
            self._ends.watermark_moved()
        await self._commands.answer()
        await self._gates.answer()
        await self._budgets.answer()
        await self._departures.publish_armed(now_ms)
        for lines in self._lines:
            await lines.speak(now_ms)
        await self._endings.work(now_ms)

    async def _rest(self) -> None:
        """Wait until something comes in or some time has come."""
        if self._inbox or self._commands.waiting or self._own.waiting or self._requests or self._halting:
            # Let the callbacks run that feed the mailbox: a busy shard must not starve its process.
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(max(0.0, self._seconds_to_next())):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _seconds_to_next(self) -> float:
        now_ms = self._clock.now_ms()
        wait = self._book.seconds_to_next()
        for at_ms in (
            self._book.memory.next_due_ms(),
            self._endings.next_ms,
            self._lateness.next_ms,
            self._own.next_ms,
            self._departures.next_ms(now_ms),
            self._admission.next_ms,
            self._gates.next_ms,
            self._users.next_ms,
            self._budgets.next_ms,
        ):
            if at_ms is not None:
                wait = min(wait, (at_ms - now_ms) / 1000)
        return wait

    def _deliver(self, messages: list[Stored]) -> None:
        self._inbox.extend(messages)
        self.wake()
