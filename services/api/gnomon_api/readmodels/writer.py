"""One batch of events into Postgres: archive, rows and position in one transaction.

The transaction begins with a compare-and-set of the position, which takes that row's lock. A second projector
(one that lost its lease without knowing it yet) waits there until the first has committed, then finds
another position and changes nothing: `Deposed`. The lease only keeps two projectors from getting in each
other's way; what keeps the rows right is this.

An event that cannot become a row (a number that no column holds, a time that is none) must not stop
everything behind it. Such an event is found by halving the batch, kept in the archive, counted and logged,
and its rows are left as they were. The same happens to it in a rebuild.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

import asyncpg
import msgspec

from gnomon_api.readmodels.column_values import json_text
from gnomon_api.readmodels.fold import Fold
from gnomon_api.readmodels.instants import keep_instants
from gnomon_api.readmodels.partitions import Connection, PartitionKeeper
from gnomon_api.readmodels.retention import Removal, is_worth_it, remove
from gnomon_api.readmodels.section import Change, Read
from gnomon_api.readmodels.statements import statement
from gnomon_api.readmodels.table import Mode, Records, TableWrite, batch_sql, by_columns
from gnomon_core.runtime.messages import Stored

__all__ = [
    "SMALL",
    "WRITER_SETTINGS",
    "Connection",
    "Deposed",
    "Position",
    "Prepared",
    "ReadModelWriter",
    "Unreadable",
]

SMALL: Final = 64
"""Up to so many events are written by one statement; more go by COPY, which costs a dozen."""

WRITER_SETTINGS: Final = {
    # The statements are always the same: planned once, they need not be planned again. The plan is made
    # while the tables are small and must be right when they are large, so it goes by the keys.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # What a power cut takes from Postgres is still in the stream, and the position goes back with it.
    "synchronous_commit": "off",
}
"""Settings of a connection that a `ReadModelWriter` writes through."""

_ARCHIVE: Final = TableWrite("event_archive", ("seq", "stored_at", "subject", "headers", "payload"))
_Item = TypeVar("_Item")
_PER_TURN: Final = 128
"""Events that are folded between two turns of the loop: two milliseconds' work. With 32 the turns cost more than
they gain."""
_ROWS_KEPT: Final = 20_000
"""Rows of each kind that stay in memory between batches."""
_UNFIT: Final = (
    ValueError,  # asyncpg's errors for values that do not fit their column are ValueErrors too
    OverflowError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
)


class Deposed(Exception):
    """The position in the database is not the one expected: another projector has written."""


class Position(NamedTuple):
    """How far the read models are."""

    stream_created: str
    sequence: int
    time: datetime


class Unreadable(NamedTuple):
    """An event that is in the archive and nowhere else."""

    seq: int
    subject: str
    why: str


class Prepared(NamedTuple):
    """A batch, folded: what a commit writes."""

    batch: Sequence[Stored]
    unfit: frozenset[int]
    reached: Position
    unreadable: list[Unreadable]
    generation: int
    """Of the rows in memory that it was folded on."""
    changes: Sequence[Change]
    """Of the archive and of every section, those that have rows."""


class ReadModelWriter:
    """Writes batches of events through one connection, in the order of the stream.

    `write` does one batch after the other. `prepare` and `commit` are its halves: with a `reader`, a second
    connection, the next batch may be prepared while one is being committed. What makes that right:

    * the rows in memory are ahead of the database by the batches that are prepared and not yet committed, and
      every row that such a batch changed stays in memory until its last event is committed (`_trim`);
    * so what is read from the database is a row that no such batch has changed;
    * a commit that fails forgets all rows; a batch that was prepared on them is prepared anew (`generation`).

    With `archive=False` (a rebuild) the events are not archived again.
    """

    def __init__(
        self,
        connection: Connection,
        position: Position,
        *,
        reader: Connection | None = None,
        archive: bool = True,
    ) -> None:
        self._connection = connection
        self._reader = reader or connection
        self._archive = archive
        self._fold = Fold()
        self._folding = asyncio.Lock()
        self._generation = 0
        self._parts = PartitionKeeper(connection)
        self._instants_kept = False
        self._staged: set[TableWrite] = set()
        self.position = position
        """What the database holds."""

    async def write(self, batch: Sequence[Stored]) -> list[Unreadable]:
        """Write events that follow the position; returns those that could only be archived.

        Raises Deposed; asyncpg's errors and OSError when the database is away: then nothing is written.
        """
        return await self.commit(await self.prepare(batch))

    async def prepare(self, batch: Sequence[Stored]) -> Prepared:
        """Fold the batch that follows the one prepared before. Raises asyncpg's errors and OSError."""
        async with self._folding:
            try:
                return await self._prepare(batch, frozenset())
            except _UNFIT:
                # Found by halving, when its turn to be committed comes.
                self._forget()
                return _not_folded(batch, self.position.stream_created)
            except BaseException:
                self._forget()
                raise

    async def commit(self, prepared: Prepared) -> list[Unreadable]:
        """Write what was prepared, after the batch before it was committed; else as `write`."""
        try:
            if self._archive:
                await self._parts.days(one.time_ms for one in prepared.batch)
            if prepared.generation == self._generation:
                return await self._commit_fit(prepared)
            async with self._folding:
                return await self._write_anew(prepared.batch, frozenset())
        except BaseException:
            self._forget()
            raise

    async def remove(self, removal: Removal) -> int:
        """Remove what is old, at the position; how many rows went. Nothing may be prepared and not committed.

        Raises Deposed; asyncpg's errors and OSError.
        """
        async with self._folding:
            try:
                async with self._connection.transaction():
                    if await self._connection.fetchval(statement("hold_exactly"), *self.position[:2]) is None:
                        raise Deposed(f"the position is not {self.position.sequence} any more")
                    return await remove(self._connection, removal, self.position.sequence)
            finally:
                self._forget()

    async def has_old(self, removal: Removal) -> bool:
        """Whether there is anything to remove. Raises asyncpg's errors and OSError."""
        return await is_worth_it(self._connection, removal)

    async def _commit_fit(self, prepared: Prepared) -> list[Unreadable]:
        try:
            return await self._commit(prepared)
        except _UNFIT as error:
            async with self._folding:
                return await self._halve(prepared.batch, prepared.unfit, error)

    async def _write_anew(self, batch: Sequence[Stored], unfit: frozenset[int]) -> list[Unreadable]:
        """Fold and commit on rows that are as the database has them; the caller holds `_folding`."""
        try:
            self._forget()
            return await self._commit(await self._prepare(batch, unfit))
        except _UNFIT as error:
            return await self._halve(batch, unfit, error)

    async def _halve(
        self, batch: Sequence[Stored], unfit: frozenset[int], error: Exception
    ) -> list[Unreadable]:
        self._forget()
        if len(batch) > 1:
            middle = len(batch) // 2
            return await self._write_anew(batch[:middle], unfit) + await self._write_anew(
                batch[middle:], unfit
            )
        if batch[0].seq in unfit:
            raise error
        await self._write_anew(batch, frozenset({batch[0].seq}))
        return [Unreadable(batch[0].seq, batch[0].subject, f"fits no row: {error}")]

    def _forget(self) -> None:
        """Drop every row in memory, with what was prepared on them: the database may hold others."""
        self._fold.forget()
        self._parts.forget()
        self._generation += 1

    async def _prepare(self, batch: Sequence[Stored], unfit: frozenset[int]) -> Prepared:
        fold = self._fold
        fold.trim(self.position.sequence, _ROWS_KEPT)
        unreadable: list[Unreadable] = []
        read: list[Read] = []
        async for part in _by_turns(batch):
            read += self._read(part, unfit, unreadable)
        while True:
            generation = self._generation
            await fold.load(self._reader.fetch, read)
            if generation == self._generation and await self._folded(read, generation):
                break  # otherwise rows that were there have been forgotten meanwhile
        reached = Position(self.position.stream_created, batch[-1].seq, _instant(batch[-1].time_ms))
        archived = [_archived(batch)] if self._archive else []
        return Prepared(batch, unfit, reached, unreadable, generation, [*archived, *fold.changes()])

    async def _folded(self, read: Sequence[Read], generation: int) -> bool:
        """Fold what was read on the rows in memory; False when they were forgotten before it was done.

        The loop gets its turns meanwhile: the commit of the batch before is a dozen statements one after the other, and
        Postgres would wait for the next one until this batch is folded; so would callers of this process.
        """
        fold = self._fold
        fold.begin()
        async for part in _by_turns(read):
            if generation != self._generation:
                return False
            for one in part:
                fold.apply(one)
        fold.finish()
        return True

    async def _commit(self, prepared: Prepared) -> list[Unreadable]:
        for write, records in prepared.changes:
            if write.by_month is not None:
                place = write.columns.index(write.by_month)
                await self._parts.months(
                    write.parts, (row[place] for row in records if row[place] is not None)
                )
        if len(prepared.batch) <= SMALL:
            await self._move(prepared, prepared.changes)
        else:
            await self._commit_large(prepared)
        self.position = prepared.reached
        return prepared.unreadable

    async def _move(self, prepared: Prepared, changes: Sequence[Change]) -> None:
        """Move the position and write some of the changes, by one statement: for little latency, since somebody waits
        to read what was just written, and as few round trips as can be."""
        # The rows were read before the position is locked: should it have moved since, nothing is changed.
        sql = batch_sql(tuple(write for write, _ in changes))
        columns = [column for _, records in changes for column in by_columns(records)]
        moved = await self._connection.fetchval(sql, *self.position[:2], *prepared.reached[1:], *columns)
        if moved is None:
            raise Deposed(f"the position is not {self.position.sequence} any more")

    async def _commit_large(self, prepared: Prepared) -> None:
        """What is more than a few rows is copied to its table, or to a temporary one and merged from there, for
        throughput."""
        few = [change for change in prepared.changes if len(change[1]) <= SMALL]
        many = [change for change in prepared.changes if len(change[1]) > SMALL]
        if not self._instants_kept:
            await keep_instants(self._connection)
            self._instants_kept = True
        for write, _ in many:
            if write.mode is not Mode.APPEND and write not in self._staged:
                await self._connection.execute(write.stage_sql())
                self._staged.add(write)
        async with self._connection.transaction():
            await self._move(prepared, few)
            for change in many:
                await self._store(*change)

    async def _store(self, write: TableWrite, records: Records) -> None:
        if write.mode is Mode.APPEND:
            await self._copy(write.table, write, records)
        else:
            await self._copy(write.stage, write, records)
            # Emptied at once and not at the transaction's end: several batches may share one.
            await self._connection.execute(f"{write.merge_sql(write.stage)}; truncate {write.stage}")

    async def _copy(self, table: str, write: TableWrite, records: Records) -> None:
        await self._connection.copy_records_to_table(table, columns=write.columns, records=records)

    def _read(
        self, batch: Sequence[Stored], unfit: frozenset[int], unreadable: list[Unreadable]
    ) -> list[Read]:
        """What the events say, of those that some section reads."""
        read: list[Read] = []
        for stored in batch:
            if stored.seq in unfit:
                continue
            try:
                event = self._fold.read(stored)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                unreadable.append(Unreadable(stored.seq, stored.subject, f"does not decode: {error}"))
                continue
            if event is not None:
                read.append(Read(stored, event))
        return read


async def _by_turns(items: Sequence[_Item]) -> AsyncIterator[Sequence[_Item]]:
    """A few of them at a time, with a turn of the loop between."""
    for start in range(0, len(items), _PER_TURN):
        if start:
            await asyncio.sleep(0)
        yield items[start : start + _PER_TURN]


def _not_folded(batch: Sequence[Stored], stream_created: str) -> Prepared:
    """A batch with an event that no row can hold: no generation is its own, so its commit folds it anew."""
    reached = Position(stream_created, batch[-1].seq, _instant(batch[-1].time_ms))
    return Prepared(batch, frozenset(), reached, [], -1, ())


def _archived(batch: Sequence[Stored]) -> Change:
    return _ARCHIVE, [
        (one.seq, _instant(one.time_ms), one.subject, json_text(one.headers), one.data) for one in batch
    ]


def _instant(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)
