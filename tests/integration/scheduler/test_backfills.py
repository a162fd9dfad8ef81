"""Backfills over the real server: whole, side by side with live slots, and whenever their leader dies."""

from __future__ import annotations

import contextlib
from typing import Any

from gnomon_schemas.clock_text import format_instant, parse_slot_run
from gnomon_schemas.events import Queued, Updated
from gnomon_schemas.problems import Code
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World, now_ms
from tests.integration.scheduler.led import EVERY_SECOND, FAR, Led

MINUTES = {"kind": "interval", "every_seconds": 60, "anchor": "2026-01-01T00:00:00Z"}
SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:06:00Z", "only": "all"}
"""Six slots, long before any task of these tests was made."""


def ran(world: World, task: str, backfill: str) -> list[str]:
    """The slots that a backfill ran, in the order of their results."""
    prefix = f"b-{backfill}-"
    return [
        seen.run.removeprefix(prefix)
        for seen in world.events.of("executed", task)
        if seen.run.startswith(prefix)
    ]


WANTED = [f"20260101T000{minute}00Z" for minute in range(6)]


async def test_a_backfill_runs_each_slot_once_whenever_its_leader_dies(world: World) -> None:
    """Cursor, entry and the head of the chain are one batch; what is in flight is counted by the flights."""
    (await world.fake_executor()).run()
    ids: dict[str, str] = {}

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=MINUTES)

    async def scene(stage: Stage) -> None:
        ids[stage.task] = command_id = fresh_id()
        short = {**SPAN, "to": "2026-01-01T00:03:00Z", "concurrency": 2}
        await stage.commands.ok("backfill", stage.task, short, command_id=command_id)
        while len(ran(world, stage.task, command_id)) < 3:
            # A new leader stores what it folded, and hands out what waits for that, a tenth of a second later.
            stage.advance(0.25)
            with contextlib.suppress(TimeoutError):
                await world.events.more(len(world.events.all), within=0.05)
        # Another write, so that the last of them is folded and forgotten in the register too.
        await stage.commands.ok("update", stage.task, {"description": "x"})

    def check(stage: Stage, audit: Audit) -> None:
        assert sorted(ran(world, stage.task, ids[stage.task])) == WANTED[:3], audit
        assert len(world.events.of("queued", stage.task)) == 3

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_no_more_than_so_many_are_in_flight_and_live_slots_pass_them(led: Led) -> None:
    """In the lowest lane; the overlap policy `skip` of the task neither hinders them nor is hindered."""
    task = await led.task(schedule={**EVERY_SECOND, "anchor": "2026-01-01T00:00:00Z"}, priority="urgent")
    held: list[Work] = []

    async def hold_backfills(work: Work) -> None:
        if work.due.trigger == "backfill":
            held.append(work)
            await led.fake.claim(work)
        else:
            await led.fake.complete(work)

    led.fake.run(hold_backfills)
    try:
        body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:10Z", "only": "all", "concurrency": 3}
        command_id = fresh_id()
        shown = (await led.commands.ok("backfill", task, body, command_id=command_id))["task"]
        (begun,) = shown["backfills"]
        assert (begun["backfill_id"], begun["total"], begun["left"], begun["in_flight"]) == (
            command_id,
            10,
            7,
            3,
        )
        await led.events.some(3, "queued", task)
        live = [seen for seen in led.events.of("executed", task) if parse_slot_run(seen.run)]
        await led.events.some(len(live) + 2, "executed", task)
        while len(held) < 3:
            await led.events.more(len(led.events.all))
        assert len(held) == 3
        assert {work.due.priority for work in held} == {"low"}
        assert all(work.due.expires_at is None for work in held)
        # One ends, one follows.
        await led.fake.finish(held[0])
        await led.fake.ack(held[0])
        await led.events.some(4, "queued", task)
        now = (await led.commands.ok("update", task, {"description": "x"}))["task"]["backfills"][0]
        assert (now["left"], now["in_flight"]) == (6, 3)
        # Cancelled: those that run are ended, and no further one begins.
        await led.commands.ok("backfill", task, {"cancel": command_id})
        await led.events.one("executed", task, run=held[1].due.run)
        await led.events.one("executed", task, run=held[-1].due.run)
        after = (await led.commands.ok("update", task, {"description": "y"}))["task"]
        await led.commands.ok("delete", task)
        queued = [seen for seen in led.events.of("queued", task) if isinstance(seen.event, Queued)]
        assert len(queued) == 4
        assert all(each["left"] == 0 for each in after["backfills"])
    finally:
        await led.fake.rest()


async def test_a_backfill_of_listed_slots_tells_who_began_it(led: Led) -> None:
    task = await led.task(schedule=MINUTES, paused=True)
    led.fake.run()
    try:
        listed = ["2026-01-01T00:01:00Z", "2026-01-01T01:03:00+01:00"]
        command_id = fresh_id()
        await led.commands.ok(
            "backfill", task, {**SPAN, "only": "gaps", "slots": listed}, command_id=command_id
        )
        await led.events.some(2, "executed", task)
        assert ran(led.world, task, command_id) == [WANTED[1], WANTED[3]]
    finally:
        await led.fake.rest()
    updated = (await led.events.one("updated", task)).event
    assert isinstance(updated, Updated)
    assert updated.updated_fields == ("backfills",)
    assert updated.command_id == command_id
    # Through, and forgotten.
    assert (await led.commands.ok("update", task, {"description": "x"}))["task"]["backfills"] == []


async def test_what_cannot_be_backfilled_is_refused_and_changes_nothing(led: Led) -> None:
    task = await led.task(schedule=MINUTES)
    future = {**SPAN, "to": format_instant(now_ms() + 60_000)}
    no_slot = {**SPAN, "slots": ["2026-01-01T00:01:01Z"]}
    cases: list[tuple[dict[str, Any], str]] = [
        ({**SPAN, "only": "gaps"}, "#/slots"),
        (future, "#/to"),
        (no_slot, "#/slots/0"),
        ({"cancel": "nobody"}, "#/cancel"),
    ]
    for body, pointer in cases:
        code = Code.NOT_FOUND if "cancel" in body else Code.INVALID
        await led.refused("backfill", task, body, code=code, pointer=pointer)
    on_demand = await led.task(schedule=None)
    await led.refused("backfill", on_demand, SPAN, code=Code.INVALID_STATE)
    gone = await led.task(schedule=FAR)
    await led.commands.ok("cancel", gone)
    await led.refused("backfill", gone, SPAN, code=Code.INVALID_STATE)
