"""What a schedule will do, slot by slot, in the shape that `next` and `preview` answer with."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from gnomon_core.timing.blackouts import Blackouts
from gnomon_core.timing.excluding import ExcludingTimetable
from gnomon_core.timing.questions import Timetable
from gnomon_core.timing.timeline import LAST_INSTANT, Note
from gnomon_core.timing.timetable import ClockTimetable, UnionTimetable, timetable
from gnomon_core.timing.words import describe
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.schedules import Schedule

__all__ = [
    "PREVIEW_COUNT",
    "FireBlackout",
    "Note",
    "Preview",
    "PreviewFire",
    "local_text",
    "marked",
    "note_of",
    "preview",
]

PREVIEW_COUNT: Final = 5


class FireBlackout(msgspec.Struct, frozen=True, kw_only=True):
    """What a calendar of blackouts does to a slot, as the calendars are now."""

    calendar_id: str
    action: BlackoutAction
    """`skip`: it will not run. `defer`: it runs at `until`. `first_after`: the last slot inside runs then, for all."""
    until: str
    """When no calendar that touches the task is in force any more."""


class PreviewFire(msgspec.Struct, frozen=True, kw_only=True):
    """One slot."""

    at: str
    """UTC with milliseconds and `Z`."""
    local: str
    """The same instant in the schedule's zone, with its offset: `2026-09-21T11:00:00+02:00`."""
    note: Note | None = None
    blackout: FireBlackout | msgspec.UnsetType = msgspec.UNSET
    """Left out where no calendar touches it, or the question is not about a task."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule in words, and its slots in order."""

    description: str
    fires: tuple[PreviewFire, ...]


def preview(schedule: Schedule, *, after: int, count: int | None = None, until: int | None = None) -> Preview:
    """The slots after an instant: at most `count` of them, and none later than `until` (seconds since 1970).

    Without either, the first five. The caller limits both: with `until` alone all slots of the span are
    built.
    """
    if count is None and until is None:
        count = PREVIEW_COUNT
    slots = timetable(schedule).between(after, LAST_INSTANT if until is None else until)
    return Preview(
        description=describe(schedule),
        fires=tuple(
            PreviewFire(
                at=format_instant(slot * 1000), local=local_text(schedule, slot), note=note_of(schedule, slot)
            )
            for slot in islice(slots, count)
        ),
    )


def marked(
    found: Preview, blackouts: Blackouts, tags: Collection[str], task_type: str, user_id: str | None
) -> Preview:
    """The same with the slots marked that calendars of blackouts touch, as those of a task like this."""
    if not blackouts:
        return found
    fires = []
    for fire in found.fires:
        touch = blackouts.touch(tags, task_type, user_id, instant_ms(fire.at) // 1000)
        if touch is not None:
            until = format_instant(touch.until_s * 1000)
            mark = FireBlackout(calendar_id=touch.calendar_id, action=touch.action, until=until)
            fire = msgspec.structs.replace(fire, blackout=mark)
        fires.append(fire)
    return msgspec.structs.replace(found, fires=tuple(fires))


def local_text(schedule: Schedule, nominal: int) -> str:
    """A slot (seconds since 1970) on the clock of the schedule's zone, with the offset that it has then."""
    return datetime.fromtimestamp(nominal, ZoneInfo(schedule.timezone or "UTC")).isoformat(timespec="seconds")


def note_of(schedule: Schedule, nominal: int) -> Note | None:
    """Whether a change of the clock touches a slot. Intervals and single instants are never touched."""
    return _note(timetable(schedule), nominal)


def _note(compiled: Timetable, nominal: int) -> Note | None:
    match compiled:
        case ClockTimetable():
            return compiled.timeline.note(nominal)
        case ExcludingTimetable():
            return _note(compiled.inner, nominal)
        case UnionTimetable():
            naming = (part for part in compiled.parts if part.next(nominal - 1) == nominal)
            return next((note for part in naming if (note := _note(part, nominal)) is not None), None)
        case _:
            return None
