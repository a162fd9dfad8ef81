"""The starting set of templates: made once in the life of a cluster, and gone for good where it was deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gnomon_api.commander import Commander
from gnomon_api.starting_set import StartingSet
from gnomon_api.starting_templates import STARTING_TEMPLATES
from gnomon_schemas.problems import Code
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.world import World


@asynccontextmanager
async def _starting(world: World, *, within: float = 5.0) -> AsyncIterator[StartingSet]:
    """As in an api that starts, and is gone at the end without any clean stop."""
    commander = Commander(world.bus)
    await commander.start()
    starting = StartingSet(world.bus, commander, STARTING_TEMPLATES, within=within)
    await starting.start()
    try:
        yield starting
    finally:
        await starting.abort()
        await commander.stop()


async def _made(world: World) -> list[str]:
    """The templates that were made, by the events, each as often as it was."""
    return [
        stored.subject.split(".")[3]
        async for stored in world.bus.scan(EVENTS_STREAM, "template.created.*.*.*")
    ]


async def test_it_is_made_once_and_what_is_deleted_or_changed_stays_so(world: World) -> None:
    """Two apis at once; one that begins and is gone before anybody decides; one that starts years later."""
    async with _starting(world, within=0.1) as first:
        assert not await first.make(), "nobody leads"
    async with world.leader(), world.leader(partition=1):
        async with _starting(world) as one, _starting(world) as other:
            await one.done.wait()
            await other.done.wait()
        assert sorted(await _made(world)) == sorted(STARTING_TEMPLATES)
        await world.commands.ok("delete", "daily-weather", {}, kind="template")
        await world.commands.ok("update", "hello", {"name": "Hi"}, kind="template")
        async with _starting(world) as again:
            await again.done.wait()
        assert len(await _made(world)) == len(STARTING_TEMPLATES)
        gone = await world.commands.send("update", "daily-weather", {}, kind="template")
        assert gone["error"]["code"] == Code.NOT_FOUND
        kept = await world.commands.ok("update", "hello", {}, kind="template")
        assert kept["template"]["name"] == "Hi"


async def test_killed_before_it_is_noted_it_finds_that_the_template_is_there(world: World) -> None:
    async with world.leader(), world.leader(partition=1):
        for template in ("hello", "todo"):
            await world.commands.ok("create", template, STARTING_TEMPLATES[template], kind="template")
        await world.commands.ok("delete", "todo", {}, kind="template")
        async with _starting(world) as starting:
            await starting.done.wait()
        assert sorted(await _made(world)) == sorted(STARTING_TEMPLATES)
