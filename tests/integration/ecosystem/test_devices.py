"""A phone, over MQTT, by aiomqtt, against the real nats-server: it hears results and reminders of its user alone."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.embedded.ports import LOOPBACK, free_port
from gnomon_schemas.accounts import account_id_of
from tests.harness.over_http import OverHttp
from tests.harness.world import World

pytestmark = [pytest.mark.timeout(120)]

USER = "zoë@example.org"
TOPIC = f"users/{account_id_of(USER)}/tasks"


async def _hear(port: int, heard: asyncio.Queue[dict[str, Any]], listening: asyncio.Event) -> None:
    async with aiomqtt.Client(LOOPBACK, port=port, identifier="phone") as phone:
        await phone.subscribe(TOPIC)
        listening.set()
        async for message in phone.messages:
            assert message.topic.value == TOPIC
            assert isinstance(message.payload, bytes)
            heard.put_nowait(json.loads(message.payload))


async def test_a_phone_hears_the_results_and_reminders_of_its_user(
    servers_folder: Path, postgres_url: str
) -> None:
    port = free_port(avoid=set())
    broker = EmbeddedNats(servers_folder / "mqtt", fast=True, mqtt_port=port)
    await broker.start()
    try:
        async with World(broker) as world:
            _, _, api = await asyncio.gather(world.scheduler(), world.executor(), world.api(postgres_url))
            await api.logged("lease.gained", lease="devices")
            heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            listening = asyncio.Event()
            hearing = asyncio.create_task(_hear(port, heard, listening))
            async with OverHttp.of(api) as http, asyncio.timeout(60):
                await listening.wait()
                soon = datetime.now(UTC) + timedelta(seconds=2)
                spec = {"name": "Dentist", "task_type": "todo", "reminder_time": soon.isoformat()}
                as_user = {b"X-User-Id": USER.encode()}
                reminded = await http.client.post("/tasks", json=spec, headers=as_user)
                assert reminded.status_code == 201, reminded.text
                for user in (b"somebody else", USER.encode()):
                    body = {"name": "E", "task_type": "echo", "config": {"of": "whom"}}
                    made = await http.client.post("/tasks", json=body, headers={b"X-User-Id": user})
                    task_id = made.json()["task_id"]
                    await http.client.post(f"/tasks/{task_id}/execute", headers={b"X-User-Id": user})
                notes = {note["event"]: note for note in [await heard.get(), await heard.get()]}
            hearing.cancel()
            result, reminder = notes["task.executed"], notes["task.reminder_triggered"]
            assert (result["task_id"], result["status"]) == (task_id, "completed")
            assert result["result"] == {"of": "whom"}
            assert (reminder["name"], reminder["reminder_type"]) == ("Dentist", "reminder_time")
            assert heard.empty(), "nothing of another user, and nothing twice"
    finally:
        await broker.stop()
