"""One task under the scheduler's own decisions, without servers: a log in memory, and a leader that may die.

What the desks do around the decisions is done here in the plainest way: an event gets the next sequence, a change is
stored with the register, what was folded is stored with the next change. `crash` throws the memory away and makes it
anew from the register and the log, as a take-over does; `redeliver` folds an event of the log once more.

Executors are the test's: `claim` and `end` store what they would.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gnomon_core.rules.account_rules import OPEN_TO_ALL, AccountRules
from gnomon_core.rules.task_type import KnownType
from gnomon_core.rules.workless import WORKLESS_TYPES
from gnomon_core.runtime.messages import Stored
from gnomon_scheduler.budget_registers import UsageRegister
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.counting import counted
from gnomon_scheduler.decisions.departing import Departure, departure
from gnomon_scheduler.decisions.folding import finish, fold
from gnomon_scheduler.decisions.overlapping import replaced
from gnomon_scheduler.decisions.own_changes import pause_after_failures
from gnomon_scheduler.decisions.reminding import remind, told
from gnomon_scheduler.decisions.slots import Course, course_of, flight_of
from gnomon_scheduler.decisions.usage import counts, use
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.decisions.views import view
from gnomon_scheduler.memory import Flight, ShardMemory, Slot, TaskState
from gnomon_scheduler.object_registers import KnownObject
from gnomon_scheduler.registers import RingEntry, TaskRegister
from gnomon_scheduler.withdrawals import Step, Wish, act
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.events import ErrorInfo, Event, Executed, Queued, Skipped, Started, event_name
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.subjects import TASK_RUN, EventSubject
from gnomon_schemas.tasks import NULL, RetryPolicy, Task
from tests.harness.events import Seen

__all__ = ["ECHO", "Deciding"]

ECHO = KnownType.of(
    TypeAnnouncement(
        name="echo",
        description="",
        pool="default",
        timeout_seconds=60,
        retry=RetryPolicy(),
        config_schema=msgspec.Raw(b'{"type":"object"}'),
        isolation="loop",
        version="1",
    )
)
"""A type that an executor announces."""
_ONCE = RetryPolicy()


class Deciding:
    """A shard with one task, at a time that the test moves on."""

    def __init__(
        self,
        now_ms: int,
        task_id: str = "t",
        *,
        rules: AccountRules = OPEN_TO_ALL,
        objects: Mapping[str, Mapping[str, KnownObject]] = MappingProxyType({}),
    ) -> None:
        self.now_ms, self.task_id = now_ms, task_id
        self.rules, self.objects = rules, objects
        self.user = "u1"
        """Whose task it is, where a test has no other wish."""
        self.types = {"echo": ECHO, **WORKLESS_TYPES}
        self.log: list[Seen] = []
        """Every event that is stored, in order."""
        self.due: dict[str, Flight] = {}
        """Dues that were published and not consumed: what executors may claim."""
        self.memory = ShardMemory(0)
        self._stored: bytes | None = None
        """The task's register as stored last."""
        self._watermark_ms = now_ms
        self.usage: UsageRegister | None = None
        """What the task's user has used."""

    # -- looking ---------------------------------------------------------------------------------

    @property
    def task(self) -> TaskState | None:
        """The task as the leader has it; None: it was never made."""
        return self.memory.tasks.get(self.task_id)

    @property
    def reg(self) -> TaskRegister:
        """Its register."""
        assert self.task is not None
        return self.task.reg

    def shown(self) -> Task:
        """The task as everybody reads it."""
        assert self.task is not None
        return view(
            self.task.reg, partition=0, running=self.task.running, now_ms=self.now_ms, types=self.types
        )

    @property
    def used_micros(self) -> int:
        """Credits that the task's user has used, in millionths."""
        return 0 if self.usage is None else self.usage.used

    def events(self, name: str) -> list[Any]:
        """The events of this name so far."""
        return [seen.event for seen in self.log if seen.name == name]

    def chain(self, run: str) -> list[Seen]:
        """The chain of an execution."""
        return [seen for seen in self.log if seen.run == run]

    def around(self) -> Surroundings:
        """What decisions look at."""
        return Surroundings(
            self.now_ms, 0, self.types, "UTC", "f", 1000, rules=self.rules, objects=self.objects
        )

    # -- commands --------------------------------------------------------------------------------

    def command(
        self,
        verb: str,
        body: Any = None,
        command_id: str | None = None,
        *,
        user: str | None = None,
        admin: bool = False,
        if_match: str | None = None,
    ) -> bool:
        """Send a command; whether it was decided, which it is once. Raises Refused."""
        command_id = command_id or f"c{len(self.log)}"
        if any(one.command_id == command_id for one in (self.reg.ring if self.task else ())):
            return False
        data = encode(body or {})
        command = Command("task", verb, self.task_id, command_id, user, admin, if_match, data, 1)
        decision = decide(self.task, [], command, self.around())
        ring = (*decision.reg.ring, RingEntry(command_id))[-32:]
        decision.reg = msgspec.structs.replace(decision.reg, ring=ring)
        if self.task is None:
            self.memory.tasks[self.task_id] = TaskState(decision.reg, 0)
        self._apply(decision)
        return True

    def _apply(self, decision: Decision) -> None:
        task = self.task
        assert task is not None
        task.reg = decision.reg
        for event in decision.events:
            self._append(event)
        for skipped in decision.refused:
            self._append(skipped, skipped.run or TASK_RUN)
        for flight, queued in decision.queued:
            task.take_off(flight)
            seq = self._append(queued, flight.run)
            flight.first_seq = flight.last_seq = flight.cause_seq = seq
        for item in decision.cancels:
            task.wish(item)
        if decision.rescheduled:
            self.memory.schedule(task, self._watermark_ms)
        self._store()
        self._depart()
        self._end_what_is_wished()
        self._after_end()

    # -- time ------------------------------------------------------------------------------------

    def pass_time(self, seconds: float) -> None:
        """Let time pass, a second at the most at once, and do what is due."""
        end_ms = self.now_ms + round(seconds * 1000)
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + 1000)
            self.turn()

    def turn(self) -> None:
        """Do what is due now."""
        task = self.task
        if task is None:
            return
        while (at_ms := self.memory.next_reminder_ms()) is not None and at_ms <= self.now_ms:
            self.memory.pop_reminder()
            decision = remind(task, [], self.around())
            if decision is not None:
                self._apply(decision)
        for slot in self.memory.pop_due(self.now_ms, 1000):
            self._hand_out(slot)
        self._watermark_ms = self.now_ms
        self._store()
        self._depart()
        self._end_what_is_wished()
        self._after_end()

    def _hand_out(self, slot: Slot) -> None:
        task = slot.task
        if task.reg.exhausted:
            return
        course = course_of(task, slot.emit_ms, self.now_ms, runnable=True)
        flight = flight_of(slot, written=False)
        match course:
            case Course.TELL:
                self._count(slot)
                self._tell(flight)
            case Course.EMIT:
                task.take_off(flight)
                flight.emitted = True
                self.due[flight.run] = flight
            case Course.COUNT:
                self._write_ahead(slot, gated=False)
            case Course.WAIT_FOR_OTHERS:
                self._write_ahead(slot, gated=True)
            case Course.REPLACE_OTHERS:
                for item in replaced(task, self.now_ms + self.around().cancel_grace_ms):
                    task.wish(item)
                self._write_ahead(slot, gated=True)
            case Course.SKIP_OVERLAP:
                self._append(Skipped(**self._of_run(flight), reason="overlap"), flight.run)
            case _:
                raise AssertionError(f"{course} is nothing that a test of this kind makes")

    def _count(self, slot: Slot) -> None:
        slot.task.reg = counted(slot.task.reg, [slot])
        if slot.task.reg.exhausted:
            self.memory.schedule(slot.task, self._watermark_ms)

    def _write_ahead(self, slot: Slot, *, gated: bool) -> None:
        flight = flight_of(slot, written=True, gated=gated, queued=gated)
        self._count(slot)
        if gated:
            seq = self._append(Queued(**self._of_run(flight), reason="overlap"), flight.run)
            flight.first_seq = flight.last_seq = flight.cause_seq = seq
        slot.task.take_off(flight)

    def _depart(self) -> None:
        """What is in the register is handed out, where it may go."""
        task = self.task
        assert task is not None
        in_order = sorted(
            task.flights.values(), key=lambda flight: (flight.gated, flight.emit_ms, flight.run)
        )
        for flight in in_order:
            if flight.emitted or flight.run in task.cancelling:
                continue
            match departure(task, flight, self.now_ms, runnable=True):
                case Departure.WAIT:
                    continue
                case Departure.GO if self.reg.spec.task_type in WORKLESS_TYPES:
                    self._tell(flight)
                    task.land(flight.run)
                case Departure.GO:
                    flight.emitted, flight.gated = True, False
                    self.due[flight.run] = flight
                case other:
                    raise AssertionError(f"{other} is nothing that a test of this kind makes")

    def _tell(self, flight: Flight) -> None:
        assert self.task is not None
        started, executed, reminder = told(self.task, flight, self.around(), "s")
        for event, run in ((started, flight.run), (executed, flight.run), (reminder, TASK_RUN)):
            self._append(event, run)
        self._fold(self.log[-2])

    def _end_what_is_wished(self) -> None:
        task = self.task
        assert task is not None
        for item in list(task.cancelling.values()):
            chain = self.chain(item.run)
            last = None if not chain else _as_stored(chain[-1])
            step = act(Wish(task, item.run, item.reason, item.deadline_ms), last, self.now_ms, 0)
            if step is Step.DROP:
                task.unwish(item.run)
            elif not isinstance(step, Step):
                event, expected = step
                assert expected == (0 if last is None else last.seq)
                self.due.pop(item.run, None)
                self._append(event, item.run)
                self._fold(self.log[-1])

    def _after_end(self) -> None:
        task = self.task
        assert task is not None
        decision = pause_after_failures(task, [], self.around())
        if decision is not None:
            self._apply(decision)
        if task.flights or task.reg.deleted_ms is not None:
            return
        changed = finish(task, self._watermark_ms, 0)
        if changed is not None:
            self._append(changed)
            self.memory.schedule(task, self._watermark_ms)
            self._store()

    # -- executors -------------------------------------------------------------------------------

    def claim(self, run: str) -> None:
        """An executor starts an execution that is due."""
        now = format_instant(self.now_ms)
        common = self._of_run(self.due[run])
        self._append(
            Started(
                **common,
                executor="e",
                due_seq=1,
                nonce="n",
                takeovers=0,
                started_at=now,
                pool="default",
                priority="medium",
            ),
            run,
        )
        self._fold(self.log[-1])

    def end(self, run: str, status: Any = "completed", *, credits_used: float = 0) -> None:
        """And ends it. On success it costs what the task says, and in any case what the handler told."""
        now, flight = format_instant(self.now_ms), self.due.pop(run)
        succeeded = status == "completed"
        self._append(
            Executed(
                **self._of_run(flight),
                status=status,
                result=NULL,
                error=None if succeeded else ErrorInfo(type="E", message="m"),
                started_at=now,
                completed_at=now,
                executed_at=now,
                duration_ms=1,
                credits_consumed=credits_used + (self.reg.spec.credits_per_run if succeeded else 0),
                tokens_used=0,
                api_calls_made=0,
                executor="e",
            ),
            run,
        )
        self._fold(self.log[-1])
        self._depart()
        self._after_end()

    def _of_run(self, flight: Flight) -> dict[str, Any]:
        return {
            "task_id": self.task_id,
            "user_id": self.reg.user_id,
            "partition": 0,
            "occurred_at": format_instant(self.now_ms),
            "execution_id": f"{self.task_id}.{flight.run}",
            "run": flight.run,
            "task_type": self.reg.spec.task_type,
            "attempt": flight.attempt,
            "trigger": flight.trigger,
            "scheduled_for": format_instant(flight.scheduled_ms),
            "due_at": format_instant(flight.due_ms),
            "revision": flight.revision,
        }

    # -- what goes wrong -------------------------------------------------------------------------

    def redeliver(self, index: int) -> None:
        """An event of the log comes once more."""
        seen = self.log[index]
        self._use(seen)
        if self.task is not None and seen.run != TASK_RUN:
            fold(self.task, seen.seq, seen.run, seen.event, retry=_ONCE)

    def crash(self) -> None:
        """The leader dies; its successor has the register, the dues and the log."""
        if self._stored is None:
            return
        stored = decode(self._stored, TaskRegister)
        self.memory = ShardMemory(0)
        self.memory.apply_task(1, stored, self._stored)
        task = self.task
        assert task is not None
        self.memory.schedule(task, self._watermark_ms)
        for seen in self.log:
            self._use(seen)
            if seen.run != TASK_RUN:
                fold(task, seen.seq, seen.run, seen.event, retry=_ONCE)
        for run, flight in self.due.items():
            known = task.flights.get(run)
            if known is None:
                task.take_off(flight)
            else:
                known.emitted, known.gated = True, False
                known.started = flight.started or known.started
                self.due[run] = known
        self._end_what_is_wished()
        self._after_end()

    # -- the log ---------------------------------------------------------------------------------

    def _append(self, event: Event, run: str = TASK_RUN) -> int:
        seq = len(self.log) + 1
        subject = EventSubject("task", event_name(event), 0, self.task_id, run)
        self.log.append(Seen(seq, self.now_ms, subject, event, {}))
        return seq

    def _use(self, seen: Seen) -> None:
        if isinstance(seen.event, Executed) and counts(seen.event, daily=True):
            self.usage = use(self.usage, seen.seq, seen.event) or self.usage

    def _fold(self, seen: Seen) -> None:
        assert self.task is not None
        self._use(seen)
        folded = fold(self.task, seen.seq, seen.run, seen.event, retry=_ONCE)
        for event in folded.derived:
            self._append(event, getattr(event, "run", TASK_RUN))

    def _store(self) -> None:
        assert self.task is not None
        self._stored = encode(self.task.stored_form())


def _as_stored(seen: Seen) -> Stored:
    subject = subjects.event("task", seen.name, 0, seen.task_id, seen.run)
    return Stored(subject, seen.seq, seen.time_ms, {}, encode(seen.event))
