"""What a change of a task would do to its slots: which appear, which disappear, how many there are.

A *course* is what a task fires by: a schedule, or none while it is paused or has ended. A plan compares the course that
is stored with the one that a change would bring, as if the change were decided at an instant `now`: slots up to then
belong to the one, all later ones to the other.

Two schedules are compared slot by slot, since nothing shorter tells for every pair of kinds which slots they share.
That is bounded by `SLOTS_MAX`: where more slots than that lie in the window, the window ends earlier, and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from gnomon_core.timing.preview import PREVIEW_COUNT, Note, PreviewFire, local_text, note_of
from gnomon_core.timing.timeline import LAST_INSTANT
from gnomon_core.timing.timetable import ClockTimetable, UnionTimetable, timetable
from gnomon_core.timing.words import describe
from gnomon_core.timing.zone_clock import Piece, ZoneClock
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.schedules import AnyOf, Schedule

__all__ = [
    "Course",
    "Plan",
    "PlanLoad",
    "PlanWindow",
    "TouchedSlot",
    "plan",
    "touched_slots",
]

WINDOW_SECONDS: Final = 7 * 86_400
"""How far a plan compares slots."""
SLOTS_MAX: Final = 20_000
"""Slots of one course that are compared: one a minute for all of the window, and then some."""
LISTED_MAX: Final = 50
"""Slots that a plan names of each sort; how many there are is told besides."""
TRANSITIONS_SECONDS: Final = 400 * 86_400
"""How far a plan looks for changes of the clock: over a year, so that each of the year's is among them."""
ON_DEMAND: Final = "Runs on demand only"


class Course(NamedTuple):
    """What a task fires by."""

    schedule: Schedule | None
    """In stored form; None: on demand only."""
    fires: bool = True
    """False while the task is paused, or when it has ended."""
    runs_left: int | None = None
    """After so many more slots it fires no more; None: no such limit."""


class PlanWindow(msgspec.Struct, frozen=True, kw_only=True):
    """The span in which slots are compared, half-open."""

    from_: str = msgspec.field(name="from")
    to: str


class TouchedSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that a change of the zone's clock touches."""

    at: str | None
    """When it happens, in UTC; null: it does not, since its time is left out and the schedule says `skip`."""
    local: str
    """On the zone's clock; without an offset where it does not happen, for that time is never shown."""
    note: Note
    change_at: str
    """When the clock changes."""


class PlanLoad(msgspec.Struct, frozen=True, kw_only=True):
    """How many slots a minute there are in the window, by nominal time, before jitter."""

    fires_per_minute_before: float
    fires_per_minute_after: float
    added_per_minute: float
    """The difference; below zero where the change makes less work."""
    peak_per_minute_before: int
    """In the fullest minute of the window."""
    peak_per_minute_after: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a change would do."""

    description: str
    """The schedule after it, in words."""
    fires: tuple[PreviewFire, ...]
    """The next slots after it; none while the task is paused, or when it has ended."""
    window: PlanWindow
    """Of all that follows but `transitions`: seven days, or less where there would be too many slots to compare."""
    appear: tuple[PreviewFire, ...]
    """The first fifty slots that there would be, and are not without the change."""
    appear_count: int
    disappear: tuple[PreviewFire, ...]
    """The first fifty slots that there are, and would not be."""
    disappear_count: int
    transitions: tuple[TouchedSlot, ...]
    """The first fifty slots of the next 400 days that a change of the clock touches."""
    transitions_count: int
    load: PlanLoad


def plan(before: Course, after: Course, *, now: int) -> Plan:
    """What a task's change from one course to another does, decided at `now` (seconds since 1970)."""
    end = now + WINDOW_SECONDS
    old, end = _slots(before, now, end)
    new, end = _slots(after, now, end)
    old = [slot for slot in old if slot <= end]
    had, has = set(old), set(new)
    appear = [slot for slot in new if slot not in had]
    disappear = [slot for slot in old if slot not in has]
    touched = touched_slots(after.schedule, now, now + TRANSITIONS_SECONDS) if after.fires else []
    return Plan(
        description=ON_DEMAND if after.schedule is None else describe(after.schedule),
        fires=_shown(after.schedule, islice(_course(after, now, LAST_INSTANT), PREVIEW_COUNT)),
        window=PlanWindow(from_=format_instant((now + 1) * 1000), to=format_instant((end + 1) * 1000)),
        appear=_shown(after.schedule, islice(appear, LISTED_MAX)),
        appear_count=len(appear),
        disappear=_shown(before.schedule, islice(disappear, LISTED_MAX)),
        disappear_count=len(disappear),
        transitions=tuple(touched[:LISTED_MAX]),
        transitions_count=len(touched),
        load=_load(old, new, (end - now) / 60),
    )


