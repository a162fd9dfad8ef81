"""Migrations: in order, once, by one process at a time, and they lead to the schema as it is written down."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from gnomon_api.readmodels.migrate import MigrationError, apply, migrate, migrations
from gnomon_api.readmodels.statements import schema_sql
from gnomon_api.readmodels.writer import Connection
from gnomon_core.runtime.embedded import EmbeddedPostgres
from gnomon_schemas.lifecycle import TRANSITIONS
from gnomon_schemas.tasks import TaskStatus

DESCRIPTIONS = (
    """select table_name, column_name, data_type, is_nullable, column_default, generation_expression
       from information_schema.columns where table_schema = $1""",
    """select c.relname, replace(pg_get_indexdef(c.oid), $1 || '.', '') from pg_class c
       join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind in ('i', 'I')""",
    """select t.relname, o.conname, pg_get_constraintdef(o.oid) from pg_constraint o
       join pg_class t on t.oid = o.conrelid join pg_namespace n on n.oid = t.relnamespace
       where n.nspname = $1""",
    """select c.relname, c.relkind::text, c.reloptions::text from pg_class c
       join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1""",
)


@pytest_asyncio.fixture
async def fresh(_shared_postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address of an empty database."""
    connection = await asyncpg.connect(_shared_postgres.url_of("postgres"))
    await connection.execute("create database migrations_test")
    yield _shared_postgres.url_of("migrations_test")
    await connection.execute("drop database migrations_test with (force)")
    await connection.close()


async def described(connection: Connection, schema: str) -> list[list[tuple[object, ...]]]:
    """Everything about a schema, in an order that does not depend on how it came to be."""
    found = []
    for sql in DESCRIPTIONS:
        rows = [tuple(row) for row in await connection.fetch(sql, schema)]
        found.append(sorted(rows, key=str))
    return found


async def test_the_migrations_lead_to_the_schema(fresh: str) -> None:
    connection = await asyncpg.connect(fresh)
    shapes = []
    for schema, how in (("by_migrations", "migrate"), ("by_schema", "schema")):
        await connection.execute(f"create schema {schema}")
        await connection.execute(f"set search_path to {schema}")
        if how == "migrate":
            await apply(connection, migrations())
        else:
            await connection.execute(schema_sql())
        shapes.append(await described(connection, schema))
    await connection.close()
    assert len(shapes[0][0]) > 80
    assert shapes[0] == shapes[1]


async def test_the_database_has_the_changes_of_status_that_the_table_has(fresh: str) -> None:
    """Each pair of statuses goes in if and only if the lifecycle tells of it."""
    await migrate(fresh)
    connection = await asyncpg.connect(fresh)
    taken = set()
    for number, (old, new) in enumerate(product(TaskStatus, TaskStatus)):
        with contextlib.suppress(asyncpg.CheckViolationError):
            await connection.execute(
                "insert into status_changes values ($1, 't', null, $2, $3, 'x', now())",
                number,
                old.value,
                new.value,
            )
            taken.add((old, new))
    await connection.close()
    assert taken == {(one.old, one.new) for one in TRANSITIONS if one.told}


