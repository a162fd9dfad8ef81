"""A task's whole life against a model of it: random commands, runs, failures, redeliveries and deaths of the leader.

The model knows nothing of registers and events. It is told what callers ask, what executors do and that time passes,
and says which status the task has, what is handed out, waits or gives way, how often it ran, what that cost, and which
reminders people got. The machine asks the scheduler the same, the oracle of the ledger, and the projector's own fold.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gnomon_api.readmodels.fold import Fold
from gnomon_api.readmodels.section import Read
from gnomon_api.readmodels.sections.executions import ExecutionSection
from gnomon_api.readmodels.sections.tasks import TaskSection
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import subjects
from gnomon_schemas.accounts import micros_of
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.codec import encode
from gnomon_schemas.lifecycle import TRANSITIONS
from gnomon_schemas.problems import Refused
from gnomon_schemas.tasks import Overlap, Task, TaskStatus
from tests.harness.deciding import Deciding
from tests.harness.events import Seen
from tests.harness.ledger import audit
from tests.unit.scheduler.making import NOW_S

__all__ = ["Life", "LivingShard", "Model"]

EVERY_SECONDS = 10
MAX_RUNS = 3
EVERY_TEN = {"kind": "interval", "every_seconds": EVERY_SECONDS, "anchor": format_instant(NOW_S * 1000)}
COUNTED = {**EVERY_TEN, "max_runs": MAX_RUNS}
KINDS = ("none", "often", "often", "counted", "once")
FAILED = ("failed", "timed_out")
ENDINGS = frozenset({"executed", "skipped", "missed", "coalesced"})
TOLD = {(one.old, one.new): one.causes for one in TRANSITIONS if one.told}


@dataclass
class Model:
    """A task as people think of it. Instants in milliseconds."""

    made: bool = False
    task_type: str = "echo"
    overlap: str = "allow"
    kind: str = "none"
    """Of its schedule."""
    once_s: int = 0
    """When it is to run, where that is once; in epoch seconds."""
    fired: int = 0
    """Slots of the present schedule that were to run."""
    flights: dict[str, str] = field(default_factory=dict)
    """Its executions that have not ended, in the order in which they came: `out`, or `waits` for others."""
    gave_way: set[str] = field(default_factory=set)
    """Slots that did not run, for others of the task that did."""
    last_status: str = ""
    """How its last run ended."""
    paused: bool = False
    noted: bool = False
    """Whether its pause says why: it failed too often."""
    ended: str | None = None
    deleted: bool = False
    version: int = 0
    credits: float = 0
    reminder_ms: int | None = None
    """When people are to be reminded, where they were not yet."""
    reminder_text: str | None = None
    """As it was asked for last."""
    reminded: list[int] = field(default_factory=list)
    runs: int = 0
    successes: int = 0
    failures: int = 0
    in_a_row: int = 0
    micros: int = 0

    @property
    def recurs(self) -> bool:
        """Whether it has a schedule."""
        return self.kind != "none"

    @property
    def goes_on(self) -> bool:
        """Whether its schedule makes slots now, as long as there are any."""
        return self.recurs and self.ended is None and not self.paused and not self.deleted

    def has_slot(self, now_s: int) -> bool:
        """Whether its schedule has a slot after an instant."""
        if self.kind == "once":
            return self.once_s > now_s
        return self.kind == "often" or (self.kind == "counted" and self.fired < MAX_RUNS)

    def pass_second(self, now_s: int) -> None:
        """A second begins, and with it perhaps a slot."""
        is_slot = now_s == self.once_s if self.kind == "once" else (now_s - NOW_S) % EVERY_SECONDS == 0
        if not (self.goes_on and is_slot and self.has_slot(now_s - 1)):
            return
        run = slot_run(now_s)
        if self.task_type != "echo":
            self.fired += 1
        elif self.gives_way(on_demand=False):
            self.gave_way.add(run)
        else:
            self.fired += 1
            self.come(run)

    def gives_way(self, *, on_demand: bool) -> bool:
        """Whether what comes now does not run, for those that are there."""
        others = self.flights.values()
        if self.overlap == "queue":
            return not on_demand and "waits" in others
        return self.overlap == "skip" and bool(others)

    def come(self, run: str) -> None:
        """An execution comes, and goes or waits."""
        self.flights[run] = "out" if not self.flights or self.overlap == "allow" else "waits"

    def gone(self, runs: Iterable[str]) -> None:
        """These have ended, however: the next that waits may go."""
        for run in runs:
            self.flights.pop(run, None)
        if self.flights and "out" not in self.flights.values():
            self.flights[next(iter(self.flights))] = "out"

    def settle(self, now_s: int) -> None:
        """What follows by itself: it pauses when it fails too often, and ends with its last slot."""
        if self.goes_on and not self.has_slot(now_s):
            reminds = self.task_type != "echo" and self.reminder_ms is not None
            if not self.flights and not reminds:
                self.ended = "failed" if self.kind == "once" and self.last_status in FAILED else "completed"
        elif self.in_a_row >= 3 and not self.paused and self.ended is None and not self.deleted:
            self.paused = self.noted = True

    @property
    def status(self) -> str:
        """The resting status."""
        if self.ended is not None:
            return self.ended
        if self.paused:
            return "paused"
        return "scheduled" if self.recurs else "pending"

    def tell_reminders(self, now_ms: int) -> None:
        """Whoever is to be reminded by now is."""
        if self.reminder_ms is None or self.reminder_ms > now_ms:
            return
        if self.ended is None and not self.paused and not self.deleted:
            self.reminded.append(self.reminder_ms)
            self.reminder_ms = None
            if self.task_type == "reminder" and not self.recurs:
                self.ended = "completed"

    def open(self, now_ms: int) -> None:
        """It goes on."""
        self.ended, self.paused, self.noted = None, False, False
        if self.reminder_ms is not None and self.reminder_ms <= now_ms:
            self.reminder_ms = None

    def ends(self, status: str, cost: float) -> None:
        """A run of it ended."""
        self.runs += 1
        self.last_status = status
        self.micros += micros_of(cost)
        self.successes += status == "completed"
        failed = status in FAILED
        self.failures += failed
        self.in_a_row = 0 if status == "completed" else self.in_a_row + failed


class LivingShard(Protocol):
    """What the machine drives: see `Deciding`, of which these are."""

    task_id: str
    user: str

    @property
    def now_ms(self) -> int: ...
    @property
    def log(self) -> Sequence[Seen]: ...
    @property
    def due(self) -> Collection[str]: ...
    @property
    def used_micros(self) -> int: ...
    def events(self, name: str) -> list[Any]: ...
    def chain(self, run: str) -> list[Seen]: ...
    def shown(self) -> Task: ...
    def command(self, verb: str, body: Any, command_id: str, *, user: str) -> bool: ...
    def turn(self) -> None: ...
    def pass_time(self, seconds: float) -> None: ...
    def claim(self, run: str) -> None: ...
    def end(self, run: str, status: Any = "completed", *, credits_used: float = 0) -> None: ...
    def redeliver(self, index: int) -> None: ...
    def crash(self) -> None: ...


class Life(RuleBasedStateMachine):
    """One task, its shard, its executors and its users."""

    seconds_at_once = 25

    def __init__(self) -> None:
        super().__init__()
        self.shard = self.make_shard()
        self.model = Model()
        self.number = 0

    def make_shard(self) -> LivingShard:
        """What is tried."""
        return Deciding(NOW_S * 1000 + 500)

    @property
    def now_s(self) -> int:
        """The second that it is."""
        return self.shard.now_ms // 1000

    # -- what callers do -------------------------------------------------------------------------

    @initialize(
        task_type=st.sampled_from(["echo", "echo", "todo", "reminder"]),
        kind=st.sampled_from(KINDS),
        overlap=st.sampled_from(list(Overlap)),
        remind_in=st.one_of(st.none(), st.integers(1, 40)),
        credits_per_run=st.sampled_from([0, 1, 2.5]),
    )
    def create(
        self, task_type: str, kind: str, overlap: Overlap, remind_in: int | None, credits_per_run: float
    ) -> None:
        model = self.model
        if task_type == "reminder" and kind == "none":
            remind_in = remind_in or 5
        model.made, model.task_type, model.version = True, task_type, 1
        model.overlap, model.credits = overlap.value, credits_per_run
        model.reminder_ms = None if remind_in is None else self.shard.now_ms + remind_in * 1000
        model.reminder_text = None if model.reminder_ms is None else format_instant(model.reminder_ms)
        body = {
            "name": "n",
            "task_type": task_type,
            "schedule": self._schedule(kind),
            "overlap": overlap.value,
            "credits_per_run": credits_per_run,
            "reminder_time": model.reminder_text,
            "max_consecutive_failures": 3,
        }
        self.shard.command("create", body, "c-create", user=self.shard.user)

    def _schedule(self, kind: str, in_seconds: int = 7) -> dict[str, Any] | None:
        """A schedule of a kind, which the task has from now on; as it is sent."""
        model = self.model
        if kind == model.kind and kind != "once":
            return {"none": None, "often": EVERY_TEN, "counted": COUNTED}[kind]
        model.kind, model.fired = kind, 0
        if kind == "once":
            model.once_s = self.now_s + in_seconds
            return {"kind": "once", "at": format_instant(model.once_s * 1000)}
        return {"none": None, "often": EVERY_TEN, "counted": COUNTED}[kind]

    @precondition(lambda self: not self.model.deleted)
    @rule(verb=st.sampled_from(["pause", "resume", "complete", "cancel"]))
    def act(self, verb: str) -> None:
        """One of the four verbs."""
        model = self.model
        changes = model.paused != (verb == "pause") if verb in ("pause", "resume") else verb == "complete"
        if model.ended == "cancelled" and changes:
            self._refused(verb, {})
            return
        before = (model.paused, model.noted, model.ended)
        if verb in ("complete", "cancel"):
            model.ended = {"complete": "completed", "cancel": "cancelled"}[verb]
        else:
            self._pause(paused=verb == "pause")
        model.version += (model.paused, model.noted, model.ended) != before
        self._ask(verb, {})

    @precondition(lambda self: not self.model.deleted)
    @rule(wanted=st.sampled_from(list(TaskStatus)), renamed=st.booleans())
    def set_status(self, wanted: TaskStatus, renamed: bool) -> None:
        """A status in an update, with another field or without."""
        model = self.model
        body: dict[str, Any] = {"status": wanted.value}
        if renamed:
            self.number += 1
            body["description"] = f"d{self.number}"
        now, resting = wanted.value, model.status
        nothing = now == resting or (now == "running" and resting in ("pending", "scheduled"))
        if nothing:
            if renamed and model.ended == "cancelled":
                self._refused("update", body)
            else:
                model.version += renamed
                self._ask("update", body)
        elif self._takes(resting, now) and not self._lacks_a_slot(resting, now):
            model.version += 1
            if now in ("completed", "cancelled"):
                model.ended = now
            elif now == "paused":
                self._pause(paused=True)
            elif model.ended is not None:
                self.model.in_a_row = 0 if model.paused else self.model.in_a_row
                model.open(self.shard.now_ms)
            else:
                self._pause(paused=False)
            self._ask("update", body)
        else:
            self._refused("update", body)

    def _lacks_a_slot(self, resting: str, wanted: str) -> bool:
        """Whether it cannot be opened again, since its schedule is through."""
        opens = resting in ("completed", "failed") and wanted in ("pending", "scheduled")
        return opens and self.model.recurs and not self.model.has_slot(self.now_s)

    @staticmethod
    def _takes(resting: str, wanted: str) -> bool:
        """Whether a caller may ask for this, as the domain's rules have it."""
        if resting == "cancelled" or wanted in ("failed", "running"):
            return False
        if wanted in ("completed", "cancelled"):
            return True
        if wanted == "paused":
            return resting in ("pending", "scheduled")
        return resting in ("paused", "completed", "failed")

    def _pause(self, *, paused: bool) -> None:
        if self.model.paused and not paused:
            self.model.in_a_row = 0
        # Somebody who pauses it too says nothing of why.
        self.model.paused, self.model.noted = paused, False

    @precondition(lambda self: not self.model.deleted and self.model.ended is None)
    @rule(kind=st.sampled_from(KINDS), in_seconds=st.integers(1, 20))
    def set_schedule(self, kind: str, in_seconds: int) -> None:
        """With a schedule or without."""
        model = self.model
        if kind == "none" and model.task_type == "reminder" and model.reminder_text is None:
            self._refused("update", {"schedule": None})
            return
        before = (model.kind, model.once_s)
        schedule = self._schedule(kind, in_seconds)
        model.version += before != (model.kind, model.once_s)
        self._ask("update", {"schedule": schedule})

    @precondition(lambda self: not self.model.deleted and self.model.ended != "cancelled")
    @rule(seconds=st.integers(-5, 30))
    def set_reminder(self, seconds: int) -> None:
        """Another time to be reminded at."""
        model, at_ms = self.model, self.shard.now_ms + seconds * 1000
        body = {"reminder_time": format_instant(at_ms)}
        if body["reminder_time"] == model.reminder_text:
            self._ask("update", body)
            return
        if seconds <= 0:
            self._refused("update", body)
            return
        model.version += 1
        model.reminder_ms, model.reminder_text = at_ms, body["reminder_time"]
        if model.task_type == "reminder" and model.ended is not None:
            model.ended = None
        self._ask("update", body)

    @precondition(lambda self: self.model.ended == "cancelled" and not self.model.deleted)
    @rule()
    def delete(self) -> None:
        """Only at the end of a life, or most of them would be short."""
        self.model.deleted = True
        self.model.version += 1
        self._ask("delete", {})

    @precondition(lambda self: not self.model.deleted)
    @rule()
    def run(self) -> None:
        """A run on demand."""
        model = self.model
        if model.ended == "cancelled" or (model.task_type == "echo" and model.gives_way(on_demand=True)):
            self._refused("run", {})
            return
        if model.task_type == "echo":
            model.come(f"r-c-{self.number + 1}")
        self._ask("run", {})

    def _ask(self, verb: str, body: dict[str, Any]) -> None:
        """Send a command, and once more as a caller whose answer was lost."""
        self.number += 1
        command_id = f"c-{self.number}"
        assert self.shard.command(verb, body, command_id, user=self.shard.user)
        self._after()
        logged = len(self.shard.log)
        assert not self.shard.command(verb, body, command_id, user=self.shard.user)
        assert len(self.shard.log) == logged

    def _refused(self, verb: str, body: dict[str, Any]) -> None:
        logged, shown = len(self.shard.log), encode(self.shard.shown())
        with contextlib.suppress(Refused):
            self.shard.command(verb, body, f"c-refused-{self.number}", user=self.shard.user)
            raise AssertionError(f"{verb} {body} was taken of a task that is {self.model.status}")
        assert (len(self.shard.log), encode(self.shard.shown())) == (logged, shown)

    # -- what executors and time do --------------------------------------------------------------

    @precondition(lambda self: bool(self.shard.due))
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.shard.due)))
        if self.shard.chain(run) and self.shard.chain(run)[-1].name == "started":
            return
        self.shard.claim(run)

    @precondition(lambda self: any(self._started()))
    @rule(
        data=st.data(),
        status=st.sampled_from(["completed", "failed", "timed_out"]),
        used=st.sampled_from([0, 0.5]),
    )
    def end(self, data: st.DataObject, status: str, used: float) -> None:
        run = data.draw(st.sampled_from(self._started()))
        self.model.ends(status, used + (self.model.credits if status == "completed" else 0))
        self.shard.end(run, status, credits_used=used)
        self._after()

    @precondition(lambda self: not self.model.deleted and self.model.ended != "cancelled")
    @rule(
        status=st.sampled_from(["completed", "failed"]), used=st.sampled_from([0, 0.5]), again=st.booleans()
    )
    def run_to_the_end(self, status: str, used: float, again: bool) -> None:
        """A run on demand, claimed and ended at once; and all of it delivered once more."""
        number = self.number
        self.run()
        run = f"r-c-{self.number}"
        if self.number > number and run in self.shard.due:
            self.shard.claim(run)
            self.model.ends(status, used + (self.model.credits if status == "completed" else 0))
            self.shard.end(run, status, credits_used=used)
            self._after()
        if again:
            for index in range(len(self.shard.log)):
                self.shard.redeliver(index)

    def _started(self) -> list[str]:
        return [
            run for run in sorted(self.shard.due) if any(s.name == "started" for s in self.shard.chain(run))
        ]

    @rule(data=st.data())
    def pass_time(self, data: st.DataObject) -> None:
        self._pass(data.draw(st.integers(1, self.seconds_at_once)))

    def _pass(self, seconds: int) -> None:
        for _ in range(seconds):
            self.model.pass_second(self.now_s + 1)
            self.shard.pass_time(1)
            self._after()

    def _after(self) -> None:
        """What follows by itself."""
        model, shard = self.model, self.shard
        shard.turn()
        self._count_what_ended_by_itself()
        model.gone([run for run in model.flights if any(one.name in ENDINGS for one in shard.chain(run))])
        model.settle(self.now_s)
        model.tell_reminders(shard.now_ms)
        model.settle(self.now_s)

    def _count_what_ended_by_itself(self) -> None:
        """Reminders that were told as runs, and what a cancel ended: the executors had no part in it."""
        ended = [event for event in self.shard.events("executed") if event.executor is None]
        for _ in range(len(ended) - self._own_ends):
            self.model.ends(ended[self._own_ends].status, 0)
            self._own_ends += 1

    _own_ends = 0

    @rule(data=st.data(), status=st.sampled_from(["completed", "completed", "failed"]))
    def work(self, data: st.DataObject, status: str) -> None:
        """Time passes, and executors do what is handed out, each time after a while."""
        for _ in range(data.draw(st.integers(1, 4))):
            self._pass(min(self.seconds_at_once, EVERY_SECONDS + 3))
            for run in sorted(self.shard.due):
                if run not in self._started():
                    self.shard.claim(run)
                self.model.ends(status, self.model.credits if status == "completed" else 0)
                self.shard.end(run, status)
                self._after()

    # -- what goes wrong -------------------------------------------------------------------------

    @rule()
    def crash(self) -> None:
        self.shard.crash()
        self._after()

    @precondition(lambda self: bool(self.shard.log))
    @rule(data=st.data())
    def redeliver(self, data: st.DataObject) -> None:
        self.shard.redeliver(data.draw(st.integers(0, len(self.shard.log) - 1)))

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def the_task_is_as_the_model_says(self) -> None:
        if not self.model.made:
            return
        shown, model = self.shard.shown(), self.model
        status = shown.status.value
        if status == "running":
            status = "scheduled" if model.recurs else "pending"
        assert (status, shown.version) == (model.status, model.version), (shown, model)
        assert (shown.run_count, shown.success_count, shown.failure_count, shown.consecutive_failures) == (
            model.runs,
            model.successes,
            model.failures,
            model.in_a_row,
        )

    @invariant()
    def what_is_handed_out_is_what_may_go(self) -> None:
        """By its overlap policy; what is being ended is not handed out any more, and may have been."""
        out = {run for run, where in self.model.flights.items() if where == "out"}
        assert set(self.shard.due) == out

    @invariant()
    def every_reminder_was_told_once(self) -> None:
        reminders = self.shard.events("reminder_triggered")
        told = [one.scheduled_for for one in reminders if one.reminder_type == "reminder_time"]
        assert told == [format_instant(at_ms) for at_ms in self.model.reminded]
        runs = [one.execution_id for one in self.shard.events("reminder_triggered") if one.execution_id]
        assert len(runs) == len(set(runs))

    @invariant()
    def credits_are_what_runs_cost(self) -> None:
        assert self.shard.used_micros == self.model.micros

    @invariant()
    def every_change_of_status_is_told_and_of_the_table(self) -> None:
        changes = self.shard.events("status_changed")
        for change in changes:
            causes = TOLD[change.old_status, change.new_status]
            assert change.reason in causes
        for before, after in pairwise(changes):
            assert before.new_status == after.old_status
        if changes and not self.model.deleted:
            assert changes[-1].new_status == self.model.status

    def teardown(self) -> None:
        """Whatever happened: every slot has one outcome at the most, and the read models say the same."""
        if not self.model.made:
            return
        self._pass(3)
        while self.shard.due:
            run = min(self.shard.due)
            if run not in self._started():
                self.shard.claim(run)
            self.model.ends("completed", self.model.credits)
            self.shard.end(run)
            self._after()
        self.the_task_is_as_the_model_says()
        found = audit(self.shard.log, self.shard.now_ms)
        assert found.settled, found
        for run in self.model.gave_way:
            assert [getattr(one.event, "reason", one.name) for one in self.shard.chain(run)] == ["overlap"], (
                run
            )
        tasks, executions = TaskSection(), ExecutionSection()
        fold = Fold([tasks, executions])
        fold.begin()
        for seen in self.shard.log:
            subject = subjects.event("task", seen.name, 0, seen.task_id, seen.run)
            fold.apply(Read(Stored(subject, seen.seq, seen.time_ms, {}, encode(seen.event)), seen.event))
        row, model = tasks._tasks[self.shard.task_id], self.model
        assert (row.run_count, row.success_count, row.failure_count, row.consecutive_failures) == (
            model.runs,
            model.successes,
            model.failures,
            model.in_a_row,
        )
        assert (row.base_status, row.version, row.deleted_at is not None) == (
            model.status,
            model.version,
            model.deleted,
        )
        cost = sum(micros_of(one.credits_consumed) for one in executions.rows.values())
        assert cost == model.micros
        assert row.in_flight == sum(one.active for one in executions.rows.values())
