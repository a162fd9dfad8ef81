"""Worlds whose processes push traces and metrics to a receiver that is there for one test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedPostgres
from tests.harness.fixtures import broker, replicas, world
from tests.harness.otlp_receiver import OtlpReceiver
from tests.servers import clone_database, drop_database

__all__ = ["broker", "receiver", "replicas", "world"]


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver of OTLP."""
    with OtlpReceiver() as receiver:
        yield receiver


@pytest_asyncio.fixture(loop_scope="module")
async def postgres_url(_shared_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database for one test: it stands for the streams of one world."""
    name = f"test_{secrets.token_hex(6)}"
    yield await clone_database(_shared_postgres, name)
    await drop_database(_shared_postgres, name)
