"""A task that was set aside is tried again: at every step of the take-over nothing of it, nor of another, is lost."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import msgspec
import pytest

from gnomon_core import timing
from gnomon_core.runtime import bus
from gnomon_core.runtime.bus_errors import NoAnswer
from gnomon_scheduler import book, folding_desk, replanning, slot_desk, units
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.codec import encode
from gnomon_schemas.events import Replanned
from gnomon_schemas.problems import Code
from gnomon_schemas.schedules import Schedule
from tests.failures.test_poison_task import CATCH_UP, EVERY_SECOND, Fault, spoilt
from tests.harness.calendars import kept_rules, other_rules
from tests.harness.commands import fresh_id
from tests.harness.stage import Stage
from tests.harness.stopping import Trap
from tests.harness.waiting import until, until_async
from tests.harness.world import World
from tests.harness.zone_rules import made_rules

DAILY: dict[str, Any] = {"kind": "interval", "every_seconds": 86400}
ZONE = "Asia/Beirut"


def moving_schedule(stage: Stage) -> dict[str, Any]:
    """Every three seconds in these minutes of the hour by the old rules of the zone, every two by the new ones."""
    minute = stage.clock.now_ms() // 60_000 % 60
    minutes = ",".join(str(at) for at in sorted({(minute + more) % 60 for more in range(-5, 6)}))
    later = ",".join(str(at) for at in sorted({(minute + 30 + more) % 60 for more in range(-5, 6)}))
    return {
        "kind": "any_of",
        "schedules": [
            {"kind": "cron", "expression": f"*/3 {minutes} * * * *"},
            {"kind": "cron", "expression": f"*/2 {later} * * * *"},
        ],
        "timezone": ZONE,
    }


async def _until_stored_aside(stage: Stage, *task_ids: str) -> None:
    """Let time pass until the shard register says that these tasks, and no others, are set aside."""

    async def so() -> bool:
        stage.advance(0.25)
        try:
            return set((await stage.world.shard_register())[1].set_aside) == set(task_ids)
        except NoAnswer:
            return False  # a busy machine: asked again until the patience is over

    await until_async(so)


async def test_what_others_have_used_is_counted_too(world: World) -> None:
    """The events of a task that is tried again are read before older ones of other tasks of the same user."""
    stage = Stage(world)
    user = fresh_id("u")
    other = world.task_in(0, fresh_id("other"))
    fake = await world.fake_executor(clock=stage.clock)
    await stage.lead()
    for task in (stage.task, other):
        await stage.commands.create(task, schedule=DAILY, headers={"Gnomon-User": user})
        await stage.commands.ok("run", task, {})
    poisonous = await fake.next(task_id=stage.task)
    of_other = await fake.next(task_id=other)
    await fake.claim(of_other)
    with spoilt(folding_desk, "fold", stage.task):
        await fake.claim(poisonous)
        await _until_stored_aside(stage, stage.task)
    await stage.leader.die()
    await fake.finish(of_other, reported=1)
    await fake.finish(poisonous, reported=2)
    await stage.lead()
    used = stage.leader.shard.book.memory.usages.of(user)
    assert used is not None
    assert used.used == 3_000_000
    await stage.leader.stop()


async def test_what_it_missed_may_be_more_than_fits_into_a_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure has another event follow it, and they must not all wait for the task's next register."""
    stage = Stage(world)
    fake = await world.fake_executor(clock=stage.clock)
    await stage.lead()
    await stage.commands.create(stage.task, schedule=DAILY, overlap="allow", retry={"max_attempts": 1})
    for _ in range(8):
        await stage.commands.ok("run", stage.task, {})
    works = [await fake.next() for _ in range(8)]
    with spoilt(folding_desk, "fold", stage.task):
        await fake.claim(works[0])
        await _until_stored_aside(stage, stage.task)
    await stage.leader.die()
    for number, work in enumerate(works):
        if number:
            await fake.claim(work)
        await fake.finish(work, "failed")
        await fake.ack(work)
    with monkeypatch.context() as patch:
        patch.setattr(bus, "BATCH_MAX", 8)
        patch.setattr(units, "_MESSAGES_MAX", 6)
        patch.setattr(book, "_DERIVED_A_UNIT", 4)
        await stage.lead()
        stage.advance(1)
        await world.events.some(8, "failed", stage.task)
        await stage.commands.ok("update", stage.task, {"description": "it can be read again"})
    await stage.leader.stop()


