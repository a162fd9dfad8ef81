"""A world for the client's tests, one for the module: a real scheduler and executor to talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from gnomon import Client
from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.world import World


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(nats_server: EmbeddedNats) -> AsyncIterator[World]:
    """One scheduler and one executor."""
    async with World(nats_server) as world:
        await world.scheduler()
        await world.executor()
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def client(world: World) -> AsyncIterator[Client]:
    """A client that acts for a user."""
    async with Client(world.broker.url, user_id="ann") as gnomon:
        yield gnomon
