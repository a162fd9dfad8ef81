"""How many tasks a user has, over all shards: asked before a task of a user is made whose account bounds them.

Every leader knows its own tasks. Whoever is about to decide a create asks the others over core NATS, before its turn,
and adds its own. The index of tasks by user is made when somebody first asks, since most clusters bound nobody's tasks;
from then on it is kept true, so that a create costs the same whether its user has ten tasks or a hundred thousand.

**Two shards at once.** Between asking and deciding, a shard *wants* tasks: so many as it has creates to decide. If its
answers told only of tasks that are there, two shards that ask at the same instant would both find room. So they take
turns as in a bakery: whoever begins to want draws a *ticket*, higher than every ticket it has heard of, and says it
with its question; an answer tells, besides the tasks, what the answering shard wants and by which ticket. The asker
counts what is wanted by lower tickets as if it were there already (equal ones: of the lower shard).

Why that is enough. Let A and B want tasks of one user, B by the lower ticket. A's question reaches B after B drew, or B
would have drawn above A's ticket, which the question tells. By then B either still wants, and A counts that; or it has
decided, and A counts the tasks. So every task that is made was counted by all that could be made after it. Too many are
counted where a create that is wanted is then refused for another reason.

**What is left.** A shard that does not answer within half a second counts as it did last. One without leader makes no
task; a leader that was stalled meanwhile may still decide the creates for which it had asked before: at most those of
one turn (`command_desk`), per shard that stalls. So does what a new leader wants whose clock is behind: tickets begin
with the time, so that a leader does not have to know its predecessor's.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_schemas import subjects
from gnomon_schemas.budgets import TaskCount, TaskCountQuestion
from gnomon_schemas.codec import decode, encode

__all__ = ["TaskCounts"]

_log = structlog.get_logger(__name__)
_ANSWER_SECONDS = 0.5
_TASKS_A_SLICE = 5000
_TOLD_MAX = 100_000
"""So many answers are remembered for when a shard does not answer: the newest."""
_NOTHING: Mapping[str, int] = {}


class TaskCounts:
    """Counts of one shard, under one leader, and what the others answer."""

    def __init__(self, bus: NatsBus, memory: ShardMemory, partitions: int, now_ms: Callable[[], int]) -> None:
        self._bus, self._memory, self._partitions, self._now_ms = bus, memory, partitions, now_ms
        self._owned: defaultdict[str, dict[str, bool]] | None = None
        """By user the ids of the tasks, and whether each counts: it has neither ended nor been deleted."""
        self._count: Counter[str] = Counter()
        """By user, how many of them count."""
        self._indexed = asyncio.Lock()
        self._ticket = 0
        """The highest that was drawn or heard of."""
        self._wanted, self._by_ticket = _NOTHING, 0
        """By user, how many tasks are about to be decided; and the ticket that was drawn for them."""
        self._told: dict[tuple[str, int], int] = {}
        """What another shard answered last; it counts where that does not answer now."""

    def note_created(self, user: str | None, task_id: str) -> None:
        """A task was made."""
        if self._owned is not None and user is not None:
            self._note(user, task_id)

    def _changed(self, task: TaskState) -> None:
        """A task is over from now on, or not any more, or is there no more."""
        user = task.owner
        if self._owned is not None and user is not None and task.task_id in self._owned.get(user, ()):
            self._note(user, task.task_id)

    def _note(self, user: str, task_id: str) -> None:
        assert self._owned is not None  # or nothing is noted
        known, counts = self._owned[user], task_id in self._memory.tasks and task_id not in self._memory.over
        self._count[user] += counts - known.get(task_id, False)
        known[task_id] = counts
        if task_id not in self._memory.tasks:
            del known[task_id]
        if not known:
            del self._owned[user], self._count[user]

    def counted(self, user: str) -> int:
        """How many tasks a user has in this shard that have neither ended nor been deleted, once somebody has asked."""
        return self._count[user]

    async def tasks_of(self, user: str) -> list[str]:
        """The tasks of a user in this shard, with those that are over."""
        await self._index()
        assert self._owned is not None  # it has just been made
        return sorted(self._owned.get(user, ()))

    async def answer(self, question: TaskCountQuestion) -> TaskCount:
        """What another shard is told of a user here."""
        await self._index()
        # Nothing is awaited from here on: what is wanted and what is there are of one instant.
        self._ticket = max(self._ticket, question.ticket)
        return TaskCount(
            partition=self._memory.partition,
            tasks=self.counted(question.user),
            wanted=self._wanted.get(question.user, 0),
            ticket=self._by_ticket,
        )

    async def elsewhere(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """How many tasks these users have in the other shards, or are about to have before what is `wanted` here.

        By user, so many tasks are about to be decided; `settle` tells that they are.
        """
        await self._index()
        self._ticket = max(self._ticket + 1, self._now_ms())
        self._wanted, self._by_ticket = wanted, self._ticket
        others = [shard for shard in range(self._partitions) if shard != self._memory.partition]
        asked = sorted(wanted)
        # All at once: the turn waits for it, and a shard that does not answer costs as long as one question may take.
        answers = await asyncio.gather(*(self._ask(shard, user) for user in asked for shard in others))
        of_each = len(others)
        return {user: sum(answers[at * of_each : (at + 1) * of_each]) for at, user in enumerate(asked)}

    def settle(self) -> None:
        """What was wanted is decided: what was made of it counts from now on."""
        self._wanted = _NOTHING

    async def _ask(self, shard: int, user: str) -> int:
        mine = (self._by_ticket, self._memory.partition)
        try:
            answer = await self._bus.request(
                subjects.task_counts(shard),
                encode(TaskCountQuestion(user=user, ticket=self._by_ticket)),
                timeout=_ANSWER_SECONDS,
            )
            told = decode(answer.data, TaskCount)
        except (BusError, msgspec.DecodeError) as error:
            # A shard without leader makes no task: what it said last is not far off.
            _log.info(LogEvent.TASKS_NOT_COUNTED, partition=shard, error=str(error))
            return self._told.get((user, shard), 0)
        self._ticket = max(self._ticket, told.ticket)
        self._told.pop((user, shard), None)
        self._told[user, shard] = told.tasks
        if len(self._told) > _TOLD_MAX:
            del self._told[next(iter(self._told))]
        return told.tasks + (told.wanted if (told.ticket, shard) < mine else 0)

    async def _index(self) -> None:
        """Know whose every task is. In slices: there may be a hundred thousand."""
        async with self._indexed:
            if self._owned is not None:
                return
            tasks = list(self._memory.tasks.values())
            # What is made, ends or goes meanwhile is noted in it too.
            self._owned = defaultdict(dict)
            self._memory.on_over = self._changed
            for start in range(0, len(tasks), _TASKS_A_SLICE):
                for task in tasks[start : start + _TASKS_A_SLICE]:
                    user = task.owner
                    if user is not None and task.task_id in self._memory.tasks:
                        self._note(user, task.task_id)
                await asyncio.sleep(0)
