"""Why a slot of a task ran or did not: from what is stored about it, as a plain function of those facts.

Three kinds of question, answered in this order. *It has a chain*: the events of the execution tell it all.
*It was passed over in bulk*: a span tells which rule did. *Nothing is recorded*: then the schedule that was
in force at that instant says whether it is a slot at all, and time says whether it is still to come.

The schedule in force is found from the task as it is now, by undoing each later change that the history
holds. A change at some instant counts for slots of later seconds only: a turn of the shard hands out all
slots up to its instant before it decides commands.

Nothing is guessed: what is not recorded is not told. A policy that decided without leaving an event (a slot
that was handed out in time, say) is seen by its result alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gnomon_api.readmodels.sections.executions import ExecutionRow
from gnomon_core.ledger import Pasts, schedule_at
from gnomon_core.timing import LAST_INSTANT, describe, emission_ms, timetable
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Task, TaskStatus

__all__ = ["Change", "Explanation", "Facts", "Span", "Step", "explain", "verdicts"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that led to the verdict."""

    at: str | None
    """When; null where it has no instant of its own."""
    what: str
    """The event's name (`started`, `retrying`, `executed` …), or `schedule`, `due`, `slot_before`,
    `slot_after`, which are reckoned and not recorded."""
    seq: int | None
    """Sequence of the event in the stream `TASKS`; null for what is no event."""
    detail: str
    """In words."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a slot, or a run on demand, became what it became."""

    slot: str | None
    """Nominal time of the slot; null for a run on demand and for a time that is no slot."""
    verdict: str
    """The execution's status (`completed`, `failed`, `running`, `skipped` …), `planned` (still to come),
    `pending` (due, and nothing is recorded yet) or `no_slot`."""
    reason: str
    """One or two sentences."""
    steps: tuple[Step, ...]


