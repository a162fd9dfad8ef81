"""The main job of `tests/integration/shown`, for two minutes, with many more deaths."""

from __future__ import annotations

import secrets

import pytest

from tests.harness.target import Target
from tests.harness.world import World
from tests.integration.shown.main_job import main_job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


async def test_two_minutes_of_two_hundred_tasks_while_processes_are_killed(
    world: World, postgres_url: str
) -> None:
    """Two hundred tasks call a service for two minutes while schedulers and executors are killed at random: each
    slot's key is seen, and each has one recorded result."""
    async with Target(seconds=0.3) as target:
        await main_job(world, target, postgres_url, seconds=120, seed=secrets.randbelow(1_000_000))
