"""One world for the tests of a module, with scheduler, executor and api, as other services would find it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.fixtures import broker, replicas, world
from tests.harness.over_http import OverHttp
from tests.harness.world import World

__all__ = ["broker", "http", "replicas", "running", "world"]

TASK_TYPES = "tests.integration.policies.task_types"
TIER_LIMITS = '{"basic": {"max_tasks": 1}}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(broker: EmbeddedNats) -> AsyncIterator[World]:
    """Scheduler and executor run; each test makes tasks of its own."""
    async with World(broker, settings={"GNOMON_TIER_LIMITS": TIER_LIMITS}) as world:
        await asyncio.gather(world.scheduler(), world.executor(GNOMON_EXECUTOR_TASKS=TASK_TYPES))
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(running: World, postgres_url: str) -> AsyncIterator[OverHttp]:
    """An api on the same streams, and a client of it."""
    async with OverHttp.of(await running.api(postgres_url)) as client:
        yield client
