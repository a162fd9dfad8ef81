"""A time that is not a slot: why not, and between which slots it lies."""

from __future__ import annotations

from typing import Final

import msgspec

from gnomon_api.explaining.facts import Explanation, Facts, Step
from gnomon_api.explaining.past import Past, change_step, ending
from gnomon_core.timing import LAST_INSTANT, count_fires, describe, timetable, touched_slots
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.exclusions import ExcludedDays, excluded_days
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import TaskStatus

__all__ = ["explain_no_slot", "explain_nothing", "why_there_is_none"]

_CLOCK_JUMPS_S: Final = 3 * 3600
"""No change of a clock is as large."""


def why_there_is_none(facts: Facts, at_ms: int, past: Past) -> str | None:
    """Why the task had no slots at that time at all; None where it may have had."""
    task = facts.task
    if at_ms // 1000 <= past.created_ms // 1000:
        return f"The task was created at {format_instant(past.created_ms)}, and had no slots before."
    if past.ended_by is not None:
        verb = ending(past.ended_by)
        return f"The task was {verb} at {format_instant(past.ended_by.at_ms)}, and has no slots since."
    if not past.known:
        return "The schedule of that time is not kept: it was too large for the history."
    if past.schedule is None:
        return "The task had no schedule then: it ran on demand only."
    if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED) and at_ms > facts.now_ms:
        return f"The task is {task.status}: no run of its schedule is left."
    return _beyond_max_runs(facts, at_ms, past.schedule)


def _beyond_max_runs(facts: Facts, at_ms: int, schedule: Schedule) -> str | None:
    """A schedule with `max_runs` has no slot after so many; skipped ones are not counted, which cannot be foreseen."""
    left, now_s, at_s = facts.task.runs_left, facts.now_ms // 1000, at_ms // 1000
    if left is None or at_s <= now_s or count_fires(schedule, now_s, at_s) <= left:
        return None
    return (
        f"The schedule ends after {schedule.max_runs} runs, of which {left} are left: they will have been handed out "
        "before."
    )


def explain_no_slot(at_ms: int, past: Past, why: str | None = None) -> Explanation:
    """Why nothing was to run, and between which slots the instant lies."""
    schedule = past.step()
    steps = [schedule] if schedule else []
    if past.ended_by is not None:
        steps.append(change_step(past.ended_by, ending(past.ended_by)))
    in_force = past.by_rules_of(at_ms)
    if why is None and in_force is not None:
        why, more = _off_schedule(in_force, at_ms)
        steps += more
        steps += _neighbours(in_force, past, at_ms)
    return Explanation(
        slot=None, verdict="no_slot", reason=why or "The task had no schedule then.", steps=tuple(steps)
    )


def explain_nothing(facts: Facts, reason: str) -> Explanation:
    """There is no instant to speak of."""
    created = facts.history[0] if facts.history else None
    steps = [] if created is None else [change_step(created, "created")]
    return Explanation(slot=None, verdict="no_slot", reason=reason, steps=tuple(steps))


def _off_schedule(schedule: Schedule, at_ms: int) -> tuple[str, list[Step]]:
    """Why a schedule does not name an instant."""
    asked, words = format_instant(at_ms), describe(schedule)
    if at_ms % 1000:
        return f"{asked} is no slot: slots are whole seconds, and this has a fraction of one.", []
    if schedule.start_at is not None and at_ms < instant_ms(schedule.start_at):
        return f"{asked} is no slot: the schedule begins at {schedule.start_at} ({words}).", []
    if schedule.end_at is not None and at_ms >= instant_ms(schedule.end_at):
        return f"{asked} is no slot: the schedule ended at {schedule.end_at} ({words}).", []
    excluded = _excluded_by(schedule, at_ms // 1000)
    if excluded is not None:
        detail = f"without `exclude` it would be a slot; what takes it away: {excluded}"
        step = Step(at=asked, what="excluded", seq=None, detail=detail)
        return f"{asked} is no slot: its day is excluded by the schedule ({excluded}).", [step]
    jumps = _jumped_over(schedule, at_ms // 1000)
    if jumps:
        return f"{asked} is no slot: {jumps[0].detail}. The schedule is {words}.", jumps
    return f"{asked} is no slot of the schedule: {words}.", []


def _excluded_by(schedule: Schedule, second: int) -> str | None:
    """Which of its excluded days take away what would be a slot; None where they do not."""
    excluded = excluded_days(schedule.exclude)
    if not excluded or not _names(msgspec.structs.replace(schedule, exclude=None), second):
        return None
    by_itself = [
        item for item in excluded if not _names(msgspec.structs.replace(schedule, exclude=(item,)), second)
    ]
    return ", ".join(map(_day_words, by_itself))


def _names(schedule: Schedule, second: int) -> bool:
    return timetable(schedule).last(second) == second


def _day_words(item: str | ExcludedDays) -> str:
    if isinstance(item, str):
        return item
    if item.holidays is not None:
        return f"holidays of {item.holidays}"
    return f"{item.from_} up to but not {item.to}"


def _jumped_over(schedule: Schedule, second: int) -> list[Step]:
    """Times of the schedule that the zone's clock skipped just before the instant: it may be one of them that is
    meant, by the offset of before."""
    found = []
    for slot in touched_slots(schedule, second - _CLOCK_JUMPS_S, second + 1):
        change_s = instant_ms(slot.change_at) // 1000
        if slot.note != "dst_gap" or not change_s <= second < change_s + _CLOCK_JUMPS_S:
            continue
        instead = (
            "dst.gap is skip, so there was no slot"
            if slot.at is None
            else f"the slot was at {slot.at} instead"
        )
        words = f"the clock was put forward and never showed {slot.local}: {instead}"
        if slot.at is not None:
            words = f"the clock was put forward over a time of the schedule: {instead} ({slot.local})"
        found.append(Step(at=slot.change_at, what="dst_gap", seq=None, detail=words))
    return found


def _neighbours(schedule: Schedule, past: Past, at_ms: int) -> list[Step]:
    """The slots around an instant that is none, within the life of the schedule."""
    slots, since = timetable(schedule), past.scheduled_by
    before = slots.last((at_ms - 1) // 1000)
    if before is not None and since is not None and before <= since.at_ms // 1000:
        before = None
    after = slots.next(at_ms // 1000) if at_ms // 1000 < LAST_INSTANT else None
    return [
        Step(at=format_instant(second * 1000), what=what, seq=None, detail=words)
        for second, what, words in (
            (before, "slot_before", "the nearest slot before"),
            (after, "slot_after", "the nearest slot after"),
        )
        if second is not None
    ]
