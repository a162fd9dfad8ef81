"""What the fixtures need to set up servers, and tests that start servers of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg

from gnomon_api.readmodels.migrate import migrate
from gnomon_core.runtime.embedded import EmbeddedPostgres

TEMPLATE: Final = "gnomon_template"
"""The database that every module's database is cloned from."""

TEST_POSTGRES_OPTIONS: Final = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}
"""Tests kill processes, never the power: the page cache survives that, so nothing has to reach the disk."""


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Make a fresh folder that other users may pass through, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="gnomon-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder


async def make_template(server: EmbeddedPostgres) -> None:
    """Create the template database and bring it to the current schema of the read models."""
    await _execute(server, f"CREATE DATABASE {TEMPLATE}")
    await migrate(server.url_of(TEMPLATE))


async def clone_database(server: EmbeddedPostgres, name: str) -> str:
    """Clone the template under this name; return the clone's address."""
    await _execute(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    return server.url_of(name)


async def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Drop a database, cutting off whoever is still connected."""
    await _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


async def _execute(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.url_of("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
