"""Loading a partition costs by its tasks, not by the slots that they have had."""

from __future__ import annotations

import msgspec
import pytest

from gnomon_core.rules.task_input import parse_create
from gnomon_core.runtime.messages import Stored
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


@pytest.mark.parametrize(
    "schedule",
    [
        b'{"kind":"daily","time":"09:00","timezone":"Mars/Olympus"}',
        b'{"kind":"interval","every_seconds":60,"timezone":"UTC"}',
    ],
    ids=["a zone that is not there", "no anchor"],
)
async def test_a_task_whose_schedule_cannot_be_reckoned_here_stops_and_its_shard_does_not(
    world: World, schedule: bytes
) -> None:
    """As after going back to an older release, with fewer zones."""
    register = TaskRegister(
        task_id="strange",
        user_id=None,
        spec=parse_create(_BODY, now_ms=now_ms(), created_at_ms=now_ms(), default_timezone="UTC"),
        version=1,
        revision=1,
        revision_from_ms=now_ms(),
        cursor_s=now_ms() // 1000,
        created_ms=now_ms(),
        updated_ms=now_ms(),
        fingerprint="f",
    )
    strange = msgspec.structs.replace(
        register,
        spec=msgspec.structs.replace(register.spec, schedule=msgspec.json.decode(schedule, type=Schedule)),
    )
    replica = Replica(world.bus, 0)
    for seq, one in enumerate((register, strange, msgspec.structs.replace(register, task_id="sound")), 1):
        subject = subjects.task_register(0, one.task_id)
        replica.apply_register(Stored(subject, seq, now_ms(), {}, encode(one)))
    assert list(replica.memory.tasks) == ["sound"]
    assert replica.memory.unreadable == {"strange": 2}
    assert {slot.task.task_id for slot in replica.memory.pop_due(now_ms() + 1500, 10)} == {"sound"}
