"""All that the task domain has, at the same time: templates, accounts, blackouts, todos, reminders, logs, other
services; retries, backlogs, backfills; a scheduler, an executor and the api are killed amid it."""

from __future__ import annotations

import pytest

from tests.chaos.whole_domain import SETTINGS, whole_domain
from tests.harness.hand import ONE_EACH, Hand
from tests.harness.waiting import until_time
from tests.harness.world import World, now_ms

pytestmark = [pytest.mark.timeout(240)]

_BETWEEN_MS = 1500


async def test_a_rebuild_equals_the_live_tables_with_all_of_it_in_play(
    world: World, postgres_url: str
) -> None:
    """Every slot and run has one outcome, by both audits; the books are what the log says; the logs are all there; and
    the read models are what a rebuild makes, before and after what is old was removed."""
    world.settings |= SETTINGS

    async def work(hand: Hand) -> None:
        for act in ONE_EACH:
            await until_time(now_ms() + _BETWEEN_MS)
            await hand.act(act)
        await until_time(now_ms() + _BETWEEN_MS)

    await whole_domain(world, postgres_url, work, seed=8, schedulers=2, executors=1, settle_seconds=60)
