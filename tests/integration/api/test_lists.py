"""Every filter and every order of the lists, over rows that the projector made."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations_with_replacement
from typing import Any

import pytest

from gnomon_api.execution_views import EXECUTION_LISTS
from gnomon_api.queries import Lists, parse_list
from gnomon_api.readmodels.partitions import PartitionKeeper
from gnomon_api.readmodels.writer import Connection
from gnomon_api.task_views import TASK_LISTS
from gnomon_schemas.limits import NAME_MAX_CHARS, USER_ID_MAX_CHARS
from gnomon_schemas.problems import Refused
from gnomon_schemas.tasks import Priority
from tests.integration.api.stories import START_MS, Story, a_task
from tests.integration.api.test_read_models import connection, project

__all__ = ["connection"]

MINUTE_MS = 60_000

TASK_CASES: Sequence[tuple[Mapping[str, str], str]] = (
    ({}, "abcd"),
    ({"status": "scheduled"}, "ac"),
    ({"status": "scheduled,pending,running"}, "abc"),
    ({"status": "paused"}, "d"),
    ({"task_type": "mail"}, "b"),
    ({"task_type": "mail,echo,none"}, "abcd"),
    ({"user_id": "u2"}, "cd"),
    ({"user_id": "u2", "status": "paused,scheduled"}, "cd"),
    ({"tag": "red,blue"}, "abc"),
    ({"priority": "urgent,low"}, "ad"),
    ({"q": "weekly -mails"}, "a"),
    ({"q": "REP"}, "ab"),
    ({"q": '"report of"'}, "a"),
    ({"q": "summar"}, "d"),
    ({"q": "green"}, "d"),
    ({"template_id": "tpl"}, "c"),
    ({"metadata.team": "x"}, "ab"),
    ({"metadata.number": "7,true"}, "cd"),
    ({"created_after": "2026-09-21T14:13:21Z"}, "cd"),
    ({"created_before": "2026-09-21T14:13:21Z"}, "ab"),
    ({"due_after": "2026-10-01T00:00:00Z"}, "b"),
    ({"due_before": "2026-10-01T00:00:00+01:00"}, "a"),
    ({"overdue": "true", "sort": "due_date"}, ""),
    ({"next_run_before": "2026-09-21T13:34:30Z"}, "a"),
)
EXECUTION_CASES: Sequence[tuple[Mapping[str, str], str]] = (
    ({}, "123456"),
    ({"task_id": "B"}, "56"),
    ({"task_id": "A,B,C"}, "123456"),
    ({"status": "completed"}, "1"),
    ({"status": "queued,running,retrying"}, "456"),
    ({"status": "failed,running"}, "25"),
    ({"status": "running", "task_id": "B"}, "5"),
    ({"user_id": "u2"}, "56"),
    ({"task_type": "mail"}, "56"),
    ({"trigger": "manual"}, "4"),
    ({"trigger": "schedule"}, "12356"),
    ({"executor": "x3,x9"}, "5"),
    ({"scheduled_after": "2026-09-21T14:15:00Z"}, "356"),
    ({"scheduled_before": "2026-09-21T14:16:00Z", "status": "completed,failed"}, "12"),
)


async def told_tasks(connection: Connection) -> None:
    story = Story()
    late = START_MS + 3 * MINUTE_MS
    week = {"team": "x", "number": 1}
    made = [
        a_task(
            "a",
            name="Weekly report of sales",
            tags=("red",),
            priority=Priority.URGENT,
            metadata=week,
            due_date="2026-09-30T00:00:00Z",
        ),
        a_task(
            "b",
            name="Weekly reports as mails",
            tags=("blue",),
            task_type="mail",
            schedule=None,
            metadata=week,
            due_date="2026-10-02T00:00:00Z",
        ),
        a_task(
            "c", at_ms=late, user_id="u2", tags=("red", "blue"), metadata={"number": 7}, template_id="tpl"
        ),
        a_task(
            "d",
            at_ms=late,
            user_id="u2",
            tags=("green",),
            metadata={"number": True},
            priority=Priority.LOW,
            description="a summary",
        ),
    ]
    for task in made:
        story.created(task)
    story.status_changed(made[3], "scheduled", "paused")
    gone = a_task("gone", tags=("red",))
    story.created(gone)
    story.deleted(gone)
    await project(connection, story.stored)
    await connection.execute("update tasks set next_run_time = '2026-09-21T13:34:00Z' where task_id = 'a'")


async def told_executions(connection: Connection) -> None:
    story = Story()
    first, second = a_task("A"), a_task("B", user_id="u2", task_type="mail")
    for task in (first, second):
        story.created(task)
    slots = [story.run_of(START_MS // MINUTE_MS * MINUTE_MS + number * MINUTE_MS) for number in range(1, 5)]
    story.started(first, slots[0])
    story.executed(first, slots[0])
    story.started(first, slots[1], executor="x2")
    story.executed(first, slots[1], status="failed")
    story.skipped(first, slots[2])
    story.queued(first, "r-4")
    story.started(second, slots[2], executor="x3")
    story.started(second, slots[3])
    story.retrying(second, slots[3])
    await project(connection, story.stored)


async def listed(
    connection: Connection, lists: Lists, asked: Mapping[str, str], *, limit: int = 2
) -> list[Mapping[str, Any]]:
    """All items, page by page."""
    found: list[Mapping[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        query = parse_list(lists, [*asked.items(), ("limit", str(limit)), *cursor.items()])
        page = query.page(await connection.fetch(query.sql, *query.values))
        found += [dict(row) for row in page.rows]
        if page.next_cursor is None:
            return found
        cursor = {"cursor": page.next_cursor}


async def test_every_filter_of_tasks_in_every_order(connection: Connection) -> None:
    await told_tasks(connection)
    tried = {name.split(".", maxsplit=1)[0] for asked, _ in TASK_CASES for name in asked}
    assert tried - {"sort"} == set(TASK_LISTS.filters)
    for asked, expected in TASK_CASES:
        found = "".join(sorted(row["task_id"] for row in await listed(connection, TASK_LISTS, asked)))
        if "overdue" not in asked:  # it asks the database's clock, which is not the story's
            assert found == expected, asked
    for order in TASK_LISTS.sorts:
        whole = await listed(connection, TASK_LISTS, {"sort": order})
        assert whole == sorted(whole, key=lambda row: _key(row, order, "task_id"))
        back = await listed(connection, TASK_LISTS, {"sort": f"-{order}"})
        assert back == whole[::-1]


async def test_every_filter_of_executions_in_every_order(connection: Connection) -> None:
    await told_executions(connection)
    rows = await listed(connection, EXECUTION_LISTS, {"sort": "recorded_at"})
    numbers = {row["execution_id"]: str(number) for number, row in enumerate(rows, start=1)}
    assert {name for asked, _ in EXECUTION_CASES for name in asked} == set(EXECUTION_LISTS.filters)
    for asked, expected in EXECUTION_CASES:
        found = [numbers[row["execution_id"]] for row in await listed(connection, EXECUTION_LISTS, asked)]
        assert "".join(sorted(found)) == expected, asked
    for order in EXECUTION_LISTS.sorts:
        whole = await listed(connection, EXECUTION_LISTS, {"sort": order})
        assert whole == sorted(whole, key=lambda row: _key(row, order, "execution_id"))
        assert await listed(connection, EXECUTION_LISTS, {"sort": f"-{order}"}) == whole[::-1]


async def test_filters_together_find_what_each_of_them_leaves(connection: Connection) -> None:
    """Rows of all kinds, hours late, of no slot, and in flight among them, at random; every filter and every pair of
    them in every order."""
    chance = random.Random(1)
    half_hour = timedelta(minutes=30)
    rows = []
    for number in range(90):
        at = datetime(2026, 9, 1, tzinfo=UTC) + chance.randrange(96) * half_hour
        slot = chance.choice((at, at, at, at - timedelta(days=20), None))
        recorded = at + chance.choice((timedelta(0), timedelta(seconds=3), 9 * half_hour))
        began = chance.choice((None, recorded + timedelta(seconds=chance.randrange(900))))
        ended = chance.choice((None, *[recorded + timedelta(minutes=chance.randrange(50))] * 3))
        status = "running" if ended is None else chance.choice(("completed", "failed", "skipped"))
        task, kind = chance.choice(("A", "B")), chance.choice(("schedule", "manual"))
        rows.append(
            (
                f"{task}.{number}",
                task,
                chance.choice(("u1", "u2")),
                status,
                kind,
                slot,
                recorded,
                began,
                ended,
            )
        )
    await PartitionKeeper(connection).months("executions_ended", [row[6] for row in rows])
    await connection.executemany(
        """insert into executions (execution_id, task_id, run, user_id, partition, status, trigger, attempt, attempts,
               result_truncated, credits_consumed, tokens_used, api_calls_made, seq, scheduled_for, recorded_at,
               started_at, completed_at)
           values ($1, $2, $1, $3, 0, $4, $5, 1, '[]', false, 0, 0, 0, 1, $6, $7, $8, $9)""",
        rows,
    )
    early, late = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    noon, midnight = datetime(2026, 9, 1, 12, tzinfo=UTC), datetime(2026, 9, 2, tzinfo=UTC)
    asked: dict[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = {
        "task_id": ("A,B", lambda row: True),
        "user_id": ("u1", lambda row: row["user_id"] == "u1"),
        "status": ("failed,running", lambda row: row["status"] in {"failed", "running"}),
        "trigger": ("schedule", lambda row: row["trigger"] == "schedule"),
        "scheduled_after": ("2026-09-01T12:00:00Z", lambda row: (row["scheduled_for"] or early) > noon),
        "scheduled_before": ("2026-09-02T00:00:00Z", lambda row: (row["scheduled_for"] or late) < midnight),
    }
    everything = await listed(connection, EXECUTION_LISTS, {}, limit=200)
    assert len(everything) == len(rows)
    for (first, (one, holds)), (second, (other, also)) in combinations_with_replacement(asked.items(), 2):
        kept = [row for row in everything if holds(row) and also(row)]
        for order in EXECUTION_LISTS.sorts:
            kept.sort(key=lambda row: _key(row, order, "execution_id"))
            filters = {first: one, second: other}
            found = await listed(connection, EXECUTION_LISTS, {**filters, "sort": order}, limit=7)
            assert found == kept, (filters, order)
            found = await listed(connection, EXECUTION_LISTS, {**filters, "sort": f"-{order}"}, limit=7)
            assert found == kept[::-1], (filters, order)


async def test_a_tag_of_any_characters_is_found_and_no_part_of_one(connection: Connection) -> None:
    story = Story()
    tags = ('a"b', "a\\", '", "', "[", "]", "[]", "🕒 é", "a/b", "tab\tor", "a", "{x}", "null")
    story.created(a_task("all", tags=tags))
    story.created(a_task("none", tags=()))
    for number, tag in enumerate(tags):
        story.created(a_task(f"t{number}", tags=("first", tag)))
    await project(connection, story.stored)
    for number, tag in enumerate(tags):
        if "," not in tag:
            found = [row["task_id"] for row in await listed(connection, TASK_LISTS, {"tag": tag})]
            assert sorted(found) == ["all", f"t{number}"], tag
    assert len(await listed(connection, TASK_LISTS, {"tag": "first,a"})) == len(tags) + 1
    for part in ("b", "x", "irst", '"'):
        assert await listed(connection, TASK_LISTS, {"tag": part}) == [], part


async def test_bounds_at_the_ends_of_time_are_no_bounds(connection: Connection) -> None:
    await told_executions(connection)
    after, before = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
    for order in ("scheduled_for", "started_at", "-completed_at"):
        for asked in ({"scheduled_before": before}, {"scheduled_after": after, "scheduled_before": before}):
            assert len(await listed(connection, EXECUTION_LISTS, {**asked, "sort": order})) == 6, (
                asked,
                order,
            )
            none = {"scheduled_after": before, "scheduled_before": after, "sort": order}
            assert await listed(connection, EXECUTION_LISTS, none) == []


def test_a_cursor_that_is_not_ours_is_refused() -> None:
    wrong = (
        ["-recorded_at", "2026-01-01T00:00:00+00:00", "A.\x00"],
        ["-recorded_at", "2026-W01-1T00:00:00+00:00", "A.1"],
        ["-recorded_at", "2026-01-01T00:00:00", "A.1"],
        ["-recorded_at", "0001-01-01T00:00:00+14:00", "A.1"],
        ["-recorded_at", "now", "A.1"],
        ["-recorded_at", "2026-01-01T00:00:00+00:00"],
        ["started_at", "2026-01-01T00:00:00+00:00", "A.1"],
    )
    for parts in wrong:
        cursor = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
        with pytest.raises(Refused, match="cursor"):
            parse_list(EXECUTION_LISTS, [("cursor", cursor)])
    with pytest.raises(Refused, match="cursor"):
        parse_list(EXECUTION_LISTS, [("cursor", "no cursor")])


def _key(row: Mapping[str, Any], order: str, key: str) -> tuple[bool, Any, Any]:
    """What has none is at the end; what never started is where it was recorded."""
    value = row[order]
    if order == "started_at" and value is None:
        value = row["recorded_at"]
    return (value is None, value or 0, row[key])


async def test_the_longest_names_of_four_bytes_a_character_fit_into_the_orders_indexes(
    connection: Connection,
) -> None:
    story = Story()
    story.created(
        a_task(
            "t" * 64,
            name="\U0001f552" * NAME_MAX_CHARS,
            user_id="\U0001f464" * USER_ID_MAX_CHARS,
            task_type="y" * 64,
        )
    )
    await project(connection, story.stored)
    assert len(await listed(connection, TASK_LISTS, {"sort": "name"})) == 1
