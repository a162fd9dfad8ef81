"""2: a paused leader resumes and emits a due of a schedule that has changed since."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg

from gnomon_core.runtime.bus import WrongSequence
from gnomon_schemas.codec import decode
from gnomon_schemas.dues import Due
from tests.harness.fixtures import BOTH
from tests.harness.stopping import Trap
from tests.harness.waiting import until_async
from tests.harness.world import World

pytestmark = BOTH


async def test_a_leader_that_was_paused_at_a_due_emits_nothing_when_it_resumes(world: World) -> None:
    """Its successor rolled the due fence up; the zombie's publish expects the fence of before and is refused."""
    (await world.fake_executor()).run()
    heard: list[Due] = []

    async def hear(message: Msg) -> None:
        heard.append(decode(message.data, Due))

    await world.bus.subscribe("task.due", hear)
    task = world.task_in(0)
    zombie = await world.scheduler(traps=[Trap(subject="task.due.*", do="pause", nth=2)])
    await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
    await zombie.paused()
    _, fence = await world.due_fence()
    successor = await world.scheduler()
    await world.leading(successor)
    changed = await world.commands.ok(
        "update", task, {"schedule": {"kind": "interval", "every_seconds": 3600}}
    )
    assert changed["task"]["revision"] == 2
    before = len(heard)
    zombie.resume()
    await zombie.logged("shard.deposed", partition=0)
    audit = await world.settled()
    assert audit.executed() == audit.expected, audit
    assert [due for due in heard[before:] if due.epoch <= fence.epoch] == []
    assert {due.run for due in heard} == {seen.run for seen in world.events.of("executed", task)}


async def test_the_trap_without_the_fence_the_due_would_be_stored(world: World) -> None:
    """And whoever listens on `task.due` would hear it. With the expectation it is refused, and nobody hears."""
    await world.fake_executor()
    task = world.task_in(0)
    first = await (await world.leader().connect()).lead()
    await world.commands.create(task)
    await world.commands.ok("run", task)

    async def emitted() -> bool:
        return bool(await world.dues(task))

    await until_async(emitted)
    ((stored, due),) = await world.dues(task)
    old_fence, _ = await world.due_fence()
    await first.die()
    await (await world.leader().connect()).lead()
    fence, _ = await world.due_fence()
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await world.bus.subscribe("task.due", heard.put)
    with pytest.raises(WrongSequence):
        await world.bus.store(
            stored.subject, stored.data, expected=old_fence.seq, expected_subject=fence.subject
        )
    ack = await world.bus.store(stored.subject, stored.data)
    assert int((await heard.get()).headers["Nats-Sequence"]) == ack.seq  # type: ignore[index]  # republished: it has headers
    assert heard.empty()
    assert due.epoch == 1
