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
    SpanRow,
    TaskDefinition,
    TaskRow,
    json_text,
)
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.codec import decode_event
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.subjects import parse_event

__all__ = [
    "SMALL",
    "WRITER_SETTINGS",
    "Connection",
    "Deposed",
    "Position",
    "ReadModelWriter",
    "Unreadable",
    "ensure_archive_days",
]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection, with asyncpg's own records as rows."""

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
_MERGES: Final = {
    "definitions": "merge_definitions",
    "tasks_changed": "merge_tasks",
    "executions_changed": "merge_executions",
    "commands": "merge_commands",
}
"""What the fold has to write, and the statement that puts it in place once it is staged."""
_ROWS_KEPT: Final = 20_000
"""Rows of tasks, and as many of executions, that stay in memory between batches."""
_DAY = timedelta(days=1)
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


class ReadModelWriter:
    """Writes batches of events through one connection, in the order of the stream.

    Remembers rows between batches; after an error it forgets them, since the database may hold others. With
    `archive=False` (a rebuild) the events are not archived again.
    """

    def __init__(self, connection: Connection, position: Position, *, archive: bool = True) -> None:
        self._connection = connection
        self._archive = archive
        self._fold = Fold()
        self._days: set[str] = set()
        self._staged = False
        self.position = position
        """What the database holds."""

    async def write(self, batch: Sequence[Stored]) -> list[Unreadable]:
        """Write events that follow the position; returns those that could only be archived.

        Raises Deposed; asyncpg's errors and OSError when the database is away: then nothing is written.
        """
        if self._archive:
            await self._ensure_days(batch)
        try:
            return await self._write(batch, frozenset())
        except BaseException:
            self._fold.forget()
            raise

    async def _write(self, batch: Sequence[Stored], unfit: frozenset[int]) -> list[Unreadable]:
        try:
            return await self._commit(batch, unfit)
        except _UNFIT as error:
            self._fold.forget()
            if len(batch) > 1:
                middle = len(batch) // 2
                return await self._write(batch[:middle], unfit) + await self._write(batch[middle:], unfit)
            if batch[0].seq in unfit:
                raise
            await self._write(batch, frozenset({batch[0].seq}))
            return [Unreadable(batch[0].seq, batch[0].subject, f"fits no row: {error}")]

    async def _commit(self, batch: Sequence[Stored], unfit: frozenset[int]) -> list[Unreadable]:
        last = batch[-1]
        reached = Position(self.position.stream_created, last.seq, _instant(last.time_ms))
        if len(batch) <= SMALL:
            unreadable = await self._commit_small(batch, unfit, reached)
        else:
            unreadable = await self._commit_large(batch, unfit, reached)
        self.position = reached
        self._trim()
        return unreadable

    async def _commit_small(
        self, batch: Sequence[Stored], unfit: frozenset[int], reached: Position
    ) -> list[Unreadable]:
        """One statement, for little latency: somebody waits to read what was just written."""
        # Read before the position is locked: should it have moved since, the statement changes nothing.
        await self._load(batch)
        unreadable = self._apply(batch, unfit)
        fold = self._fold
        defined = [
            (*astuple(definition), *astuple(fold.tasks_changed[task_id])[1:])
            for task_id, definition in fold.definitions.items()
        ]
        ran = [astuple(row) for key, row in fold.tasks_changed.items() if key not in fold.definitions]
        columns = [
            *_columns(_ARCHIVE_COLUMNS, self._archive_records(batch)),
            *_columns((*TaskDefinition.__struct_fields__, *TaskRow.__struct_fields__[1:]), defined),
            *_columns(TaskRow.__struct_fields__, ran),
            *_columns(
                ExecutionRow.__struct_fields__, [row.record() for row in fold.executions_changed.values()]
            ),
            *_columns(SpanRow._fields, fold.spans),
            *_columns(HistoryRow._fields, fold.history),
            *_columns(CommandRow._fields, list(fold.commands.values())),
        ]
        moved = await self._connection.fetchval(
            statement("write_batch"), *self.position[:2], *reached[1:], *columns
        )
        if moved is None:
            raise Deposed(f"the position is not {self.position.sequence} any more")
        return unreadable

    async def _commit_large(
        self, batch: Sequence[Stored], unfit: frozenset[int], reached: Position
    ) -> list[Unreadable]:
        """Copied to temporary tables and merged from there, for throughput."""
        if not self._staged:
            for name in _STAGES:
                await self._connection.execute(statement(name))
            self._staged = True
        async with self._connection.transaction():
            moved = await self._connection.execute(
                statement("move_position"), *self.position[:2], *reached[1:]
            )
            if moved != "UPDATE 1":
                raise Deposed(f"the position is not {self.position.sequence} any more")
            await self._copy("event_archive", _ARCHIVE_COLUMNS, self._archive_records(batch))
            await self._load(batch)
            unreadable = self._apply(batch, unfit)
            await self._store()
        return unreadable

    def _apply(self, batch: Sequence[Stored], unfit: frozenset[int]) -> list[Unreadable]:
        unreadable: list[Unreadable] = []
        self._fold.begin()
        for stored in batch:
            kind, name, _, _, _ = parse_event(stored.subject)
            if kind != "task" or name not in EVENT_TYPES or stored.seq in unfit:
                continue
            try:
                event = decode_event(stored.data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                unreadable.append(Unreadable(stored.seq, stored.subject, f"does not decode: {error}"))
                continue
            self._fold.apply(stored, event)
        self._fold.finish()
        return unreadable

    def _archive_records(self, batch: Sequence[Stored]) -> list[tuple[Any, ...]]:
        if not self._archive:
            return []
        return [
            (stored.seq, _instant(stored.time_ms), stored.subject, json_text(stored.headers), stored.data)
            for stored in batch
        ]

    async def _ensure_days(self, batch: Sequence[Stored]) -> None:
        days = {_instant(stored.time_ms).date() for stored in batch}
        missing = [day for day in sorted(days) if day.isoformat() not in self._days]
        if missing:
            await ensure_archive_days(
                self._connection, [datetime(*day.timetuple()[:3], tzinfo=UTC) for day in missing]
            )
            self._days.update(day.isoformat() for day in missing)

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
            for row in await self._connection.fetch(statement("load_tasks"), missing):
                self._fold.tasks[row["task_id"]] = TaskRow(*row.values())
        if missing := [key for key in executions if key not in self._fold.executions]:
            for row in await self._connection.fetch(statement("load_executions"), missing):
                values = list(row.values())
                values[-1] = _decode_attempts(values[-1])
                self._fold.executions[row["execution_id"]] = ExecutionRow(*values)

    async def _store(self) -> None:
        fold = self._fold
        tasks = [astuple(row) for row in fold.tasks_changed.values()]
        await self._copy("staged_tasks", TaskRow.__struct_fields__, tasks)
        definitions = [astuple(row) for row in fold.definitions.values()]
        await self._copy("staged_definitions", TaskDefinition.__struct_fields__, definitions)
        executions = [row.record() for row in fold.executions_changed.values()]
        await self._copy("staged_executions", ExecutionRow.__struct_fields__, executions)
        await self._copy("staged_commands", CommandRow._fields, list(fold.commands.values()))
        await self._copy("slot_spans", SpanRow._fields, fold.spans)
        await self._copy("task_history", HistoryRow._fields, fold.history)
        for table, name in _MERGES.items():
            if getattr(fold, table):
                await self._connection.execute(statement(name))
        await self._connection.execute(statement("clear_stage"))

    async def _copy(self, table: str, columns: Sequence[str], records: Sequence[tuple[Any, ...]]) -> None:
        if records:
            await self._connection.copy_records_to_table(table, columns=columns, records=records)

    def _trim(self) -> None:
        """Keep memory bounded. Executions that have ended are hardly ever spoken of again."""
        fold = self._fold
        for key, row in fold.executions_changed.items():
            if not row.active:
                fold.executions.pop(key, None)
        if len(fold.executions) > _ROWS_KEPT:
            fold.executions.clear()
        if len(fold.tasks) > _ROWS_KEPT:
            fold.tasks.clear()
        fold.begin()


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


def _columns(names: Sequence[str], records: Sequence[tuple[Any, ...]]) -> Sequence[Sequence[Any]]:
    """Records turned on their side: one sequence of values per column."""
    return list(zip(*records, strict=True)) if records else [()] * len(names)
