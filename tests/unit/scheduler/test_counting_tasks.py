"""How many tasks a user has in one shard, kept true through all that becomes of them."""

from __future__ import annotations

import random
from typing import cast

import msgspec

from gnomon_core.runtime.bus import NatsBus
from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_scheduler.task_counts import TaskCounts
from tests.unit.scheduler.making import NOW_S, task_state

USERS = ("a", "b", None)


def _made(memory: ShardMemory, lots: random.Random, number: int) -> TaskState:
    reg = task_state(f"t{number}").reg
    task = TaskState(msgspec.structs.replace(reg, user_id=lots.choice(USERS)), 1)
    memory.tasks[task.task_id] = task
    return task


async def test_what_is_counted_is_what_is_there_and_not_over() -> None:
    """Tasks are made, end, are opened again, deleted, set aside and removed; before and after somebody first asks."""
    lots, memory = random.Random(7), ShardMemory(0)
    counts = TaskCounts(cast(NatsBus, None), memory, 1, lambda: 0)
    for number in range(200):
        if number == 60:
            await counts.tasks_of("a")
        task = _made(memory, lots, number)
        counts.note_created(task.reg.user_id, task.task_id)
        memory.schedule(task, NOW_S * 1000)
        for _ in range(2):
            other = memory.tasks.get(f"t{lots.randrange(number + 1)}")
            if other is None:
                continue
            match lots.randrange(5):
                case 0:
                    other.reg = msgspec.structs.replace(other.reg, ended="completed", ended_ms=1)
                case 1:
                    other.reg = msgspec.structs.replace(other.reg, ended=None, ended_ms=None)
                case 2:
                    other.reg = msgspec.structs.replace(other.reg, deleted_ms=1)
                case 3:
                    memory.drop_task(other.task_id)
                case _:
                    memory.set_aside(other.task_id, 1)
            if other.task_id in memory.tasks:
                memory.schedule(other, NOW_S * 1000)
        if number < 60:
            continue
        for user in ("a", "b"):
            there = [one.task_id for one in memory.tasks.values() if one.owner == user]
            assert await counts.tasks_of(user) == sorted(there)
            assert counts.counted(user) == sum(task_id not in memory.over for task_id in there)
    assert len(memory.over) > 5
