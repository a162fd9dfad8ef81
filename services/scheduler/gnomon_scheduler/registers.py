"""What a shard keeps in `TASKS` besides events: one register per task, and one for itself.

Terms. A *register* is the newest message on its subject (`Nats-Rollup: sub`). An *entry* is an execution that was
written ahead: it is in the register before its due is published and stays until its terminal event is folded, so
that no crash can forget it. A *tombstone* is the register of a deleted task.

Registers hold references, never payloads (trigger data and overrides are in the run's `queued` event), so that a
task with many entries stays far below the broker's message limit. What equals its default is left out, which halves a
register: a version that changes a default has to read registers of before with the old one. Instants are milliseconds
since 1970 (`_ms`), nominal slot times whole seconds (`_s`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.dues import PreviousRun
from gnomon_schemas.problems import Code
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import LastExecution, TaskSpec, Trigger

__all__ = [
    "RING_SIZE",
    "Aside",
    "Backfilling",
    "BrokenObjective",
    "CalendarRegister",
    "Cancelling",
    "CatchUpOrder",
    "Entry",
    "KeptRules",
    "RingEntry",
    "Runtime",
    "ShardRegister",
    "TaskRegister",
    "UniqueRun",
    "fails_too_often",
    "owes_change",
]

_SLOT_CHARS = len("20260921T090000Z")

RING_SIZE = 32
"""How many commands a register remembers, to answer their retries."""


class RingEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One decided command: its id, and how it was answered (`code` None: accepted)."""

    command_id: str
    code: Code | None = None
    detail: str = ""
    run: str | None = None
    """The run that the command made, where it made one."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One execution written ahead."""

    run: str
    trigger: Trigger
    scheduled_ms: int
    """Nominal time of the slot, or the instant of the command."""
    due_ms: int
    """With jitter."""
    emit_ms: int
    """Not before this instant is its due published; a retry's `retry_at`."""
    revision: int
    attempt: int = 1
    cause_seq: int = 0
    """The `retrying` it follows; 0 for a first attempt, whose cause is its `queued` event or nothing."""
    queued: bool = False
    """A `queued` event stands at the head of its chain."""
    gated: bool = False
    """It waits until nothing of its task runs (see `decisions.overlapping`)."""
    expires_ms: int | None = None
    has_input: bool = False
    retry_of: str | None = None
    first_started_ms: int | None = None
    """Start of the first attempt, from which `total_timeout_seconds` counts."""
    traceparent: str | None = None
    late_ms: int = 0
    """When its slot was found late and chosen to run all the same; 0: it was not late."""
    calendar_id: str | None = None
    """The calendar of blackouts that puts it off: it goes when none is in force for its task, and then as a late one,
    found late when the blackout was over."""


class Cancelling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One execution that is being ended."""

    run: str
    reason: str
    """`cancelled`, `deleted`, `paused`, `limit` or `blackout`: what `skipped` will say if nobody has claimed it."""
    deadline_ms: int
    """From here on the shard ends it itself, on top of a `started`."""
    command_id: str | None = None
    into: str | None = None
    """The run that stands for it: it is `coalesced` then, instead of `skipped`."""
    calendar_id: str | None = None
    """The calendar of blackouts by which it does not run."""
    gentle: bool = False
    """Only if nobody has claimed it."""


class CatchUpOrder(NamedTuple):
    """An operator's word about late slots that wait: for those that were found late up to an instant."""

    approved_ms: int = 0
    discarded_ms: int = 0


class Aside(NamedTuple):
    """A task that is set aside: from where on a leader that can read it goes on. See `setting_aside`."""

    since_ms: int
    """Its slots with an emission time up to here were handed out, or have their outcome."""
    from_seq: int
    """Of its events none below this sequence is needed any more; from there on they are to be folded."""


class UniqueRun(NamedTuple):
    """A run on demand whose input is remembered, to tell equal ones."""

    digest: str
    run: str
    until_ms: int
    """Before this instant an equal run is `skipped(unique)`."""


