"""What a shard's memory keeps on its heap: each coming slot once, and only those of the present life of a task."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from gnomon_core.rules.task_input import parse_create
from gnomon_scheduler.memory import ShardMemory, TaskState
from gnomon_scheduler.registers import Runtime, ShardRegister, TaskRegister
from gnomon_schemas.codec import encode

NOW_S = 1_795_000_000
DAY_S = 86_400


def _register(at_s: int = NOW_S, **spec: Any) -> TaskRegister:
    body = {"name": "t", "task_type": "echo", "schedule": {"kind": "interval", "every_seconds": 1}, **spec}
    return TaskRegister(
        task_id="t",
        user_id=None,
        spec=parse_create(
            json.dumps(body).encode(), now_ms=at_s * 1000, created_at_ms=at_s * 1000, default_timezone="UTC"
        ),
        version=1,
        revision=1,
        revision_from_ms=at_s * 1000,
        cursor_s=at_s,
        created_ms=at_s * 1000,
        updated_ms=at_s * 1000,
        fingerprint="f",
    )


def _shard(watermark_ms: int) -> ShardRegister:
    return ShardRegister(
        partition=0,
        epoch=1,
        owner="o",
        nonce="n",
        watermark_ms=watermark_ms,
        fold_position=0,
        oldest_unfinished=0,
        last_command=0,
        due_fence=0,
        fingerprint="f",
    )


def _apply(memory: ShardMemory, seq: int, reg: TaskRegister) -> None:
    memory.apply_task(seq, reg, encode(reg))


def test_registers_that_tell_of_runs_leave_one_slot_on_a_standbys_heap() -> None:
    memory = ShardMemory(0)
    memory.apply_shard(1, _shard(NOW_S * 1000))
    reg = _register(schedule={"kind": "interval", "every_seconds": DAY_S})
    for seq in range(2, 500):
        _apply(memory, seq, msgspec.structs.replace(reg, runtime=Runtime(folded=seq)))
    assert len(memory._heap) == 1
    assert [slot.nominal_s for slot in memory.pop_due((NOW_S + DAY_S) * 1000, 10)] == [NOW_S + DAY_S]


def test_a_change_of_schedule_reaches_a_standbys_heap() -> None:
    memory = ShardMemory(0)
    memory.apply_shard(1, _shard(NOW_S * 1000))
    _apply(memory, 2, _register(schedule={"kind": "interval", "every_seconds": DAY_S}))
    changed = _register(schedule={"kind": "interval", "every_seconds": 60})
    _apply(memory, 3, msgspec.structs.replace(changed, revision=2))
    assert [slot.nominal_s for slot in memory.pop_due((NOW_S + 60) * 1000, 10)] == [NOW_S + 60]


def test_a_task_made_anew_under_its_old_id_does_not_fire_the_slots_of_its_former_life() -> None:
    memory = ShardMemory(0)
    first = TaskState(_register(schedule={"kind": "interval", "every_seconds": 30 * DAY_S}), 1)
    memory.tasks["t"] = first
    memory.schedule(first, NOW_S * 1000)
    first.reg = msgspec.structs.replace(first.reg, deleted_ms=(NOW_S + 1) * 1000)
    memory.schedule(first, NOW_S * 1000)
    memory.drop_task("t")

    again_s = NOW_S + 10 * DAY_S
    second = TaskState(_register(again_s, schedule={"kind": "interval", "every_seconds": 40 * DAY_S}), 9)
    memory.tasks["t"] = second
    memory.schedule(second, again_s * 1000)
    slots = memory.pop_due((NOW_S + 60 * DAY_S) * 1000, 10)
    assert [slot.nominal_s for slot in slots] == [again_s + 40 * DAY_S]
