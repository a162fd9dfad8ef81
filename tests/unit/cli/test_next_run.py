"""What `gnomon task create` and its like say of what comes next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gnomon_cli.task_tables import next_run, task_row

SOON = (datetime.now(UTC) + timedelta(hours=2, minutes=30)).isoformat()
DAY = SOON[:10]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"task_type": "echo"}, "runs on demand: gnomon task run t"),
        ({"task_type": "echo", "schedule": {"kind": "once", "at": SOON}}, "no run is planned"),
        ({"task_type": "echo", "status": "paused"}, "no run is planned"),
        ({"task_type": "todo", "status": "completed", "due_date": SOON}, "nothing is planned"),
        ({"task_type": "todo"}, "done once you say so: gnomon task complete t"),
        ({"task_type": "todo", "due_date": SOON}, f"due {DAY}"),
        ({"task_type": "todo", "due_date": SOON, "reminder_time": SOON}, ", reminder "),
        (
            {"task_type": "echo", "next_run_time": SOON, "schedule": {"kind": "once", "at": SOON}},
            "runs in 2 h",
        ),
    ],
)
def test_what_comes_next_is_told_as_it_is(task: dict[str, Any], said: str) -> None:
    assert said in next_run({"task_id": "t", "status": "pending"} | task)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"due_date": SOON, "reminder_time": SOON}, "due in 2 h"),
        ({"reminder_time": SOON}, "reminder in 2 h"),
        ({"reminder_time": SOON, "next_run_time": SOON}, "in 2 h"),
        ({"due_date": SOON, "status": "completed"}, "-"),
        ({}, "-"),
    ],
)
def test_a_list_tells_when_what_runs_nothing_is_due(task: dict[str, Any], said: str) -> None:
    row = task_row({"task_id": "t", "name": "T", "task_type": "todo", "status": "pending"} | task)
    assert str(row[5]).startswith(said)
