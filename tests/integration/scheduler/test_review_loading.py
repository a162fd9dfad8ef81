"""Loading a partition costs by its tasks, not by the slots that they have had."""

from __future__ import annotations

import pytest

from gnomon_core.rules.task_input import parse_create
from gnomon_core.timing import next_fire
from gnomon_scheduler import memory
from gnomon_scheduler.registers import ShardRegister, TaskRegister
from gnomon_scheduler.replica import Replica
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.schedules import Schedule
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BODY = b'{"name":"t","task_type":"echo","schedule":{"kind":"interval","every_seconds":1}}'


async def test_slots_that_are_long_over_are_not_walked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, task_id = now_ms(), world.task_in(0)
    old = now - 3600 * 1000
    task = TaskRegister(
        task_id=task_id,
        user_id=None,
        spec=parse_create(_BODY, now_ms=old, created_at_ms=old, default_timezone="UTC"),
        version=1,
        revision=1,
        revision_from_ms=old,
        cursor_s=old // 1000,
        created_ms=old,
        updated_ms=old,
        fingerprint="f",
    )
    shard = ShardRegister(
        partition=0,
        epoch=1,
        owner="o",
        nonce="n",
        watermark_ms=now,
        fold_position=0,
        oldest_unfinished=0,
        last_command=0,
        due_fence=0,
        fingerprint="f",
    )
    await world.bus.store(subjects.task_register(0, task_id), encode(task), {"Nats-Rollup": "sub"})
    await world.bus.store(subjects.shard_register(0), encode(shard), {"Nats-Rollup": "sub"})
    walked: list[int] = []

    def counted(schedule: Schedule, after: int) -> int | None:
        walked.append(after)
        return next_fire(schedule, after)

    monkeypatch.setattr(memory, "next_fire", counted)
    replica = Replica(world.bus, 0)
    await replica.start()
    due = replica.memory.next_due_ms()
    await replica.stop()
    assert due is not None
    assert now < due <= now + 1000
    assert len(walked) < 10
