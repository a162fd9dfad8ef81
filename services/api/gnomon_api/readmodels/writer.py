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
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

import asyncpg
import msgspec
from msgspec.structs import astuple

from gnomon_api.readmodels.fold import Fold, keys_of
from gnomon_api.readmodels.rows import (
    Attempt,
    CommandRow,
    ExecutionRow,
    HistoryRow,
    MarkRow,
    PoolRow,
    SecondEndingRow,
    SpanRow,
    TaskDefinition,
    TaskRow,
    json_text,
)
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.codec import decode, decode_event
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.pools import PoolUpdated
from gnomon_schemas.subjects import parse_event

__all__ = [
    "SMALL",
    "WRITER_SETTINGS",
    "Connection",
    "Deposed",
    "Position",
    "Prepared",
    "ReadModelWriter",
    "Unreadable",
    "ensure_archive_days",
]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection, with asyncpg's own records as rows."""

Records: TypeAlias = Sequence[tuple[Any, ...]]
"""Rows as they are written, their values in the order of the columns."""

SMALL: Final = 64
"""Up to so many events are written by one statement; more go by COPY, which costs a dozen."""

WRITER_SETTINGS: Final = {
    # The statements are always the same: planned once, they need not be planned again. The plan is made
    # while the tables are small and must be right when they are large, so it goes by the keys.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "jit": "off",
    # What a power cut takes from Postgres is still in the stream, and the position goes back with it.
    "synchronous_commit": "off",
}
"""Settings of a connection that a `ReadModelWriter` writes through."""

