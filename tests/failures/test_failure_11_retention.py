"""11: the projector is away for 72 hours, a handler runs longer than events are kept, processes differ about it."""

from __future__ import annotations

from gnomon_core.runtime.kv import kv_put
from gnomon_scheduler.janitor import Janitor
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.members import ProjectorPosition
from gnomon_schemas.subjects import ACCOUNTS_BUCKET, EVENTS_FILTER, EVENTS_STREAM, PROJECTOR_KEY
from tests.harness.waiting import until_async
from tests.harness.world import World, now_ms


async def _projector_at(world: World, sequence: int, time_ms: int | None = None) -> None:
    created = (await world.bus.stream_info(EVENTS_STREAM)).created
    time = format_instant(now_ms() if time_ms is None else time_ms)
    position = ProjectorPosition(created=created, sequence=sequence, time=time)
    await kv_put(world.bus, ACCOUNTS_BUCKET, PROJECTOR_KEY, encode(position))


def _janitor(world: World, event_ttl: float = 0.0) -> Janitor:
    """One that keeps nothing for its age: whatever stays, a floor has kept."""
    return Janitor(world.bus, world.partitions, event_ttl=event_ttl, every_seconds=3600)


async def test_nothing_is_purged_while_a_position_is_missing(world: World) -> None:
    """Neither before the projector has told how far it is, nor before every shard has."""
    (await world.fake_executor()).run()
    async with world.leader(0):
        await world.commands.create(world.task_in(0))
        assert await _janitor(world).clean() == 0
        await _projector_at(world, 1_000_000)
        assert await _janitor(world).clean() == 0, "shard 1 has no register"


async def test_what_the_projector_has_not_read_stays(world: World) -> None:
    """Its sequence and its time both hold the floor, however long it has been away."""
    (await world.fake_executor()).run()
    task = world.task_in(0)
    async with world.leader(0), world.leader(1):
        await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1}, overlap="allow")
        executed = await world.events.some(2, "executed", task)
        await _projector_at(world, executed[0].seq)
        await _janitor(world).clean()
        first = await anext(world.bus.scan(EVENTS_STREAM, EVENTS_FILTER))
        assert first.seq <= executed[0].seq + 1
        await _projector_at(world, 1_000_000, time_ms=now_ms() - 72 * 3600 * 1000)
        assert await _janitor(world).clean() == 0


async def test_the_chain_of_a_handler_that_runs_longer_than_events_are_kept_stays(world: World) -> None:
    """A claim that is purged under a running handler would let a second one in."""
    fake = await world.fake_executor()
    long, short = world.task_in(0, "long"), world.task_in(0, "short")
    async with world.leader(0), world.leader(1):
        await world.commands.create(long)
        await world.commands.create(short, overlap="allow")
        outcome = await world.commands.ok("run", long)
        work = await fake.next(task_id=long)
        claimed = await fake.claim(work)
        for _ in range(3):
            await world.commands.ok("run", short)
            await fake.complete(await fake.next(task_id=short))
        await _projector_at(world, 1_000_000)
        # Two janitors that differ about the age: the floors hold for both.
        for ttl in (0.0, 3600.0):
            await _janitor(world, ttl).clean()
        last = await world.bus.last(EVENTS_STREAM, work.chain)
        assert last is not None
        assert last.seq == claimed
        await fake.finish(work)
        await world.events.one("executed", long, run=outcome["execution"]["run"])


async def test_what_nobody_needs_is_purged_and_registers_stay(world: World) -> None:
    """The floors are no excuse to keep everything."""
    (await world.fake_executor()).run()
    task = world.task_in(0)
    async with world.leader(0), world.leader(1):
        await world.commands.create(task)
        for _ in range(3):
            outcome = await world.commands.ok("run", task)
            await world.events.one("executed", task, run=outcome["execution"]["run"])
        await _projector_at(world, 1_000_000)
        purged = 0

        async def cleaned() -> bool:
            nonlocal purged
            # A shard says how far it is when it stores something, and looks at most once a second.
            for partition in (0, 1):
                await world.commands.create(world.task_in(partition, f"later{len(world.events.all)}-"))
            purged += await _janitor(world).clean()
            return purged >= 9

        await until_async(cleaned)
        _, register = await world.task_register(task)
        assert register.runtime.run_count == 3
        assert (await world.commands.ok("update", task, {"description": "still here"}))["task"][
            "run_count"
        ] == 3
