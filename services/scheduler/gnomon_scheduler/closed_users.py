"""The desk for closed users: cancels the tasks of those whose account is closed, each shard its own.

That an account is closed stands in its register, in the account's shard; every process hears it (`object_catalogue`).
From then on a shard refuses what would make or run a task of that user, and cancels those that are there. Whatever was
decided before it heard is in its memory, so no task is missed: a create that raced with the closing is either refused,
or cancelled a turn later. A leader that dies half-way leaves the rest to its successor, which knows of every closed
account before its first turn and begins anew; what is cancelled already stays as it is.

An account that is opened again before a shard has heard that it was closed leaves that shard's tasks alone.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from gnomon_scheduler.decisions.own_changes import cancel_of_closed
from gnomon_scheduler.memory import ShardMemory
from gnomon_scheduler.own_desk import OwnDesk
from gnomon_scheduler.task_counts import TaskCounts

__all__ = ["ClosedUsers"]


class ClosedUsers:
    """Looks after one shard, under one leader. To be used inside a turn."""

    def __init__(
        self, memory: ShardMemory, closed: AbstractSet[str], counts: TaskCounts, own: OwnDesk
    ) -> None:
        """`closed`: the users whose account is closed, as this process hears of them."""
        self._memory, self._closed, self._counts, self._own = memory, closed, counts, own
        self._seen: set[str] = set()
        self._news = True

    def accounts_changed(self) -> None:
        """Something was set of an account: see in the next turn whether one was closed."""
        self._news = True

    async def look(self) -> None:
        """Propose to cancel the tasks of those of whom that was not done yet."""
        if not self._news:
            return  # to compare thousands of users in every turn would take longer than the turn
        self._news = False
        self._seen &= self._closed
        for user in sorted(self._closed - self._seen):
            for task_id in await self._counts.tasks_of(user):
                self._own.propose(self._memory.tasks[task_id], cancel_of_closed)
            self._seen.add(user)
