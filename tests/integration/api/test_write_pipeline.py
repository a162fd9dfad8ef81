"""Folding ahead of the commit makes the same rows as one batch after the other, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from gnomon_api.readmodels import writer as writing
from gnomon_api.readmodels.checksum import checksums
from gnomon_api.readmodels.fold import Fold
from gnomon_api.readmodels.pipeline import WritePipeline
from gnomon_api.readmodels.section import Read
from gnomon_api.readmodels.writer import (
    SMALL,
    WRITER_SETTINGS,
    Connection,
    Deposed,
    ReadModelWriter,
    Unreadable,
)
from gnomon_core.runtime.messages import Stored
from tests.integration.api.stories import Story, a_task
from tests.integration.api.test_read_models import a_long_story, connection, empty, position_of, project

__all__ = ["connection"]


@pytest_asyncio.fixture
async def reader(postgres_url: str) -> AsyncIterator[Connection]:
    """A second connection to the same read models."""
    reader = await asyncpg.connect(postgres_url, server_settings=WRITER_SETTINGS)
    yield reader
    await reader.close()


class Told:
    """What a pipeline tells."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.unreadable: list[int] = []
        self.failures: list[BaseException] = []

    def on_written(self, batch: Sequence[Stored], unreadable: list[Unreadable], _seconds: float) -> None:
        self.written += [stored.seq for stored in batch]
        self.unreadable += [one.seq for one in unreadable]

    def on_failed(self, error: BaseException) -> None:
        self.failures.append(error)


async def pipelined(
    connection: Connection, reader: Connection, events: list[Stored], batch: int
) -> tuple[WritePipeline, Told]:
    """Put the events in batches of this size, and wait for the last commit."""
    told = Told()
    writer = ReadModelWriter(connection, await position_of(connection), reader=reader)
    pipeline = WritePipeline(writer, told.on_written, told.on_failed)
    for start in range(0, len(events), batch):
        await pipeline.put(events[start : start + batch])
    await pipeline.flush()
    return pipeline, told


@pytest.mark.parametrize("kept", [0, 3, 20_000])
async def test_the_same_rows_as_one_after_the_other_however_few_stay_in_memory(
    connection: Connection, reader: Connection, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    events = a_long_story()
    await project(connection, events)
    expected = await checksums(connection, "public")
    monkeypatch.setattr(writing, "_ROWS_KEPT", kept)
    for batch in (1, 5, SMALL + 1):
        await empty(connection)
        _, told = await pipelined(connection, reader, events, batch)
        assert told.written == [stored.seq for stored in events]
        assert await checksums(connection, "public") == expected, batch


async def test_rows_that_are_forgotten_while_a_batch_is_folded_are_loaded_and_folded_again(
    connection: Connection, reader: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folding lets others work, and one of them may find that the rows in memory are not the database's."""
    events = a_long_story()
    middle = len(events) // 2
    assert middle > SMALL
    await project(connection, events)
    expected = await checksums(connection, "public")
    await empty(connection)
    writer = ReadModelWriter(connection, await position_of(connection), reader=reader)
    await writer.write(events[:middle])
    apply, calls = Fold.apply, 0

    def forgetful(fold: Fold, read: Read) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            asyncio.get_running_loop().call_soon(writer._forget)
        apply(fold, read)

    monkeypatch.setattr(Fold, "apply", forgetful)
    monkeypatch.setattr(writing, "_PER_TURN", 16)
    prepared = await writer.prepare(events[middle:])
    assert calls > len(events) - middle
    await writer.commit(prepared)
    assert await checksums(connection, "public") == expected


@pytest.mark.parametrize("batch", [1, 2, 3, 10, SMALL + 1])
async def test_a_batch_that_was_folded_on_one_that_does_not_fit_is_folded_anew(
    connection: Connection, reader: Connection, batch: int
) -> None:
    """Version 2**40 fits no column: found by the database, when the next batch has been folded already."""
    story = Story()
    tasks = [a_task(f"T{number}") for number in range(30)]
    for number, task in enumerate(tasks):
        story.created(task)
        if number % 7 == 3:
            story.updated(msgspec.structs.replace(task, version=2**40, name="unfit"))
        story.started(task, "r1")
        if number % 2:
            story.executed(task, "r1")
        story.updated(msgspec.structs.replace(task, version=2, name="fits"))
    for task in tasks[::2]:
        story.executed(task, "r1")
    unfit = [stored.seq for stored in story.stored if b'"unfit"' in stored.data]
    assert len(unfit) == 4
    _, told = await pipelined(connection, reader, story.stored, batch)
    assert sorted(told.unreadable) == unfit
    assert await connection.fetchval("select count(*) from event_archive") == len(story.stored)
    rows = await connection.fetch("select name, version, run_count, in_flight from tasks")
    assert {tuple(row.values()) for row in rows} == {("fits", 2, 1, 0)}


async def test_a_commit_that_fails_is_told_at_once_and_nothing_is_written_after_it(
    connection: Connection, reader: Connection
) -> None:
    """Another projector has moved the position between two batches."""
    story = Story()
    for number in range(4):
        story.created(a_task(f"T{number}"))
    pipeline, told = await pipelined(connection, reader, story.stored[:1], 1)
    await reader.execute("update projector_position set sequence = 99")
    await pipeline.put(story.stored[1:2])
    with pytest.raises(Deposed):
        await pipeline.put(story.stored[2:3])
    assert [type(error) for error in told.failures] == [Deposed]
    with pytest.raises(Deposed):
        await pipeline.flush()
    assert told.written == [1]
    assert await connection.fetchval("select count(*) from tasks") == 1


async def test_a_connection_that_breaks_is_told_without_a_further_batch(
    connection: Connection, reader: Connection
) -> None:
    story = Story()
    for number in range(2):
        story.created(a_task(f"T{number}"))
    pipeline, told = await pipelined(connection, reader, story.stored[:1], 1)
    connection.terminate()
    await pipeline.put(story.stored[1:])
    await pipeline.close()
    assert len(told.failures) == 1
    assert told.written == [1]
    assert await reader.fetchval("select sequence from projector_position") == 1
