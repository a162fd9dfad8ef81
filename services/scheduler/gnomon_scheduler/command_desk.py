"""The command desk: decides the commands that wait, in stream order, and answers them.

A command is decided once. One that was decided before is only answered: a caller's own retry is found in a ring (of
its task, or of the shard where it has none), a redelivery by its position, which the shard register keeps. Answers go
out after the batch is stored, acknowledgements after the answers.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from gnomon_core.rules.templating import named_template
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.holiday_loading import holidays_at_hand
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import trace_id_of
from gnomon_scheduler.applying import Applier, closing_instant
from gnomon_scheduler.book import Book
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.identity import check_identity
from gnomon_scheduler.decisions.pools import update_pool, view_pool
from gnomon_scheduler.decisions.shard_orders import decide_order
from gnomon_scheduler.decisions.telling import command_id as given_id
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.decisions.views import view
from gnomon_scheduler.gate_desk import GateDesk
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_scheduler.giving_up import GivenUp, come_back, read_given_up
from gnomon_scheduler.intake import Received
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.object_catalogue import ObjectCatalogue
from gnomon_scheduler.object_desk import ObjectDesk
from gnomon_scheduler.object_registers import ObjectRegister
from gnomon_scheduler.past_executions import read_past
from gnomon_scheduler.past_slots import read_slots
from gnomon_scheduler.registers import RING_SIZE, CatchUpOrder, RingEntry, TaskRegister
from gnomon_scheduler.task_counts import TaskCounts
from gnomon_scheduler.type_catalogue import TypeCatalogue
from gnomon_scheduler.units import Note, Unit
from gnomon_scheduler.user_doors import UserDoors
from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.commands import AcceptedExecution, Outcome
from gnomon_schemas.events import Created, Rejected, Unchanged, Updated
from gnomon_schemas.limits import REFUSAL_TEXT_MAX_CHARS, USER_ID_MAX_CHARS, is_id
from gnomon_schemas.problems import Code, Problem, Refused, problem
from gnomon_schemas.tasks import Task

__all__ = ["CommandDesk"]

_COMMANDS_A_TURN = 120
"""Few enough that the turns of all shards of a process, one after the other, do not hold up its leases."""
_BYTES_A_TURN = 3 * 1024 * 1024
_INVALID_TASK = "_invalid"
_CLOSING_NOTHING = frozenset({"create", "run", "backfill", "cancel_execution", "retry_execution", "repair"})
"""Verbs that leave the task's schedule as it is."""

_log = structlog.get_logger(__name__)
_ERRORS_MAX = 50
"""Faults that one refusal lists."""


class _Reply(NamedTuple):
    received: Received
    outcome: Callable[[], Outcome]


