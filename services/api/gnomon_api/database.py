"""Connections to Postgres for reads, and the one error that says it is away.

Postgres may be away when the process starts and at any time after. Nothing here waits for it: a read that
finds no database raises `DatabaseAway` within seconds, which the caller hears as 503. The schema is brought
up to date when the process starts, or as soon after as there is a database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec
import structlog
from typing_extensions import override

from gnomon_api.readmodels.migrate import migrate, migrations
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["AWAY", "PAGE_SETTINGS", "Database", "DatabaseAway", "DatabaseState", "Row"]

Row: TypeAlias = "asyncpg.Record | Mapping[str, Any]"
"""A row, by the names of its columns."""

AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # the connection was closed under a statement
    asyncpg.OperatorInterventionError,  # it is shutting down, starting up, or has cut us off
    asyncpg.InsufficientResourcesError,
    asyncpg.UndefinedTableError,  # nobody has migrated it yet
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
)
"""What asyncpg raises when the database cannot serve now."""

_log = structlog.get_logger(__name__)
_CONNECT_SECONDS: Final = 3.0
_STATEMENT_SECONDS: Final = 10.0


_SETTINGS: Final = {
    "application_name": "gnomon-api",
    # Filters are only in the statement when they are asked for, so each plan is made for its values.
    "plan_cache_mode": "force_custom_plan",
    # What is read often is in memory, and disks seek no more: an index is cheaper than Postgres thinks.
    # Where it guesses wrong it goes through a whole table for a page of a list.
    "random_page_cost": "1.1",
    "jit": "off",
}
PAGE_SETTINGS: Final = {
    **_SETTINGS,
    # Pages of tables that are listed all day are in memory: looking at one costs a few rows' work, not hundreds'. Else
    # Postgres goes through an index of a hundred thousand entries to look at fewer pages of a table.
    "random_page_cost": "0.1",
    "seq_page_cost": "0.1",
    # Postgres reckons what going through a whole order costs, where rows next to each other in the order come from
    # pages that are in the cache by then, and takes the share for the few rows of a page. Those come from a page of
    # the table each. Told of a small cache it does not undercount them, and rather puts in order what a filter leaves.
    "effective_cache_size": "64MB",
    # A page is a few milliseconds' work: workers cost more than that to start.
    "max_parallel_workers_per_gather": "0",
}
"""Settings of the connections that pages of lists are read through."""


class DatabaseAway(Exception):
    """Postgres cannot be reached, or has no read models yet. Ask again later; writes work without it."""


class DatabaseState(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` tells of the database."""

    version: str
    """Of the server, as it says itself."""
    migrations_applied: int
    """Number of the last migration that the database has."""
    migrations_known: int
    """Number of the last one that this process has."""


class Database(Service):
    """A pool that fills itself on demand."""

    def __init__(self, dsn: str, *, size: int = 10) -> None:
        super().__init__("database")
        self.dsn = dsn
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._pages: asyncpg.Pool[asyncpg.Record] | None = None

    @override
    async def on_start(self) -> None:
        """Make the pool and migrate; without a database the latter is tried again until there is one.

        Raises MigrationError for a database that this version must not touch.
        """
        self._pool = await self._made_pool(_SETTINGS)
        self._pages = await self._made_pool(PAGE_SETTINGS)
        try:
            await migrate(self.dsn, timeout=_CONNECT_SECONDS)
        except AWAY as error:
            _log.warning(LogEvent.DATABASE_AWAY, error=f"{type(error).__name__}: {error}")
            _ = self.spawn(self._migrate_later(), "migrate")

    async def _made_pool(self, settings: dict[str, str]) -> asyncpg.Pool[asyncpg.Record]:
        return await asyncpg.create_pool(
            self.dsn,
            min_size=0,
            max_size=self._size,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            max_inactive_connection_lifetime=60,
            server_settings=settings,
        )

    async def _migrate_later(self) -> None:
        backoff = Backoff(first=0.2, longest=2.0)
        while True:
            await backoff.pause()
            try:
                await migrate(self.dsn, timeout=_CONNECT_SECONDS)
            except AWAY as error:
                _log.debug(LogEvent.DATABASE_AWAY, error=f"{type(error).__name__}: {error}")
            else:
                return

    @override
    async def on_stop(self) -> None:
        """Close the connections; statements that are running get a moment."""
        pools, self._pool, self._pages = (self._pool, self._pages), None, None
        for pool in pools:
            if pool is not None:
                pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
        """A connection of the pool. Raises DatabaseAway, also for errors of that kind inside the block."""
        async with _of(self._pool) as connection:
            yield connection

    async def fetch_page(self, sql: str, *values: Any) -> Sequence[asyncpg.Record]:
        """The rows of a page of a list. Raises DatabaseAway."""
        async with _of(self._pages) as connection:
            return await connection.fetch(sql, *values)

    async def fetch(self, sql: str, *values: Any) -> Sequence[asyncpg.Record]:
        """All rows of a statement. Raises DatabaseAway."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any) -> asyncpg.Record | None:
        """The first row of a statement, or None. Raises DatabaseAway."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *values)

    async def execute(self, sql: str, *values: Any) -> None:
        """A statement without rows. Raises DatabaseAway."""
        async with self.connection() as connection:
            await connection.execute(sql, *values)

    async def told(self) -> DatabaseState:
        """Which Postgres it is, and how far it was migrated. Raises DatabaseAway."""
        row = await self.fetchrow(
            "select current_setting('server_version') as version, "
            "(select max(version) from gnomon_migrations) as applied"
        )
        assert row is not None, "a select of constants has a row"
        return DatabaseState(
            version=row["version"], migrations_applied=row["applied"] or 0, migrations_known=len(migrations())
        )

    async def why_away(self) -> str | None:
        """What keeps the database from serving; None when it serves."""
        try:
            await self.fetchrow("select 1 from projector_position")
        except DatabaseAway as error:
            return str(error)
        return None


@asynccontextmanager
async def _of(
    pool: asyncpg.Pool[asyncpg.Record] | None,
) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]:
    if pool is None:
        raise DatabaseAway("the database pool is closed")
    try:
        async with pool.acquire(timeout=_CONNECT_SECONDS) as connection:
            yield connection
    except AWAY as error:
        raise DatabaseAway(f"{type(error).__name__}: {error}") from error
