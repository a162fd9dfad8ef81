"""`GNOMON_REQUIRE_ACCOUNTS`, with every service a process of its own: nobody does anything without an account."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas.accounts import account_id_of
from tests.harness.commands import fresh_id
from tests.harness.over_http import OverHttp
from tests.harness.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

EVERY_SECOND: dict[str, Any] = {"kind": "interval", "every_seconds": 1}


async def test_nobody_without_an_account_makes_or_runs_anything(
    broker: EmbeddedNats, postgres_url: str
) -> None:
    """Not even what was there before the setting; with an account it goes on. The system's own tasks need none."""
    user = fresh_id("u")
    mine = {"Gnomon-User": user}
    async with World(broker) as world:
        fake = await world.fake_executor()
        fake.run()
        before = await world.scheduler()
        await world.commands.create("old", schedule=EVERY_SECOND, headers=mine)
        await world.commands.create("systems", schedule=EVERY_SECOND)
        await world.events.one("executed", "old")
        await before.kill()
        world.settings["GNOMON_REQUIRE_ACCOUNTS"] = "true"
        await world.scheduler()
        await world.events.one("skipped", "old", reason="limit")
        for verb, task, body in (
            ("create", fresh_id("t"), {"name": "n", "task_type": "echo"}),
            ("run", "old", {}),
        ):
            refused = await world.commands.send(verb, task, body, headers=mine)
            assert refused["error"]["code"] == "account_required", refused
        async with OverHttp.of(await world.api(postgres_url)) as http:
            of_user = {"X-User-Id": user}
            answers = [
                await http.client.post(
                    "/tasks", json={"name": "n", "task_type": "echo"}, headers=of_user, params=params
                )
                for params in ({}, {"dry_run": "true"})
            ]
            assert [(one.status_code, one.json()["code"]) for one in answers] == [
                (403, "account_required")
            ] * 2
            shown = (await http.client.get("/account", headers=of_user)).json()
            assert (shown["version"], shown["balance"]) == (0, 0)
            ran = len(world.events.of("executed", "old"))
            put = await http.client.put(f"/accounts/{user}", json={"tier": "basic"})
            assert put.status_code == 200, put.text
            await world.events.some(ran + 2, "executed", "old")
            await world.commands.ok("create", fresh_id("t"), {"name": "n", "task_type": "echo"}, headers=mine)
            account = account_id_of(user)
            assert (await world.commands.ok("update", account, {}, kind="account"))["account"]["version"] == 1
        assert world.events.of("executed", "systems")
        assert not world.events.of("skipped", "systems", reason="limit")