verdicts: Final = (
    *("completed", "failed", "cancelled", "timed_out", "queued", "running", "retrying"),
    *("skipped", "missed", "coalesced", "planned", "pending", "no_slot"),
)
"""Every verdict there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One entry of the task's history."""

    seq: int
    at_ms: int
    version: int
    what: str
    """`created`, `updated` or `deleted`."""
    user_id: str | None
    fields: Mapping[str, tuple[Any, Any]]
    """Field to its values before and after."""
    by_itself: bool = False
    """No command asked for it: a pause ended at its time, or failures in a row began one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Slots that were passed over in bulk, the one in question among them."""

    seq: int
    outcome: str
    reason: str
    revision: int
    from_at: str
    to_at: str
    slots: int
    into: str | None
    occurred_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known. Times in milliseconds since 1970."""

    task: Task
    """As it is now, or was when it was deleted."""
    history: Sequence[Change]
    """From its creation on, in order."""
    now_ms: int
    at_ms: int | None
    """The instant in question; None where a run on demand is."""
    chain: Sequence[tuple[int, ev.Event]] = ()
    """Sequence and event, in order."""
    execution: ExecutionRow | None = None
    """What the chain makes."""
    span: Span | None = None
    pasts: Pasts = field(default_factory=dict)
    """Rules of zones and holidays by which the task's shard made slots, where they are not this process's own."""


def explain(facts: Facts) -> Explanation:
    """The verdict on these facts, and what led to it."""
    if facts.execution is not None and facts.chain:
        return _recorded(facts, facts.execution)
    if facts.at_ms is None:
        return _nothing(facts, "It has no schedule and has not been run yet: it runs on demand only.")
    past = _Past(facts, facts.at_ms // 1000)
    if facts.span is not None:
        return _passed_over(facts, past, facts.span)
    return _unrecorded(facts, past, facts.at_ms)


_ENDED: Final = frozenset({TaskStatus.CANCELLED, TaskStatus.COMPLETED, TaskStatus.FAILED})


class _Past:
    """The task as it was for slots of one second."""

    def __init__(self, facts: Facts, second: int) -> None:
        self.schedule: Schedule | None = facts.task.schedule
        self.known = True
        """Whether the schedule of that time is known: the history keeps large values by their size alone."""
        self._pasts = facts.pasts
        self._replanned_ms: int | None = None
        """Since when newer rules of zones or holidays decide its slots."""
        self.paused_by: Change | None = None
        self.ended_by: Change | None = None
        self.scheduled_by: Change | None = None
        pauses = [change.fields["paused"][0] for change in facts.history if "paused" in change.fields]
        self._created_paused: bool = pauses[0] if pauses else facts.task.paused
        self.created_ms = facts.history[0].at_ms if facts.history else instant_ms(facts.task.created_at)
        for change in facts.history:
            if change.at_ms // 1000 < second:
                self._passed(change)
        for change in reversed(facts.history):
            if change.at_ms // 1000 >= second and "schedule" in change.fields:
                self._undo(change.fields["schedule"][0])

    def _passed(self, change: Change) -> None:
        """A change that was in force."""
        if change.what == "created" or "schedule" in change.fields:
            self.scheduled_by = change
        if "calendar" in change.fields:
            self._replanned_ms = change.at_ms
        if "paused" in change.fields:
            self.paused_by = change if change.fields["paused"][1] else None
        elif change.what == "created" and self._created_paused:
            self.paused_by = change
        if change.what == "deleted":
            self.ended_by = change
        elif "status" in change.fields:
            # Another schedule lets a task live again that was completed.
            self.ended_by = change if change.fields["status"][1] in _ENDED else None

    def _undo(self, old: Any) -> None:
        if isinstance(old, Mapping) and "omitted_bytes" in old:
            self.known, self.schedule = False, None
            return
        self.known = True
        self.schedule = None if old is None else msgspec.convert(old, Schedule)

    def is_slot(self, at_ms: int, counted_ms: int | None = None) -> bool:
        """Whether the schedule of that time names this instant, by the rules of that time or of `counted_ms`."""
        if self.schedule is None or at_ms % 1000 or self.scheduled_by is None:
            return False
        by_ms = at_ms if counted_ms is None else counted_ms
        schedule = schedule_at(self.schedule, self._pasts, by_ms, self._replanned_ms)
        return timetable(schedule).last(at_ms // 1000) == at_ms // 1000

    def step(self) -> Step | None:
        """The schedule in force, as a step; None before the task was there."""
        by = self.scheduled_by
        if by is None:
            return None
        if not self.known:
            words = "a schedule too large for the history"
        else:
            words = "none: it runs on demand" if self.schedule is None else describe(self.schedule)
        who = f", by {by.user_id}" if by.user_id else ""
        return Step(
            at=format_instant(by.at_ms),
            what="schedule",
            seq=by.seq,
            detail=f"{words} (version {by.version} of the task{who})",
        )


# A chain tells it.


def _recorded(facts: Facts, row: ExecutionRow) -> Explanation:
    nominal_ms = facts.at_ms
    steps: list[Step] = []
    if nominal_ms is not None:
        schedule = _Past(facts, nominal_ms // 1000).step()
        steps += [] if schedule is None else [schedule]
        if row.due_at is not None and (later := _milliseconds(row) - nominal_ms) > 0:
            steps.append(
                Step(
                    at=format_instant(row.due_at),
                    what="due",
                    seq=None,
                    detail=f"{_duration(later)} after the slot's nominal time, by jitter",
                )
            )
    steps += [_step(seq, event) for seq, event in facts.chain]
    return Explanation(
        slot=None if nominal_ms is None else format_instant(nominal_ms),
        verdict=str(row.status),
        reason=_why(facts, row),
        steps=tuple(steps),
    )


def _why(facts: Facts, row: ExecutionRow) -> str:
    last = facts.chain[-1][1]
    outcome = next((one for _, one in reversed(facts.chain) if isinstance(one, ev.SlotOutcome)), None)
    if outcome is not None:
        into = outcome.into if isinstance(outcome, ev.Coalesced) else None
        return _outcome_words(str(row.status), outcome.reason, into, facts.task)
    if row.status == "queued":
        waits = "an earlier execution has not ended" if row.reason == "overlap" else "it was asked for"
        return f"It waits for an executor to start it; it was queued because {waits}."
    if row.status == "running":
        return f"It is running: attempt {row.attempt} on {row.executor}, and no result is recorded yet."
    if row.status == "retrying" and isinstance(last, ev.Retrying):
        return f"Attempt {last.attempt} failed ({_error(last.error)}); the next is due at {last.retry_at}."
    return _end_words(row)


def _end_words(row: ExecutionRow) -> str:
    tries = f"at attempt {row.attempt}" if row.attempt > 1 else "at the first attempt"
    lost = sum(one.status == "lost" for one in row.attempts)
    after = f", after {lost} executor{'s' if lost > 1 else ''} had gone in the middle of it" if lost else ""
    error = _error(row.error)
    if row.status == "completed":
        return f"It ran and completed {tries}{after}."
    if row.status == "timed_out":
        return f"It ran and was ended by its time limit {tries}{after}: {error or row.reason}."
    if row.status == "cancelled":
        return f"It was started, and cancelled{f' ({row.reason})' if row.reason else ''}{after}."
    given_up = f" It was given up: {row.dead_letter}." if row.dead_letter else ""
    return f"It ran and failed {tries}{after}: {error or row.reason}.{given_up}"


def _step(seq: int, event: ev.Event) -> Step:
    return Step(at=event.occurred_at, what=ev.event_name(event), seq=seq, detail=_detail(event))


def _detail(event: ev.Event) -> str:
    match event:
        case ev.Queued(reason="overlap"):
            return "waits for an earlier execution to end"
        case ev.Queued():
            return "asked for" + (f" by {event.user_id}" if event.user_id else "")
        case ev.Started():
            return _started_words(event)
        case ev.Retrying():
            return f"attempt {event.attempt} failed: {_error(event.error)}; next attempt at {event.retry_at}"
        case ev.Executed():
            return _executed_words(event)
        case ev.Failed():
            return f"failure {event.failure_count} of the task, {event.consecutive_failures} in a row"
        case ev.DeadLettered():
            return f"given up: {event.reason}"
        case ev.Coalesced():
            return f"{event.reason}: run {event.into} stood in for it"
        case ev.SlotOutcome():
            return event.reason
        case _:
            return ""


def _started_words(event: ev.Started) -> str:
    words = f"attempt {event.attempt} on {event.executor}"
    if event.attempt == 1 and not event.takeovers:
        words += f", {_duration(max(0, instant_ms(event.started_at) - instant_ms(event.due_at)))} after due"
    if event.takeovers:
        words += f", taken over for the {_nth(event.takeovers)} time from an executor that had gone"
    return words + (", and given back as the executor stopped" if event.released else "")


def _executed_words(event: ev.Executed) -> str:
    words = f"{event.status.replace('_', ' ')} after {_duration(event.duration_ms)}, attempt {event.attempt}"
    words += f" on {event.executor}" if event.executor else ", recorded by the scheduler"
    if event.reason:
        words += f" ({event.reason})"
    return words + (f": {_error(event.error)}" if event.error is not None else "")


# A span tells it.


def _passed_over(facts: Facts, past: _Past, span: Span) -> Explanation:
    schedule = past.step()
    words = f"{span.reason}: one of {span.slots} slots from {span.from_at} until before {span.to_at}"
    told = Step(
        at=span.occurred_at,
        what=span.outcome,
        seq=span.seq,
        detail=words + (f"; run {span.into} stood in for them" if span.into else ""),
    )
    assert facts.at_ms is not None, "a span is of slots"
    # Slots of a pause are counted when it ends, by the rules of that time.
    counted_ms = instant_ms(span.to_at) - 1000 if span.reason == "paused" else None
    if not past.is_slot(facts.at_ms, counted_ms):
        return _no_slot(facts, past, facts.at_ms)
    return Explanation(
        slot=format_instant(facts.at_ms),
        verdict=span.outcome,
        reason=_outcome_words(span.outcome, span.reason, span.into, facts.task),
        steps=(*([schedule] if schedule else []), told),
    )


def _outcome_words(outcome: str, reason: str, into: str | None, task: Task) -> str:
    """Why a slot ended without a run."""
    expires = task.catch_up.grace_seconds if task.expires_seconds is None else task.expires_seconds
    known = {
        "overlap": f"an earlier execution of the task was still in flight, and its overlap is {task.overlap}",
        "paused": "the task was paused",
        "cancelled": "it was cancelled before anybody had claimed it",
        "deleted": "the task was deleted before anybody had claimed it",
        "limit": "too many executions of the task were waiting already",
        "grace_exceeded": "no scheduler could hand it out within its grace "
        f"({_duration(task.catch_up.grace_seconds * 1000)} now)",
        "catch_up_skip": "it was late, and the task's catch-up policy is to skip what is late",
        "expired": f"nobody had claimed it in time ({_duration(expires * 1000)} after its slot now): no executor "
        "of its type and pool was there, or all were busy",
    }
    words = known.get(reason, f"the rule {reason!r} said so")
    if outcome == "coalesced":
        return f"It was late together with others, and run {into} stood in for all of them."
    return f"It was {outcome}: {words}."


# Nothing is recorded.


def _unrecorded(facts: Facts, past: _Past, at_ms: int) -> Explanation:
    why_not = _why_there_is_none(facts, past, at_ms)
    if why_not is not None or not past.is_slot(at_ms):
        return _no_slot(facts, past, at_ms, why_not)
    assert past.schedule is not None, "a slot has a schedule"
    due_ms = emission_ms(facts.task.task_id, at_ms // 1000, past.schedule)
    due = format_instant(due_ms)
    schedule = past.step()
    steps = [schedule] if schedule else []
    if past.paused_by is not None:
        steps.append(_change_step(past.paused_by, "paused"))
        slot = "It" if due_ms <= facts.now_ms else "It is still to come, and"
        verdict = "pending" if due_ms <= facts.now_ms else "planned"
        reason = (
            f"{slot} falls into a pause that has not ended: slots of a pause are recorded as skipped when the "
            "task is resumed."
        )
        return Explanation(slot=format_instant(at_ms), verdict=verdict, reason=reason, steps=tuple(steps))
    steps.append(Step(at=due, what="due", seq=None, detail="the slot's nominal time, and its jitter if any"))
    if due_ms > facts.now_ms:
        reason = f"It is still to come: it is due at {due}."
        return Explanation(slot=format_instant(at_ms), verdict="planned", reason=reason, steps=tuple(steps))
    reason = (
        f"It was due {_duration(facts.now_ms - due_ms)} ago, and nothing is recorded about it yet: its outcome is "
        "not stored, or the read models have not got it. GET /scheduler shows who leads the task's shard and how "
        "far it is, GET /executors who could run it."
    )
    return Explanation(slot=format_instant(at_ms), verdict="pending", reason=reason, steps=tuple(steps))


def _why_there_is_none(facts: Facts, past: _Past, at_ms: int) -> str | None:
    """Why the task had no slots at that time at all; None where it may have had."""
    task = facts.task
    if at_ms // 1000 <= past.created_ms // 1000:
        return f"The task was created at {format_instant(past.created_ms)}, and had no slots before."
    if past.ended_by is not None:
        verb = _ending(past.ended_by)
        return f"The task was {verb} at {format_instant(past.ended_by.at_ms)}, and has no slots since."
    if not past.known:
        return "The schedule of that time is not kept: it was too large for the history."
    if past.schedule is None:
        return "The task had no schedule then: it ran on demand only."
    if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED) and at_ms > facts.now_ms:
        return f"The task is {task.status}: no run of its schedule is left."
    return None


def _no_slot(facts: Facts, past: _Past, at_ms: int, why: str | None = None) -> Explanation:
    """Why nothing was to run, and between which slots the instant lies."""
    schedule = past.step()
    steps = [schedule] if schedule else []
    if past.ended_by is not None:
        verb = _ending(past.ended_by)
        steps.append(_change_step(past.ended_by, verb))
    asked = format_instant(at_ms)
    if why is None and past.schedule is not None:
        before, after = _neighbours(past, at_ms)
        steps += [
            Step(at=format_instant(second * 1000), what=what, seq=None, detail=words)
            for second, what, words in (
                (before, "slot_before", "the nearest slot before"),
                (after, "slot_after", "the nearest slot after"),
            )
            if second is not None
        ]
        why = f"{asked} is no slot of the schedule: {describe(past.schedule)}."
    return Explanation(
        slot=None, verdict="no_slot", reason=why or "The task had no schedule then.", steps=tuple(steps)
    )


def _neighbours(past: _Past, at_ms: int) -> tuple[int | None, int | None]:
    """The slots around an instant that is none, within the life of the schedule, in seconds."""
    assert past.schedule is not None, "only a schedule has slots"
    slots, since = timetable(past.schedule), past.scheduled_by
    before = slots.last((at_ms - 1) // 1000)
    if before is not None and since is not None and before <= since.at_ms // 1000:
        before = None
    after = slots.next(at_ms // 1000) if at_ms // 1000 < LAST_INSTANT else None
    return before, after


def _nothing(facts: Facts, reason: str) -> Explanation:
    created = facts.history[0] if facts.history else None
    steps = [] if created is None else [_change_step(created, "created")]
    return Explanation(slot=None, verdict="no_slot", reason=reason, steps=tuple(steps))


def _ending(change: Change) -> str:
    return "deleted" if change.what == "deleted" else str(change.fields["status"][1])


def _change_step(change: Change, what: str) -> Step:
    who = f"by {change.user_id}" if change.user_id else "by nobody who is known"
    detail = f"version {change.version} of the task, {who}"
    if change.by_itself:
        note = change.fields.get("pause_note", (None, None))[1]
        detail = f"by itself: {note}" if note else "by itself"
    return Step(at=format_instant(change.at_ms), what=what, seq=change.seq, detail=detail)


# Words.


def _milliseconds(row: ExecutionRow) -> int:
    assert row.due_at is not None, "asked for only where it is known"
    return instant_ms(format_instant(row.due_at))


def _error(error: Any) -> str:
    """An error in one line; empty for none."""
    if isinstance(error, str):
        error = msgspec.json.decode(error, type=ev.ErrorInfo)
    if error is None:
        return ""
    first = error.message.strip().partition("\n")[0]
    return f"{error.type}: {first}" if first else str(error.type)


def _duration(milliseconds: float) -> str:
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.3g} s"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and (seconds % size == 0 or unit == "min"):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def _nth(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
