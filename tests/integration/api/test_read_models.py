"""Rows and archive from events: what each event changes, and that a rebuild gives the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
import pytest_asyncio

from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_api.readmodels.checksum import checksums
from gnomon_api.readmodels.migrate import migrate
from gnomon_api.readmodels.retention import KEPT
from gnomon_api.readmodels.sections import READ_MODELS
from gnomon_api.readmodels.statements import statement
from gnomon_api.readmodels.writer import (
    SMALL,
    WRITER_SETTINGS,
    Connection,
    Deposed,
    Position,
    ReadModelWriter,
)
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import format_instant
from tests.integration.api.stories import START_MS, Story, a_task

CREATED = "2026-09-21T13:00:00Z"


@pytest_asyncio.fixture
async def connection(postgres_url: str) -> AsyncIterator[Connection]:
    """A connection to empty, migrated read models."""
    await migrate(postgres_url)
    connection = await asyncpg.connect(postgres_url, server_settings=WRITER_SETTINGS)
    await empty(connection)
    yield connection
    await connection.close()


async def empty(connection: Connection) -> None:
    """Begin again at the stream's beginning."""
    names = ", ".join([*READ_MODELS, "event_archive", "projector_position", "requests"])
    await connection.execute(f"truncate {names}")
    await connection.execute(statement("begin_position"), CREATED)


async def position_of(connection: Connection) -> Position:
    row = await connection.fetchrow(statement("read_position"))
    assert row is not None
    return Position(*row.values())


async def project(connection: Connection, events: list[Stored], *, batch: int = 1000) -> ReadModelWriter:
    """Write the events in batches of this size."""
    writer = ReadModelWriter(connection, await position_of(connection))
    for start in range(0, len(events), batch):
        assert await writer.write(events[start : start + batch]) == []
    return writer


async def task_row(connection: Connection, task_id: str = "T") -> dict[str, Any]:
    row = await connection.fetchrow("select * from tasks where task_id = $1", task_id)
    assert row is not None
    return dict(row)


async def execution_row(connection: Connection, execution_id: str) -> dict[str, Any]:
    row = await connection.fetchrow("select * from executions where execution_id = $1", execution_id)
    assert row is not None
    return dict(row)


async def test_a_created_task_is_scheduled_and_knows_its_next_slot(connection: Connection) -> None:
    story = Story()
    story.created(a_task("T"))
    await project(connection, story.stored)
    row = await task_row(connection)
    assert (row["status"], row["name"], row["version"]) == ("scheduled", "Task T", 1)
    assert row["next_run_time"] == datetime(2026, 9, 21, 14, 14, tzinfo=UTC)


