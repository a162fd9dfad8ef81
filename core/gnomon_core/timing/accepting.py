"""What a schedule must keep to when a task or calendar gets it, besides being well-formed: what only its slots tell."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gnomon_core.timing.timetable import count_fires, next_fire
from gnomon_schemas.blackouts import RecurringSpan
from gnomon_schemas.limits import RECURRING_A_YEAR_MAX
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.schedules import Schedule

__all__ = ["check_fires", "check_jitter", "check_recurring", "least_gap"]

_SLOTS_IN_JITTER_MAX: Final = 100
"""Slots of one task that may wait for their jitter at a time."""
_SLOTS_LOOKED_AT: Final = 500
_YEAR_SECONDS: Final = 366 * 86_400


def check_fires(schedule: Schedule | None, now_s: int) -> None:
    """Refuse a schedule, in stored form, that has no slot after an instant (seconds since 1970). Raises Refused."""
    if schedule is not None and next_fire(schedule, now_s) is None:
        raise Refused(
            Code.INVALID_SCHEDULE,
            "no slot of this schedule lies in the future",
            FieldError(
                pointer="#/schedule",
                code="never_fires",
                message="no slot lies after now and inside start_at and end_at",
            ),
        )


def least_gap(schedule: Schedule, now_s: int, *, enough: int) -> int | None:
    """The least time in seconds between two slots after an instant, in the next few hundred of them; None: there are
    not two. It looks no further than the first gap that is less than `enough`."""
    before = next_fire(schedule, now_s)
    least: int | None = None
    for _ in range(_SLOTS_LOOKED_AT):
        if before is None or (least is not None and least < enough):
            break
        after = next_fire(schedule, before)
        if after is not None:
            least = after - before if least is None else min(least, after - before)
        before = after
    return least


def check_jitter(schedule: Schedule | None, now_s: int) -> None:
    """Refuse a jitter in which more slots may wait at a time than a register could take when the task changes.

    Looked at from the first slot after an instant (seconds since 1970) on. Raises Refused.
    """
    first_s = None if schedule is None else next_fire(schedule, now_s)
    if schedule is None or first_s is None or not schedule.jitter_seconds:
        return
    count = count_fires(schedule, first_s, first_s + int(schedule.jitter_seconds))
    if count > _SLOTS_IN_JITTER_MAX:
        message = f"{count} slots lie within {schedule.jitter_seconds} s; at most {_SLOTS_IN_JITTER_MAX} may"
        raise Refused(
            Code.INVALID_SCHEDULE,
            f"the jitter is too long for this pace: {message}",
            FieldError(pointer="#/schedule/jitter_seconds", code="invalid_jitter", message=message),
        )


def check_recurring(recurring: Iterable[RecurringSpan], now_s: int) -> None:
    """Refuse a recurring blackout that begins too often in the year after an instant. Raises Refused with every one."""
    found = []
    for index, part in enumerate(recurring):
        often = count_fires(part.schedule, now_s, now_s + _YEAR_SECONDS)
        if often > RECURRING_A_YEAR_MAX:
            message = f"begins {often:,} spans within a year; allowed: up to {RECURRING_A_YEAR_MAX:,}"
            pointer = f"#/recurring/{index}/schedule"
            found.append(FieldError(pointer=pointer, code=Code.INVALID_SCHEDULE, message=message))
    if found:
        raise Refused(Code.INVALID_SCHEDULE, f"{found[0].pointer}: {found[0].message}", *found)
