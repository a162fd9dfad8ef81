"""A task about which deciding fails is set aside: its shard goes on, and nothing of it is lost once it can be read.

The faults are put where a fault of a rule would be: into the function that decides one step, for one task alone. Two
are in what is stored, as another version, or an executor gone wrong, might have written it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec
import pytest

from gnomon_scheduler import departure_desk, folding_desk, slot_desk
from gnomon_scheduler.memory import TaskState
from gnomon_schemas.codec import encode
from gnomon_schemas.problems import Code
from tests.harness.commands import fresh_id
from tests.harness.ledger import Audit
from tests.harness.stage import Stage
from tests.harness.stopping import Trap
from tests.harness.world import World

EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}
DAILY: dict[str, Any] = {"kind": "interval", "every_seconds": 86400}
CATCH_UP = {"after_seconds": 2, "grace_seconds": 600, "policy": "all", "limit": 100}


class Fault(Exception):
    """What no rule should raise."""


@contextmanager
def spoilt(module: object, name: str, task_id: str, *, unless_deleted: bool = False) -> Iterator[None]:
    """While inside, a function of a module fails for one task; or for as long as that is not deleted."""
    whole: Callable[..., Any] = getattr(module, name)

    def failing(*args: Any, **named: Any) -> Any:
        for one in args:
            task = one if isinstance(one, TaskState) else getattr(one, "task", None)
            if isinstance(task, TaskState) and task.task_id == task_id:
                if unless_deleted and task.reg.deleted_ms is not None:
                    continue
                raise Fault(name)
        return whole(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, failing)
        yield


async def set_aside(stage: Stage, *, advance: float = 0.25) -> None:
    """Let time pass until the stage's task is set aside; the shard says so, refuses commands to it, and goes on."""
    memory_of = stage.leader.shard.book.memory
    async with asyncio.timeout(20):
        while stage.task not in memory_of.unreadable:
            stage.advance(advance)
            try:
                await stage.world.events.more(len(stage.world.events.all), within=0.05)
            except TimeoutError:
                assert stage.leader.shard.failure is None
    status = stage.leader.shard.status()
    assert (status.set_aside, status.set_aside_tasks) == (1, (stage.task,))
    command_id, _ = await stage.commands.post("update", stage.task, {"description": "x"})
    outcome = await stage.commands.outcome(command_id)
    assert outcome["error"]["code"] == Code.UNREADABLE_STATE
    other = stage.world.task_in(0, fresh_id("other"))
    await stage.commands.create(other, schedule=EVERY_SECOND)
    stage.advance(1)
    await stage.world.events.some(1, "executed", other)
    await stage.commands.ok("delete", other)
    assert stage.leader.shard.running


async def resume(stage: Stage, seconds: float = 3) -> Audit:
    """Time passes, and another leader finds the fault mended: what the task missed gets its one outcome."""
    stage.advance(seconds)
    assert set((await stage.world.shard_register())[1].set_aside) == {stage.task}
    await stage.leader.die()
    await stage.lead()
    found = await stage.settle()
    await stage.commands.ok("update", stage.task, {"description": "it can be read again"})
    assert stage.leader.shard.status().set_aside == 0
    assert (await stage.world.shard_register())[1].set_aside == {}
    return found


@pytest.mark.parametrize(
    ("module", "name", "spec", "advance"),
    [
        pytest.param(slot_desk, "course_of", {}, 1, id="a slot"),
        pytest.param(departure_desk, "due_of", {}, 1, id="the due of a plain slot"),
        pytest.param(
            departure_desk,
            "departure",
            {"schedule": {**EVERY_SECOND, "max_runs": 50}},
            1,
            id="a counted slot",
        ),
        pytest.param(slot_desk, "catch_up", {"catch_up": CATCH_UP}, 4, id="a backlog"),
        pytest.param(folding_desk, "fold", {}, 1, id="an event"),
    ],
)
async def test_it_is_set_aside_and_taken_up_again(
    world: World, module: object, name: str, spec: dict[str, Any], advance: float
) -> None:
    stage = Stage(world)
    fake = await world.fake_executor(clock=stage.clock)
    fake.run()
    await stage.lead()
    await stage.commands.create(stage.task, **{"schedule": EVERY_SECOND, "catch_up": CATCH_UP, **spec})
    stage.advance(1)
    await world.events.some(1, "executed", stage.task)
    with spoilt(module, name, stage.task):
        await set_aside(stage, advance=advance)
    found = await resume(stage)
    assert found.executed() >= 4, found


