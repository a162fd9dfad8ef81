"""The reference page of a task's life, drawn from the table that the code decides by."""

from __future__ import annotations

from typing import Final

from gnomon_schemas.documents.pages import table
from gnomon_schemas.lifecycle import OWN_CAUSES, TRANSITIONS, WISHES, Transition
from gnomon_schemas.tasks import TaskStatus

__all__ = ["lifecycle_page"]

_WORDS: Final = {
    TaskStatus.PENDING: "It has no schedule, and nothing of it runs: it runs on demand.",
    TaskStatus.SCHEDULED: "Its schedule makes slots.",
    TaskStatus.RUNNING: "Scheduled or pending, and something of it is in flight. Derived.",
    TaskStatus.PAUSED: "No slot fires and no reminder is told until it is resumed.",
    TaskStatus.COMPLETED: "Its owner called it done, or nothing of it is left. It may be opened again.",
    TaskStatus.FAILED: "Its only run failed. It may be opened again.",
    TaskStatus.CANCELLED: "Ended for good.",
}


def lifecycle_page() -> str:
    """Statuses, the picture, the table of changes, and what a `status` in an update asks for."""
    wishes = [[f"`{status}`", f"`{verb}`"] for status, verb in WISHES.items()]
    wishes += [["`scheduled`, `pending` of a task that has ended", "`reopen`"]]
    return f"""# A task's life

Where several statuses hold, the first of this order is shown: cancelled, completed or failed, paused, running,
scheduled, pending. A deleted task has no status of its own: it is gone for its users.

Written by `python -m gnomon_schemas.generate` from `gnomon_schemas.lifecycle`, which the scheduler decides by. The
database refuses, in `status_changes`, what this table does not have; numbers are of the
[rules](rules.md).

{table(("status", "meaning"), ([f"`{status}`", words] for status, words in _WORDS.items()))}
## The picture

```mermaid
stateDiagram-v2
    [*] --> pending
    [*] --> scheduled
    [*] --> paused
{_arrows()}
    cancelled --> [*]
```

## Every change

`task.status_changed` tells of a change with its cause as `reason`, but for those from and to `running`, which the
events of the runs tell. A caller's own words for a cancel or a complete stand in place of the verb.

{table(("from", "to", "cause", "rules"), (_row(one) for one in TRANSITIONS))}
Causes that are no commands:

{table(("cause", "meaning"), ([f"`{cause}`", words] for cause, words in OWN_CAUSES.items()))}
## A status in an update

`PUT` and `PATCH` of a task, and the command `task.update`, take a `status` besides other fields, and all of it is one
change. The status that the task has asks for nothing, so that a read can be sent back; nor does `running` where the
task is scheduled or pending. What the table does not have is refused with the rule that says so.

{table(("status", "asks for"), wishes)}
A task that had ended goes on by `reopen` under a new revision: there was no slot between. It is refused where the
schedule has no slot left. Reminders that were due meanwhile are not told any more.
"""


def _arrows() -> str:
    return "\n".join(f"    {one.old} --> {one.new}: {', '.join(one.causes)}" for one in TRANSITIONS)


def _row(one: Transition) -> list[str]:
    causes = ", ".join(f"`{cause}`" for cause in one.causes)
    return [f"`{one.old}`", f"`{one.new}`", causes, ", ".join(one.rules)]