async def test_it_is_let_go_of_when_what_was_folded_again_is_stored(world: World) -> None:
    """A batch of another task comes first, and then the leader dies: the retry is not forgotten."""
    stage = Stage(world)
    fake = await world.fake_executor(clock=stage.clock)
    await stage.lead()
    retry = {"max_attempts": 3}
    await stage.commands.create(stage.task, schedule=DAILY, catch_up=CATCH_UP, retry=retry)
    await stage.commands.ok("run", stage.task, {})
    work = await fake.next()
    with spoilt(folding_desk, "fold", stage.task):
        await fake.claim(work)
        await _until_stored_aside(stage, stage.task)
    await stage.leader.die()
    await fake.retry(work, 1)
    await fake.ack(work)
    stage.clock.advance(1)
    await stage.lead()
    stage.clock.advance(0.05)
    await stage.commands.create(world.task_in(0, fresh_id("other")), schedule=DAILY)
    register = (await world.task_register(stage.task))[1]
    aside = (await world.shard_register())[1].set_aside
    assert stage.task in aside or [entry.attempt for entry in register.entries] == [2], aside
    await stage.leader.die()
    await stage.lead()
    stage.advance(2)
    again = await fake.next()
    assert again.due.attempt == 2
    await fake.complete(again)
    stage.advance(1)
    await until(lambda: not stage.leader.shard.book.aside.entries(caught_up=False))
    await stage.leader.stop()


