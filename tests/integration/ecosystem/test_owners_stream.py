"""A stream that the owner of a subject has: it is bound to, and nothing told there is lost or done twice."""

from __future__ import annotations

import pytest

from gnomon_schemas.ecosystem import USER_DELETED
from tests.harness.over_http import OverHttp
from tests.harness.waiting import until_async
from tests.harness.world import World, tell
from tests.integration.ecosystem.test_listening import create, say

pytestmark = [pytest.mark.timeout(180)]


async def test_an_owner_s_stream_is_bound_to_and_a_kill_in_the_middle_changes_nothing(
    world: World, postgres_url: str
) -> None:
    """The owner's stream holds the message before any Gnomon listens. Its api is killed with -9 while it cancels; the
    next one goes on: every task is cancelled once."""
    await world.bus.api(
        "STREAM.CREATE.ACCOUNT_EVENTS",
        {"name": "ACCOUNT_EVENTS", "subjects": ["account_service.>"], "storage": "memory"},
    )
    try:
        scheduler, first = await world.scheduler(), await world.api(postgres_url)
        tasks = [f"t-{number}" for number in range(60)]
        async with OverHttp.of(first) as http:
            for task in tasks:
                await create(http, "gone", task, task_type="todo")
        await scheduler.stop()  # so that the kill finds commands under way
        await say(world, USER_DELETED, {"user_id": "gone"})

        async def asked() -> bool:
            return (await world.bus.stream_info("TASK_COMMANDS")).messages > 0

        await until_async(asked)
        await first.kill()
        await world.scheduler()
        async with OverHttp.of(await world.api(postgres_url)) as http:
            for task in tasks:
                await world.events.one("status_changed", task, new_status="cancelled", within=40)
            info = await world.bus.api("CONSUMER.INFO.ACCOUNT_EVENTS.gnomon_account_service_user_deleted")

            async def acknowledged() -> bool:
                told = await world.bus.api(f"CONSUMER.INFO.ACCOUNT_EVENTS.{info['name']}")
                return bool(told["num_pending"] == told["num_ack_pending"] == 0)

            await until_async(acknowledged, 40)
        assert len(world.events.of("status_changed")) == len(tasks)
        tell(f"{len(tasks)} tasks cancelled once each, over a kill -9; deliveries: {info['delivered']}")
    finally:
        await world.bus.api("STREAM.DELETE.ACCOUNT_EVENTS")
