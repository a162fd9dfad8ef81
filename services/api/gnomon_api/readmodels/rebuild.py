"""Making the read models again from the archive, to check them or to replace them.

`rebuild` folds the archived events into tables of a fresh schema beside the live ones, up to the live
position. The archive is written in the same transaction as the rows, so at any position it holds every
event that the rows stand on; what is newer is in the stream, and the projector goes on from the same
position whether the tables were replaced or not.

`verify` compares the copy with the live tables while those are served: it holds the projector's position for as long
as it folds what was archived meanwhile and adds up the checksums; readers notice nothing.

What was removed since (see `retention`) is removed again, at the positions where it was.

`replace` takes the place of the live tables: it locks the position, so that no projector writes meanwhile,
folds what was archived since, and swaps the tables in one transaction. A crash before its commit leaves
everything as it was.

Both are behind `gnomon verify`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final, Literal, NamedTuple

import asyncpg
import msgspec

from gnomon_api.readmodels.checksum import Checksum, sums
from gnomon_api.readmodels.pipeline import WritePipeline
from gnomon_api.readmodels.retention import Removal, removals_after
from gnomon_api.readmodels.sections import READ_MODELS
from gnomon_api.readmodels.statements import schema_sql, statement
from gnomon_api.readmodels.writer import (
    WRITER_SETTINGS,
    Connection,
    Position,
    ReadModelWriter,
    Unreadable,
)
from gnomon_core.runtime.messages import Stored

__all__ = ["Compared", "RebuildError", "Rebuilt", "Verified", "define", "rebuild", "replace", "verify"]

SCHEMA: Final = "gnomon_rebuild"
"""Where the copy is made."""

_BATCH: Final = 2000
_TABLES: Final = (*READ_MODELS, "projector_position")
_DEFINITION: Final = re.compile(r"^create .*?;$", re.MULTILINE | re.DOTALL)
_TABLE: Final = re.compile(r"create table (\w+)(?: partition of (\w+))?")
_INDEX: Final = re.compile(r"create (unique )?index \w+ on (\w+)")
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


class RebuildError(Exception):
    """The read models cannot be made again here; the text says why."""


class Rebuilt(msgspec.Struct, frozen=True):
    """What a rebuild made."""

    events: int
    sequence: int
    """Position of the copy."""
    unreadable: tuple[Unreadable, ...]


class Compared(msgspec.Struct, frozen=True):
    """One read model, live and rebuilt."""

    live: Checksum
    rebuilt: Checksum

    @property
    def same(self) -> bool:
        """Whether both hold the same rows."""
        return self.live == self.rebuilt


class Verified(msgspec.Struct, frozen=True):
    """What a comparison came to."""

    events: int
    sequence: int
    """Position at which both were compared."""
    tables: dict[str, Compared]
    unreadable: tuple[Unreadable, ...]

    @property
    def same(self) -> bool:
        """Whether every read model is what the events make of it."""
        return all(table.same for table in self.tables.values())

    @property
    def differing(self) -> list[str]:
        """The read models that are not."""
        return [name for name, table in self.tables.items() if not table.same]


async def rebuild(dsn: str, *, schema: str = SCHEMA) -> Rebuilt:
    """Make the read models again in `schema`, which is dropped first, up to the live position.

    Raises RebuildError when nothing has been projected yet; asyncpg's errors.
    """
    async with AsyncExitStack() as ending:
        live = await _connect(dsn, ending)
        row = await live.fetchrow(statement("read_position"))
        if row is None:
            raise RebuildError("nothing has been projected yet: there is no position")
        await _fresh_schema(live, schema)
        home = await live.fetchval("select current_schema()")
        settings = {**WRITER_SETTINGS, "search_path": f"{schema},{home}"}
        copy, reader = [await _connect(dsn, ending, settings) for _ in range(2)]
        begun = await _begin(copy, row["stream_created"])
        writer = ReadModelWriter(copy, begun, reader=reader, archive=False)
        unreadable: list[Unreadable] = []
        pipeline = WritePipeline(writer, lambda _batch, unfit, _seconds: unreadable.extend(unfit))
        ending.push_async_callback(pipeline.close)

        async def again(removal: Removal) -> None:
            await pipeline.flush()
            await writer.remove(removal)

        past = _Past(live, home, begun.sequence, row["sequence"], ahead=True)
        events = await past.fold(0, pipeline.put, again)
        await pipeline.flush()
        await define(live, schema, "index")
        return Rebuilt(events, writer.position.sequence, tuple(unreadable))


async def _connect(dsn: str, ending: AsyncExitStack, settings: dict[str, str] | None = None) -> Connection:
    connection = await asyncpg.connect(dsn, server_settings=settings)
    ending.push_async_callback(connection.close)
    return connection


async def verify(dsn: str, *, schema: str = SCHEMA) -> Verified:
    """Rebuild aside and compare with the live tables at one position, while they are served. The copy is dropped.

    Raises as `rebuild`.
    """
    aside = await rebuild(dsn, schema=schema)
    connection = await asyncpg.connect(dsn)
    try:
        home = await connection.fetchval("select current_schema()")
        async with connection.transaction():
            # The row alone: whoever only reads it does not wait, and a projector that wants to write does.
            row = await connection.fetchrow(statement("hold_position"))
            assert row is not None, "it was there when the rebuild began, and is never deleted"
            again = await _catch_up(connection, schema, home, row["stream_created"], row["sequence"])
            live = await sums(connection, home)
            copy = await sums(connection, schema)
            await connection.execute(f"drop schema {schema} cascade")
        return Verified(
            aside.events + again.events,
            again.sequence,
            {table: Compared(live[table], copy[table]) for table in READ_MODELS},
            (*aside.unreadable, *again.unreadable),
        )
    finally:
        await connection.close()


async def replace(dsn: str, *, schema: str = SCHEMA) -> Rebuilt:
    """Rebuild and put the result in the place of the live tables. Raises as `rebuild`."""
    aside = await rebuild(dsn, schema=schema)
    connection = await asyncpg.connect(dsn)
    try:
        home = await connection.fetchval("select current_schema()")
        async with connection.transaction():
            # The whole table, not the row: a projector that waits then holds no lock that the swap needs.
            await connection.execute(f'lock table "{home}".projector_position in access exclusive mode')
            row = await connection.fetchrow(statement("read_position"))
            assert row is not None, "it was there when the rebuild began, and is never deleted"
            again = await _catch_up(connection, schema, home, row["stream_created"], row["sequence"])
            for table in _TABLES:
                await connection.execute(f'drop table "{home}".{table}')
                parts = await connection.fetch(statement("parts_of"), f"{schema}.{table}")
                for name in [f"{schema}.{table}", *(part["name"] for part in parts)]:
                    await connection.execute(f'alter table {name} set schema "{home}"')
            await connection.execute(f"drop schema {schema}")
        return Rebuilt(aside.events + again.events, again.sequence, (*aside.unreadable, *again.unreadable))
    finally:
        await connection.close()


async def _catch_up(
    connection: Connection, schema: str, home: str, stream_created: str, until: int
) -> Rebuilt:
    """Fold what was archived since the copy was made, in the transaction that holds the position."""
    await connection.execute(f'set local search_path to {schema}, "{home}"')
    begun = await _begin(connection, stream_created)
    writer = ReadModelWriter(connection, begun, archive=False)
    unreadable: list[Unreadable] = []

    async def put(batch: Sequence[Stored]) -> None:
        unreadable.extend(await writer.write(batch))

    async def remove_again(removal: Removal) -> None:
        await writer.remove(removal)

    done = await connection.fetchval(statement("last_retirement"))
    past = _Past(connection, home, begun.sequence, until, ahead=False)
    events = await past.fold(done, put, remove_again)
    return Rebuilt(events, writer.position.sequence, tuple(unreadable))


async def _fresh_schema(connection: Connection, schema: str) -> None:
    """A schema with empty read models and their constraints; indexes come last, since built whole they are cheap."""
    await connection.execute(f"drop schema if exists {schema} cascade")
    await connection.execute(f"create schema {schema}")
    await define(connection, schema, "table")


async def define(connection: Connection, schema: str, what: Literal["table", "index"]) -> None:
    """Make the read models' tables, or their indexes, in a schema; unique indexes with the tables. Raises asyncpg's
    errors."""
    wanted = set(_TABLES)
    async with connection.transaction():
        await connection.execute(f"set local search_path to {schema}")
        for definition in _DEFINITION.findall(schema_sql()):
            if table := _TABLE.match(definition):
                if table[2] in wanted:
                    wanted.add(table[1])  # a part of one
                chosen = what == "table" and table[1] in wanted
            else:
                index = _INDEX.match(definition)
                kind = "table" if index is not None and index[1] else "index"
                chosen = index is not None and index[2] in wanted and what == kind
            if chosen:
                await connection.execute(definition)


async def _begin(connection: Connection, created: str) -> Position:
    """How far the copy is."""
    await connection.execute(statement("begin_position"), created)
    row = await connection.fetchrow(statement("read_position"))
    assert row is not None, "it has just been put there"
    return Position(*row.values())


class _Past(NamedTuple):
    """What the archive holds of (after, until], and what was removed then."""

    connection: Connection
    home: str
    after: int
    until: int
    ahead: bool
    """Whether the next batch is read while one is folded: where the connection is not what `put` writes through."""

    async def fold(
        self,
        removals_done: int,
        put: Callable[[Sequence[Stored]], Awaitable[None]],
        remove: Callable[[Removal], Awaitable[None]],
    ) -> int:
        """Hand over every event, batch by batch, and every removal where it was made; how many events.

        Raises RebuildError where the archive ends before.
        """
        events, after = 0, self.after
        for one in await removals_after(self.connection, self.home, removals_done, self.until):
            events += await self._read(after, one.sequence, put)
            after = one.sequence
            await remove(one.removal)
        return events + await self._read(after, self.until, put)

    async def _read(self, after: int, until: int, put: Callable[[Sequence[Stored]], Awaitable[None]]) -> int:
        events = 0
        ahead: asyncio.Task[list[asyncpg.Record]] | None = None
        try:
            while after < until:
                rows = await (ahead or self._rows(after, until))
                if not rows:
                    raise RebuildError(f"the archive ends at {after} and the read models stand at {until}")
                batch = [_stored(row) for row in rows]
                after, events = batch[-1].seq, events + len(batch)
                if self.ahead and after < until:
                    ahead = asyncio.create_task(self._rows(after, until), name="rebuild: read ahead")
                await put(batch)
        finally:
            if ahead is not None:
                ahead.cancel()
                # Where it is not what has failed, nobody wants it any more, nor its error.
                await asyncio.gather(ahead, return_exceptions=True)
        return events

    async def _rows(self, after: int, until: int) -> list[asyncpg.Record]:
        return await self.connection.fetch(statement("read_archive"), after, until, _BATCH)


def _stored(row: asyncpg.Record) -> Stored:
    stored_at: datetime = row["stored_at"]
    return Stored(
        row["subject"],
        row["seq"],
        round(stored_at.timestamp() * 1000),
        _decode_headers(row["headers"]),
        row["payload"],
    )
