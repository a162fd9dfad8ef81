"""The same tests on one node and on a cluster of three."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.logs import configure_logging
from tests.integration.runtime.connecting import open_bus


@pytest.fixture(scope="session", autouse=True)
def _logging() -> None:
    """As in a process: what structlog does by itself takes longer to print an error than a lease takes to
    move."""
    configure_logging("info", "console", process="test")


@pytest.fixture(scope="module", params=[1, pytest.param(3, marks=pytest.mark.cluster)], ids=["R1", "R3"])
def replicas(request: pytest.FixtureRequest) -> int:
    """Nodes of the module's broker, and copies of its streams."""
    return int(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(servers_folder: Path, replicas: int) -> AsyncIterator[EmbeddedNats]:
    """A broker of one node, then one of three."""
    server = EmbeddedNats(servers_folder / f"broker-{replicas}", nodes=replicas, fast=True)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def bus(broker: EmbeddedNats) -> AsyncIterator[NatsBus]:
    """A bus on the module's broker."""
    async with open_bus(broker.url) as bus:
        yield bus