async def test_changes_of_status_of_before_come_from_the_archive(fresh: str) -> None:
    steps = migrations()
    before = [step for step in steps if step.name != "status_changes"]
    (of_changes,) = (step for step in steps if step.name == "status_changes")
    connection = await asyncpg.connect(fresh)
    await apply(connection, before[: of_changes.version - 1])
    await connection.execute("create table archive_now partition of event_archive default")
    payload = (
        '{"type":"gnomon.task.status_changed.v1","task_id":"t","old_status":"scheduled","new_status":"%s",'
        '"reason":"%s","changed_at":"2026-11-21T09:00:00.000Z"}'
    )
    for seq, (new, reason) in enumerate([("paused", "pause"), ("running", "no"), ("failed", "\\u0000")], 1):
        await connection.execute(
            "insert into event_archive values ($1, now(), 'task.status_changed.0.t._', '{}', $2)",
            seq,
            (payload % (new, reason)).encode(),
        )
    await apply(connection, steps)
    rows = await connection.fetch(
        "select seq, task_id, command_id, old_status, new_status, reason from status_changes"
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [(1, "t", None, "scheduled", "paused", "pause")]


async def test_each_migration_is_applied_once_whoever_comes_first(fresh: str) -> None:
    applied = await asyncio.gather(*(migrate(fresh) for _ in range(6)))
    names = [f"{one.version:04}_{one.name}" for one in migrations()]
    assert sorted(applied, reverse=True) == [names, [], [], [], [], []]
    assert await migrate(fresh) == []


async def test_executions_of_before_are_kept_in_their_parts(fresh: str) -> None:
    connection = await asyncpg.connect(fresh)
    steps = migrations()
    it = next(step.version for step in steps if step.name == "executions_in_parts")
    await apply(connection, steps[: it - 1])
    ends = {"a": None, "b": "2026-08-31T23:59:59Z", "c": "2026-09-01T00:00:00Z", "d": "2026-11-02T10:00:00Z"}
    for run, end in ends.items():
        await connection.execute(
            """insert into executions (execution_id, task_id, run, partition, status, trigger, attempt, attempts,
                   result_truncated, credits_consumed, tokens_used, api_calls_made, recorded_at, seq, completed_at)
               values ('T.' || $1::text, 'T', $1, 0, $2, 'manual', 1, '[]', false, 0, 0, 0,
                       '2026-08-31T23:00:00Z', 1, $3::text::timestamptz)""",
            run,
            "completed" if end else "running",
            end,
        )
    whole = "select t::text as row from executions t order by execution_id"
    rows = await connection.fetch(whole)
    await apply(connection, steps[:it])
    assert await connection.fetch(whole) == rows
    await apply(connection, steps)
    parts = await connection.fetch(
        "select run, tableoid::regclass::text as part from executions order by run"
    )
    assert [tuple(row) for row in parts] == [
        ("a", "executions_active"),
        ("b", "executions_ended_202608"),
        ("c", "executions_ended_202609"),
        ("d", "executions_ended_202611"),
    ]
    await connection.close()


async def test_slots_that_were_missed_before_are_counted(fresh: str) -> None:
    connection = await asyncpg.connect(fresh)
    steps = migrations()
    it = next(step.version for step in steps if step.name == "missed_slots")
    await apply(connection, steps[: it - 1])
    await connection.execute("insert into platform_hours values ('2026-11-21T09:00:00Z', 5, 4, 0, 0, 0, 0)")
    for seq, (outcome, reason, slots, hour) in enumerate(
        [
            ("missed", "grace_exceeded", 7, 9),
            ("coalesced", "catch_up_latest", 3, 9),
            ("coalesced", "blackout", 100, 9),
            ("skipped", "paused", 1000, 9),
            ("missed", "catch_up_skip", 2, 11),
        ],
        1,
    ):
        await connection.execute(
            "insert into slot_spans values ($1, 'T', null, $2, $3, 1, null, null, $4, null, $5::text::timestamptz)",
            *(seq, outcome, reason, slots, f"2026-11-21T{hour:02}:59:59.9Z"),
        )
    await connection.execute(
        "create table executions_ended_202611 partition of executions_ended "
        "for values from ('2026-11-01T00:00:00Z') to ('2026-12-01T00:00:00Z')"
    )
    for run, (status, why, trigger) in enumerate(
        [("missed", "expired", "schedule"), ("missed", "expired", "manual"), ("completed", None, "schedule")]
    ):
        await connection.execute(
            """insert into executions (execution_id, task_id, run, partition, status, reason, trigger, attempt,
                   attempts, result_truncated, credits_consumed, tokens_used, api_calls_made, recorded_at,
                   seq, completed_at)
               values ('T.' || $1::text, 'T', $1, 0, $2, $3, $4, 1, '[]', false, 0, 0, 0,
                       '2026-11-21T09:00:00Z', 1, '2026-11-21T09:30:00Z')""",
            *(str(run), status, why, trigger),
        )
    await apply(connection, steps)
    rows = await connection.fetch(
        "select extract(hour from hour), starts, missed from platform_hours order by 1"
    )
    assert [tuple(map(int, row)) for row in rows] == [(9, 5, 11), (11, 0, 2)]
    await connection.close()


async def test_a_migration_that_fails_leaves_nothing(fresh: str) -> None:
    steps = migrations()
    broken = type(steps[0])(len(steps) + 1, "broken", "create table half (a int); select 1/0")
    connection = await asyncpg.connect(fresh)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await apply(connection, [*steps, broken])
    assert await connection.fetchval("select to_regclass('half')") is None
    assert await connection.fetchval("select count(*) from gnomon_migrations") == len(steps)
    await connection.close()
    assert await migrate(fresh) == []


async def test_a_database_of_a_newer_version_is_refused_by_name(fresh: str) -> None:
    await migrate(fresh)
    connection = await asyncpg.connect(fresh)
    await connection.execute("insert into gnomon_migrations (version, name) values (9999, 'from_the_future')")
    with pytest.raises(MigrationError, match="9999_from_the_future"):
        await migrate(fresh)
    await connection.execute("update gnomon_migrations set version = 1, name = 'other' where version = 1")
    with pytest.raises(MigrationError, match="0001_other"):
        await migrate(fresh)
    await connection.close()


def test_names_and_numbers_of_migrations_are_checked(tmp_path: Path) -> None:
    (tmp_path / "0002_second.sql").write_text("select 1")
    with pytest.raises(MigrationError, match="0001 is missing"):
        migrations(tmp_path)
    (tmp_path / "1_first.sql").write_text("select 1")
    with pytest.raises(MigrationError, match=r"1_first\.sql"):
        migrations(tmp_path)