@pytest.mark.parametrize("when", ["before", "after"])
async def test_no_slot_is_lost_or_doubled_when_the_leader_dies_at_it(
    world: World, when: Literal["before", "after"]
) -> None:
    """The batch that says that the task is set aside is its last, stored or not."""
    stage = Stage(world)
    await stage.lead()
    fake = await world.fake_executor(clock=stage.clock)
    fake.run()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, catch_up=CATCH_UP, overlap="allow")
    trap = Trap(subject="state.shard.*", do="hold", when=when)
    stage.leader.bus.traps.append(trap)
    with spoilt(slot_desk, "course_of", stage.task):
        stage.advance(1)
        await asyncio.wait_for(trap.reached.wait(), 20)
        await stage.leader.die()
    assert bool((await world.shard_register())[1].set_aside) == (when == "after")
    await stage.lead()
    stage.advance(1)
    found = await stage.settle()
    assert found.executed() >= 2, found


async def test_the_next_leader_that_fails_too_sets_it_aside_from_the_same_instant(world: World) -> None:
    stage = Stage(world)
    await stage.lead()
    fake = await world.fake_executor(clock=stage.clock)
    fake.run()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, catch_up=CATCH_UP)
    stage.advance(1)
    await world.events.some(1, "executed", stage.task)
    with spoilt(folding_desk, "fold", stage.task):
        await set_aside(stage)
        kept = (await world.shard_register())[1].set_aside
        await stage.leader.die()
        await stage.lead()
        stage.advance(3)
        await set_aside(stage)
        assert (await world.shard_register())[1].set_aside == kept
    await resume(stage)


async def test_a_register_that_no_rule_of_here_would_have_made_sets_its_task_aside(world: World) -> None:
    """An execution of it would expire at an instant that is none."""
    stage = Stage(world)
    await stage.lead()
    fake = await world.fake_executor(clock=stage.clock)
    fake.run()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, catch_up=CATCH_UP)
    await stage.leader.stop()
    stored, register = await world.task_register(stage.task)
    spec = msgspec.structs.replace(register.spec, expires_seconds=1e15)
    poisonous = encode(msgspec.structs.replace(register, spec=spec))
    await world.bus.store(stored.subject, poisonous, {"Nats-Rollup": "sub"})
    await stage.lead()
    await set_aside(stage)
    await stage.leader.stop()
    await world.bus.store(stored.subject, stored.data, {"Nats-Rollup": "sub"})
    await stage.lead()
    stage.advance(3)
    found = await stage.settle()
    assert found.executed() >= 4, found


async def test_what_was_to_go_of_it_holds_no_key_for_ever(world: World) -> None:
    """Its due cannot be made: nothing of it is out, and another task that shares its key goes."""
    stage = Stage(world)
    await stage.lead()
    await world.leader(1).__aenter__()
    fake = await world.fake_executor(clock=stage.clock)
    fake.run()
    key = {"overlap": "allow", "concurrency_key": fresh_id("key")}
    other = world.task_in(0, fresh_id("other"))
    await stage.commands.create(stage.task, **key)
    await stage.commands.create(other, **key)
    with spoilt(departure_desk, "due_of", stage.task):
        await stage.commands.ok("run", stage.task)
        await stage.commands.ok("run", stage.task)
        await set_aside(stage)
    await stage.commands.ok("run", other)
    going = asyncio.ensure_future(world.events.some(1, "executed", other))
    async with asyncio.timeout(10):
        while not going.done():
            stage.advance(0.25)
            await asyncio.sleep(0.02)
    await stage.leader.die()
    await stage.lead()
    going = asyncio.ensure_future(world.events.some(2, "executed", stage.task))
    async with asyncio.timeout(10):
        while not going.done():
            stage.advance(0.25)
            await asyncio.sleep(0.02)
