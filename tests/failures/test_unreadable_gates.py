"""Who holds what of a pool or key, in a register of a newer version: nothing more goes, nothing is forgotten."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_scheduler.admission import key_of
from gnomon_schemas import subjects
from gnomon_schemas.problems import Code
from gnomon_schemas.subjects import EVENTS_STREAM
from gnomon_schemas.tasks import TaskSpec
from tests.failures.test_policy_gates import in_partition, key_in
from tests.harness.commands import fresh_id
from tests.harness.world import World

NEWER = b'{"type":"gnomon.state.of.a.newer.version"}'


@pytest.mark.parametrize("kept", ["pool", "key"])
async def test_after_a_downgrade_no_more_runs_at_once_than_may(world: World, kept: str) -> None:
    """One runs, and one waits for it. Whoever leads the gate and cannot read its register gives nothing, to nobody; the
    shard goes on with all else; and once it can be read, the one that waits goes after the one that runs."""
    fake = await world.fake_executor()
    task, other = world.task_in(1, fresh_id("t")[:12] + "-"), world.task_in(0, fresh_id("o")[:12] + "-")
    spec: dict[str, Any] = {"overlap": "allow"}
    if kept == "pool":
        pool = in_partition(world, 0, "p")
        limited = await world.fake_executor(pool=pool)
        subject = subjects.gate_register("pool", 0, pool)
        spec["pool"] = pool
    else:
        key, limited = key_in(world, 0), fake
        gate = key_of("t", TaskSpec(name="n", task_type="echo", concurrency_key=key))
        assert gate is not None
        subject = subjects.gate_register("key", 0, gate)
        spec["concurrency_key"] = key
    async with world.leader(0), world.leader(1):
        if kept == "pool":
            await world.commands.ok("update", pool, {"max_in_flight": 1}, kind="pool")
        await world.commands.create(task, **spec)
        await world.commands.create(other, pool="default")
        await world.commands.ok("run", task, {})
        running = await limited.next(task_id=task)
        await limited.claim(running)
    readable = await world.bus.last(EVENTS_STREAM, subject)
    assert readable is not None
    await world.bus.publish(f"gnomon.write.{subject}", NEWER, {"Nats-Rollup": "sub"})
    async with world.leader(0) as keeping, world.leader(1):
        await world.commands.ok("run", task, {})
        await limited.finish(running)
        await limited.ack(running)
        await world.commands.ok("run", other, {})
        await fake.complete(await fake.next(task_id=other))
        await world.events.one("executed", other)
        assert len(limited.seen if kept == "pool" else [due for due in fake.seen if due.task_id == task]) == 1
        assert len(keeping.shard.book.memory.unreadable_gates) == 1
        if kept == "pool":
            refused = await world.commands.send("update", pool, {"max_in_flight": 9}, kind="pool")
            assert refused["error"]["code"] == Code.UNREADABLE_STATE
    newest = await world.bus.last(EVENTS_STREAM, subject)
    assert newest is not None
    assert newest.data == NEWER
    await world.bus.publish(f"gnomon.write.{subject}", readable.data, {"Nats-Rollup": "sub"})
    async with world.leader(0) as keeping, world.leader(1):
        await limited.complete(await limited.next(task_id=task))
        await world.events.some(2, "executed", task)
        assert not keeping.shard.book.memory.unreadable_gates
        if kept == "pool":
            await world.commands.ok("update", pool, {"max_in_flight": 2}, kind="pool")
