"""The fires that a task has ahead, as calendars of blackouts leave them.

A slot that nothing touches goes at its nominal time. One that a calendar skips does not run; one that it puts off goes
when the blackout ends, under the execution id that its nominal time gives it. Under `first_after` the last slot inside
stands for all of the task that wait then; and no more wait than the task's `catch_up.limit`. One that waits already
is looked at again now: whatever calendar is in force then holds it, also one that would skip a slot of its own. That
is what the shard will decide (its `decisions/blackouts.py` and `departure_desk.py`) if no calendar changes until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gnomon_core.timing import Blackouts
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.tasks import Task

__all__ = ["ComingFire", "coming_fires"]


class ComingFire(NamedTuple):
    """One fire that is to come. Times in seconds since 1970."""

    at_s: int
    """When it goes."""
    nominal_s: int
    """The slot that it is."""
    put_off_by: str | None = None
    """The calendar that put it off."""


def coming_fires(
    task: Task, slots: Iterable[int], blackouts: Blackouts, now_s: int, *, waiting: Iterable[int] = ()
) -> list[ComingFire]:
    """What becomes of a task's slots, in the order in which they go.

    `slots` are nominal times after `now_s`, in order; `waiting` those that were put off and have not gone.
    """
    if not blackouts:
        return [ComingFire(max(slot, now_s), slot) for slot in (*sorted(waiting), *slots)]
    goes: list[ComingFire] = []
    held: list[ComingFire] = []
    for slot in sorted(waiting):
        touch = blackouts.touch(task.tags, task.task_type, task.user_id, now_s)
        if touch is None:
            goes.append(ComingFire(max(slot, now_s), slot))
        else:
            held.append(ComingFire(touch.until_s, slot, touch.calendar_id))
    for slot in slots:
        touch = blackouts.touch(task.tags, task.task_type, task.user_id, slot)
        if touch is None:
            goes.append(ComingFire(slot, slot))
            continue
        if touch.action is BlackoutAction.SKIP:
            continue
        goes += (one for one in held if one.at_s <= slot)
        held = [one for one in held if one.at_s > slot]
        stands_for_all = touch.action is BlackoutAction.FIRST_AFTER and held
        if stands_for_all:
            held = []
        elif len(held) >= task.catch_up.limit:
            continue
        held.append(ComingFire(touch.until_s, slot, touch.calendar_id))
    # By the times alone: what put a fire off may be nothing, which has no place among names.
    return sorted([*goes, *held], key=lambda one: one[:2])
