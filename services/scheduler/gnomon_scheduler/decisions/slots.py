"""What becomes of a slot that came due: one of the outcomes below, as pure functions.

A slot is *plain* when it is less than `after_seconds` late and nothing hinders it: its due is published at once and
nothing else is written, because the watermark can tell after a crash which slots were handed out. Everything else
is either recorded (skipped, missed, coalesced) or *written ahead*: put in the task's register before its due is
published.

**Catch-up.** Slots that are `after_seconds` late or more are a backlog and decided together, per task, in one batch:
the span events, the cursor behind the last of them, and the slot that runs. The cursor makes the decision safe
against a crash right after it: the successor sees the slots as closed. A span never covers a slot that a
predecessor handed out (`handled`): it is split around those.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from gnomon_core.timing import count_fires, fires, jitter_ms, last_fire
from gnomon_scheduler.decisions.overlapping import Way, has_room, in_the_way, way_past
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Coalesced, Missed, SlotOutcome
from gnomon_schemas.tasks import CatchUpPolicy, Trigger

__all__ = ["Backlog", "Course", "catch_up", "course_of", "flight_of"]


class Course(Enum):
    """What becomes of one slot."""

    EMIT = "emit"
    """Plain: publish its due."""
    WAIT_FOR_OTHERS = "wait_for_others"
    """By its overlap policy: written ahead until nothing of the task runs."""
    REPLACE_OTHERS = "replace_others"
    """Overlap `cancel_running`: the same, and what is in its way is cancelled."""
    WAIT_FOR_EXECUTOR = "wait_for_executor"
    """No live executor of its pool runs its type: written ahead until one does."""
    SKIP_OVERLAP = "skip_overlap"
    SKIP_LIMIT = "skip_limit"
    LATE = "late"
    """Part of a backlog: `catch_up` decides."""


def course_of(task: TaskState, emit_ms: int, now_ms: int, *, runnable: bool) -> Course:
    """The course of a slot due at `emit_ms`. `runnable`: a live executor of its pool announces its type."""
    spec = task.reg.spec
    if now_ms - emit_ms >= spec.catch_up.after_seconds * 1000:
        return Course.LATE
    way = way_past(spec.overlap, in_the_way(task)) if task.flights else Way.GO
    if way is Way.GIVE_WAY:
        return Course.SKIP_OVERLAP
    if task.flights and not has_room(task):
        # Also where it could run at once: every one of them is an entry of the register when it has to try again.
        return Course.SKIP_LIMIT
    if way is Way.WAIT:
        return Course.WAIT_FOR_OTHERS
    if way is Way.REPLACE:
        return Course.REPLACE_OTHERS
    return Course.EMIT if runnable else Course.WAIT_FOR_EXECUTOR


def flight_of(slot: Slot, *, written: bool, gated: bool = False, queued: bool = False) -> Flight:
    """The execution of a slot."""
    reg = slot.task.reg
    return Flight(
        run=slot_run(slot.nominal_s),
        trigger=Trigger.SCHEDULE,
        scheduled_ms=slot.nominal_s * 1000,
        due_ms=slot.emit_ms,
        emit_ms=slot.emit_ms,
        revision=reg.revision,
        written=written,
        gated=gated,
        queued=queued,
        expires_ms=slot.emit_ms + int(reg.spec.expires_after_seconds * 1000),
    )


class Backlog(NamedTuple):
    """The decision about a task's late slots."""

    events: list[SlotOutcome]
    """Spans, as events of the task."""
    run: Slot | None
    """The slot that runs all the same."""
    waiting: list[Slot]
    """Slots of the range that are not late themselves, because of their jitter: to be written ahead."""
    cursor_s: int
    """Everything up to here is decided."""


