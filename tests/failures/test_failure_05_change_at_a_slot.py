"""5: a crash between a committed new schedule and the last slots of the old one."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas.events import Skipped
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}
EVERY_SEVENTH = {"kind": "interval", "every_seconds": 7}
JITTERED = {"kind": "interval", "every_seconds": 2, "jitter_seconds": 6}


async def _create(stage: Stage, **spec: Any) -> None:
    await stage.commands.create(stage.task, **{"schedule": EVERY_SECOND, "overlap": "allow", **spec})


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("update", {"schedule": EVERY_SEVENTH}),
        ("update", {"schedule": None}),
        ("pause", {}),
        ("cancel", {}),
        ("delete", {}),
    ],
    ids=["update", "unschedule", "pause", "cancel", "delete"],
)
async def test_slots_due_at_the_instant_of_a_change_belong_to_the_schedule_before_it(
    world: World, verb: str, body: dict[str, Any]
) -> None:
    """Whatever write the leader dies at: the slots up to the change have their outcomes under the old revision."""
    (await world.fake_executor()).run()

    async def scene(stage: Stage) -> None:
        stage.clock.advance(3)  # three slots are due, and nobody has looked yet
        await stage.commands.ok(verb, stage.task, body)
        stage.advance(3)

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.expected >= 3, audit
        assert len(world.events.of("updated", stage.task)) + len(world.events.of("deleted", stage.task)) == 1

    assert await at_every_write(world, scene, prepare=_create, check=check) >= 4


@pytest.mark.parametrize(
    ("verb", "body", "reason"),
    [
        ("update", {"schedule": EVERY_SEVENTH}, None),
        ("pause", {}, "paused"),
        ("delete", {}, "deleted"),
        ("cancel", {}, "cancelled"),
    ],
    ids=["update", "pause", "delete", "cancel"],
)
async def test_a_slot_that_waits_for_its_jitter_is_written_ahead_in_the_batch_of_the_change(
    world: World, verb: str, body: dict[str, Any], reason: str | None
) -> None:
    """It runs under its own revision after an update, and is skipped by pause, cancel and delete."""
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await _create(stage, schedule=JITTERED)

    async def scene(stage: Stage) -> None:
        stage.advance(4)
        await stage.commands.ok(verb, stage.task, body)
        stage.advance(6)

    def check(stage: Stage, audit: Audit) -> None:
        skipped = [seen.event for seen in world.events.of("skipped", stage.task) if seen.run != "_"]
        assert {event.reason for event in skipped if isinstance(event, Skipped)} <= {reason}, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 2


async def test_the_trap_a_change_that_does_not_look_back_loses_the_slots_before_it(world: World) -> None:
    """What the rule is for: the ledger tells a slot that nobody closed."""
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    await _create(stage)
    stage.advance(2)
    until_ms = stage.clock.now_ms()
    audit = await stage.settle(until_ms)
    assert audit.expected == 2, audit
    lost = world.events.of("executed", stage.task)[0]
    kept = [seen for seen in world.events.all if seen.run != lost.run]
    world.events.all[:] = kept
    assert stage.audit(until_ms).missing == [f"{stage.task}.{lost.run}"]