def _course(course: Course, after: int, until: int) -> Iterator[int]:
    """The slots in (after, until]."""
    if course.schedule is None or not course.fires:
        return iter(())
    return islice(timetable(course.schedule).between(after, until), course.runs_left)


def _slots(course: Course, now: int, end: int) -> tuple[list[int], int]:
    """The slots of a course in (now, end], and the end: an earlier one where there are too many."""
    found = list(islice(_course(course, now, end), SLOTS_MAX + 1))
    if len(found) > SLOTS_MAX:
        end = found.pop() - 1
    return found, end


def _shown(schedule: Schedule | None, slots: Iterator[int]) -> tuple[PreviewFire, ...]:
    if schedule is None:
        return ()
    return tuple(
        PreviewFire(
            at=format_instant(slot * 1000), local=local_text(schedule, slot), note=note_of(schedule, slot)
        )
        for slot in slots
    )


def _load(old: list[int], new: list[int], minutes: float) -> PlanLoad:
    return PlanLoad(
        fires_per_minute_before=round(len(old) / minutes, 8),
        fires_per_minute_after=round(len(new) / minutes, 8),
        added_per_minute=round((len(new) - len(old)) / minutes, 8),
        peak_per_minute_before=_peak(old),
        peak_per_minute_after=_peak(new),
    )


def _peak(slots: list[int]) -> int:
    return max(Counter(slot // 60 for slot in slots).values(), default=0)


def touched_slots(schedule: Schedule | None, after: int, until: int) -> list[TouchedSlot]:
    """The slots in (after, until] that a change of a clock touches, in order, those that it takes away too. Instants in
    seconds since 1970."""
    if schedule is None:
        return []
    whole = timetable(msgspec.structs.replace(schedule, exclude=None))
    if not isinstance(whole, ClockTimetable | UnionTimetable):
        return []
    # What `skip` leaves out is no slot. Under `shift` it is one: that tells which times are meant.
    shifting = _shifting(schedule)
    found: dict[int, list[TouchedSlot]] = {}
    for zone_name in sorted(_zones(schedule)):
        for piece in _changes(ZoneClock(zone_name), after, until):
            span = max(len(piece.gap), len(piece.overlap))
            first, last = max(after, piece.start - span - 1), min(until, piece.start + span)
            for slot in timetable(shifting).between(first, last):
                if slot not in found:
                    found[slot] = list(_touches(schedule, shifting, slot, piece))
    return [touched for _, each in sorted(found.items()) for touched in each]


def _touches(schedule: Schedule, shifting: Schedule, slot: int, piece: Piece) -> Iterator[TouchedSlot]:
    """What the clock's change at the beginning of a piece does at an instant."""
    change_at = format_instant(piece.start * 1000)
    happens = timetable(schedule).next(slot - 1) == slot
    note = note_of(schedule, slot) if happens else None
    if note != "dst_gap" and note_of(shifting, slot) == "dst_gap":
        wall = slot + piece.gap.start - piece.start
        local = datetime.fromtimestamp(wall, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        yield TouchedSlot(at=None, local=local, note="dst_gap", change_at=change_at)
    if note is not None:
        at = format_instant(slot * 1000)
        yield TouchedSlot(at=at, local=local_text(schedule, slot), note=note, change_at=change_at)


def _shifting(schedule: Schedule) -> Schedule:
    """The schedule with its skipped times moved instead."""
    if isinstance(schedule, AnyOf):
        return msgspec.structs.replace(schedule, schedules=tuple(map(_shifting, schedule.schedules)))
    if schedule.dst is None or schedule.dst.gap != "skip":
        return schedule
    return msgspec.structs.replace(schedule, dst=msgspec.structs.replace(schedule.dst, gap="shift"))


def _zones(schedule: Schedule) -> set[str]:
    """The zones whose clocks a schedule reads."""
    if isinstance(schedule, AnyOf):
        return {zone for part in schedule.schedules for zone in _zones(part)}
    return {schedule.timezone or "UTC"}


def _changes(clock: ZoneClock, after: int, until: int) -> Iterator[Piece]:
    """The pieces in (after, until] that begin with a jump of the clock."""
    piece = clock.piece_at(after)
    while piece.end <= until:
        piece = clock.piece_at(piece.end)
        if piece.gap or piece.overlap:
            yield piece
