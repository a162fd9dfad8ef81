"""Pauses through scheduler and executor: until a time, after failures in a row, from creation on; the leader is killed
while they last."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from gnomon_schemas.clock_text import format_instant, instant_ms, parse_slot_run
from gnomon_schemas.events import Skipped, StatusChanged
from tests.harness.events import Seen
from tests.harness.world import World, now_ms

pytestmark = pytest.mark.timeout(90)

EVERY_SECOND: Final = {"kind": "interval", "every_seconds": 1}
PAUSED_SECONDS: Final = 4
TASK_TYPES: Final = "tests.integration.policies.task_types"
MOST_FAILURES: Final = 2


async def test_pauses_last_as_long_as_they_should_whoever_dies_meanwhile(world: World) -> None:
    """One task is paused until a time, one by its own failures, one was created paused. The leader is killed; its
    successor resumes the first at its time and by itself, and leaves the others alone."""
    first, _ = await asyncio.gather(world.scheduler(), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES))
    await world.commands.create("until", schedule=EVERY_SECOND, overlap="allow")
    await world.commands.create("created-paused", schedule=EVERY_SECOND, paused=True)
    await world.commands.create(
        "failing",
        task_type="policy_scripted",
        config={"steps": ["fail"]},
        schedule=EVERY_SECOND,
        max_consecutive_failures=MOST_FAILURES,
    )
    await world.events.one("executed", "until")
    failed = await world.events.one("status_changed", "failing", reason="max_consecutive_failures")
    until_ms = now_ms() // 1000 * 1000 + PAUSED_SECONDS * 1000
    paused = await world.commands.ok("pause", "until", {"until": format_instant(until_ms), "note": "repairs"})
    assert (paused["task"]["paused_until"], paused["task"]["pause_note"]) == (
        format_instant(until_ms),
        "repairs",
    )
    await first.kill()
    await world.scheduler()
    over = await world.events.one("status_changed", "until", reason="pause_over")
    after = len(world.events.all)
    await world.events.wait_for(lambda: _executed_since(world, "until", after), what="a slot after the pause")
    _check_until(world, over, instant_ms(paused["task"]["updated_at"]), until_ms)
    _check_failing(world, failed)
    assert [seen.name for seen in world.events.of(task_id="created-paused")] == ["created"]
    for task in ("failing", "created-paused"):
        await world.commands.ok("resume", task)
    await world.events.one("executed", "created-paused")
    # It begins to count anew: as many failures as before, then it is paused once more.
    await world.events.some(2, "status_changed", "failing", reason="max_consecutive_failures")
    found = await world.settled()
    assert found.outcomes["skipped(paused, span)"] >= PAUSED_SECONDS - 1, found


async def test_a_success_begins_the_count_of_failures_anew(world: World) -> None:
    """Failure, success, failure: not paused. Another failure: paused, with the reason in its note."""
    await asyncio.gather(world.scheduler(), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES))
    spec: dict[str, Any] = {"task_type": "policy_scripted", "max_consecutive_failures": MOST_FAILURES}
    await world.commands.create("counted", config={"steps": ["fail"]}, **spec)
    for steps in (("fail",), ("ok",), ("fail",), ("fail",)):
        assert not world.events.of("status_changed", "counted")
        run = (await world.commands.ok("run", "counted", {"config": {"steps": steps}}))["execution"]["run"]
        await world.events.one("executed", "counted", run=run)
        if steps == ("fail",):
            await world.events.one("failed", "counted", run=run)
    event = (await world.events.one("status_changed", "counted")).event
    assert isinstance(event, StatusChanged)
    assert (event.new_status, event.reason) == ("paused", "max_consecutive_failures")
    shown = (await world.commands.ok("update", "counted", {}))["task"]
    assert (shown["paused"], shown["consecutive_failures"], shown["failure_count"]) == (True, 2, 3)
    assert "2 executions in a row failed" in shown["pause_note"]


def _executed_since(world: World, task: str, position: int) -> bool:
    return any(seen.name == "executed" and seen.task_id == task for seen in world.events.all[position:])


def _check_until(world: World, over: Seen, paused_ms: int, until_ms: int) -> None:
    """No slot ran that lies in the pause, the first one after it did, and one span tells of those between."""
    assert isinstance(over.event, StatusChanged)
    assert instant_ms(over.event.changed_at) == until_ms
    (span,) = (seen.event for seen in world.events.of("skipped", "until", run="_"))
    assert isinstance(span, Skipped)
    nominal = sorted(_nominal_ms(seen.run) for seen in world.events.of("started", "until"))
    assert not [at for at in nominal if paused_ms < at < until_ms]
    assert until_ms in nominal, "the slot of the very second fires"


def _check_failing(world: World, paused: Seen) -> None:
    """It was paused by the failure that was one too many, and nothing of it ran since."""
    assert isinstance(paused.event, StatusChanged)
    assert paused.event.task is not None
    assert paused.event.task.paused
    failures = [seen for seen in world.events.of("executed", "failing") if seen.seq < paused.seq]
    assert len(failures) == MOST_FAILURES
    later = [_nominal_ms(seen.run) for seen in world.events.of("started", "failing") if seen.seq > paused.seq]
    assert not [at for at in later if at > instant_ms(paused.event.changed_at)]


def _nominal_ms(run: str) -> int:
    nominal = parse_slot_run(run)
    assert nominal is not None, run
    return int(nominal.timestamp() * 1000)
