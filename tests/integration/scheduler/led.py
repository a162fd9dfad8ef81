"""One led partition for all tests of a module: a shard in the test's process, two task types, an executor to drive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas.events import Rejected
from gnomon_schemas.problems import CATALOGUE, Code
from gnomon_schemas.subjects import EVENTS_STREAM
from tests.harness.commands import Commands, fresh_id
from tests.harness.events import Events
from tests.harness.fake_executor import FakeExecutor, announce_type
from tests.harness.leading import Leader
from tests.harness.world import World

__all__ = ["EVERY_SECOND", "FAR", "Led", "led"]

EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}
FAR: dict[str, Any] = {"kind": "interval", "every_seconds": 86400}
STRICT = b'{"type":"object","required":["seconds"],"properties":{"seconds":{"type":"number","maximum":60}}}'
"""Config schema of the type `strict`."""


class Led:
    """The world, its one leader, and its executor."""

    def __init__(self, world: World, leader: Leader, fake: FakeExecutor) -> None:
        self.world, self.leader, self.fake = world, leader, fake

    @property
    def commands(self) -> Commands:
        """To ask as any program does."""
        return self.world.commands

    @property
    def events(self) -> Events:
        """What was stored."""
        return self.world.events

    async def task(self, **spec: Any) -> str:
        """A task of its own for a test; its id."""
        task = fresh_id("t")
        await self.commands.create(task, **spec)
        return task

    async def refused(
        self,
        verb: str,
        task: str,
        body: Any = None,
        *,
        code: Code,
        pointer: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Send a command that has to be refused as `code` (for the field at `pointer`); the problem.

        It leaves one `task.rejected` that says the same, and nothing else.
        """
        before = await self.newest()
        registers = await self.registers()
        command_id, _ = await self.commands.post(verb, task, body, **options)
        outcome = await self.commands.outcome(command_id)
        assert not outcome["ok"], outcome
        problem: dict[str, Any] = outcome["error"]
        entry = CATALOGUE[code]
        assert problem["code"] == code, problem
        assert (problem["status"], problem["title"]) == (entry.status, entry.title)
        assert problem["type"] == f"urn:gnomon:problem:{code}"
        assert problem["detail"]
        if pointer is not None:
            assert pointer in [error["pointer"] for error in problem["errors"]], problem
            assert all(error["message"] for error in problem["errors"])
        await self.events.catch_up()
        stored = [seen for seen in self.events.all if seen.seq > before]
        assert [seen.name for seen in stored] == ["rejected"]
        event = stored[0].event
        assert isinstance(event, Rejected)
        assert (event.error.code, event.error.detail) == (code, problem["detail"])
        assert event.verb == verb
        assert await self.registers() == registers
        return problem

    async def newest(self) -> int:
        """Sequence of the newest message of the log."""
        return (await self.world.bus.stream_info(EVENTS_STREAM)).last_seq

    async def registers(self) -> set[str]:
        """Which tasks have a register."""
        found = await self.world.bus.multi_last(EVENTS_STREAM, ["state.task.*.*"])
        return {stored.subject for stored in found}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def led(broker: EmbeddedNats) -> AsyncIterator[Led]:
    """The module's partition."""
    async with World(broker, partitions=1) as world:
        fake = await world.fake_executor(types=("echo", "strict"))
        await announce_type(world.bus, "strict", schema=STRICT)
        async with world.leader(cancel_grace_ms=300) as leader:
            yield Led(world, leader, fake)
