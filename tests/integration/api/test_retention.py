"""What is old goes, the ledger's side of it stays, and a rebuild comes to the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from gnomon_api.database import Database
from gnomon_api.identity import Caller
from gnomon_api.readmodels import rebuild as rebuilding
from gnomon_api.readmodels.checksum import checksums
from gnomon_api.readmodels.pipeline import WritePipeline
from gnomon_api.readmodels.retention import Removal, Retention, Rounds, due_removals
from gnomon_api.readmodels.statements import statement
from gnomon_api.readmodels.writer import Connection, Deposed, ReadModelWriter
from gnomon_api.task_pasts import TaskPasts
from gnomon_api.task_views import TaskViews
from gnomon_core.runtime.clock import ManualClock
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.events import FieldChange
from gnomon_schemas.headers import ADMIN_ROLE
from gnomon_schemas.schedules import Interval
from gnomon_schemas.tasks import Task
from tests.integration.api.stories import START_MS, Story, a_task
from tests.integration.api.test_read_models import connection, position_of, project

__all__ = ["connection"]

DAY_MS = 86_400_000
NOVEMBER = datetime(2026, 11, 1, tzinfo=UTC)
SPAN = (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC))


def a_year() -> list[Stored]:
    """Two tasks with runs in September, October and November; the second is deleted in September."""
    story = Story()
    kept, deleted = a_task("K"), a_task("D")
    for task in (kept, deleted):
        story.created(task, command_id=f"create-{task.task_id}")
    for month in range(3):
        story.now_ms = START_MS + month * 30 * DAY_MS
        first_ms = story.now_ms // 60_000 * 60_000
        for number in range(8):
            run = story.run_of(first_ms + number * 60_000)
            for task in (kept, deleted) if month == 0 else (kept,):
                if number == 3:
                    story.skipped(task, run)
                    continue
                story.started(task, run)
                story.executed(task, run, status="failed" if number == 5 else "completed")
        story.started(kept, f"r-by-hand-{month}")
        story.executed(kept, f"r-by-hand-{month}")
        if month == 0:
            story.deleted(deleted, command_id="delete-D")
        if month == 1:
            # In flight from October on: it stays, however old.
            story.started(kept, story.run_of(first_ms + 20 * 60_000))
    return story.stored


async def ledger(connection: Connection) -> list[Sequence[Any]]:
    """All that the audit, `max_runs`, backfills and the heartbeats of tasks read of single slots."""
    await connection.execute("set timezone to 'UTC'")
    asked: list[tuple[str, tuple[Any, ...]]] = [
        ("audited_tasks", ("", None, None, 10)),
        ("audited_executions", (["K", "D"], *SPAN)),
        ("counted_runs", (["K", "D"], [0, 0], [9, 9])),
        ("slots_with_work", ("K", *SPAN)),
        ("last_slots", (["K", "D"],)),
    ]
    return [
        sorted(tuple(row) for row in await connection.fetch(statement(name), *values))
        for name, values in asked
    ]


async def count(connection: Connection, table: str) -> int:
    return int(await connection.fetchval(f"select count(*) from {table}"))  # noqa: S608 - a name of this test


async def test_a_month_goes_and_the_ledger_reads_as_before(connection: Connection, postgres_url: str) -> None:
    events = a_year()
    writer = await project(connection, events, batch=7)
    before = await ledger(connection)
    assert [len(rows) for rows in before] == [2, 33, 2, 19, 2]
    assert await count(connection, "executions") == 36

    october = Removal("executions", datetime(2026, 10, 1, tzinfo=UTC))
    assert await writer.has_old(october)
    assert await writer.remove(october) == 17
    assert not await writer.has_old(october)
    assert await ledger(connection) == before
    assert await writer.remove(Removal("executions", NOVEMBER)) == 9
    assert await ledger(connection) == before
    (_, slot, *_), *_ = before[1]
    for at, kept in ((slot, True), (slot + timedelta(seconds=1), False)):
        assert (await connection.fetchrow(statement("kept_slot"), "D", at) is not None) is kept
    assert await count(connection, "executions") == 10
    assert await count(connection, "commands") == 0
    assert await connection.fetchval("select status from executions where completed_at is null") == "running"
    assert (await rebuilding.verify(postgres_url)).differing == []


async def test_a_past_state_tells_no_counts_where_executions_have_gone(
    connection: Connection, postgres_url: str
) -> None:
    """It did tell too many: what had ended since and was removed was taken for what had ended before."""
    writer = await project(connection, a_year())
    database = Database(postgres_url)
    await database.start()
    clock = ManualClock(START_MS + 90 * DAY_MS)
    pasts = TaskPasts(database, TaskViews(database, clock), clock)
    admin = Caller(user_id="admin", roles=frozenset({ADMIN_ROLE}))
    instants = {"september": START_MS + DAY_MS, "november": START_MS + 55 * DAY_MS}

    async def counts() -> dict[str, tuple[int | None, ...]]:
        found = {name: await pasts.at("K", at_ms, admin) for name, at_ms in instants.items()}
        return {
            name: (past.run_count, past.success_count, past.failure_count) for name, past in found.items()
        }

    whole = {"september": (8, 7, 1), "november": (16, 14, 2)}
    assert await counts() == whole
    await writer.remove(Removal("executions", NOVEMBER))
    assert await counts() == whole | {"september": (None, None, None)}
    past = await pasts.at("K", instants["september"], admin)
    assert (past.name, past.last_execution, past.next_run_time) == ("Task K", None, None)
    assert past.not_known is not None
    assert "executions that ended before 2026-11-01T00:00:00.000Z" in past.not_known
    await database.stop()


async def test_what_looks_back_into_removed_executions_is_not_told(
    connection: Connection, postgres_url: str
) -> None:
    """Of an instant after what was removed, too: a task whose last runs have gone told that it had never run."""
    story = Story()
    limited = Interval(every_seconds=60, anchor="2026-09-21T00:00:00.000Z", timezone="UTC", max_runs=9)
    tasks = {name: a_task(name) for name in ("failing", "mended", "resumed", "young", "never")}
    tasks["limited"] = a_task("limited", schedule=limited, runs_left=9)
    young = tasks.pop("young")

    def runs(task: Task, *ends: str) -> None:
        for end in ends:
            run = story.run_of(story.now_ms // 60_000 * 60_000 + len(story.stored) * 60_000)
            story.started(task, run)
            story.executed(task, run, status=end)

    for task in tasks.values():
        story.created(task, command_id=f"create-{task.task_id}")
    for name in ("failing", "mended", "resumed", "limited"):
        runs(tasks[name], "completed", "failed")
    story.now_ms = START_MS + 55 * DAY_MS  # after the beginning of November
    story.created(msgspec.structs.replace(young, created_at=story.now, updated_at=story.now))
    story.updated(
        msgspec.structs.replace(tasks["resumed"], version=2, updated_at=story.now),
        FieldChange(field="paused", old=True, new=False),
    )
    early_ms = story.now_ms
    runs(tasks["failing"], "failed")
    runs(tasks["mended"], "completed", "failed")
    runs(tasks["resumed"], "failed")
    runs(young, "failed")
    late_ms = story.now_ms
    writer = await project(connection, story.stored)
    database = Database(postgres_url)
    await database.start()
    clock = ManualClock(START_MS + 90 * DAY_MS)
    pasts = TaskPasts(database, TaskViews(database, clock), clock)
    admin = Caller(user_id="admin", roles=frozenset({ADMIN_ROLE}))

    async def told(name: str, at_ms: int) -> tuple[Any, ...]:
        past = await pasts.at(name, at_ms, admin)
        assert (past.last_execution is None) is (past.last_run_time is None)
        counts = (past.run_count, past.consecutive_failures, past.runs_left)
        return (
            *counts,
            past.last_run_time is not None,
            past.next_run_time is not None,
            past.not_known is None,
        )

    asked = [
        # Before and after the removal; run_count, in a row, left, a last run, a next run, all known.
        ("failing", early_ms, (2, 1, None, True, True, True), (2, None, None, False, True, False)),
        ("failing", late_ms, (3, 2, None, True, True, True), (3, None, None, True, True, False)),
        ("mended", late_ms, (4, 1, None, True, True, True), (4, 1, None, True, True, True)),
        ("resumed", late_ms, (3, 1, None, True, True, True), (3, 1, None, True, True, True)),
        ("young", late_ms, (1, 1, None, True, True, True), (1, 1, None, True, True, True)),
        ("never", late_ms, (0, 0, None, False, True, True), (0, 0, None, False, True, True)),
        ("limited", late_ms, (2, 1, 7, True, True, True), (2, None, None, False, False, False)),
    ]
    assert [await told(name, at_ms) for name, at_ms, *_ in asked] == [whole for _, _, whole, _ in asked]
    await writer.remove(Removal("executions", NOVEMBER))
    assert [await told(name, at_ms) for name, at_ms, *_ in asked] == [left for *_, left in asked]
    await database.stop()


async def test_tasks_that_are_over_go_when_nothing_of_them_is_left(
    connection: Connection, postgres_url: str
) -> None:
    writer = await project(connection, a_year())
    before = await ledger(connection)
    old = Removal("tasks", NOVEMBER)
    assert not await writer.has_old(old)  # its executions are still there
    await writer.remove(Removal("executions", NOVEMBER))
    assert await writer.has_old(old)
    assert await writer.remove(old) == 1
    assert [row["task_id"] for row in await connection.fetch("select task_id from tasks")] == ["K"]
    assert await count(connection, "task_history") == 1
    assert await ledger(connection) == before
    assert (await rebuilding.verify(postgres_url)).differing == []


async def test_who_has_left_is_counted_when_all_tasks_of_theirs_have_gone(connection: Connection) -> None:
    """Else the share of the users who stay would grow with every removal."""
    story = Story()
    for user in ("stays", "left"):
        story.created(a_task(f"of-{user}", user_id=user))
    story.deleted(a_task("of-left", user_id="left"))
    writer = await project(connection, story.stored)

    async def users() -> tuple[int, int, int]:
        row = await connection.fetchrow(statement("platform_counted"), *SPAN)
        assert row is not None
        return row["users"], row["users_old"], row["users_retained"]

    assert await users() == (1, 2, 1)
    assert await writer.remove(Removal("tasks", NOVEMBER)) == 1
    assert await users() == (1, 2, 1)


async def test_a_rebuild_removes_at_the_same_positions_and_takes_the_place(
    connection: Connection, postgres_url: str
) -> None:
    """An event of October's last execution comes after October has gone, and so it does in the rebuild."""
    events = a_year()
    cut = len(events) - 6
    writer = await project(connection, events[:cut], batch=5)
    await writer.remove(Removal("executions", NOVEMBER))
    await writer.remove(Removal("tasks", NOVEMBER))
    story = Story(first_seq=events[-1].seq + 1, at_ms=START_MS + 80 * DAY_MS)
    late = a_task("K")
    story.executed(late, story.run_of((START_MS + 30 * DAY_MS) // 60_000 * 60_000 + 20 * 60_000))
    story.executed(late, story.run_of(START_MS // 60_000 * 60_000))  # a second ending of one that has gone
    story.created(a_task("D", at_ms=story.now_ms))  # the id is used again
    await project(connection, [*events[cut:], *story.stored], batch=3)
    live = await checksums(connection, "public")
    assert live["retirements"].rows == 2
    assert (await rebuilding.verify(postgres_url)).differing == []
    await connection.execute("delete from kept_slots")
    rebuilt = await rebuilding.replace(postgres_url)
    assert rebuilt.sequence == events[-1].seq + 3
    assert await checksums(connection, "public") == live


async def test_a_removal_comes_between_batches(connection: Connection, postgres_url: str) -> None:
    events = a_year()
    reader = await asyncpg.connect(postgres_url)
    failures: list[BaseException] = []
    writer = ReadModelWriter(connection, await position_of(connection), reader=reader)
    pipeline = WritePipeline(writer, lambda *_: None, failures.append)
    for start in range(0, len(events), 9):
        await pipeline.put(events[start : start + 9])
        await pipeline.remove(Removal("executions", NOVEMBER))
    await pipeline.flush()
    await reader.close()
    assert failures == []
    assert await pipeline.remove(Removal("executions", NOVEMBER)) == 0
    assert (await rebuilding.verify(postgres_url)).differing == []


async def test_a_deposed_projector_removes_nothing(connection: Connection) -> None:
    events = a_year()
    old = await project(connection, events[:20])
    await project(connection, events[20:])
    before = await checksums(connection, "public")
    with pytest.raises(Deposed):
        await old.remove(Removal("executions", NOVEMBER))
    assert await checksums(connection, "public") == before


@pytest.mark.parametrize(
    ("retention", "due"),
    [
        (Retention(), []),
        (Retention(executions=86_400.0), [("executions", datetime(2026, 11, 1, tzinfo=UTC))]),
        (Retention(executions=30 * 86_400.0), [("executions", datetime(2026, 10, 1, tzinfo=UTC))]),
        (Retention(tasks=86_400.0), [("tasks", datetime(2026, 11, 21, tzinfo=UTC))]),
    ],
)
def test_what_is_due(retention: Retention, due: list[tuple[str, datetime]]) -> None:
    now = datetime(2026, 11, 22, 11, 16, tzinfo=UTC)
    assert due_removals(retention, now) == due
    assert due_removals(retention, now + timedelta(hours=1)) == due


def test_tasks_are_looked_through_once_a_day_and_again_when_executions_went() -> None:
    rounds = Rounds(Retention(executions=86_400.0, tasks=86_400.0))
    now = datetime(2026, 11, 22, 11, 16, tzinfo=UTC)

    def round_at(at: datetime, gone: int = 0) -> list[str]:
        """What a round tries, when so many executions go."""
        tried: list[str] = []
        for removal in rounds.due(at):
            if rounds.is_needed(removal):
                rounds.tried(removal, gone if removal.what == "executions" else 0)
                tried.append(removal.what)
        return tried

    assert round_at(now) == ["executions", "tasks"]
    assert round_at(now + timedelta(hours=1)) == ["executions"]
    assert round_at(now + timedelta(hours=2), gone=7) == ["executions", "tasks"]
    assert round_at(now + timedelta(hours=3)) == ["executions"]
    assert round_at(now + timedelta(hours=13)) == ["executions", "tasks"]