class CommandDesk:
    """Decides the commands of one shard."""

    def __init__(
        self,
        bus: Bus,
        book: Book,
        types: TypeCatalogue,
        applier: Applier,
        surroundings: Callable[[int], Surroundings],
        look_at: Callable[[TaskState], None],
        spec_changed: Callable[[TaskState], None],
        obey: Callable[[CatchUpOrder], None],
        gates: GateDesk,
        catalogue: ObjectCatalogue,
        users: UserDoors,
        counts: TaskCounts,
    ) -> None:
        self._bus, self._book, self._types = bus, book, types
        self._applier, self._surroundings, self._look_at = applier, surroundings, look_at
        self._spec_changed = spec_changed
        self._obey, self._gates = obey, gates
        self._objects, self._catalogue = ObjectDesk(book), catalogue
        self._users, self._counts = users, counts
        self._given_up: dict[str, GivenUp] = {}
        """Tasks that are set aside and to be deleted, as they are stored."""
        self._elsewhere: dict[str, int] = {}
        """Of users whose account bounds their tasks and who want one more: how many they have in other shards."""
        self.commands: deque[Received] = deque()
        """Commands of the partition, in stream order."""
        self.strays: deque[Received] = deque()
        """Commands that were stored without a partition, because their id is none."""
        self._prepared = 0
        """So many of the commands have all that deciding them needs; what came since waits for the next turn."""
        self._decided = 0
        """Position of the last command decided, stored or not yet."""
        self._replies: list[_Reply] = []
        self._begun = 0.0
        """When the commands that wait for their answer were taken up, by the monotonic clock."""

    @property
    def waiting(self) -> bool:
        """Whether there is a command to decide."""
        return bool(self.commands or self.strays)

    async def prepare(self) -> None:
        """Get what deciding the waiting commands needs, before the turn's time stands still."""
        coming = [received.command for received in islice(self.commands, _COMMANDS_A_TURN)]
        self._prepared = len(coming)
        await holidays_at_hand(command.data for command in coming)
        await read_past(self._bus, self._book, self.commands, self._prepared)
        await read_slots(self._bus, self._book, self.commands, self._prepared)
        self._given_up = {
            command.object_id: found
            for command in coming
            if (command.kind, command.verb) == ("task", "delete")
            and command.object_id in self._book.memory.unreadable
            and (found := await read_given_up(self._bus, self._book, command.object_id)) is not None
        }
        templates = {("template", name) for command in coming if (name := _template_of(command)) is not None}
        owners = {
            ("account", account_id_of(user))
            for command in coming
            if (user := _user_of(command)) is not None and _template_of(command) is not None
        }
        await self._catalogue.look_up(templates | owners)
        await self._count_tasks(coming)

    async def _count_tasks(self, coming: Sequence[Command]) -> None:
        """Ask how many tasks the users have elsewhere who want one more and are bounded in that."""
        bounded = Counter(
            user
            for command in coming
            if (command.kind, command.verb) == ("task", "create")
            and (user := _user_of(command)) is not None
            and self._users.limits(user).max_tasks is not None
        )
        self._elsewhere = await self._counts.elsewhere(bounded) if bounded else {}

    def decide(self, now_ms: int, ahead: Mapping[str, int]) -> list[Unit]:
        """Decide what waits, at `now_ms`: every slot up to then has been handed out.

        Of the tasks in `ahead` every slot up to the instant given there was handed out.
        """
        self._begun = time.monotonic()
        units: list[Unit] = []
        size = 0
        while self.strays and len(units) < _COMMANDS_A_TURN:
            received = self.strays.popleft()
            refused = Refused(
                Code.INVALID_ID,
                f"{received.command.object_id!r} is no id: 1 to 64 of A-Z a-z 0-9 _ -, not beginning with _",
            )
            # No `command_seq`: strays come by a consumer of their own, whose positions mean nothing to the shard's.
            units.append(self._refuse(received, refused.problem, now_ms, None, position=0))
        while self._prepared and len(units) < _COMMANDS_A_TURN and size < _BYTES_A_TURN:
            received = self.commands.popleft()
            self._prepared -= 1
            unit = self._decide(received, self._instant(received.command, now_ms, ahead))
            if unit is not None:
                units.append(unit)
                size += unit.size
                self._decided = max(self._decided, received.command.seq)
        self._counts.settle()
        return units

    def _instant(self, command: Command, now_ms: int, ahead: Mapping[str, int]) -> int:
        """At which instant a command is decided.

        What closes a revision waits for the slots before it: while a backlog is handed out, that is some time ago.
        What closes none need not: a task made, or run, in the middle of a backlog belongs to the present.
        """
        if command.verb in _CLOSING_NOTHING:
            return self._book.now_ms()
        task = self._book.memory.tasks.get(command.object_id)
        return now_ms if task is None else closing_instant(task, now_ms, ahead)

    def _decide(self, received: Received, now_ms: int) -> Unit | None:
        """Decide one command; None where it had been decided before, and is only answered."""
        command = received.command
        task = self._book.memory.tasks.get(command.object_id) if command.kind == "task" else None
        known = self._answer_again(command, task)
        if known is not None:
            self._book.measures.duplicate()
            self._replies.append(_Reply(received, known))
            return None
        around = self._surroundings(now_ms)
        user = command.user
        if user is not None and user in self._elsewhere:
            there = self._elsewhere[user] + self._counts.counted(user)
            around = around._replace(tasks_of={user: there})
        with self._book.measures.deciding(command) as traceparent:
            command = command._replace(traceparent=traceparent)
            received = Received(command, received.reply_to, received.ack_subject)
            return self._decide_now(received, task, around)

    def _decide_now(self, received: Received, task: TaskState | None, around: Surroundings) -> Unit:
        command, now_ms = received.command, around.now_ms
        try:
            check_identity(command)
            if command.kind == "shard":
                return self._order(received, around)
            if command.kind == "pool":
                return self._set_pool(received, around)
            if self._objects.takes(command.kind):
                return self._set_object(received, around)
            if command.object_id in self._book.memory.unreadable:
                return self._give_up(received, around._replace(now_ms=self._book.now_ms()))
            waiting = [] if task is None else self._book.memory.waiting_for_jitter(task, now_ms)
            decision = decide(task, waiting, command, around)
        except Refused as refusal:
            self._book.measures.command(command.verb, refusal.problem.code)
            return self._refuse(received, refusal.problem, now_ms, task, position=command.seq)
        except Exception:  # noqa: BLE001 - logged whole; one command must not stop its shard, leader after leader
            _log.exception(
                LogEvent.COMMAND_FAILED, subject=command.subject[:REFUSAL_TEXT_MAX_CHARS], seq=command.seq
            )
            self._book.measures.command(command.verb, Code.INTERNAL)
            fault = problem(Code.INTERNAL, "deciding this command failed; nothing was changed")
            return self._refuse(received, fault, now_ms, task, position=command.seq)
        unit: Unit | None = None
        with self._book.aside.task(command.object_id, "changing it by a command"):
            unit = self._apply(task, decision, received)
        if unit is None:
            self._book.measures.command(command.verb, Code.INTERNAL)
            fault = problem(Code.INTERNAL, "applying this command failed; nothing was changed")
            return self._refuse(received, fault, now_ms, None, position=command.seq)
        self._book.measures.command(command.verb, "ok")
        return unit

    def _give_up(self, received: Received, around: Surroundings) -> Unit:
        """Delete a task that is set aside. Raises Refused, also for every other command to it."""
        command, memory = received.command, self._book.memory
        found = self._given_up.pop(command.object_id, None)
        if found is None:
            raise Refused(
                Code.UNREADABLE_STATE,
                f"task {command.object_id!r} is set aside: its stored state cannot be read, or deciding about it "
                "failed; the scheduler's log says why. Where the state can be read, it can be deleted",
            )
        left = come_back(found, around.partition, memory.position, around.now_ms)
        decision = decide(left.task, left.waiting, command, around)
        decision.events += left.spans
        task_id = command.object_id
        del memory.unreadable[task_id]
        memory.tasks[task_id] = left.task
        memory.note_flights(left.task)
        unit = self._apply(left.task, decision, received)
        unit.when_stored(lambda: self._book.aside.gave_up(task_id))
        self._book.measures.command(command.verb, "ok")
        return unit

    def _order(self, received: Received, around: Surroundings) -> Unit:
        """Decide a command to the shard itself, at the present: no revision closes by it. Raises Refused."""
        command, now_ms = received.command, self._book.now_ms()
        order = decide_order(command, around.partition, now_ms)
        self._book.measures.command(command.verb, "ok")
        event = Unchanged(
            task_id=command.object_id,
            user_id=None,
            partition=around.partition,
            occurred_at=format_instant(now_ms),
            command_id=given_id(command),
            verb=command.verb,
        )
        notes = [self._book.note(event, traceparent=command.traceparent)]
        self._note_answer(command, notes[0], None)
        self._replies.append(_Reply(received, lambda: self._outcome(command, None, None)))
        unit = Unit(notes=notes, command_seq=command.seq, ring=RingEntry(given_id(command)), order=order)
        unit.when_stored(lambda: self._obey(self._book.catch_up_order))
        return unit

    def _set_pool(self, received: Received, around: Surroundings) -> Unit:
        """Decide a command to a pool. Raises Refused."""
        command = received.command
        if self._gates.set_aside("pool", command.object_id):
            raise Refused(
                Code.UNREADABLE_STATE,
                f"pool {command.object_id!r} is set aside: its stored state cannot be read, or deciding about it "
                "failed; the scheduler's log says why",
            )
        reg, event = update_pool(
            self._gates.settings(command.object_id), command, around._replace(now_ms=self._book.now_ms())
        )
        self._book.measures.command(command.verb, "ok")
        unit = self._gates.set(reg)
        unit.notes = [self._book.pool_note(event, traceparent=command.traceparent)]
        unit.command_seq, unit.ring = command.seq, RingEntry(given_id(command))
        self._note_answer(command, unit.notes[0], None)
        self._replies.append(_Reply(received, lambda: self._outcome(command, None, None, pool=reg)))
        return unit

    def _set_object(self, received: Received, around: Surroundings) -> Unit:
        """Decide a command to a template, calendar or account, at the present: no revision closes by it. Raises
        Refused."""
        command = received.command
        decided = self._objects.decide(command, around._replace(now_ms=self._book.now_ms()))
        self._book.measures.command(command.verb, "ok")
        self._note_answer(command, decided.unit.notes[0], None)
        self._replies.append(
            _Reply(
                received,
                lambda: self._outcome(command, None, None, of=decided.reg, created=decided.created),
            )
        )
        return decided.unit

    def _answer_again(self, command: Command, task: TaskState | None) -> Callable[[], Outcome] | None:
        """The answer to a command that was decided before: a caller's retry, or a redelivery."""
        command_id = (command.command_id or "")[:REFUSAL_TEXT_MAX_CHARS]
        ring = (*self._book.ring, *(task.reg.ring if task is not None else self._objects.ring(command)))
        entry = next((entry for entry in ring if entry.command_id == command_id), None)
        if entry is not None:
            found = None if entry.code is None else problem(entry.code, entry.detail)
            return lambda: self._outcome(command, found, entry.run, replayed=True)
        answer = self._book.memory.answer(command_id)
        if answer is not None:
            return lambda: self._outcome(command, answer[1], None, replayed=True)
        if command.seq <= max(self._book.last_command, self._decided):
            gone = problem(
                Code.UNAVAILABLE, "the command was decided before; its outcome is under /api/v1/commands"
            )
            return lambda: self._outcome(command, gone, None, replayed=True)
        return None

    def _apply(self, task: TaskState | None, decision: Decision, received: Received) -> Unit:
        command = received.command
        entry = RingEntry(command.command_id or "", None, "", decision.run)
        reg = msgspec.structs.replace(decision.reg, ring=(*decision.reg.ring, entry)[-RING_SIZE:])
        if task is None:
            task = TaskState(reg, 0)
            self._book.memory.tasks[reg.task_id] = task
            self._counts.note_created(reg.user_id, reg.task_id)
        decision.reg = reg
        spec_changed = reg.spec is not task.reg.spec
        unit = self._applier.apply(task, decision, command_seq=command.seq, traceparent=command.traceparent)
        self._look_at(task)
        if spec_changed:
            unit.when_stored(partial(self._spec_changed, task))
        first = decision.events[0] if decision.events else None
        # The event that answers shows the task as it is after the change: as the answer does.
        shown = first.task if isinstance(first, Created | Updated) else None
        self._replies.append(
            _Reply(
                received,
                lambda: self._outcome(
                    command,
                    None,
                    decision.run,
                    reg=reg,
                    shown=shown,
                    created=decision.created,
                    repaired=decision.repaired,
                ),
            )
        )
        self._note_answer(command, unit.notes[0], None)
        return unit

    def _refuse(
        self,
        received: Received,
        found: Problem,
        now_ms: int,
        task: TaskState | None,
        *,
        position: int,
    ) -> Unit:
        """Record a refusal: one `task.rejected`, and the command's place in a ring."""
        command = received.command
        found = msgspec.structs.replace(_shortened(found), trace_id=trace_id_of(command.traceparent))
        known = task is not None and is_id(command.object_id)
        event = Rejected(
            task_id=command.object_id if is_id(command.object_id) else _INVALID_TASK,
            user_id=None if command.user is None else command.user[:USER_ID_MAX_CHARS],
            partition=self._book.partition,
            occurred_at=format_instant(now_ms),
            command_id=command.command_id[:REFUSAL_TEXT_MAX_CHARS] if command.command_id else msgspec.UNSET,
            verb=command.verb[:REFUSAL_TEXT_MAX_CHARS],
            error=found,
            subject=command.subject[:REFUSAL_TEXT_MAX_CHARS],
        )
        self._replies.append(_Reply(received, lambda: self._outcome(command, found, None)))
        notes = [self._book.note(event, traceparent=command.traceparent)]
        self._note_answer(command, notes[0], found)
        usable = command.command_id if command.command_id and is_id(command.command_id) else None
        entry = RingEntry(usable, found.code, found.detail[:200]) if usable else None
        if task is None or not known or entry is None:
            return Unit(notes=notes, command_seq=position, ring=entry)
        task.reg = msgspec.structs.replace(task.reg, ring=(*task.reg.ring, entry)[-RING_SIZE:])
        return self._book.unit(task, notes, command_seq=position)

    def _note_answer(self, command: Command, note: Note, found: Problem | None) -> None:
        """Once the event that answers a command is stored, remember where: readers wait for that sequence."""
        inner = note.on_seq

        def stored(seq: int) -> None:
            if inner is not None:
                inner(seq)
            if command.command_id is not None:
                self._book.memory.note_answer(command.command_id[:REFUSAL_TEXT_MAX_CHARS], seq, found)

        note.on_seq = stored

    def _outcome(
        self,
        command: Command,
        found: Problem | None,
        run: str | None,
        *,
        reg: TaskRegister | None = None,
        shown: Task | None = None,
        replayed: bool = False,
        created: bool = False,
        pool: GateRegister | None = None,
        of: ObjectRegister | None = None,
        repaired: int | None = None,
    ) -> Outcome:
        """The answer to a command. `reg` is the task right after it, and `shown` how it looks; `pool` and `of` are the
        pool or other object. None: as it is now."""
        command_id = (command.command_id or "")[:REFUSAL_TEXT_MAX_CHARS]
        answer = self._book.memory.answer(command_id)
        seq = 0 if answer is None else answer[0]
        if found is not None:
            return Outcome(ok=False, command_id=command_id, seq=seq, error=found, replayed=replayed)
        task = self._book.memory.tasks.get(command.object_id) if command.kind == "task" else None
        if command.kind == "pool":
            pool = pool or self._gates.settings(command.object_id)
            return Outcome(ok=True, command_id=command_id, pool=view_pool(pool), seq=seq, replayed=replayed)
        if self._objects.takes(command.kind):
            fields = self._objects.shown(command, of)
            return Outcome(
                ok=True, command_id=command_id, seq=seq, replayed=replayed, created=created, **fields
            )
        if task is None:
            return Outcome(ok=True, command_id=command_id, seq=seq, replayed=replayed)
        shown = shown or view(
            reg or task.reg,
            partition=self._book.partition,
            running=task.running,
            now_ms=self._book.now_ms(),
            types=self._types.known,
            runs=task.flights,
        )
        flight = task.flights.get(run) if run else None
        execution = (
            AcceptedExecution(
                execution_id=f"{task.task_id}.{run}",
                task_id=task.task_id,
                run=run,
                scheduled_for=format_instant(flight.scheduled_ms if flight else self._book.now_ms()),
            )
            if run
            else None
        )
        return Outcome(
            ok=True,
            command_id=command_id,
            task=shown,
            execution=execution,
            seq=seq,
            replayed=replayed,
            created=created,
            repaired=repaired,
        )

    async def answer(self) -> None:
        """Answer what was decided, now that it is stored; then acknowledge it."""
        replies, self._replies = self._replies, []
        if replies:
            answers = [
                (reply.received.reply_to, self._said(reply))
                for reply in replies
                if reply.received.reply_to is not None
            ]
            acks = [(reply.received.ack_subject, b"+ACK") for reply in replies]
            await self._bus.send_all(answers + acks)
            self._book.measures.answered(time.monotonic() - self._begun)

    def _said(self, reply: _Reply) -> bytes:
        """The outcome of a command, as its task is now."""
        command, said = reply.received.command, b""
        with self._book.aside.task(command.object_id, "answering a command"):
            said = encode(reply.outcome())
        if not said:
            fault = problem(Code.INTERNAL, "the command was decided, but what it led to cannot be shown")
            said = encode(self._outcome(command, fault, None))
        return said


def _template_of(command: Command) -> str | None:
    """The template that a new task is to be made from; None where it names none that could be there."""
    if (command.kind, command.verb) != ("task", "create"):
        return None
    name = named_template(command.data)
    return name if name is not None and is_id(name) else None


def _user_of(command: Command) -> str | None:
    """The user that a command comes from; None where that can be nobody: it is refused then, and no reason to ask."""
    user = command.user
    return user if user is not None and len(user) <= USER_ID_MAX_CHARS else None


def _shortened(found: Problem) -> Problem:
    """A problem whose words repeat what a caller sent, cut to what fits into an event whatever that was."""
    errors = tuple(
        msgspec.structs.replace(
            error,
            pointer=error.pointer[:REFUSAL_TEXT_MAX_CHARS],
            message=error.message[:REFUSAL_TEXT_MAX_CHARS],
        )
        for error in found.errors[:_ERRORS_MAX]
    )
    return msgspec.structs.replace(found, detail=found.detail[:REFUSAL_TEXT_MAX_CHARS], errors=errors)
