"""The task as it was for slots of one second: its schedule, its revision, what had paused or ended it.

The schedule in force is found from the task as it is now, by undoing each later change that the history holds. A change
at some instant counts for slots of later seconds only: a turn of the shard hands out all slots up to its instant before
it decides commands. What the history keeps by its size alone is taken from the revisions that the audit reckons by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gnomon_api.explaining.facts import Change, Facts, Step
from gnomon_core.ledger import schedule_at
from gnomon_core.timing import describe, timetable
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import TaskStatus

__all__ = ["Past", "change_step", "ending"]

_ENDED: Final = frozenset({TaskStatus.CANCELLED, TaskStatus.COMPLETED, TaskStatus.FAILED})


class Past:
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
        in_force = [one for one in facts.revisions if one.at_ms // 1000 < second]
        self.revision: int | None = in_force[-1].number if in_force else None
        if not self.known and in_force:
            self.known, self.schedule = True, in_force[-1].schedule

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

    def by_rules_of(self, by_ms: int) -> Schedule | None:
        """The schedule with the rules of zones and holidays of an instant."""
        if self.schedule is None:
            return None
        return schedule_at(self.schedule, self._pasts, by_ms, self._replanned_ms)

    def is_slot(self, at_ms: int, counted_ms: int | None = None) -> bool:
        """Whether the schedule of that time names this instant, by the rules of that time or of `counted_ms`."""
        if at_ms % 1000 or self.scheduled_by is None:
            return False
        schedule = self.by_rules_of(at_ms if counted_ms is None else counted_ms)
        return schedule is not None and timetable(schedule).last(at_ms // 1000) == at_ms // 1000

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
        revision = "" if self.revision is None else f"revision {self.revision}, "
        return Step(
            at=format_instant(by.at_ms),
            what="schedule",
            seq=by.seq,
            detail=f"{words} ({revision}version {by.version} of the task{who})",
        )


def ending(change: Change) -> str:
    """How a change ended the task."""
    return "deleted" if change.what == "deleted" else str(change.fields["status"][1])


def change_step(change: Change, what: str) -> Step:
    """A change of the task, as a step."""
    who = f"by {change.user_id}" if change.user_id else "by nobody who is known"
    detail = f"version {change.version} of the task, {who}"
    if change.by_itself:
        note = change.fields.get("pause_note", (None, None))[1]
        detail = f"by itself: {note}" if note else "by itself"
    return Step(at=format_instant(change.at_ms), what=what, seq=change.seq, detail=detail)