async def test_a_change_of_it_waits_for_all_its_slots(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More slots are left before the watermark than one turn hands out."""
    stage = Stage(world)
    (await world.fake_executor(clock=stage.clock)).run()
    await stage.lead()
    other = world.task_in(0, fresh_id("other"))
    for task in (stage.task, other):
        await stage.commands.create(task, schedule=EVERY_SECOND, overlap="allow")
    with spoilt(slot_desk, "course_of", stage.task), spoilt(slot_desk, "course_of", other):
        await _until_stored_aside(stage, stage.task, other)
        stage.advance(6)
        await stage.commands.create(world.task_in(0, fresh_id("last")), schedule=DAILY)
        await stage.leader.die()
    changed = await stage.commands.post(
        "update", stage.task, {"schedule": {**EVERY_SECOND, "every_seconds": 2}}
    )
    monkeypatch.setattr(slot_desk, "_SLOTS_A_TURN", 1)
    await stage.lead()
    assert (await stage.commands.outcome(changed[0])).get("error") is None
    stage.advance(2)
    found = await stage.settle(within=15)
    assert found.executed() >= 6, found
    await stage.commands.send("delete", stage.task)
    await stage.leader.stop()


async def test_a_new_calendar_leaves_its_slots_to_the_old_one(world: World) -> None:
    """Those of the time in which it was set aside; and one that cannot be re-planned holds up no take-over."""
    old, new = made_rules("EET-2"), made_rules("<+0230>-2:30")
    world.calendars.update({"old": kept_rules(ZONE, old), "new": kept_rules(ZONE, new)})
    stage = Stage(world)
    (await world.fake_executor(clock=stage.clock)).run()
    schedule = moving_schedule(stage)
    other = world.task_in(0, fresh_id("other"))
    with other_rules(ZONE, old):
        stage.leader = await world.leader(clock=stage.clock, fingerprint="old").connect()
        await stage.leader.lead()
        for task in (stage.task, other):
            await stage.commands.create(task, schedule=schedule, overlap="allow")
        with spoilt(slot_desk, "course_of", stage.task):
            await _until_stored_aside(stage, stage.task)
            stage.advance(8)
            await stage.commands.create(world.task_in(0, fresh_id("last")), schedule=DAILY)
            await stage.leader.die()
    with other_rules(ZONE, new):
        stage.leader = await world.leader(clock=stage.clock, fingerprint="new").connect()
        with spoilt(replanning, "compared_from_s", other):
            await stage.leader.lead()
        assert set(stage.leader.shard.book.memory.unreadable) == {other}
        stage.advance(3)
        found = await stage.settle(within=15)
        assert found.executed() >= 4, found
        assert len(world.events.of("replanned", stage.task)) == 1
        await stage.leader.stop()


async def _die_at(stage: Stage, nth: int) -> None:
    """A leader with newer libraries takes over, and dies before its nth batch, or at once where it makes fewer."""
    leader = await stage.world.leader(clock=stage.clock, fingerprint="newer").connect()
    trap = Trap(on="batch", do="hold", when="before", nth=nth)
    leader.bus.traps.append(trap)
    leading, reached = asyncio.ensure_future(leader.lead()), asyncio.ensure_future(trap.reached.wait())
    async with asyncio.timeout(20):
        await asyncio.wait({leading, reached}, return_when=asyncio.FIRST_COMPLETED)
    leading.cancel()
    reached.cancel()
    await asyncio.wait({leading, reached})
    await leader.die()


async def test_slots_promised_by_rules_that_are_past_by_the_time_it_can_be_read_are_theirs(
    world: World,
) -> None:
    """It is set aside through a change of the calendar too. Up to the change its slots are the old ones, after it the
    new ones, whichever leader can read it again, and wherever those before it died."""
    old, new = made_rules("EET-2"), made_rules("<+0230>-2:30")
    world.calendars.update({"old": kept_rules(ZONE, old), "new": kept_rules(ZONE, new)})
    stage = Stage(world)
    (await world.fake_executor(clock=stage.clock)).run()
    schedule = moving_schedule(stage)
    with other_rules(ZONE, old):
        stage.leader = await world.leader(clock=stage.clock, fingerprint="old").connect()
        await stage.leader.lead()
        await stage.commands.create(stage.task, schedule=schedule, overlap="allow")
        with spoilt(slot_desk, "course_of", stage.task):
            await _until_stored_aside(stage, stage.task)
            stage.advance(8)
            await stage.commands.create(world.task_in(0, fresh_id("last")), schedule=DAILY)
            await stage.leader.die()
    with other_rules(ZONE, new):
        stage.leader = await world.leader(clock=stage.clock, fingerprint="new").connect()
        with spoilt(replanning, "compared_from_s", stage.task):
            await stage.leader.lead()
            changed_ms = stage.clock.now_ms()
            stage.advance(6)
            await stage.commands.create(world.task_in(0, fresh_id("last")), schedule=DAILY)
            await stage.leader.die()
        for nth in (3, 4, 5):
            await _die_at(stage, nth)
        stage.leader = await world.leader(clock=stage.clock, fingerprint="newer").connect()
        await stage.leader.lead()
        stage.advance(3)
        found = await stage.settle(within=15)
        assert found.executed() >= 6, found
        (told,) = [seen.event for seen in world.events.of("replanned", stage.task)]
        assert isinstance(told, Replanned)
        assert told.old_calendar.fingerprint == "old"
        assert instant_ms(told.replanned_at) <= changed_ms
        await stage.leader.die()
        stage.leader = await world.leader(clock=stage.clock, fingerprint="newer").connect()
        await stage.leader.lead()
        stage.advance(3)
        await stage.settle(within=15)
        assert len(world.events.of("replanned", stage.task)) == 1
        await stage.leader.stop()


async def test_one_whose_rules_cannot_be_kept_holds_up_no_take_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first leader that keeps rules looks at every task."""
    stage = Stage(world)
    (await world.fake_executor(clock=stage.clock)).run()
    await stage.lead()
    zoned = {"kind": "daily", "time": "07:00", "timezone": ZONE}
    other = world.task_in(0, fresh_id("other"))
    await stage.commands.create(stage.task, schedule=zoned)
    await stage.commands.create(other, schedule=EVERY_SECOND)
    await stage.leader.stop()
    stored, shard_register = await world.shard_register()
    keeps_none = encode(msgspec.structs.replace(shard_register, calendars_kept=False))
    await world.bus.store(stored.subject, keeps_none, {"Nats-Rollup": "sub"})
    whole = timing.names_of

    def failing(schedule: Schedule) -> frozenset[str]:
        if getattr(schedule, "timezone", None) == ZONE:
            raise Fault(ZONE)
        return whole(schedule)

    monkeypatch.setattr(replanning, "names_of", failing)
    await stage.lead()
    assert set(stage.leader.shard.book.memory.unreadable) == {stage.task}
    stage.advance(1)
    await world.events.some(1, "executed", other)
    await stage.leader.stop()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_one_that_will_never_be_read_can_be_given_up(
    world: World, when: Literal["before", "after"]
) -> None:
    """By deleting it. Its leader dies at that write; the next one needs nothing of it any more."""
    stage = Stage(world)
    fake = await world.fake_executor(clock=stage.clock)
    await stage.lead()
    await stage.commands.create(stage.task, schedule=EVERY_SECOND, overlap="allow", catch_up=CATCH_UP)
    stage.advance(2)
    runs, waits = await fake.next(), await fake.next()
    with spoilt(folding_desk, "fold", stage.task, unless_deleted=True):
        await fake.claim(runs)
        await _until_stored_aside(stage, stage.task)
        stage.advance(5)
        await stage.commands.create(world.task_in(0, fresh_id("last")), schedule=DAILY)
        refused = await stage.commands.send("update", stage.task, {"description": "x"})
        assert refused["error"]["code"] == Code.UNREADABLE_STATE
        trap = Trap(subject=subjects.task_register(0, stage.task), do="hold", when=when)
        stage.leader.bus.traps.append(trap)
        posted = await stage.commands.post("delete", stage.task, {})
        await asyncio.wait_for(trap.reached.wait(), 20)
        await stage.leader.die()
        await stage.lead()
        assert (await stage.commands.outcome(posted[0]))["ok"]
        gone = await stage.commands.send("update", stage.task, {"description": "x"})
        assert gone["error"]["code"] == Code.NOT_FOUND
        await world.events.one("skipped", stage.task, reason="deleted")
        await fake.finish(runs)
        await fake.ack(runs)
        await fake.ack(waits)
        found = await stage.settle()
        assert found.executed() == 1, found
        assert found.outcomes["skipped(deleted)"] == 1, found
        assert found.outcomes["missed(catch_up_skip, span)"] == found.expected - 2 >= 5, found

        async def forgotten() -> bool:
            stage.advance(1)
            return (await world.shard_register())[1].set_aside == {}

        await until_async(forgotten)
        assert stage.leader.shard.status().set_aside == 0
    await stage.leader.stop()
