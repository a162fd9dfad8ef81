"""What a leader changes without a command or over a long time, and what its death at any write changes: nothing."""

from __future__ import annotations

import contextlib

from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.events import Skipped, StatusChanged
from tests.harness.commands import fresh_id
from tests.harness.fake_executor import Work
from tests.harness.ledger import Audit
from tests.harness.stage import Stage, at_every_write
from tests.harness.world import World

EVERY_SECOND = {"kind": "interval", "every_seconds": 1}
MINUTES = {"kind": "interval", "every_seconds": 60, "anchor": "2026-01-01T00:00:00Z"}
SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:03:00Z", "only": "all"}
"""Three slots, long before any task of these tests was made."""


def own(world: World, task: str, reason: str) -> list[StatusChanged]:
    """The changes of a task with this reason."""
    found = [seen.event for seen in world.events.of("status_changed", task)]
    return [event for event in found if isinstance(event, StatusChanged) and event.reason == reason]


async def until_ended(stage: Stage, prefix: str, count: int) -> None:
    """Let time pass until so many runs that begin so have ended: a new leader stores what it folded, and hands out
    what waits for that, a tenth of a second later."""
    events = stage.world.events
    while sum(seen.run.startswith(prefix) for seen in events.of("executed", stage.task)) < count:
        stage.advance(0.25)
        with contextlib.suppress(TimeoutError):
            await events.more(len(events.all), within=0.05)


async def test_a_pause_until_a_time_ends_by_itself_whenever_the_leader_dies(world: World) -> None:
    """The slot of the very second fires, those before it are one span, and one event tells of it."""
    (await world.fake_executor()).run()
    until: dict[str, int] = {}

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow")
        stage.advance(2)
        await stage.settle()

    async def scene(stage: Stage) -> None:
        until[stage.task] = stage.clock.now_ms() // 1000 * 1000 + 5000
        body = {"until": format_instant(until[stage.task]), "note": "n"}
        await stage.commands.ok("pause", stage.task, body)
        stage.advance(8)
        await world.events.some(2, "status_changed", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        (told,) = own(world, stage.task, "pause_over")
        assert instant_ms(told.changed_at) == until[stage.task]
        (span,) = (seen.event for seen in world.events.of("skipped", stage.task, run="_"))
        assert isinstance(span, Skipped)
        assert (span.reason, span.count) == ("paused", 4)
        live = slot_run(until[stage.task] // 1000)
        assert world.events.chain(stage.task, live)[-1] == "executed"
        assert world.events.chain(stage.task, slot_run(until[stage.task] // 1000 - 1)) == []

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_failures_in_a_row_pause_a_task_whenever_the_leader_dies(world: World) -> None:
    """Exactly one event, in whichever register write; the slots after it are the pause's."""
    fake = await world.fake_executor()

    async def fail(work: Work) -> None:
        await fake.claim(work)
        await fake.finish(work, "failed")
        await fake.ack(work)

    fake.run(fail)

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(
            stage.task, schedule=EVERY_SECOND, overlap="allow", max_consecutive_failures=2
        )

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        await world.events.some(1, "executed", stage.task)
        stage.advance(1)
        await world.events.some(2, "executed", stage.task)
        await world.events.one("status_changed", stage.task)
        stage.advance(3)
        await stage.commands.ok("resume", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        assert own(world, stage.task, "max_consecutive_failures")
        assert audit.outcomes["skipped(paused, span)"] >= 3, audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_a_backfill_runs_each_slot_once_whenever_its_leader_dies(world: World) -> None:
    """Cursor, entry and the head of the chain are one batch; what is in flight is counted by the flights."""
    (await world.fake_executor()).run()
    ids: dict[str, str] = {}

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=MINUTES)

    async def scene(stage: Stage) -> None:
        ids[stage.task] = command_id = fresh_id()
        await stage.commands.ok("backfill", stage.task, {**SPAN, "concurrency": 2}, command_id=command_id)
        await until_ended(stage, f"b-{command_id}-", 3)
        # Another write, so that the last of them is folded and forgotten in the register too.
        await stage.commands.ok("update", stage.task, {"description": "x"})

    def check(stage: Stage, audit: Audit) -> None:
        ran = [seen.run for seen in world.events.of("executed", stage.task)]
        wanted = [f"b-{ids[stage.task]}-20260101T000{minute}00Z" for minute in range(3)]
        assert sorted(run for run in ran if run.startswith("b-")) == wanted, audit
        assert len(world.events.of("queued", stage.task)) == 3

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 8


async def test_an_execution_is_repeated_once_whenever_the_leader_dies(world: World) -> None:
    (await world.fake_executor()).run()
    again: dict[str, str] = {}

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow")
        stage.advance(1)
        await world.events.one("executed", stage.task)
        await stage.commands.ok("pause", stage.task)

    async def scene(stage: Stage) -> None:
        slot = world.events.of("executed", stage.task)[0].run
        outcome = await stage.commands.ok("retry_execution", stage.task, {"run": slot})
        again[stage.task] = outcome["execution"]["run"]
        await until_ended(stage, again[stage.task], 1)
        await stage.commands.ok("resume", stage.task)

    def check(stage: Stage, audit: Audit) -> None:
        assert world.events.chain(stage.task, again[stage.task]) == ["queued", "started", "executed"], audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 4


async def test_a_task_that_is_called_done_ends_whenever_the_leader_dies(world: World) -> None:
    (await world.fake_executor()).run()

    async def prepare(stage: Stage) -> None:
        await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow")
        stage.advance(1)
        await stage.settle()

    async def scene(stage: Stage) -> None:
        stage.advance(1)
        await stage.commands.ok("complete", stage.task, {"note": "over"})
        stage.advance(3)

    def check(stage: Stage, audit: Audit) -> None:
        (ended,) = own(world, stage.task, "over")
        last = max(seen.run for seen in world.events.of("executed", stage.task))
        assert last <= slot_run(instant_ms(ended.changed_at) // 1000), audit

    assert await at_every_write(world, scene, prepare=prepare, check=check) >= 3


async def test_a_task_that_has_failed_too_often_is_paused_before_its_next_slot(world: World) -> None:
    """Also where that slot is due by the time that the last failure is folded."""
    stage = Stage(world)
    await stage.lead()
    fake = await world.fake_executor(clock=stage.clock)
    await stage.commands.create(
        stage.task, schedule=EVERY_SECOND, overlap="allow", max_consecutive_failures=1
    )
    stage.advance(1)
    work = await fake.next(task_id=stage.task)
    await stage.leader.die()
    await fake.complete(work, "failed")
    fake.run()
    stage.clock.advance(3)
    await stage.lead()
    told = (await world.events.one("status_changed", stage.task)).event
    assert isinstance(told, StatusChanged)
    assert told.reason == "max_consecutive_failures"
    await stage.commands.ok("resume", stage.task)
    await stage.settle()
    assert [seen.run for seen in world.events.of("started", stage.task)] == [work.due.run]
    (span,) = (seen.event for seen in world.events.of("skipped", stage.task))
    assert isinstance(span, Skipped)
    assert (span.reason, span.count) == ("paused", 3)
