"""How many slots of a schedule lie in each of many equal spans: what a forecast adds up.

Asking `count` for each span would do. But a forecast asks ten thousand expressions for a week of hours, and there most
spans lie where the clock does not change and a rule's days and times of day repeat, so that a span costs an addition.
"""

from __future__ import annotations

from gnomon_core.timing.calendar_slots import CalendarSlots
from gnomon_core.timing.timetable import ClockTimetable, timetable
from gnomon_schemas.schedules import Schedule

__all__ = ["tally"]


def tally(schedule: Schedule, start: int, step: int, buckets: int) -> list[int]:
    """The slots of a schedule in each of `buckets` spans [start, start + step), [start + step, …), in order.

    `start` in seconds since 1970, `step` in seconds. The counts add up to that of the whole.
    """
    compiled, end = timetable(schedule), start + step * buckets
    if isinstance(compiled, ClockTimetable) and isinstance(compiled.timeline.slots, CalendarSlots):
        offset = compiled.plain_offset(start, end)
        if offset is not None:
            return compiled.timeline.slots.tally(start + offset, step, buckets)
    counts = [0] * buckets
    if compiled.count(start - 1, end - 1) <= 2 * buckets:
        for slot in compiled.between(start - 1, end - 1):
            counts[(slot - start) // step] += 1
        return counts
    return [compiled.count(begin - 1, begin + step - 1) for begin in range(start, end, step)]
