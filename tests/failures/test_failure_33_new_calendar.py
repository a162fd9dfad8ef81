"""33: a leader with newer zone rules takes over, and dies on the way; leaders with old and new rules take turns.

Beirut stands for a zone whose rules change from one release to the next: two hours ahead of UTC, then two and a half.
The tasks have slots every three seconds in minutes of the hour that Beirut's clock shows now under the old rules, and
every two seconds in those that it shows under the new ones.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from gnomon_core.runtime.messages import Outgoing
from gnomon_scheduler.registers import CalendarRegister
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.events import Replanned, StatusChanged
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.calendars import kept_rules, other_rules
from tests.harness.leading import Leader
from tests.harness.stage import Stage
from tests.harness.stopping import Trap
from tests.harness.world import World
from tests.harness.zone_rules import made_rules

ZONE = "Asia/Beirut"
PART = f"zone-{ZONE}"
RULES = {"old": made_rules("EET-2"), "new": made_rules("<+0230>-2:30")}
FIRST_STEP = 3
"""The batch of a take-over that is the first about the calendar: the shard register and the barrier are before it."""


@pytest.fixture(autouse=True)
def _known_calendars(world: World) -> None:
    world.calendars.update({name: kept_rules(ZONE, rules) for name, rules in RULES.items()})


def _schedule(stage: Stage, **more: Any) -> dict[str, Any]:
    """Every three seconds now under the old rules, every two under the new ones."""
    minute = datetime.fromtimestamp(stage.clock.now_ms() / 1000, UTC).minute

    def cron(seconds: str, ahead: int) -> dict[str, Any]:
        minutes = sorted({(minute + ahead + more) % 60 for more in range(-5, 6)})
        return {"kind": "cron", "expression": f"{seconds} {','.join(map(str, minutes))} * * * *"}

    return {"kind": "any_of", "schedules": [cron("*/3", 0), cron("*/2", 30)], "timezone": ZONE, **more}


class _Deploy:
    """A task on a stage, and leaders with old and new rules one after the other."""

    def __init__(self, world: World, not_before_ms: int = 0) -> None:
        self.world = world
        self.stage = Stage(world, not_before_ms=not_before_ms)

    @property
    def task(self) -> str:
        return self.stage.task

    async def lead(self, calendar: str) -> None:
        """Have a leader with this calendar take over, in whose time the process has its rules."""
        self.stage.leader = await self._connect(calendar)
        await self.stage.leader.lead()

    async def lead_until(self, calendar: str, trap: Trap) -> bool:
        """The same, but it dies at the trap, or right after the take-over. Whether it was at the trap."""
        leader = await self._connect(calendar)
        leader.bus.traps.append(trap)
        leading = asyncio.ensure_future(leader.lead())
        reached = asyncio.ensure_future(trap.reached.wait())
        async with asyncio.timeout(20):
            await asyncio.wait({leading, reached}, return_when=asyncio.FIRST_COMPLETED)
        died = trap.reached.is_set()
        leading.cancel()
        reached.cancel()
        await asyncio.wait({leading, reached})
        await leader.die()
        return died

    async def _connect(self, calendar: str) -> Leader:
        return await self.world.leader(clock=self.stage.clock, fingerprint=calendar).connect()

    def replanned(self) -> list[Replanned]:
        """What was told of the task, in order."""
        seen = self.world.events.of("replanned", self.task)
        return [one.event for one in seen if isinstance(one.event, Replanned)]

    async def over(self) -> None:
        """Everything has its one outcome, and every change of the calendar was told once."""
        audit = await self.stage.settle()
        assert audit.settled, audit
        told = self.replanned()
        for before, after in pairwise(told):
            assert before.new_calendar == after.old_calendar
            assert before.revision + 1 == after.revision
            assert instant_ms(before.replanned_at) <= instant_ms(after.replanned_at)

    async def close(self) -> None:
        """Nothing goes on beside the next one."""
        await self.world.commands.send("delete", self.task)
        await self.stage.leader.stop()


async def _kept(world: World) -> CalendarRegister:
    last = await world.bus.last(EVENTS_STREAM, subjects.calendar_register(0, PART))
    assert last is not None
    return decode(last.data, CalendarRegister)


SHAPES: dict[str, dict[str, Any]] = {
    "plain": {"overlap": "allow"},
    "one at a time": {"overlap": "skip"},
    "jitter": {"overlap": "allow", "more": {"jitter_seconds": 4}},
    "late": {"overlap": "queue", "catch_up": {"policy": "all", "after_seconds": 3, "limit": 2}},
    "paused": {"overlap": "allow"},
    "counted": {"overlap": "allow", "more": {"max_runs": 7}},
}


@pytest.mark.parametrize(
    ("shape", "successor"),
    [*((shape, "new") for shape in SHAPES), *((shape, "old") for shape in ("plain", "jitter", "paused"))],
)
async def test_whatever_write_it_dies_at_every_slot_has_one_outcome(
    world: World, shape: str, successor: str
) -> None:
    """By the rules of its time. Whoever goes on, each change of the calendar is told exactly once."""
    (await world.fake_executor()).run()
    spec = dict(SHAPES[shape])
    more = spec.pop("more", {})
    time_ms = 0
    for nth in range(FIRST_STEP, FIRST_STEP + 5):
        deploy = _Deploy(world, time_ms)
        stage = deploy.stage
        with other_rules(ZONE, RULES["old"]):
            await deploy.lead("old")
            await stage.commands.create(deploy.task, schedule=_schedule(stage, **more), **spec)
            stage.advance(8)
            await world.events.some(1, "executed", deploy.task)
            if shape == "paused":
                await stage.commands.ok("pause", deploy.task, {})
                stage.advance(5)
                await stage.commands.ok("update", deploy.task, {"description": "in the pause"})
            await stage.leader.die()
        stage.clock.advance(6)
        with other_rules(ZONE, RULES["new"]):
            died = await deploy.lead_until("new", Trap(on="batch", do="hold", when="before", nth=nth))
        stage.clock.advance(2)
        with other_rules(ZONE, RULES[successor]):
            await deploy.lead(successor)
            stage.advance(5)
            if shape == "paused":
                await stage.commands.ok("resume", deploy.task, {})
                stage.advance(4)
            await deploy.over()
            told = [
                (event.old_calendar.fingerprint, event.new_calendar.fingerprint)
                for event in deploy.replanned()
            ]
            if successor == "new":
                assert told == [("old", "new")]
            else:
                assert told in ([], [("old", "new"), ("new", "old")])
            kept = await _kept(world)
            assert [rules.fingerprint for rules in kept.kept] == [successor]
            assert kept.kept[0].rules == RULES[successor]
            await deploy.close()
        time_ms = stage.clock.now_ms()
        if not died:
            break
    else:
        pytest.fail("the take-over never came to its end")
    assert nth >= FIRST_STEP + 3


MANY = 450


async def test_exactly_those_whose_slots_move_are_re_planned(world: World) -> None:
    """In as many batches as it takes; a leader that dies between two of them leaves the others to its successor."""
    (await world.fake_executor()).run()
    deploy = _Deploy(world)
    stage = deploy.stage
    daily = {"kind": "cron", "expression": "0 9 * * *", "timezone": ZONE}
    others = {
        "elsewhere": {**daily, "timezone": "Europe/Berlin"},
        "all hours": {**daily, "expression": "*/30 * * * *"},
        "by the second": {"kind": "interval", "every_seconds": 3600, "timezone": ZONE},
        "none": None,
    }
    ids = [world.task_in(0, f"m{number}-") for number in range(MANY)]
    with other_rules(ZONE, RULES["old"]):
        await deploy.lead("old")
        await asyncio.gather(*(world.commands.create(task, schedule=daily) for task in ids))
        for number, schedule in enumerate(others.values()):
            await world.commands.create(world.task_in(0, f"o{number}-"), schedule=schedule)
        over = world.task_in(0, "over-")
        await world.commands.create(over, schedule=daily)
        await world.commands.ok("cancel", over, {})
        await stage.leader.die()
    with other_rules(ZONE, RULES["new"]):
        # What is the same is kept, then what differs is opened; it dies at the second batch of tasks.
        assert await deploy.lead_until("new", Trap(on="batch", do="hold", when="before", nth=FIRST_STEP + 3))
        await world.events.some(1, "replanned")
        some = len(world.events.of("replanned"))
        assert 0 < some < MANY
        await deploy.lead("new")
        told = [seen.event for seen in await world.events.some(MANY, "replanned")]
        assert sorted(event.task_id for event in told) == sorted(ids)
        shown = await world.commands.ok("update", ids[0], {"description": "as it is now"})
        assert shown["task"]["revision"] == 2
        event = told[0]
        assert isinstance(event, Replanned)
        assert event.changed == (PART,)
        assert instant_ms(event.old_next or "") - instant_ms(event.new_next or "") in {1_800_000, -84_600_000}
        assert (event.appeared, event.disappeared) == (400, 400)
        assert event.task.version == 1
        await stage.leader.stop()


async def test_where_nothing_was_kept_nothing_is_re_planned_and_all_is_kept(world: World) -> None:
    """The first start of this version on tasks that are there, and after one that knew nothing of it."""
    await world.fake_executor()
    deploy = _Deploy(world)
    daily = {"kind": "cron", "expression": "0 9 * * *", "timezone": ZONE}
    with other_rules(ZONE, RULES["old"]):
        await deploy.lead("old")
        await world.commands.create(deploy.task, schedule=daily)
        await deploy.stage.leader.stop()
    await world.bus.purge(EVENTS_STREAM, filter=subjects.calendar_register(0, PART))
    stored, shard = await world.shard_register(0)
    register = subjects.shard_register(0)
    fresh = encode(msgspec.structs.replace(shard, calendars_kept=False))
    await world.bus.publish_batch([Outgoing(register, fresh, None, stored.seq, None, rollup=True)])
    with other_rules(ZONE, RULES["new"]):
        await deploy.lead("new")
        kept = await _kept(world)
        assert (kept.kept[0].rules, kept.past) == (RULES["new"], ())
        await world.commands.ok("update", deploy.task, {"description": "it leads"})
        assert not deploy.replanned()
        assert (await world.shard_register(0))[1].calendars_kept
        await deploy.stage.leader.stop()
    with other_rules(ZONE, RULES["old"]):
        await deploy.lead("old")
        await world.events.one("replanned", deploy.task)
        past = (await _kept(world)).past
        assert [rules.fingerprint for rules in past] == ["new"]
        assert past[0].until_ms is not None
        await deploy.close()


async def test_a_new_holiday_re_plans_who_has_no_slots_on_holidays(world: World) -> None:
    """The calendar that was kept knew nothing of one holiday of next year."""
    await world.fake_executor()
    deploy = _Deploy(world)
    working = {"kind": "daily", "time": "09:00", "timezone": "Europe/Berlin", "exclude": [{"holidays": "DE"}]}
    other = world.task_in(0, "other-")
    await deploy.lead("before")
    await world.commands.create(deploy.task, schedule=working)
    await world.commands.create(other, schedule={**working, "exclude": [{"holidays": "FR"}]})
    await deploy.stage.leader.stop()
    subject = subjects.calendar_register(0, "holidays-DE")
    last = await world.bus.last(EVENTS_STREAM, subject)
    assert last is not None
    register = decode(last.data, CalendarRegister)
    days = msgspec.json.decode(register.kept[0].rules, type=dict[str, list[int]])
    year = str(datetime.fromtimestamp(deploy.stage.clock.now_ms() / 1000, UTC).year + 1)
    gone = days[year][-1]
    without = {**days, year: [day for day in days[year] if day != gone]}
    rules = msgspec.structs.replace(register.kept[0], rules=msgspec.json.encode(without))
    fake = encode(msgspec.structs.replace(register, kept=(rules,)))
    await world.bus.publish_batch([Outgoing(subject, fake, None, None, None, rollup=True)])
    await deploy.lead("after")
    told = (await world.events.one("replanned", deploy.task)).event
    assert isinstance(told, Replanned)
    assert told.changed == ("holidays-DE",)
    assert (told.appeared, told.disappeared) == (0, 1)
    assert instant_ms(told.first_difference or "") // 86_400_000 == gone
    await world.commands.ok("update", other, {"description": "it leads"})
    assert not world.events.of("replanned", other)
    await deploy.stage.leader.stop()


async def test_what_was_handed_out_and_not_stored_is_of_the_old_revision(world: World) -> None:
    """A leader dies between the dues of a backlog's last slots and the decision about the backlog itself."""
    (await world.fake_executor()).run()
    deploy = _Deploy(world)
    stage = deploy.stage
    with other_rules(ZONE, RULES["old"]):
        await deploy.lead("old")
        catch_up = {"policy": "latest", "after_seconds": 10, "grace_seconds": 3600}
        await stage.commands.create(
            deploy.task, schedule=_schedule(stage), overlap="allow", catch_up=catch_up
        )
        trap = Trap(subject="state.shard.*", on="batch", do="hold", when="before")
        stage.leader.bus.traps.append(trap)
        # The next turn has slots of a minute and a half: the newest go out at once, the others are a backlog.
        stage.advance(90)
        async with asyncio.timeout(20):
            await trap.reached.wait()
        assert await world.dues(deploy.task) or world.events.of("started", deploy.task)
        await stage.leader.die()
    with other_rules(ZONE, RULES["new"]):
        await deploy.lead("new")
        stage.advance(4)
        await deploy.over()
        [told] = deploy.replanned()
        assert told.revision == 2
        audit = stage.audit()
        assert audit.executed() >= 3
        await deploy.close()


