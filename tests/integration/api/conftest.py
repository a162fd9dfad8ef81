"""One api process over real servers, with a responder in place of the shards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import pytest_asyncio

from gnomon_api.bootstrap import Api, build
from gnomon_api.settings import ApiSettings
from gnomon_core.runtime.bus import connect
from tests.harness.documented import keeps_to_the_document
from tests.integration.api.responder import Responder


class Running(NamedTuple):
    """An api process in this one, a client for it, and who answers its commands."""

    api: Api
    http: httpx.AsyncClient
    responder: Responder


def settings_for(nats_url: str, postgres_url: str, **changes: object) -> ApiSettings:
    """Settings of an api under test."""
    values = {
        "database_url": postgres_url,
        "nats_url": nats_url,
        "http_port": 0,
        "lease_ttl": 2.0,
        "log_level": "warning",
        "write_timeout": 3.0,
        "starting_templates": False,
        **changes,
    }
    return ApiSettings(**values)  # type: ignore[arg-type]  # values of several types, by name


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(nats_url: str, postgres_url: str) -> AsyncIterator[Running]:
    """The module's api."""
    api = await build(settings_for(nats_url, postgres_url))
    await api.supervisor.start()
    bus = await connect(api.services.settings, name="responder")
    responder = Responder(bus)
    await responder.open()
    hooks = {"response": [keeps_to_the_document]}
    async with httpx.AsyncClient(base_url=api.http.url, timeout=20, event_hooks=hooks) as http:
        yield Running(api, http, responder)
    await responder.close()
    await api.supervisor.stop()
    await bus.close()
