"""What becomes of a slot that came due: one of the outcomes below, as pure functions.

A slot is *plain* when it is less than `after_seconds` late and nothing hinders it: its due is published at once and
nothing else is written, because the watermark can tell after a crash which slots were handed out. Everything else
is either recorded (skipped, missed, coalesced) or *written ahead*: put in the task's register before its due is
published.

Slots that are `after_seconds` late or more are a backlog: see `catching_up`.
"""

from __future__ import annotations

from enum import Enum

from gnomon_core.rules.workless import is_workless
from gnomon_scheduler.decisions.overlapping import Way, has_room, in_the_way, way_past
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_schemas.clock_text import slot_run
from gnomon_schemas.tasks import Trigger

__all__ = ["Course", "course_of", "flight_of"]


class Course(Enum):
    """What becomes of one slot."""

    EMIT = "emit"
    """Plain: publish its due."""
    COUNT = "count"
    """Its schedule has `max_runs`: written ahead with the count, and handed out when that is stored."""
    WAIT_FOR_OTHERS = "wait_for_others"
    """By its overlap policy: written ahead until nothing of the task runs."""
    REPLACE_OTHERS = "replace_others"
    """Overlap `cancel_running`: the same, and what is in its way is cancelled."""
    WAIT_FOR_EXECUTOR = "wait_for_executor"
    """No live executor of its pool runs its type: written ahead until one does."""
    SKIP_OVERLAP = "skip_overlap"
    SKIP_LIMIT = "skip_limit"
    TELL = "tell"
    """Its type has no work: recorded at once, with the reminder that it is."""
    LATE = "late"
    """Part of a backlog: `catching_up` decides."""


def course_of(task: TaskState, emit_ms: int, now_ms: int, *, runnable: bool) -> Course:
    """The course of a slot due at `emit_ms`. `runnable`: a live executor of its pool announces its type."""
    spec = task.reg.spec
    if now_ms - emit_ms >= spec.catch_up.after_seconds * 1000:
        return Course.LATE
    if is_workless(spec.task_type):
        return Course.TELL
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
    if task.reg.runs_left is not None:
        return Course.COUNT
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
