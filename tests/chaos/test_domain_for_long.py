"""All of the task domain at work at the same time while everything is killed and frozen at random, the broker too."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.chaos.whole_domain import SETTINGS, whole_domain
from tests.harness.hand import ALL, Hand
from tests.harness.world import World

SECONDS = float(os.environ.get("GNOMON_CHAOS_SECONDS") or 120)
SEED = os.environ.get("GNOMON_CHAOS_SEED")
SETTLE_SECONDS = 180 + SECONDS / 2

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900 + 2 * SECONDS)]


async def test_a_rebuild_equals_the_live_tables_after_all_of_it_for_long(
    world: World, postgres_url: str
) -> None:
    """As `tests/integration/shown/test_8_whole_domain.py`, with whatever can happen to processes."""
    world.settings |= SETTINGS

    async def work(hand: Hand) -> None:
        await hand.work_for(SECONDS)

    await whole_domain(
        world,
        postgres_url,
        work,
        seed=int(SEED) if SEED else secrets.randbelow(1_000_000),
        schedulers=3,
        executors=3,
        settle_seconds=SETTLE_SECONDS,
        acts=(*ALL, "kill_api", "kill_api"),
        pause_ms=(500, 4000),
    )