class BrokenObjective(NamedTuple):
    """The task's lateness objective is broken: see `decisions.lateness`."""

    since_ms: int
    """When that was found."""
    late_ms: int
    """The last instant at which a slot was found late."""


class Runtime(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What was folded from execution events."""

    folded: int = 0
    """Sequence of the newest execution event whose effect is in here; older ones are never folded again."""
    run_count: int = 0
    success_count: int = 0
    failure_count: int = 0
    consecutive_failures: int = 0
    last_run_ms: int | None = None
    last_execution: LastExecution | None = None
    previous: PreviousRun | None = None
    """The last success."""


class Backfilling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One backfill under way: see `decisions.backfilling`."""

    backfill_id: str
    from_s: int
    to_s: int
    """Not part of the span."""
    cursor_s: int
    """Every slot of it up to here was written ahead."""
    total: int
    left: int
    concurrency: int = 1
    slots: tuple[int, ...] | None = None
    """Those that are left, where they were listed."""
    schedule: Schedule | None = None
    """Otherwise: whose slots they are."""
    begun_ms: int = 0
    """When it was asked for; 0: by a version that did not keep it."""

    @property
    def prefix(self) -> str:
        """What its runs begin with."""
        return f"b-{self.backfill_id}-"

    def owns(self, run: str) -> bool:
        """Whether a run is its own: nothing but a slot follows its prefix, which may also begin the runs of another
        backfill, whose id goes on where this one's ends."""
        return run.startswith(self.prefix) and len(run) == len(self.prefix) + _SLOT_CHARS

    def in_flight(self, runs: Iterable[str]) -> int:
        """How many of these runs are its own."""
        return sum(self.owns(run) for run in runs)


class KeptRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The rules of a part of the calendar, as some calendar has them."""

    fingerprint: str
    """Of that calendar."""
    versions: dict[str, str]
    rules: bytes
    until_ms: int | None = None
    """Up to when slots were made by them; None: they still are."""
    names: tuple[str, ...] = ()
    """Fingerprints of other calendars that said the same while they were kept."""

    def of(self, fingerprint: str) -> bool:
        """Whether a revision with this fingerprint may have been made by them."""
        return fingerprint == self.fingerprint or fingerprint in self.names


class CalendarRegister(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag="gnomon.state.calendar.v1",
):
    """By which rules of one part of the calendar the slots of a shard's tasks were made: see `replanning`."""

    name: str
    """`zone-Europe/Berlin`."""
    kept: tuple[KeptRules, ...]
    """The rules in force. More than one while tasks are re-planned from the first of them to the others: a revision
    with the fingerprint of a later one is by that, every other one by the first."""
    past: tuple[KeptRules, ...] = ()
    """Those that were in force before, the oldest first: for whoever asks what the slots were."""

    def rules_of(self, fingerprint: str, since_ms: int | None = None) -> KeptRules:
        """The rules by which a revision with this fingerprint makes its slots. `since_ms`: of a task that was set aside
        at that instant, and may have been passed over by every change since."""
        past = self.past if since_ms is not None else ()
        rules = [*(one for one in past if (one.until_ms or 0) >= (since_ms or 0)), *self.kept]
        return next((one for one in rules[:0:-1] if one.of(fingerprint)), rules[0])


class TaskRegister(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag="gnomon.state.task.v1",
):
    """All that is known of one task."""

    task_id: str
    user_id: str | None
    spec: TaskSpec
    version: int
    revision: int
    revision_from_ms: int
    """The revision is valid for slots with a nominal time after this instant."""
    cursor_s: int
    """Every slot with a nominal time up to here has its outcome, or is written ahead."""
    created_ms: int
    updated_ms: int
    fingerprint: str
    """Calendar fingerprint of the revision."""
    ended: str | None = None
    """`completed`, `failed` or `cancelled`: no slot fires any more."""
    ended_ms: int | None = None
    pause_note: str | None = None
    paused_until_ms: int | None = None
    """When it resumes by itself; only while it is paused and has not ended."""
    backfills: tuple[Backfilling, ...] = ()
    deleted_ms: int | None = None
    runtime: Runtime = Runtime()
    entries: tuple[Entry, ...] = ()
    cancelling: tuple[Cancelling, ...] = ()
    ring: tuple[RingEntry, ...] = ()
    unique: tuple[UniqueRun, ...] = ()
    """The newest runs on demand whose input may not come again yet."""
    traceparent: str | None = None
    """Trace of the command that made the schedule: fires link to it."""
    reminder_ms: int | None = None
    """When its `reminder_time` is to be told; 0: it was. None: it has none, or the register is of a version that told
    none."""
    slo_broken: BrokenObjective | None = None
    fired: int = 0
    """Slots of the revision that were handed out, where the schedule has `max_runs`: see `decisions.counting`."""

    @property
    def active(self) -> bool:
        """Whether its schedule makes slots now."""
        return (
            self.spec.schedule is not None
            and not self.spec.paused
            and self.ended is None
            and self.deleted_ms is None
        )

    @property
    def reminder_due_ms(self) -> int | None:
        """When its reminder is to be told; None: not at all, or not while it is paused."""
        if self.spec.reminder_time is None or self.reminder_ms == 0:
            return None
        if self.spec.paused or self.ended is not None or self.deleted_ms is not None:
            return None
        return instant_ms(self.spec.reminder_time) if self.reminder_ms is None else self.reminder_ms

    @property
    def runs_left(self) -> int | None:
        """How many slots may still be handed out; None: any number."""
        schedule = self.spec.schedule
        return (
            None if schedule is None or schedule.max_runs is None else max(0, schedule.max_runs - self.fired)
        )

    @property
    def exhausted(self) -> bool:
        """Whether its schedule makes no slot any more because `max_runs` were handed out."""
        return self.runs_left == 0


def owes_change(reg: TaskRegister) -> bool:
    """Whether the register says that its task is to be changed without a command: see `decisions.own_changes`."""
    return fails_too_often(reg) or bool(reg.backfills)


def fails_too_often(reg: TaskRegister) -> bool:
    """Whether as many executions in a row have failed as the task takes, and it is not paused yet."""
    most = reg.spec.max_consecutive_failures
    return (
        most is not None
        and reg.runtime.consecutive_failures >= most
        and not reg.spec.paused
        and reg.ended is None
        and reg.deleted_ms is None
    )


class ShardRegister(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gnomon.state.shard.v1"):
    """The head of every batch of a shard, and its fence: whoever expects an older one is deposed."""

    partition: int
    epoch: int
    owner: str
    nonce: str
    """Of the batch: tells a leader whose answer was lost that the batch is its own."""
    watermark_ms: int
    """Every plain slot whose emission time is up to here has a stored outcome."""
    fold_position: int
    """All execution events up to this sequence are in the registers."""
    oldest_unfinished: int
    """No chain of an unfinished execution has an event below this sequence; 0: not known yet."""
    last_command: int
    """Sequence in `TASK_COMMANDS` of the last command decided."""
    due_fence: int
    """Sequence of the due fence under which this leader emits."""
    fingerprint: str
    ring: tuple[RingEntry, ...] = ()
    """Commands that have no task."""
    catch_up_approved_ms: int = 0
    """Late slots that were decided up to here may go, however many they are."""
    catch_up_discarded_ms: int = 0
    """Those of them that had not been handed out are `missed(catch_up_skip)`."""

    calendars_kept: bool = False
    """Every part of the calendar that a task of the shard depends on has its register. A version that keeps none
    leaves this out again."""
    set_aside: dict[str, Aside] = {}
    """By id, the tasks that nothing is decided about: see `setting_aside`."""

    @property
    def catch_up_order(self) -> CatchUpOrder:
        """What was ordered about the backlog."""
        return CatchUpOrder(self.catch_up_approved_ms, self.catch_up_discarded_ms)
