"""The callers' side: tasks created over NATS by the thousand, and the instants at which they fall due."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import asyncpg
import msgspec

from benchmarks.recorded import projected
from benchmarks.stage import Stage
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant

__all__ = [
    "NewTask",
    "create",
    "created_before",
    "first_slot",
    "known_tasks",
    "now_ms",
    "ran_out",
    "send",
    "text",
    "until_ms",
]

_WINDOW = 500
"""Commands sent between two that are waited for: the broker takes no more than it can store."""
_POLL_SECONDS = 0.05
_SAMPLE = 500
_CLOSE_MS = 200


class NewTask(NamedTuple):
    """A task to be created."""

    task_id: str
    body: bytes

    @classmethod
    def of(cls, **fields: Any) -> NewTask:
        """A task of `bench_noop`, unless told otherwise, under a fresh id."""
        task_id = f"t-{secrets.token_hex(8)}"
        spec = {"name": task_id, "task_type": "bench_noop", "config": {}, "overlap": "allow", **fields}
        return cls(task_id, msgspec.json.encode(spec))


def now_ms() -> float:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() / 1e6


def text(ms: float) -> str:
    """An instant as the contract has it."""
    return format_instant(ms)


async def until_ms(at_ms: float) -> None:
    """Wait until the wall clock shows an instant."""
    while (left := at_ms - now_ms()) > 0:  # noqa: ASYNC110 - the clock is what is waited for
        await asyncio.sleep(left / 1000)


async def send(stage: Stage, tasks: Iterable[NewTask]) -> None:
    """Have commands stored, as any client does: every 500th and the last are waited for."""
    held: NewTask | None = None
    for number, task in enumerate(tasks):
        if held is not None:
            await _send_one(stage, held, wait=number % _WINDOW == 0)
        held = task
    if held is not None:
        await _send_one(stage, held, wait=True)


async def _send_one(stage: Stage, task: NewTask, *, wait: bool) -> None:
    subject, headers = subjects.command("task", "create", task.task_id), {h.MSG_ID: f"c{task.task_id}"}
    if wait:
        await stage.nc.request(subject, task.body, timeout=60, headers=headers)
    else:
        await stage.nc.publish(subject, task.body, headers=headers)


async def create(
    stage: Stage, tasks: Iterable[NewTask], *, count: int | None = None, within: float = 300.0
) -> float:
    """Create tasks and wait until the schedulers have them all: seconds from the first command sent.

    `count` says how many there will be, where `tasks` are made as they are sent.

    Raises RuntimeError when some were refused, TimeoutError.
    """
    if count is None:
        tasks = list(tasks)
        count = len(tasks)
    wanted = await known_tasks(stage) + count
    begun = time.perf_counter()
    await send(stage, tasks)
    async with asyncio.timeout(within):
        while await stage.commands_waiting():  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(_POLL_SECONDS)
    took = time.perf_counter() - begun
    if (left := wanted - await known_tasks(stage)) > 0:
        refused = await stage.count("task.rejected.>")
        raise RuntimeError(f"{left} of {count} tasks are not there, {refused} were refused")
    return took


async def first_slot(stage: Stage, tasks: int) -> int:
    """A whole second, in epoch milliseconds, before which so many tasks will have been created, by all appearances:
    a few are created to see how fast that is just now."""
    sample = min(_SAMPLE, tasks)
    took = await create(stage, [NewTask.of(schedule=None) for _ in range(sample)])
    return math.ceil(now_ms() / 1000 + 2 + 3 * tasks * took / sample) * 1000


async def known_tasks(stage: Stage) -> int:
    """Tasks that the schedulers have, once every shard is led: a busy one may just be changing hands."""
    async with asyncio.timeout(60):
        while not (shards := await stage.passed(0)):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(_POLL_SECONDS)
    return sum(shard.tasks for shard in shards)


async def created_before(
    stage: Stage,
    tasks: Sequence[NewTask],
    first_ms: float,
    database: asyncpg.Connection[asyncpg.Record] | None,
) -> None:
    """Create tasks whose first slot is to come, and wait until the projector is idle and the slot is close.

    Raises TimeoutError when the slot has come before all were there.
    """
    await create(stage, tasks)
    if database is not None:
        await projected(stage, database)
    if now_ms() > first_ms - _CLOSE_MS:
        raise TimeoutError(
            f"creating {len(tasks)} tasks took longer than there was time before their first slot"
        )
    await until_ms(first_ms - _CLOSE_MS)


async def ran_out(stage: Stage, last_ms: float, within: float = 180.0) -> None:
    """Wait until every slot up to an instant has been handed out and everything handed out has been folded."""
    await until_ms(last_ms)
    async with asyncio.timeout(within):
        while True:
            # The broker is asked first: a scheduler goes over all its tasks for an answer.
            if not await stage.due_messages():
                shards = await stage.passed(last_ms)
                if shards and not any(shard.in_flight for shard in shards):
                    return
            await asyncio.sleep(_POLL_SECONDS)
