"""A broker that goes away while a request is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from gnomon_api.bootstrap import build
from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.bus_errors import NoAnswer
from gnomon_core.runtime.messages import Stored
from tests.integration.api.conftest import settings_for
from tests.integration.api.responder import Responder


class _Unreadable(NatsBus):
    """The real bus, whose connection breaks whenever events are to be read."""

    async def multi_last(self, stream: str, filters: Sequence[str], **options: Any) -> list[Stored]:
        """See `NatsBus`."""
        raise NoAnswer("not connected to NATS; nothing was sent")


async def test_an_accepted_run_is_answered_with_what_the_shard_said(nats_url: str, postgres_url: str) -> None:
    """The command is decided, and only then the broker is away: its caller hears of the execution, not of a fault."""
    settings = settings_for(nats_url, postgres_url)
    bus = await connect(settings, name="unreadable", make_bus=_Unreadable)
    api = await build(settings, bus=bus)
    await api.supervisor.start()
    own = await connect(settings, name="responder")
    responder = Responder(own)
    await responder.open()
    async with httpx.AsyncClient(base_url=f"{api.http.url}/api/v1", timeout=20) as http:
        task = (await http.post("/tasks", json={"name": "a", "task_type": "echo"})).json()
        answer = await http.post(f"/tasks/{task['task_id']}/execute")
    await responder.close()
    await api.supervisor.stop()
    await own.close()
    assert answer.status_code == 202, answer.text
    assert answer.json()["execution_id"].startswith(f"{task['task_id']}.r-")
