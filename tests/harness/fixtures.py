"""Fixtures of the harness: import them into a conftest.

`world` is on one node, or, where a module says `pytestmark = BOTH` (or `CLUSTER`), also (or only) on three.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.world import World

__all__ = ["BOTH", "CLUSTER", "CLUSTER_IN_CHAOS", "broker", "replicas", "world"]

_R3 = pytest.param(3, id="R3", marks=pytest.mark.cluster)

BOTH = pytest.mark.parametrize("replicas", [pytest.param(1, id="R1"), _R3], indirect=True, scope="module")
"""A module's tests on one node, then on three."""
CLUSTER = pytest.mark.parametrize("replicas", [_R3], indirect=True, scope="module")
"""A module's tests on three nodes only."""
CLUSTER_IN_CHAOS = pytest.mark.parametrize(
    "replicas",
    [pytest.param(1, id="R1"), pytest.param(3, id="R3", marks=[pytest.mark.cluster, pytest.mark.chaos])],
    indirect=True,
    scope="module",
)
"""A module's tests on one node, and in `make chaos` on three too."""


@pytest.fixture(scope="module")
def replicas(request: pytest.FixtureRequest) -> int:
    """Nodes of the broker, and copies of its streams."""
    return int(getattr(request, "param", 1))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker(servers_folder: Path, replicas: int) -> AsyncIterator[EmbeddedNats]:
    """The module's broker."""
    server = EmbeddedNats(servers_folder / f"broker-{replicas}", nodes=replicas, fast=True)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def world(broker: EmbeddedNats, replicas: int) -> AsyncIterator[World]:
    """A world of its own for one test."""
    async with World(broker, replicas=replicas) as world:
        yield world
