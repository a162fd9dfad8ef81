"""How many tasks a user has, over all shards: asked before a task of a user is made whose account bounds them.

Every leader knows its own tasks. Whoever decides a create asks the others over core NATS, before its turn, and adds
its own. The index of tasks by user is made when somebody first asks, since most clusters bound nobody's tasks.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.memory import ShardMemory
from gnomon_schemas import subjects
from gnomon_schemas.budgets import TaskCount, TaskCountQuestion
from gnomon_schemas.codec import decode, encode

__all__ = ["TaskCounts"]

_log = structlog.get_logger(__name__)
_ANSWER_SECONDS = 0.5
_TASKS_A_SLICE = 5000


class TaskCounts:
    """Counts of one shard, under one leader, and what the others answer."""

    def __init__(self, bus: NatsBus, memory: ShardMemory, partitions: int) -> None:
        self._bus, self._memory, self._partitions = bus, memory, partitions
        self._owned: defaultdict[str, set[str]] | None = None
        self._indexed = asyncio.Lock()
        self._told: dict[tuple[str, int], int] = {}
        """What another shard answered last; it counts where that does not answer now."""

    def note_created(self, user: str | None, task_id: str) -> None:
        """A task was made."""
        if self._owned is not None and user is not None:
            self._owned[user].add(task_id)

    async def here(self, user: str) -> int:
        """How many tasks a user has in this shard that have neither ended nor been deleted."""
        await self._index()
        return self.counted(user)

    def counted(self, user: str) -> int:
        """The same, once somebody has asked for it."""
        tasks, over = self._memory.tasks, self._memory.over
        owned = () if self._owned is None else self._owned.get(user, ())
        return sum(task_id in tasks and task_id not in over for task_id in owned)

    async def elsewhere(self, users: Iterable[str]) -> dict[str, int]:
        """How many tasks these users have in the other shards."""
        await self._index()
        others = [shard for shard in range(self._partitions) if shard != self._memory.partition]
        asked = sorted(set(users))
        # All at once: the turn waits for it, and a shard that does not answer costs as long as one question may take.
        answers = await asyncio.gather(*(self._ask(shard, user) for user in asked for shard in others))
        of_each = len(others)
        return {user: sum(answers[at * of_each : (at + 1) * of_each]) for at, user in enumerate(asked)}

    async def _ask(self, shard: int, user: str) -> int:
        try:
            answer = await self._bus.request(
                subjects.task_counts(shard), encode(TaskCountQuestion(user=user)), timeout=_ANSWER_SECONDS
            )
            self._told[user, shard] = decode(answer.data, TaskCount).tasks
        except (BusError, msgspec.DecodeError) as error:
            # A shard without leader makes no task: what it said last is not far off.
            _log.info(LogEvent.TASKS_NOT_COUNTED, partition=shard, error=str(error))
        return self._told.get((user, shard), 0)

    async def _index(self) -> None:
        """Know whose every task is. In slices: there may be a hundred thousand."""
        async with self._indexed:
            if self._owned is not None:
                return
            tasks = list(self._memory.tasks.values())
            # What is made meanwhile goes into it too.
            owned = self._owned = defaultdict(set)
            for start in range(0, len(tasks), _TASKS_A_SLICE):
                for task in tasks[start : start + _TASKS_A_SLICE]:
                    user = task.owner
                    if user is not None:
                        owned[user].add(task.task_id)
                await asyncio.sleep(0)
