"""The main job on real input; `tests/chaos` does it for longer."""

from __future__ import annotations

import secrets

import pytest

from tests.harness.target import Target
from tests.harness.world import World
from tests.integration.shown.main_job import main_job

pytestmark = pytest.mark.timeout(240)


async def test_two_hundred_tasks_while_processes_are_killed(world: World, postgres_url: str) -> None:
    """Two hundred tasks (crons in five zones, intervals, one-shots) call a service while schedulers and executors are
    killed at random: each slot's key is seen, and each has one recorded result."""
    async with Target(seconds=0.3) as target:
        await main_job(world, target, postgres_url, seconds=40, seed=secrets.randbelow(1_000_000))
