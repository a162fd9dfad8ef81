"""The desk for closed users: cancels the tasks of those whose account was closed, each shard its own.

That an account is closed stands in its register, in the account's shard; every process hears it (`object_catalogue`).
From then on a shard refuses what would make or run a task of that user, and cancels those that are there. Whatever was
decided before it heard is in its memory, so no task is missed: a create that raced with the closing is either refused,
or cancelled a turn later. A leader that dies half-way leaves the rest to its successor, which knows of every closing
before its first turn and begins anew; what is cancelled already stays as it is.

**Opened again before a shard has heard.** Of a register only the newest counts, so a shard without leader, or one that
was stalled, may hear of a closing when it is past. The register says when it was (`closed_ms`), and tasks say since
when they are what they are: what is older than the closing is cancelled, what is younger belongs to the time after it.
So every shard comes to the same end, however late it hears, and however often it is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from gnomon_scheduler.decisions.own_changes import cancel_of_closed
from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.own_desk import OwnDesk
from gnomon_scheduler.task_counts import TaskCounts

__all__ = ["ClosedUsers"]


class ClosedUsers:
    """Looks after one shard, under one leader. To be used inside a turn."""

    def __init__(
        self, memory: ShardMemory, closings: Sequence[str], counts: TaskCounts, own: OwnDesk
    ) -> None:
        """`closings`: the users of whom this process hears that their account was closed, as it hears it."""
        self._memory, self._closings, self._counts, self._own = memory, closings, counts, own
        self._looked_at = 0

    async def look(self) -> None:
        """Propose to cancel the tasks of those of whom that was not done yet."""
        while self._looked_at < len(self._closings):
            user = self._closings[self._looked_at]
            for task_id in await self._counts.tasks_of(user):
                self._own.propose(self._memory.tasks[task_id], cancel_of_closed)
            self._looked_at += 1
