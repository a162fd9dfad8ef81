"""One world for the tests of a module: a scheduler, an executor, and an api that tests may stop and start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.fixtures import broker, replicas
from tests.harness.world import World
from tests.integration.ledger.place import Place

__all__ = ["broker", "place", "replicas"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(broker: EmbeddedNats, postgres_url: str) -> AsyncIterator[Place]:
    """The module's world, with all its processes ready."""
    async with World(broker) as world:
        found = Place(world, postgres_url)
        await world.leading(await world.scheduler())
        await world.executor()
        await found.start_api()
        yield found