_ARCHIVE_COLUMNS: Final = ("seq", "stored_at", "subject", "headers", "payload")
_STAGES: Final = ("stage_tasks", "stage_definitions", "stage_executions", "stage_commands")
_POOL_UPDATED: Final = ("pool", "updated")
_ROWS_KEPT: Final = 20_000
"""Rows of tasks, and as many of executions, that stay in memory between batches."""
_DAY: Final = timedelta(days=1)
_DAY_MS: Final = 86_400_000
_UNFIT: Final = (
    ValueError,  # asyncpg's errors for values that do not fit their column are ValueErrors too
    OverflowError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
)
_decode_attempts = msgspec.json.Decoder(list[Attempt]).decode


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
    """A batch, folded: what a commit writes. Records are in the order of their table's columns."""

    batch: Sequence[Stored]
    unfit: frozenset[int]
    reached: Position
    unreadable: list[Unreadable]
    generation: int
    """Of the rows in memory that it was folded on."""
    archive: Records
    definitions: Records
    tasks: Records
    """Of all tasks that changed, those of `definitions` included."""
    defined: frozenset[str]
    """The task ids in `definitions`."""
    executions_new: Records
    executions_changed: Records
    spans: Records
    history: Records
    commands: Records
    marks: Records
    second_endings: Records
    pools: Records


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
        self._days: set[int] = set()
        self._staged = False
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
                await self._ensure_days(prepared.batch)
            if prepared.generation == self._generation:
                return await self._commit_fit(prepared)
            async with self._folding:
                return await self._write_anew(prepared.batch, frozenset())
        except BaseException:
            self._forget()
            raise

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
        self._generation += 1

    async def _prepare(self, batch: Sequence[Stored], unfit: frozenset[int]) -> Prepared:
        self._trim()
        while True:
            generation = self._generation
            await self._load(batch)
            if generation == self._generation:
                break  # otherwise rows that were there have been forgotten meanwhile
        self._fold.begin()
        unreadable = self._apply(batch, unfit)
        fold = self._fold
        return Prepared(
            batch,
            unfit,
            Position(self.position.stream_created, batch[-1].seq, _instant(batch[-1].time_ms)),
            unreadable,
            generation,
            archive=self._archive_records(batch),
            definitions=[astuple(row) for row in fold.definitions.values()],
            tasks=[astuple(row) for row in fold.tasks_changed.values()],
            defined=frozenset(fold.definitions),
            executions_new=[row.record() for row in fold.executions_new.values()],
            executions_changed=[row.record() for row in fold.executions_changed.values()],
            spans=fold.spans,
            history=fold.history,
            commands=list(fold.commands.values()),
            marks=fold.marks,
            second_endings=fold.second_endings,
            pools=list(fold.pools.values()),
        )

    async def _commit(self, prepared: Prepared) -> list[Unreadable]:
        if len(prepared.batch) <= SMALL:
            await self._commit_small(prepared)
        else:
            await self._commit_large(prepared)
        self.position = prepared.reached
        return prepared.unreadable

    async def _commit_small(self, prepared: Prepared) -> None:
        """One statement, for little latency: somebody waits to read what was just written."""
        # The rows were read before the position is locked: should it have moved since, nothing is changed.
        tasks = {row[0]: row for row in prepared.tasks}
        defined = [(*definition, *tasks[definition[0]][1:]) for definition in prepared.definitions]
        ran = [row for key, row in tasks.items() if key not in prepared.defined]
        columns = [
            *_columns(_ARCHIVE_COLUMNS, prepared.archive),
            *_columns((*TaskDefinition.__struct_fields__, *TaskRow.__struct_fields__[1:]), defined),
            *_columns(TaskRow.__struct_fields__, ran),
            *_columns(
                ExecutionRow.__struct_fields__, [*prepared.executions_new, *prepared.executions_changed]
            ),
            *_columns(SpanRow._fields, prepared.spans),
            *_columns(HistoryRow._fields, prepared.history),
            *_columns(CommandRow._fields, prepared.commands),
            *_columns(MarkRow._fields, prepared.marks),
            *_columns(SecondEndingRow._fields, prepared.second_endings),
            *_columns(PoolRow._fields, prepared.pools),
        ]
        moved = await self._connection.fetchval(
            statement("write_batch"), *self.position[:2], *prepared.reached[1:], *columns
        )
        if moved is None:
            raise Deposed(f"the position is not {self.position.sequence} any more")

    async def _commit_large(self, prepared: Prepared) -> None:
        """Copied to temporary tables and merged from there, for throughput."""
        if not self._staged:
            for name in _STAGES:
                await self._connection.execute(statement(name))
            self._staged = True
        async with self._connection.transaction():
            moved = await self._connection.execute(
                statement("move_position"), *self.position[:2], *prepared.reached[1:]
            )
            if moved != "UPDATE 1":
                raise Deposed(f"the position is not {self.position.sequence} any more")
            await self._store(prepared)

    async def _store(self, prepared: Prepared) -> None:
        await self._copy("event_archive", _ARCHIVE_COLUMNS, prepared.archive)
        await self._copy("staged_tasks", TaskRow.__struct_fields__, prepared.tasks)
        await self._copy("staged_definitions", TaskDefinition.__struct_fields__, prepared.definitions)
        # What no row was loaded of has none: only the holder of the position writes here.
        await self._copy("executions", ExecutionRow.__struct_fields__, prepared.executions_new)
        await self._copy("staged_executions", ExecutionRow.__struct_fields__, prepared.executions_changed)
        await self._copy("staged_commands", CommandRow._fields, prepared.commands)
        await self._copy("slot_spans", SpanRow._fields, prepared.spans)
        await self._copy("task_history", HistoryRow._fields, prepared.history)
        await self._copy("slot_marks", MarkRow._fields, prepared.marks)
        await self._copy("second_endings", SecondEndingRow._fields, prepared.second_endings)
        if prepared.pools:
            await self._connection.executemany(statement("write_pool"), prepared.pools)
        merges = {
            "merge_definitions": prepared.definitions,
            "merge_tasks": prepared.tasks,
            "merge_executions": prepared.executions_changed,
            "merge_commands": prepared.commands,
        }
        for name, staged in merges.items():
            if staged:
                await self._connection.execute(statement(name))
        await self._connection.execute(statement("clear_stage"))

    async def _copy(self, table: str, columns: Sequence[str], records: Records) -> None:
        if records:
            await self._connection.copy_records_to_table(table, columns=columns, records=records)

    def _apply(self, batch: Sequence[Stored], unfit: frozenset[int]) -> list[Unreadable]:
        unreadable: list[Unreadable] = []
        for stored in batch:
            kind, name, _, _, _ = parse_event(stored.subject)
            if stored.seq in unfit:
                continue
            try:
                if (kind, name) == _POOL_UPDATED:
                    self._fold.apply_pool(stored, decode(stored.data, PoolUpdated))
                    continue
                if kind != "task" or name not in EVENT_TYPES:
                    continue
                event = decode_event(stored.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                unreadable.append(Unreadable(stored.seq, stored.subject, f"does not decode: {error}"))
                continue
            self._fold.apply(stored, event)
        self._fold.finish()
        return unreadable

    def _archive_records(self, batch: Sequence[Stored]) -> Records:
        if not self._archive:
            return []
        return [
            (stored.seq, _instant(stored.time_ms), stored.subject, json_text(stored.headers), stored.data)
            for stored in batch
        ]

    async def _ensure_days(self, batch: Sequence[Stored]) -> None:
        missing = {stored.time_ms // _DAY_MS for stored in batch} - self._days
        if missing:
            days = [_instant(day * _DAY_MS) for day in sorted(missing)]
            await ensure_archive_days(self._connection, days)
            self._days |= missing

    async def _load(self, batch: Sequence[Stored]) -> None:
        """Bring the rows that the batch touches into memory."""
        tasks: set[str] = set()
        executions: set[str] = set()
        for stored in batch:
            task_id, execution_id = keys_of(stored.subject)
            tasks.add(task_id)
            if execution_id is not None:
                executions.add(execution_id)
        if missing := [key for key in tasks if key not in self._fold.tasks]:
            for row in await self._reader.fetch(statement("load_tasks"), missing):
                self._fold.tasks[row["task_id"]] = TaskRow(*row.values())
        if missing := [key for key in executions if key not in self._fold.executions]:
            for row in await self._reader.fetch(statement("load_executions"), missing):
                values = list(row.values())
                values[-1] = _decode_attempts(values[-1])
                self._fold.executions[row["execution_id"]] = ExecutionRow(*values)

    def _trim(self) -> None:
        """Keep memory bounded: drop rows of which the database has everything."""
        fold, committed = self._fold, self.position.sequence
        if len(fold.executions) > _ROWS_KEPT:
            fold.executions = {key: row for key, row in fold.executions.items() if row.seq > committed}
        if len(fold.tasks) > _ROWS_KEPT:
            fold.tasks = {key: task for key, task in fold.tasks.items() if task.seq > committed}


def _not_folded(batch: Sequence[Stored], stream_created: str) -> Prepared:
    """A batch with an event that no row can hold: no generation is its own, so its commit folds it anew."""
    reached = Position(stream_created, batch[-1].seq, _instant(batch[-1].time_ms))
    return Prepared(
        batch, frozenset(), reached, [], -1, (), (), (), frozenset(), (), (), (), (), (), (), (), ()
    )


async def ensure_archive_days(connection: Connection, days: Sequence[datetime]) -> None:
    """Make the archive's partitions for these days (midnights, UTC). Safe with several processes at once."""
    for day in days:
        name = f"event_archive_{day:%Y%m%d}"
        if await connection.fetchval(statement("archive_day"), name):
            continue
        try:
            # A name and two dates of our own making: a statement that defines a table takes no parameters.
            await connection.execute(
                f"create table if not exists {name} partition of event_archive "
                f"for values from ('{day.isoformat()}') to ('{(day + _DAY).isoformat()}')"
            )
        except asyncpg.UniqueViolationError:
            continue  # another process made it at this very moment


def _instant(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _columns(names: Sequence[str], records: Records) -> Sequence[Sequence[Any]]:
    """Records turned on their side: one sequence of values per column."""
    return list(zip(*records, strict=True)) if records else [()] * len(names)
