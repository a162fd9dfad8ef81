"""Labs for the executor's tests, one for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.integration.executor.harness import Lab, open_lab


@pytest_asyncio.fixture(loop_scope="module")
async def lab(nats_url: str) -> AsyncIterator[Lab]:
    """A single node."""
    async with open_lab(nats_url) as opened:
        yield opened