async def test_a_pause_that_was_over_and_not_stored_ends_under_the_old_rules(world: World) -> None:
    """The leader had ended it and handed out the slots after it when it died."""
    (await world.fake_executor()).run()
    deploy = _Deploy(world)
    stage = deploy.stage
    with other_rules(ZONE, RULES["old"]):
        await deploy.lead("old")
        await stage.commands.create(deploy.task, schedule=_schedule(stage), overlap="allow")
        stage.advance(4)
        await world.events.some(1, "executed", deploy.task)
        until_ms = stage.clock.now_ms() + 8_000
        await stage.commands.ok("pause", deploy.task, {"until": format_instant(until_ms)})
        trap = Trap(subject="state.shard.*", on="batch", do="hold", when="before")
        stage.leader.bus.traps.append(trap)
        stage.advance(16)
        async with asyncio.timeout(20):
            await trap.reached.wait()
        assert await world.dues(deploy.task) or len(world.events.of("started", deploy.task)) > 1
        await stage.leader.die()
    with other_rules(ZONE, RULES["new"]):
        await deploy.lead("new")
        stage.advance(4)
        await deploy.over()
        [told] = deploy.replanned()
        assert instant_ms(told.replanned_at) >= until_ms
        assert not told.task.paused
        [over] = world.events.of("status_changed", deploy.task)[1:]
        assert isinstance(over.event, StatusChanged)
        assert (over.event.reason, instant_ms(over.event.changed_at)) == ("pause_over", until_ms)
        await deploy.close()


async def test_leaders_with_two_calendars_take_turns_until_all_have_one(world: World) -> None:
    """One event for each time that the shard went to another calendar, and none any more when it does not."""
    (await world.fake_executor()).run()
    deploy = _Deploy(world)
    stage = deploy.stage
    turns = ("old", "new", "old", "new", "new", "new")
    for number, calendar in enumerate(turns):
        with other_rules(ZONE, RULES[calendar]):
            await deploy.lead(calendar)
            if number == 0:
                await stage.commands.create(deploy.task, schedule=_schedule(stage), overlap="allow")
            stage.advance(7)
            await deploy.over()
            await stage.leader.stop()
    told = [(event.old_calendar.fingerprint, event.new_calendar.fingerprint) for event in deploy.replanned()]
    assert told == [("old", "new"), ("new", "old"), ("old", "new")]
    kept = await _kept(world)
    assert [rules.fingerprint for rules in kept.past] == ["old", "new", "old"]
    untils = [rules.until_ms or 0 for rules in kept.past]
    assert untils == sorted(untils)
    with other_rules(ZONE, RULES["new"]):
        await deploy.lead("new")
        await deploy.close()
