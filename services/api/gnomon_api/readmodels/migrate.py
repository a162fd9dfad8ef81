"""Versioned migrations: `migrations/NNNN_words.sql`, applied in order, each once.

Several processes may start at the same moment: whoever holds the advisory lock migrates, the others wait
and find nothing left to do. Each migration runs in a transaction of its own together with the row that
records it, so a process that is killed half-way leaves either the whole migration or nothing of it. A
database that is newer than this code is left alone and refused, in words: an old process must not write
into tables that it does not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from gnomon_api.readmodels.statements import FOLDER

__all__ = ["Migration", "MigrationError", "migrate", "migrations"]

LOCK_KEY = 0x676E6F6D6F6E
"""Key of the advisory lock; the letters of "gnomon"."""

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_CREATE = """
create table if not exists gnomon_migrations (
    version    integer primary key,
    name       text        not null,
    applied_at timestamptz not null default now()
)"""


class MigrationError(Exception):
    """The database cannot be brought to this version of the schema; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations(folder: Path = FOLDER / "migrations") -> list[Migration]:
    """All steps in order. Raises MigrationError for a file name that is none, or a number left out or used
    twice."""
    found: list[Migration] = []
    for path in sorted(folder.iterdir()):
        if path.suffix != ".sql":
            continue
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name} is no name of a migration: allowed is 0001_words.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    for expected, one in enumerate(found, start=1):
        if one.version != expected:
            raise MigrationError(f"migration {expected:04} is missing, or one has its number twice")
    return found


async def migrate(dsn: str, *, timeout: float = 10.0) -> list[str]:
    """Bring the database at `dsn` to the current schema; returns the names of what was applied.

    `timeout` in seconds is for connecting. Raises MigrationError, asyncpg's errors, and OSError when there
    is no server.
    """
    connection = await asyncpg.connect(dsn, timeout=timeout)
    try:
        return await apply(connection, migrations())
    finally:
        await connection.close()


async def apply(connection: asyncpg.Connection[asyncpg.Record], steps: list[Migration]) -> list[str]:
    """Apply the steps that are missing, under the lock; returns their names. Raises MigrationError."""
    await connection.execute("select pg_advisory_lock($1)", LOCK_KEY)
    try:
        await connection.execute(_CREATE)
        rows = await connection.fetch("select version, name from gnomon_migrations order by version")
        _check_known({row["version"]: row["name"] for row in rows}, steps)
        missing = [step for step in steps if step.version > len(rows)]
        for step in missing:
            async with connection.transaction():
                await connection.execute(step.sql)
                await connection.execute(
                    "insert into gnomon_migrations (version, name) values ($1, $2)", step.version, step.name
                )
        return [f"{step.version:04}_{step.name}" for step in missing]
    finally:
        await connection.execute("select pg_advisory_unlock($1)", LOCK_KEY)


def _check_known(applied: dict[int, str], steps: list[Migration]) -> None:
    known = {step.version: step.name for step in steps}
    for version, name in applied.items():
        if version not in known:
            raise MigrationError(
                f"the database has migration {version:04}_{name}, which this Gnomon does not know: "
                "use the newer version, or another database"
            )
        if known[version] != name:
            raise MigrationError(
                f"the database has migration {version:04}_{name}, this version of Gnomon has "
                f"{version:04}_{known[version]}: use another database"
            )
