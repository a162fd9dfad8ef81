"""Reminders, and slots of types without work: told exactly once, whoever dies when. No executor runs in here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.events import Executed, ReminderTriggered, Started, StatusChanged
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}


def told(world: World, task: str) -> list[ReminderTriggered]:
    """Every reminder of a task so far."""
    found = [seen.event for seen in world.events.of("reminder_triggered", task)]
    return [event for event in found if isinstance(event, ReminderTriggered)]


async def todo(stage: Stage, seconds: float, **fields: Any) -> str:
    """Make something to do, with a reminder so many seconds from now: when that is."""
    at = format_instant(stage.clock.now_ms() + round(seconds * 1000))
    await stage.commands.create(stage.task, task_type="todo", reminder_time=at, **fields)
    return at


async def test_a_reminder_is_told_once_whenever_the_leader_dies(world: World) -> None:
    at: dict[str, str] = {}

    async def scene(stage: Stage) -> None:
        at[stage.task] = await todo(stage, 5, due_date="2030-01-01T00:00:00Z")
        stage.advance(7)
        await world.events.some(1, "reminder_triggered", stage.task)
        await stage.commands.ok("update", stage.task, {"description": "x"})
        stage.advance(3)
        await stage.commands.ok("complete", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        (reminder,) = told(world, stage.task)
        assert (reminder.reminder_type, reminder.task_type) == ("reminder_time", "todo")
        assert reminder.scheduled_for == at[stage.task]
        assert reminder.due_date == "2030-01-01T00:00:00.000Z"
        assert instant_ms(reminder.triggered_at) >= instant_ms(reminder.scheduled_for)

    assert await at_every_write(world, scene, check=check) >= 8


async def test_slots_of_a_recurring_reminder_end_once_each_whenever_the_leader_dies(world: World) -> None:
    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, task_type="reminder", schedule=EVERY_SECOND)

    async def scene(stage: Stage) -> None:
        for _ in range(3):
            stage.advance(1)
            await stage.settle()
        await stage.commands.ok("run", stage.task)
        await stage.commands.ok("pause", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        ended = world.events.of("executed", stage.task)
        assert len(ended) == len(world.events.of("started", stage.task)) == audit.executed()
        assert audit.executed() >= 4, audit
        ids = sorted(str(event.execution_id) for event in told(world, stage.task))
        assert ids == sorted(f"{stage.task}.{seen.run}" for seen in ended)
        for seen in ended:
            assert isinstance(seen.event, Executed)
            assert (seen.event.status, seen.event.executor) == ("completed", None)

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_a_lone_reminder_is_completed_by_being_told(world: World) -> None:
    """And begins again with another time."""
    stage = Stage(world)
    await stage.lead()
    at = format_instant(stage.clock.now_ms() + 2000)
    await stage.commands.create(stage.task, task_type="reminder", reminder_time=at)
    stage.advance(3)
    changed = (await world.events.one("status_changed", stage.task)).event
    assert isinstance(changed, StatusChanged)
    assert (changed.old_status, changed.new_status, changed.reason) == ("pending", "completed", "reminded")
    again = format_instant(stage.clock.now_ms() + 2000)
    assert (await stage.commands.ok("update", stage.task, {"reminder_time": again}))["task"][
        "status"
    ] == "pending"
    stage.advance(3)
    await world.events.some(2, "reminder_triggered", stage.task)
    assert [event.scheduled_for for event in told(world, stage.task)] == [at, again]


@pytest.mark.parametrize("verb", ["complete", "cancel", "delete"])
async def test_what_has_ended_before_reminds_nobody(world: World, verb: str) -> None:
    stage = Stage(world)
    await stage.lead()
    await todo(stage, 2)
    await stage.commands.ok(verb, stage.task)
    stage.advance(3)
    await stage.lead()
    # Another's reminder, which is due later, shows that this one would have been told by now.
    await _later_one(stage)
    assert told(world, stage.task) == []


async def test_a_reminder_of_a_pause_is_told_when_it_ends(world: World) -> None:
    stage = Stage(world)
    await stage.lead()
    at = await todo(stage, 2)
    await stage.commands.ok("pause", stage.task)
    stage.advance(3)
    await stage.lead()
    await _later_one(stage)
    assert told(world, stage.task) == []
    await stage.commands.ok("resume", stage.task)
    await world.events.one("reminder_triggered", stage.task)
    assert [event.scheduled_for for event in told(world, stage.task)] == [at]


async def test_a_reminder_that_was_moved_or_taken_away_is_told_as_it_is_now(world: World) -> None:
    stage = Stage(world)
    await stage.lead()
    await todo(stage, 2)
    later = format_instant(stage.clock.now_ms() + 4000)
    await stage.commands.ok("update", stage.task, {"reminder_time": later})
    stage.advance(3)
    await stage.lead()
    assert told(world, stage.task) == []
    stage.advance(2)
    await world.events.one("reminder_triggered", stage.task)
    await stage.commands.ok(
        "update", stage.task, {"reminder_time": format_instant(stage.clock.now_ms() + 1000)}
    )
    await stage.commands.ok("update", stage.task, {"reminder_time": None})
    stage.advance(3)
    await _later_one(stage)
    assert [event.scheduled_for for event in told(world, stage.task)] == [later]


async def test_a_slot_is_told_once_where_its_tasks_reminder_changes_in_the_same_turn(world: World) -> None:
    """And where the reminder is told in the turn of the slot. Neither plans the slots anew."""
    stage = Stage(world)
    await stage.lead()
    await stage.commands.create(stage.task, task_type="todo", schedule=EVERY_SECOND)
    for _ in range(3):
        # The command wakes the leader: slot and command are of one turn.
        stage.clock.advance(1)
        later = format_instant(stage.clock.now_ms() + 1200)
        await stage.commands.ok("update", stage.task, {"reminder_time": later})
    stage.advance(2)
    await stage.settle()
    runs = [seen.run for seen in world.events.of("executed", stage.task)]
    assert len(runs) >= 5
    assert len(runs) == len(set(runs)), "no slot was told twice"
    assert sum(event.reminder_type == "reminder_time" for event in told(world, stage.task)) == 1


async def test_a_reminder_is_told_after_everybody_was_away_over_its_time(world: World) -> None:
    """Also of a task that has work of its own, and however late it is."""
    await world.fake_executor()
    stage = Stage(world)
    leader = await stage.lead()
    at = format_instant(stage.clock.now_ms() + 2000)
    await stage.commands.create(stage.task, task_type="echo", reminder_time=at)
    await leader.die()
    stage.clock.advance(3 * 86400)
    await stage.lead()
    stage.advance(0)
    event = (await world.events.one("reminder_triggered", stage.task)).event
    assert isinstance(event, ReminderTriggered)
    assert (event.scheduled_for, event.task_type, event.execution_id) == (at, "echo", None)
    assert instant_ms(event.triggered_at) - instant_ms(at) > 2 * 86400 * 1000


async def test_slots_of_a_reminder_follow_its_policies(world: World) -> None:
    """Late ones the catch-up policy, jitter and the number of runs as everywhere; the audit agrees."""
    stage = Stage(world)
    leader = await stage.lead()
    await stage.commands.create(
        stage.task,
        task_type="reminder",
        schedule={**EVERY_SECOND, "jitter_seconds": 1},
        catch_up={"policy": "all", "limit": 3, "after_seconds": 5},
    )
    other = world.task_in(0, "counted-")
    await stage.commands.create(other, task_type="reminder", schedule={**EVERY_SECOND, "max_runs": 2})
    stage.advance(2)
    await stage.settle()
    await leader.die()
    stage.clock.advance(20)
    await stage.lead()
    audit = await stage.settle()
    assert audit.outcomes["coalesced(catch_up_all, span)"] >= 8, audit
    assert audit.outcomes["coalesced(catch_up_all, span)"] + audit.executed() == audit.expected, audit
    assert len(told(world, stage.task)) == audit.executed()
    assert len(told(world, other)) == 2
    assert (await world.events.one("status_changed", other)).event.reason == "no_slot_left"  # type: ignore[attr-defined]  # a StatusChanged


async def _later_one(stage: Stage) -> None:
    """Another task of the shard, reminded now."""
    other = stage.world.task_in(0, f"later-{stage.clock.now_ms()}-")
    at = format_instant(stage.clock.now_ms() + 500)
    await stage.commands.create(other, task_type="todo", reminder_time=at)
    stage.advance(1)
    await stage.world.events.one("reminder_triggered", other)


async def test_a_slot_that_was_told_by_somebody_else_is_not_told_again_in_part(world: World) -> None:
    """Its chain has moved: neither its start nor its end nor its reminder is stored, and its neighbours' are."""
    stage = Stage(world)
    await stage.lead()
    await stage.commands.create(stage.task, task_type="reminder", schedule=EVERY_SECOND)
    stage.advance(1)
    first = await world.events.one("started", stage.task)
    assert isinstance(first.event, Started)
    told_s = instant_ms(first.event.scheduled_for) // 1000
    stored = await world.bus.last(EVENTS_STREAM, f"task.started.0.{stage.task}.{first.run}")
    assert stored is not None
    elsewhere = slot_run(told_s + 1)
    event = msgspec.json.decode(stored.data) | {"run": elsewhere, "execution_id": f"{stage.task}.{elsewhere}"}
    await world.bus.store(
        f"task.started.0.{stage.task}.{elsewhere}",
        msgspec.json.encode(event),
        {name: value for name, value in stored.headers.items() if name.startswith("ce-")},
    )
    stage.advance(1)
    stage.advance(1)
    await world.events.some(2, "reminder_triggered", stage.task)
    await stage.commands.ok("update", stage.task, {"description": "a turn"})
    runs = [seen.run for seen in world.events.of("executed", stage.task)]
    assert runs == [slot_run(told_s), slot_run(told_s + 2)]
    assert [event.execution_id for event in told(world, stage.task)] == [
        f"{stage.task}.{run}" for run in runs
    ]