async def test_a_run_counts_once_and_shows_running_meanwhile(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.started(task, "r1")
    await project(connection, story.stored)
    row = await task_row(connection)
    assert (row["status"], row["in_flight"], row["run_count"]) == ("running", 1, 0)

    story.executed(task, "r1", result=msgspec.Raw(b'{"b": 1, "a": [1.50]}'))
    story.executed(task, "r1", status="failed")  # cannot happen on a chain, and must not count if it did
    await project(connection, story.stored[2:])
    row = await task_row(connection)
    assert (row["status"], row["in_flight"]) == ("scheduled", 0)
    assert (row["run_count"], row["success_count"], row["failure_count"]) == (1, 1, 0)
    assert row["duration_sum_ms"] == 1000
    execution = await execution_row(connection, "T.r1")
    assert (execution["status"], execution["duration_ms"]) == ("completed", 1000)
    assert execution["result"] == '{"b": 1, "a": [1.50]}'
    assert execution["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert (execution["credits_consumed"], execution["tokens_used"], execution["api_calls_made"]) == (
        0.5,
        7,
        2,
    )


async def test_failures_in_a_row_are_counted_and_a_cancelled_run_is_neither(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    for number, status in enumerate(["failed", "timed_out", "cancelled"]):
        story.started(task, f"r{number}")
        story.executed(task, f"r{number}", status=status)
    await project(connection, story.stored)
    row = await task_row(connection)
    assert (row["run_count"], row["failure_count"], row["consecutive_failures"]) == (3, 2, 2)
    last = msgspec.json.decode(row["last_execution"])
    assert (last["run"], last["status"]) == ("r2", "cancelled")
    story.started(task, "r9")
    story.executed(task, "r9")
    await project(connection, story.stored[-2:])
    assert (await task_row(connection))["consecutive_failures"] == 0


async def test_attempts_tell_retries_and_take_overs(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.started(task, "r1")
    story.started(task, "r1", executor="x2", takeovers=1)
    story.retrying(task, "r1")
    await project(connection, story.stored)
    assert (await execution_row(connection, "T.r1"))["status"] == "retrying"
    story.started(task, "r1", 2)
    story.executed(task, "r1", 2)
    await project(connection, story.stored[4:])
    row = await execution_row(connection, "T.r1")
    attempts = msgspec.json.decode(row["attempts"])
    assert [(one["attempt"], one["executor"], one["status"]) for one in attempts] == [
        (1, "x1", "lost"),
        (1, "x2", "failed"),
        (2, "x1", "completed"),
    ]
    assert attempts[1]["error"]["type"] == "Boom"
    assert (row["status"], row["attempt"], row["error"]) == ("completed", 2, None)
    assert row["started_at"] == datetime.fromtimestamp((START_MS + 1000) / 1000, UTC)


async def test_a_single_slot_without_a_run_and_a_span(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.queued(task, "r1")
    story.skipped(task, "r1", reason="paused")
    story.skipped(task, "r2")
    story.missed_span(task, 40)
    await project(connection, story.stored)
    first, second = await execution_row(connection, "T.r1"), await execution_row(connection, "T.r2")
    assert (first["status"], first["reason"]) == ("skipped", "paused")
    assert (second["status"], second["reason"]) == ("skipped", "overlap")
    assert (await task_row(connection))["in_flight"] == 0
    span = await connection.fetchrow("select * from slot_spans")
    assert span is not None
    assert (span["outcome"], span["reason"], span["slots"]) == ("missed", "grace_exceeded", 40)


async def test_commands_are_answered_by_the_first_event_with_their_id(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task, command_id="c1")
    story.rejected(task, command_id="c2")
    story.queued(task, "r-c3", data=b'{"x": 1}', command_id="c3")
    story.queued(task, "r-c3", command_id="c3")
    await project(connection, story.stored, batch=1)
    rows = await connection.fetch("select command_id, status, event, execution_id from commands order by 1")
    assert [tuple(row) for row in rows] == [
        ("c1", "ok", "created", None),
        ("c2", "refused", "rejected", None),
        ("c3", "ok", "queued", "T.r-c3"),
    ]
    problem = await connection.fetchval("select problem from commands where command_id = 'c2'")
    assert msgspec.json.decode(problem)["code"] == "invalid_state"
    assert (await execution_row(connection, "T.r-c3"))["trigger_data"] == '{"x": 1}'


async def test_updates_keep_what_runs_have_told_and_leave_history(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.started(task, "r1")
    story.executed(task, "r1")
    renamed = msgspec.structs.replace(task, name="New", version=2)
    story.updated(renamed, ev.FieldChange(field="name", old="Task T", new="New"), command_id="c2", by="u2")
    story.deleted(renamed)
    await project(connection, story.stored)
    row = await task_row(connection)
    assert (row["name"], row["run_count"], row["version"]) == ("New", 1, 3)
    assert row["deleted_at"] is not None
    assert row["next_run_time"] is None
    history = await connection.fetch("select version, what, user_id, changes from task_history order by seq")
    assert [tuple(row)[:3] for row in history] == [
        (1, "created", "u1"),
        (2, "updated", "u2"),
        (3, "deleted", "u1"),
    ]
    assert msgspec.json.decode(history[1]["changes"]) == [{"field": "name", "old": "Task T", "new": "New"}]


async def test_a_new_calendar_is_in_the_history_and_changes_no_version(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.started(task, "r1")
    story.executed(task, "r1")
    story.replanned(msgspec.structs.replace(task, revision=2), START_MS + 500)
    await project(connection, story.stored)
    row = await task_row(connection)
    assert (row["version"], row["run_count"]) == (1, 1)
    assert msgspec.json.decode(row["task"])["revision"] == 2
    [_, told] = await connection.fetch("select * from task_history order by seq")
    assert (told["version"], told["what"], told["user_id"]) == (1, "updated", None)
    [change] = msgspec.json.decode(told["changes"])
    assert (change["field"], change["new"]["versions"]) == ("calendar", {"tzdata": "2025.2"})
    marks = await connection.fetch("select at, revision, state from slot_marks order by seq")
    assert [tuple(mark)[1:] for mark in marks] == [(1, "active"), (2, "active")]
    assert marks[1]["at"] == datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(milliseconds=500)


async def test_a_paused_task_has_no_next_run_until_it_is_resumed(connection: Connection) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.status_changed(task, "scheduled", "paused")
    await project(connection, story.stored)
    row = await task_row(connection)
    assert (row["status"], row["next_run_time"]) == ("paused", None)
    story.status_changed(task, "paused", "scheduled")
    await project(connection, story.stored[2:])
    assert (await task_row(connection))["next_run_time"] == datetime(2026, 9, 21, 14, 14, tzinfo=UTC)


@pytest.mark.parametrize("events", [1, SMALL + 1])
async def test_a_deposed_projector_changes_nothing(connection: Connection, events: int) -> None:
    story = Story()
    task = a_task("T")
    story.created(task)
    story.updated(msgspec.structs.replace(task, name="theirs"))
    old = ReadModelWriter(connection, await position_of(connection))
    await project(connection, story.stored)
    story.stored.clear()
    for _ in range(events):
        story.updated(msgspec.structs.replace(task, name="mine"))
    with pytest.raises(Deposed):
        await old.write(story.stored)
    assert (await task_row(connection))["name"] == "theirs"
    assert await connection.fetchval("select count(*) from event_archive") == 2


async def test_characters_that_the_database_cannot_hold_stop_nothing(connection: Connection) -> None:
    story = Story()
    task = a_task("T", name="a\x00b", metadata={"k": "x\x00y"}, config=msgspec.Raw(b'{"c": "\\u0000"}'))
    story.created(task)
    story.started(task, "r1")
    story.executed(task, "r1", result=msgspec.Raw(b'"\\u0000"'))
    await project(connection, story.stored)
    row = await task_row(connection)
    assert row["name"] == "a\N{REPLACEMENT CHARACTER}b"
    assert (
        bytes(msgspec.json.decode(row["task"], type=dict[str, msgspec.Raw])["config"]) == b'{"c": "\\u0000"}'
    )
    assert (await execution_row(connection, "T.r1"))["result"] == '"\\u0000"'


async def test_what_cannot_be_read_or_stored_is_archived_and_told_and_stops_nothing(
    connection: Connection,
) -> None:
    story = Story()
    tasks = [a_task(f"T{number}") for number in range(5)]
    for task in tasks:
        story.created(task)
    broken = story.created(a_task("B"))
    story.stored[-1] = msgspec.structs.replace(broken, data=b"{not json")
    future = story.created(a_task("F"))
    story.stored[-1] = msgspec.structs.replace(future, subject="task.telepathy.1.F._")
    story.created(a_task("V", version=2**40))  # fits no integer column
    story.started(tasks[0], "r1")
    writer = ReadModelWriter(connection, await position_of(connection))
    told = await writer.write(story.stored)
    assert sorted(one.seq for one in told) == [6, 8]
    assert await connection.fetchval("select count(*) from tasks") == 5
    assert await connection.fetchval("select count(*) from event_archive") == 9
    assert (await task_row(connection, "T0"))["in_flight"] == 1
    assert (await position_of(connection)).sequence == 9


def a_long_story() -> list[Stored]:
    """Some of everything, over two days."""
    story = Story()
    tasks = [a_task(f"T{number}") for number in range(20)]
    for number, task in enumerate(tasks):
        story.created(task, command_id=f"create-{number}")
    for turn in range(12):
        for number, task in enumerate(tasks):
            run = story.run_of(START_MS + turn * 60_000)
            if (turn + number) % 5 == 0:
                story.skipped(task, run)
                continue
            if (turn + number) % 7 == 0:
                story.queued(task, run)
            story.started(task, run, published_ms=story.now_ms - 5 if number % 2 else None)
            if (turn + number) % 3 == 0:
                story.retrying(task, run)
                story.started(task, run, 2)
            story.executed(task, run, status="failed" if (turn * number) % 4 == 1 else "completed")
        story.missed_span(tasks[turn], 10 + turn)
        story.updated(msgspec.structs.replace(tasks[turn], name=f"renamed {turn}"), command_id=f"u{turn}")
        story.rejected(tasks[turn + 1], command_id=f"r{turn}")
        story.pool_updated(
            f"p{turn % 3}", max_in_flight=turn + 1, version=turn // 3 + 1, command_id=f"p{turn}"
        )
        if turn % 5 == 0:
            story.objects_changed(f"o{turn}")
        broken_at = story.now
        story.slo_broken(tasks[turn])
        if turn % 2:
            story.slo_recovered(tasks[turn], broken_at)
        story.now_ms += 4 * 3600 * 1000
    story.deleted(tasks[3], command_id="d3")
    story.status_changed(tasks[4], "scheduled", "paused")
    story.status_changed(tasks[5], "scheduled", "completed", "no_slot_left")
    story.executed(tasks[6], story.run_of(START_MS + 60_000))  # once more: what the audit is there to tell
    return story.stored


async def test_rows_do_not_depend_on_where_batches_end_and_a_rebuild_gives_the_same(
    connection: Connection, postgres_url: str
) -> None:
    seen = []
    for batch in (1, 7, SMALL + 1, 1000):
        await empty(connection)
        await project(connection, a_long_story(), batch=batch)
        assert (await rebuilding.verify(postgres_url)).differing == []
        seen.append(await checksums(connection, "public"))
    assert all(one.rows > 0 for name, one in seen[0].items() if name not in KEPT)
    assert all(one == seen[0] for one in seen)


async def test_a_rebuild_tells_a_row_that_was_tampered_with(
    connection: Connection, postgres_url: str
) -> None:
    await project(connection, a_long_story())
    await connection.execute("update tasks set run_count = run_count + 1 where task_id = 'T1'")
    found = await rebuilding.verify(postgres_url)
    assert found.differing == ["tasks"]
    assert not found.same
    assert found.tables["tasks"].live.rows == found.tables["tasks"].rebuilt.rows


async def test_read_models_are_verified_while_they_are_written_and_read(
    connection: Connection, postgres_url: str
) -> None:
    """A projector that goes on meanwhile is held for the comparison, and neither is wrong for it."""
    events = a_long_story()
    half = len(events) // 2
    await project(connection, events[:half])
    other = await asyncpg.connect(postgres_url)
    writing = asyncio.create_task(project(other, events[half:], batch=3))
    try:
        found = [await rebuilding.verify(postgres_url) for _ in range(3)]
        await writing
        found.append(await rebuilding.verify(postgres_url))
    finally:
        await other.close()
    assert [one.differing for one in found] == [[], [], [], []]
    assert found[-1].sequence == events[-1].seq


async def test_a_rebuild_takes_the_place_of_the_live_tables(
    connection: Connection, postgres_url: str
) -> None:
    await project(connection, a_long_story())
    before = await checksums(connection, "public")
    await connection.execute("delete from executions")
    await connection.execute("update tasks set name = 'wrong'")
    rebuilt = await rebuilding.replace(postgres_url)
    assert rebuilt.sequence == (await position_of(connection)).sequence
    assert await checksums(connection, "public") == before
    # And the projector goes on where it was.
    story = Story(first_seq=rebuilt.sequence + 1, at_ms=START_MS + 10**9)
    story.created(a_task("after", at_ms=story.now_ms))
    await project(connection, story.stored)
    assert (
        (await task_row(connection, "after"))["created_at"]
        .isoformat()
        .startswith(format_instant(START_MS + 10**9)[:19])
    )


async def test_the_archive_has_a_partition_for_each_day(connection: Connection) -> None:
    await project(connection, a_long_story())
    days = await connection.fetch(
        "select distinct tableoid::regclass::text as name from event_archive order by 1"
    )
    assert [row["name"] for row in days] == [
        "event_archive_20260921",
        "event_archive_20260922",
        "event_archive_20260923",
    ]
