"""Backfills over the real server: whole, side by side with live slots, and in a lane of their own."""

from __future__ import annotations

from typing import Any

from gnomon_schemas.clock_text import format_instant, parse_slot_run
from gnomon_schemas.events import Queued, Updated
from gnomon_schemas.problems import Code
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import Work
from tests.harness.world import now_ms
from tests.integration.scheduler.led import EVERY_SECOND, FAR, Led

MINUTES = {"kind": "interval", "every_seconds": 60, "anchor": "2026-01-01T00:00:00Z"}
SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:06:00Z", "only": "all"}
"""Six slots, long before any task of these tests was made."""


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
        assert [seen.run for seen in led.events.of("executed", task)] == [
            f"b-{command_id}-20260101T000100Z",
            f"b-{command_id}-20260101T000300Z",
        ]
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