def catch_up(first: Slot, now_ms: int, *, partition: int, handled: Collection[int]) -> Backlog:
    """Decide the late slots of a task. `first` comes first by its emission time.

    `handled` are nominal times that a predecessor handed out already.
    """
    task, first_s = first.task, first.nominal_s
    reg = task.reg
    schedule, policy = reg.spec.schedule, reg.spec.catch_up
    assert schedule is not None  # only a task with a schedule has slots
    if schedule.jitter_seconds:
        first_s, gone = _around(first)
        handled = {*handled, *gone}
    until_s = max(first_s, (now_ms - int(policy.after_seconds * 1000)) // 1000)
    spans = _Spans(task, now_ms, partition, handled)
    waiting: list[Slot] = []
    late_until_s = until_s
    if schedule.jitter_seconds:
        # With jitter the nominal times do not tell who is late: the youngest are looked at one by one.
        late_until_s = max(first_s - 1, until_s - int(schedule.jitter_seconds) - 1)
        waiting = _tail(task, late_until_s, until_s, handled)
    graced_from_s = -(-(now_ms - int(policy.grace_seconds * 1000)) // 1000)
    spans.missed("grace_exceeded", first_s - 1, min(late_until_s, graced_from_s - 1))
    start_s = max(first_s, graced_from_s)
    if policy.policy is CatchUpPolicy.SKIP:
        spans.missed("catch_up_skip", start_s - 1, late_until_s)
        return Backlog(spans.events, None, waiting, until_s)
    newest_s = _newest(task, late_until_s, start_s, handled)
    if newest_s is None:
        return Backlog(spans.events, None, waiting, until_s)
    spans.coalesced(slot_run(newest_s), start_s - 1, newest_s - 1)
    offset = jitter_ms(reg.task_id, newest_s, schedule.jitter_seconds) if schedule.jitter_seconds else 0
    return Backlog(spans.events, Slot(task, newest_s, newest_s * 1000 + offset), waiting, until_s)


def _around(first: Slot) -> tuple[int, set[int]]:
    """Where jitter is longer than the pace, emission times come in another order than nominal ones.

    Given the slot with the earliest emission time of those that are left: the earliest nominal time of those, and the
    nominal times after that whose slots were handed out before it.
    """
    reg, schedule = first.task.reg, first.task.reg.spec.schedule
    assert schedule is not None  # only a task with a schedule has slots
    span_s = int(schedule.jitter_seconds or 0) + 1
    emitted_s = first.emit_ms // 1000
    first_s, gone = first.nominal_s, set()
    for nominal in fires(schedule, max(reg.cursor_s, emitted_s - span_s), emitted_s):
        emit_ms = nominal * 1000 + jitter_ms(reg.task_id, nominal, schedule.jitter_seconds or 0)
        if (emit_ms, nominal) < (first.emit_ms, first.nominal_s):
            gone.add(nominal)
        else:
            first_s = min(first_s, nominal)
    return first_s, gone


def _newest(task: TaskState, until_s: int, from_s: int, handled: Collection[int]) -> int | None:
    """The newest slot of a range that nobody has handed out."""
    schedule = task.reg.spec.schedule
    assert schedule is not None
    nominal = last_fire(schedule, until_s)
    while nominal is not None and nominal >= from_s and nominal in handled:
        nominal = last_fire(schedule, nominal - 1)
    return nominal if nominal is not None and nominal >= from_s else None


def _tail(task: TaskState, after_s: int, until_s: int, handled: Collection[int]) -> list[Slot]:
    reg, schedule = task.reg, task.reg.spec.schedule
    assert schedule is not None
    slots: list[Slot] = []
    nominal = last_fire(schedule, until_s)
    while nominal is not None and nominal > after_s:
        if nominal not in handled:
            emit_ms = nominal * 1000 + jitter_ms(reg.task_id, nominal, schedule.jitter_seconds or 0)
            slots.append(Slot(task, nominal, emit_ms))
        nominal = last_fire(schedule, nominal - 1)
    return slots[::-1]


class _Spans:
    """Collects span events over (after, until], split around the slots that were handed out."""

    def __init__(self, task: TaskState, now_ms: int, partition: int, handled: Collection[int]) -> None:
        self.events: list[SlotOutcome] = []
        self._task, self._now, self._partition = task, format_instant(now_ms), partition
        self._handled = sorted(handled)

    def missed(self, reason: str, after_s: int, until_s: int) -> None:
        for start, end, count in self._pieces(after_s, until_s):
            self.events.append(
                Missed(
                    task_id=self._task.task_id,
                    user_id=self._task.reg.user_id,
                    partition=self._partition,
                    occurred_at=self._now,
                    reason=reason,
                    revision=self._task.reg.revision,
                    count=count,
                    task_type=self._task.reg.spec.task_type,
                    from_=start,
                    to=end,
                )
            )

    def coalesced(self, into: str, after_s: int, until_s: int) -> None:
        for start, end, count in self._pieces(after_s, until_s):
            self.events.append(
                Coalesced(
                    task_id=self._task.task_id,
                    user_id=self._task.reg.user_id,
                    partition=self._partition,
                    occurred_at=self._now,
                    reason="catch_up_latest",
                    revision=self._task.reg.revision,
                    count=count,
                    task_type=self._task.reg.spec.task_type,
                    from_=start,
                    to=end,
                    into=into,
                )
            )

    def _pieces(self, after_s: int, until_s: int) -> list[tuple[str, str, int]]:
        schedule = self._task.reg.spec.schedule
        assert schedule is not None
        pieces = []
        cuts = [s for s in self._handled if after_s < s <= until_s]
        for start, end in zip([after_s, *cuts], [c - 1 for c in cuts] + [until_s], strict=True):
            count = count_fires(schedule, start, end) if end > start else 0
            if count:
                pieces.append((format_instant((start + 1) * 1000), format_instant((end + 1) * 1000), count))
        return pieces
