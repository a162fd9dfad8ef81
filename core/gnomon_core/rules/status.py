"""A task's status from what is known of it. Pure.

Where several hold, the first of this order wins: cancelled, completed or failed, paused, running, scheduled, pending.
`running` is derived while something is in flight, and entering and leaving it is told by the runs' own events.
"""

from __future__ import annotations

from gnomon_schemas.tasks import TaskStatus

__all__ = ["status_of"]


def status_of(*, ended: str | None, paused: bool, running: bool, scheduled: bool) -> TaskStatus:
    """The status of a task.

    `ended` is `completed`, `failed`, `cancelled` or None; `running`: an execution is in flight; `scheduled`: it has
    a schedule.
    """
    if ended is not None:
        return TaskStatus(ended)
    if paused:
        return TaskStatus.PAUSED
    if running:
        return TaskStatus.RUNNING
    return TaskStatus.SCHEDULED if scheduled else TaskStatus.PENDING
