"""Blackouts while leaders die, calendars change and schedulers are away: every slot has one outcome, and names its
calendar."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.events import Coalesced, Queued
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}
EVERY_MINUTE = {"kind": "interval", "every_seconds": 60}
PATIENT = {"policy": "all", "after_seconds": 3600, "limit": 100}
"""Nothing is late before an hour has passed, so that it is the blackout that decides."""


class Blackout:
    """A calendar that touches the stage's task, in force from the present second on for so long."""

    def __init__(self, stage: Stage, action: str, seconds: float, *, delay: float = 0) -> None:
        self.calendar_id = stage.world.task_in(0, f"cal-{stage.task[-6:]}-")
        self._stage, self._action = stage, action
        self.from_ms = (stage.clock.now_ms() // 1000 + int(delay)) * 1000
        self.until_ms = self.from_ms + int(seconds * 1000)

    @property
    def body(self) -> dict[str, Any]:
        """What makes it."""
        return {
            "name": "test",
            "selector": {"tags": [self._stage.task]},
            "action": self._action,
            "spans": [{"from": format_instant(self.from_ms), "to": format_instant(self.until_ms)}],
        }

    async def make(self) -> None:
        """Have it made, and known."""
        await self._tell("create", self.body)

    async def change(self, **fields: Any) -> None:
        """Change it, and have that known."""
        await self._tell("update", fields)

    async def delete(self) -> None:
        """Delete it; whoever leads hears of it."""
        await self._stage.commands.ok("delete", self.calendar_id, {}, kind="calendar")

    async def _tell(self, verb: str, body: dict[str, Any]) -> None:
        await self._stage.commands.ok(verb, self.calendar_id, body, kind="calendar")
        await self._stage.leader.objects.reach()


async def make_task(stage: Stage, **fields: Any) -> None:
    await stage.commands.create(
        stage.task, **{"schedule": EVERY_SECOND, "tags": [stage.task], "catch_up": PATIENT, **fields}
    )


def runs(world: World, task: str) -> list[int]:
    """Nominal times of the slots of the task that were started, in the order in which they were, in milliseconds."""
    return [instant_ms(event.scheduled_for) for event in events(world, task, "started")]


def events(world: World, task: str, name: str) -> list[Any]:
    return [seen.event for seen in world.events.of(name, task)]


async def test_slots_inside_are_skipped_once_whenever_the_leader_dies(world: World) -> None:
    (await world.fake_executor()).run()
    made: dict[str, Blackout] = {}

    async def prepare(stage: Stage) -> None:
        await make_task(stage)
        made[stage.task] = Blackout(stage, "skip", 4, delay=1)
        await made[stage.task].make()

    async def scene(stage: Stage) -> None:
        for _ in range(3):
            stage.advance(2)
            await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        skipped = [event for event in events(world, stage.task, "skipped") if event.reason == "blackout"]
        assert audit.outcomes["skipped(blackout)"] + audit.outcomes["skipped(blackout, span)"] == 4, audit
        assert {event.calendar_id for event in skipped} == {made[stage.task].calendar_id}

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


async def test_slots_that_are_put_off_run_at_the_end_whenever_the_leader_dies(world: World) -> None:
    """Killed at every write while they are put off, and at every write when the blackout is over."""
    (await world.fake_executor()).run()
    made: dict[str, Blackout] = {}

    async def prepare(stage: Stage) -> None:
        await make_task(stage, overlap="skip")
        made[stage.task] = Blackout(stage, "defer", 3, delay=1)
        await made[stage.task].make()

    async def scene(stage: Stage) -> None:
        stage.advance(2)
        await stage.commands.ok("update", stage.task, {"description": "a turn"})
        stage.advance(3)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        blackout = made[stage.task]
        inside = [at for at in runs(world, stage.task) if blackout.from_ms <= at < blackout.until_ms]
        assert inside == sorted(inside)
        assert len(inside) == 3, "every slot inside ran, in order, with its own nominal time"
        queued: list[Queued] = [
            event for event in events(world, stage.task, "queued") if event.reason == "blackout"
        ]
        assert {event.calendar_id for event in queued} <= {blackout.calendar_id}
        assert audit.executed() >= 3, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_the_last_slot_inside_stands_for_the_others_whenever_the_leader_dies(world: World) -> None:
    (await world.fake_executor()).run()
    made: dict[str, Blackout] = {}

    async def prepare(stage: Stage) -> None:
        await make_task(stage, overlap="allow")
        made[stage.task] = Blackout(stage, "first_after", 3, delay=1)
        await made[stage.task].make()

    async def scene(stage: Stage) -> None:
        for _ in range(3):
            stage.advance(1)
            await stage.commands.ok("update", stage.task, {"description": f"at {stage.clock.now_ms()}"})
        stage.advance(2)
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        blackout = made[stage.task]
        inside = [at for at in runs(world, stage.task) if blackout.from_ms <= at < blackout.until_ms]
        assert inside == [blackout.until_ms - 1000], audit
        coalesced: list[Coalesced] = events(world, stage.task, "coalesced")
        assert sum(event.count for event in coalesced) == 2, audit
        assert {(event.reason, event.calendar_id) for event in coalesced} == {
            ("blackout", blackout.calendar_id)
        }

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 10


async def test_what_is_put_off_goes_when_the_calendar_is_deleted_whenever_the_leader_dies(
    world: World,
) -> None:
    (await world.fake_executor()).run()
    made: dict[str, Blackout] = {}

    async def prepare(stage: Stage) -> None:
        await make_task(stage, schedule=EVERY_MINUTE, overlap="allow")
        made[stage.task] = Blackout(stage, "defer", 3000)
        await made[stage.task].make()
        for _ in range(2):
            stage.advance(60)
            await stage.commands.ok("update", stage.task, {"description": f"at {stage.clock.now_ms()}"})
        assert world.events.of("started", stage.task) == []

    async def scene(stage: Stage) -> None:
        await made[stage.task].delete()
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        assert audit.outcomes == {"executed": 2}, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


async def test_one_that_is_prolonged_puts_off_longer_and_a_run_on_demand_goes_meanwhile(world: World) -> None:
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    await make_task(stage, schedule=EVERY_MINUTE)
    blackout = Blackout(stage, "defer", 90)
    await blackout.make()
    stage.advance(61)
    await stage.commands.ok("run", stage.task, {})
    await world.events.some(1, "executed", stage.task)
    longer = {"from": format_instant(blackout.from_ms), "to": format_instant(blackout.until_ms + 60_000)}
    await blackout.change(spans=[longer])
    stage.advance(60)  # the first end has passed
    await stage.commands.ok("update", stage.task, {"description": "a turn"})
    assert runs(world, stage.task)[1:] == []
    await stage.leader.die()
    stage.clock.advance(28)
    await stage.lead()
    await stage.commands.ok("update", stage.task, {"description": "another turn"})
    assert runs(world, stage.task)[1:] == [], "a new leader asks the calendar as it is now"
    stage.advance(2)
    found = await stage.settle()
    assert found.outcomes == {"executed": 3}, found


async def test_a_blackout_that_ends_while_all_schedulers_are_down(world: World) -> None:
    """What was put off before runs; what came while nobody was there is late from the end of the blackout on."""
    (await world.fake_executor()).run()
    stage = Stage(world)
    await stage.lead()
    catch_up = {"policy": "latest", "after_seconds": 60, "grace_seconds": 600, "limit": 100}
    await make_task(stage, schedule=EVERY_MINUTE, catch_up=catch_up, overlap="skip")
    blackout = Blackout(stage, "defer", 600)
    await blackout.make()
    for _ in range(2):
        stage.advance(60)
        await stage.commands.ok("update", stage.task, {"description": f"at {stage.clock.now_ms()}"})
    await stage.leader.die()
    stage.clock.advance(510)  # 630 seconds after its beginning: it was over half a minute ago
    await stage.lead()
    found = await stage.settle()
    # Ten slots: nine inside, all of which run although most are minutes late, and one after.
    assert found.outcomes == {"executed": 10}, found
    assert len(events(world, stage.task, "queued")) == 9


async def test_a_backlog_that_lies_in_blackouts_is_told_piece_by_piece_whenever_the_leader_dies(
    world: World,
) -> None:
    """Nobody leads for fifteen minutes; two calendars were in force in parts of that, and one still is."""
    (await world.fake_executor()).run()
    made: dict[str, list[Blackout]] = {}

    async def prepare(stage: Stage) -> None:
        catch_up = {"policy": "latest", "after_seconds": 30, "grace_seconds": 600}
        await make_task(stage, schedule=EVERY_MINUTE, catch_up=catch_up, overlap="allow")
        made[stage.task] = [
            Blackout(stage, "skip", 180, delay=390),
            Blackout(stage, "first_after", 3600, delay=690),
        ]
        for blackout in made[stage.task]:
            blackout.calendar_id = f"{blackout.calendar_id}-{blackout.until_ms - blackout.from_ms}"
            blackout.calendar_id = world.task_in(0, blackout.calendar_id)
            await blackout.make()
        await stage.leader.die()
        stage.clock.advance(900)
        await stage.lead()

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        await stage.commands.ok("update", stage.task, {"description": "a turn"})
        await made[stage.task][1].delete()
        await stage.settle()

    def check(stage: Stage, audit: Audit) -> None:
        # Slots at 1 to 15 minutes: 1 to 4 beyond grace, 7 to 9 skipped, 12 to 15 stood for by the last of them; 5, 6,
        # 10 and 11 late, of which the newest runs.
        told = {
            (event.reason, event.count) for event in events(world, stage.task, "skipped") if event.count > 0
        }
        assert ("blackout", 3) in told, audit
        coalesced = audit.outcomes["coalesced(blackout, span)"] + audit.outcomes["coalesced(blackout)"]
        assert coalesced == 3, audit
        # The fifth is as old as grace allows, or a little older when the leader dies before it has decided.
        missed = audit.outcomes["missed(grace_exceeded, span)"]
        assert missed in (4, 5), audit
        assert audit.outcomes["coalesced(catch_up_latest, span)"] == 7 - missed, audit
        assert audit.executed() == 2, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 6


@pytest.mark.parametrize(
    ("actions", "ran", "counted"),
    [
        pytest.param(("first_after", "defer"), [3, 4, 5, 6], 4, id="what is put off after it runs by itself"),
        pytest.param(("defer", "first_after"), [6], 3, id="it takes the place of what it stands for"),
    ],
)
async def test_in_a_backlog_one_stands_for_what_was_put_off_before_it(
    world: World, actions: tuple[str, str], ran: list[int], counted: int
) -> None:
    """As it would have, had a leader been there; and the same number of runs is counted."""
    stage = Stage(world)
    await stage.lead()
    (await world.fake_executor(clock=stage.clock)).run()
    late = {"policy": "all", "after_seconds": 1, "grace_seconds": 3600, "limit": 100}
    begun_ms = stage.clock.now_ms() // 1000 * 1000
    until = format_instant(begun_ms + 6500)
    await make_task(stage, schedule={**EVERY_SECOND, "max_runs": 20, "end_at": until}, catch_up=late)
    for name, action, delay in zip("ab", actions, (1, 4), strict=True):
        blackout = Blackout(stage, action, 3 if name == "a" else 30, delay=delay)
        blackout.calendar_id = world.task_in(0, f"{name}-{stage.task[-6:]}-")
        await blackout.make()
    await stage.leader.die()
    stage.clock.advance(7)
    await stage.lead()
    await stage.commands.ok("update", stage.task, {"description": "the backlog is decided"})
    _, register = await world.task_register(stage.task)
    stage.advance(40)
    await stage.settle(begun_ms + 6000)
    assert [at_ms - begun_ms for at_ms in runs(world, stage.task)] == [one * 1000 for one in ran]
    assert register.fired == counted
