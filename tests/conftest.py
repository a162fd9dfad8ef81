"""Fixtures for every test: real servers, started once per module, on free ports and in their own folders."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres
from tests.servers import (
    TEST_POSTGRES_OPTIONS,
    clone_database,
    drop_database,
    make_template,
    reachable_folder,
)


@pytest.fixture(scope="module")
def servers_folder() -> Iterator[Path]:
    """A folder that an unprivileged Postgres can reach too; pytest's own is closed to it."""
    with reachable_folder() as folder:
        yield folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats_server(servers_folder: Path) -> AsyncIterator[EmbeddedNats]:
    """One nats-server for the module, which a test may stop, kill, pause and restart."""
    server = EmbeddedNats(servers_folder / "nats", fast=True)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats_url(nats_server: EmbeddedNats) -> str:
    """The address of the module's nats-server (streams are R1)."""
    return nats_server.url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nats_cluster(servers_folder: Path) -> AsyncIterator[EmbeddedNats]:
    """A JetStream cluster of three nodes for the module: `.url`, and `.nodes[i]` to kill, pause, restart."""
    cluster = EmbeddedNats(servers_folder / "cluster", nodes=3, fast=True)
    await cluster.start()
    yield cluster
    await cluster.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _shared_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """The Postgres of all modules, with a template; tests that stop Postgres take `postgres_server`."""
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres", fast=True, options=TEST_POSTGRES_OPTIONS)
        await server.start()
        await make_template(server)
        yield server
        await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_url(_shared_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of a database for this module alone, cloned from the migrated template."""
    name = f"test_{secrets.token_hex(6)}"
    yield await clone_database(_shared_postgres, name)
    await drop_database(_shared_postgres, name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def postgres_server(servers_folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres with an empty database for this module alone, to stop, kill, pause and restart."""
    server = EmbeddedPostgres(servers_folder / "postgres", fast=True, options=TEST_POSTGRES_OPTIONS)
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to the module's database."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()
