"""Marks from a task's own events: what decides its slots from when on."""

from __future__ import annotations

from gnomon_core.ledger import Mark, State, marks_of_events, stretches
from gnomon_schemas.clock_text import format_instant
from tests.harness.deciding import Deciding
from tests.unit.scheduler.making import NOW_S

EVERY_TEN = {"kind": "interval", "every_seconds": 10, "anchor": format_instant(NOW_S * 1000)}


def test_a_pause_that_lasts_is_one_stretch_whatever_else_is_changed_meanwhile() -> None:
    """Its slots are recorded when it ends: a repair that took its first part for one that had ended would give them an
    outcome before."""
    shard = Deciding(NOW_S * 1000 + 500)
    shard.command("create", {"name": "n", "task_type": "echo", "schedule": EVERY_TEN})
    shard.pass_time(15)
    shard.command("pause")
    shard.pass_time(25)
    shard.command("update", {"name": "another"})
    marks = marks_of_events(seen.event for seen in shard.log)
    schedule = shard.reg.spec.schedule
    created_ms, paused_ms = NOW_S * 1000 + 500, NOW_S * 1000 + 15_500
    assert marks == [
        Mark(created_ms, State.ACTIVE, 1, schedule),
        Mark(paused_ms, State.PAUSED, 1, schedule),
    ]
    assert stretches(marks)[-1].lasts
    shard.command("resume")
    after = marks_of_events(seen.event for seen in shard.log)
    assert after == [*marks, Mark(shard.now_ms, State.ACTIVE, 1, schedule)]
