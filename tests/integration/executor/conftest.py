"""Labs for the executor's tests: on one node, and on a cluster of three where that makes a difference."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.executor.harness import Lab, open_lab


@pytest_asyncio.fixture(loop_scope="module")
async def lab(nats_url: str) -> AsyncIterator[Lab]:
    """A single node."""
    async with open_lab(nats_url) as opened:
        yield opened


@pytest.fixture(params=[1, pytest.param(3, marks=pytest.mark.cluster)], ids=["R1", "R3"])
def either_broker(request: pytest.FixtureRequest) -> tuple[str, int]:
    """Address of a broker, and how many copies its streams have; the cluster is started where it is asked for."""
    server = request.getfixturevalue("nats_server" if request.param == 1 else "nats_cluster")
    return server.url, request.param


@pytest_asyncio.fixture(loop_scope="module")
async def either_lab(either_broker: tuple[str, int]) -> AsyncIterator[Lab]:
    """A single node, then three."""
    url, replicas = either_broker
    async with open_lab(url, replicas=replicas) as opened:
        yield opened
