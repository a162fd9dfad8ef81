"""Newer zone rules come: the old scheduler is killed, the new one dies amid re-planning, a third goes on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Replanned
from tests.harness.calendars import OtherCalendar, kept_rules
from tests.harness.stopping import TRAP_SPRUNG, Trap
from tests.harness.world import World, now_ms
from tests.harness.zone_rules import made_rules

pytestmark = pytest.mark.timeout(90)

ZONE: Final = "Asia/Beirut"
OLD: Final = OtherCalendar("old", ZONE, made_rules("<+0230>-2:30"))
"""Half an hour from what Beirut's clock shows by the installed rules, in summer and in winter."""
MOVED: Final = 6


def _schedule() -> dict[str, Any]:
    """Every three seconds now by the installed rules, every two by the old ones."""
    minute = datetime.now(UTC).minute

    def cron(seconds: str, ahead: int) -> dict[str, Any]:
        minutes = sorted({(minute + ahead + more) % 60 for more in range(-5, 6)})
        return {"kind": "cron", "expression": f"{seconds} {','.join(map(str, minutes))} * * * *"}

    return {"kind": "any_of", "schedules": [cron("*/3", 0), cron("*/2", 30)], "timezone": ZONE}


async def test_each_task_that_moves_is_replanned_once_whoever_dies_meanwhile(world: World) -> None:
    """One event a task, naming both calendars; nothing for a task that does not move; and every slot, of the rules that
    were in force at its time, has one outcome."""
    world.calendars[OLD.fingerprint] = kept_rules(ZONE, OLD.rules)
    first, _ = await asyncio.gather(world.scheduler(calendar=OLD), world.executor())
    moved = [world.task_in(number % 2, f"moved{number}-") for number in range(MOVED)]
    for task in moved:
        await world.commands.create(task, schedule=_schedule(), overlap="allow")
    await world.commands.create("still", schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
    for task in moved:
        await world.events.one("executed", task)
    await first.kill()
    second = await world.scheduler(
        ready=False, traps=[Trap(subject="task.replanned.*", on="batch", do="kill", when="after")]
    )
    await second.logged(TRAP_SPRUNG)
    await second.ended()
    await world.scheduler()
    for task in moved:
        await world.events.one("replanned", task)
    replanned_ms = now_ms()
    await world.events.wait_for(lambda: all(_fired_since(world, task, replanned_ms) for task in moved))
    found = await world.settled()
    assert set(found.outcomes) == {"executed"}, found
    told = [seen.event for seen in world.events.of("replanned") if isinstance(seen.event, Replanned)]
    assert sorted(event.task_id for event in told) == sorted(moved)
    for event in told:
        assert event.old_calendar.fingerprint == OLD.fingerprint
        assert event.new_calendar.fingerprint != OLD.fingerprint
        assert event.appeared > 0
        assert event.disappeared > 0
        assert event.revision == 2


def _fired_since(world: World, task: str, at_ms: int) -> bool:
    """Whether a slot after an instant was executed."""
    return any(
        instant_ms(seen.event.scheduled_for) > at_ms  # type: ignore[attr-defined]  # an Executed
        for seen in world.events.of("executed", task)
    )
