"""24: a leader whose clock is ten minutes fast; a successor with newer zone rules."""

from __future__ import annotations

import pytest

from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Executed, Started
from tests.harness.events import Seen
from tests.harness.world import World

TEN_MINUTES_MS = 600_000


def _executor(seen: Seen) -> str:
    assert isinstance(seen.event, Started)
    return seen.event.executor


@pytest.mark.parametrize("offset_ms", [TEN_MINUTES_MS, -TEN_MINUTES_MS], ids=["fast", "slow"])
async def test_a_scheduler_whose_clock_is_off_does_not_lead(world: World, offset_ms: int) -> None:
    """A fire ten minutes early cannot be taken back; another leads, and slots come on time."""
    (await world.fake_executor()).run()
    wrong = await world.scheduler(clock_offset_ms=offset_ms, ready=False)
    await wrong.logged("clock.off")
    right = await world.scheduler()
    await world.leading(right)
    await world.commands.create("t", schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
    executed = await world.events.some(3, "executed", "t")
    for seen in executed:
        assert isinstance(seen.event, Executed)
        # By the broker's clock, which neither scheduler sets.
        assert 0 <= seen.time_ms - instant_ms(seen.event.scheduled_for) < 5_000
    assert not wrong.has_logged("shard.led")
    await world.settled()


async def test_an_executor_whose_clock_is_off_claims_nothing(world: World) -> None:
    """It would let work expire that is not late, or run what is."""
    wrong = await world.executor(clock_offset_ms=TEN_MINUTES_MS, ready=False)
    await wrong.logged("clock.off")
    right = await world.executor()
    async with world.leader(0), world.leader(1):
        await world.commands.create("t", schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
        await world.events.some(3, "executed", "t")
    member = next(m for m in await world.members("executor") if m.pid == right.pid)
    assert {_executor(seen) for seen in world.events.of("started", "t")} == {member.id}


async def test_a_revision_keeps_the_calendar_that_it_was_made_with(world: World) -> None:
    """A successor with other zone rules says so in the shard register and leaves the revisions as they were."""
    task = world.task_in(0)
    await world.fake_executor()
    async with world.leader(fingerprint="rules-2026a"):
        await world.commands.create(task, schedule={"kind": "cron", "expression": "0 9 * * *"})
    async with world.leader(fingerprint="rules-2026b"):
        await world.commands.ok("update", task, {"description": "no slot moves"})
        assert (await world.shard_register(0))[1].fingerprint == "rules-2026b"
        assert (await world.task_register(task))[1].fingerprint == "rules-2026a"
        await world.commands.ok("update", task, {"schedule": {"kind": "cron", "expression": "0 10 * * *"}})
        assert (await world.task_register(task))[1].fingerprint == "rules-2026b"
