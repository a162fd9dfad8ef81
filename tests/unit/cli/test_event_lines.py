"""Every kind of event, as the services write it, becomes one line that tells what matters."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_cli.event_lines import Line, TaskNames, event_lines
from gnomon_schemas import events
from gnomon_schemas.problems import Code, FieldError, problem
from gnomon_schemas.samples import samples
from gnomon_schemas.schedules import Interval
from gnomon_schemas.tasks import TaskStatus, Trigger

_OF_TASK: dict[str, Any] = {
    "task_id": "t1",
    "user_id": None,
    "partition": 3,
    "occurred_at": "2026-09-21T09:00:01.500Z",
}
_OF_RUN: dict[str, Any] = {
    **_OF_TASK,
    "execution_id": "t1.20260921T090000Z",
    "run": "20260921T090000Z",
    "task_type": "echo",
    "attempt": 1,
    "trigger": Trigger.SCHEDULE,
    "scheduled_for": "2026-09-21T09:00:00.000Z",
    "due_at": "2026-09-21T09:00:00.000Z",
    "revision": 1,
}
_FAULT = events.ErrorInfo(type="ConnectError", message="refused\nby peer")
_EXECUTED: dict[str, Any] = {
    "started_at": "2026-09-21T09:00:00.012Z",
    "completed_at": "2026-09-21T09:00:01.262Z",
    "executed_at": "2026-09-21T09:00:01.262Z",
    "duration_ms": 1250,
    "credits_consumed": 0,
    "tokens_used": 0,
    "api_calls_made": 0,
    "executor": "e1",
    "result": None,
}


def _line(event: events.Event) -> str:
    names = TaskNames()
    names.remember("t1", "Nightly report")
    found = event_lines(events.event_name(event), msgspec.json.decode(msgspec.json.encode(event)), names)
    return "\n".join(_text(line) for line in found)


def _text(line: Line) -> str:
    return "".join(part if isinstance(part, str) else part[0] for part in line)


def test_a_result_tells_how_late_it_was_and_how_long_it_took() -> None:
    line = _line(events.Executed(**_OF_RUN, **_EXECUTED, status="completed", error=None))
    assert line.split() == (
        [
            line.split()[0],
            "executed",
            "Nightly",
            "report",
            "20260921T090000Z",
            "late",
            "12",
            "ms",
            "took",
            "1.25",
            "s",
        ]
    )


def test_a_failed_result_tells_why_in_one_line() -> None:
    line = _line(events.Executed(**_OF_RUN, **_EXECUTED, status="failed", error=_FAULT))
    assert "failed" in line
    assert line.endswith("ConnectError: refused by peer")


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            events.Retrying(
                **_OF_RUN,
                retry_at="2026-09-21T09:00:06.500Z",
                error=_FAULT,
                executor="e1",
                started_at="2026-09-21T09:00:00.012Z",
                first_started_at="2026-09-21T09:00:00.012Z",
                duration_ms=10,
            ),
            "attempt 1 failed  again in 5 s\n" + " " * 27 + "ConnectError: refused by peer",
        ),
        (
            events.Skipped(
                **_OF_TASK,
                reason="paused",
                revision=1,
                count=7,
                from_="2026-09-21T08:00:00.000Z",
                to="2026-09-21T09:00:00.000Z",
                run="_",
            ),
            "paused  7 slots from 2026-09-21 08:00:00Z to 2026-09-21 09:00:00Z",
        ),
        (
            events.Coalesced(
                **_OF_TASK, reason="catch_up", revision=1, run="20260921T090000Z", into="20260921T091000Z"
            ),
            "catch_up  into 20260921T091000Z",
        ),
        (events.Missed(**_OF_TASK, reason="expired", revision=1, run="20260921T090000Z"), "expired"),
        (events.Queued(**_OF_RUN, reason="manual"), "manual"),
        (
            events.StatusChanged(
                **_OF_TASK,
                old_status=TaskStatus.SCHEDULED,
                new_status=TaskStatus.PAUSED,
                reason="pause",
                changed_at="2026-09-21T09:00:01.500Z",
            ),
            "scheduled -> paused  pause",
        ),
        (
            events.Rejected(
                **_OF_TASK,
                verb="create",
                error=problem(
                    Code.INVALID, "bad", FieldError(pointer="#/name", code="required", message="is missing")
                ),
            ),
            "create\n" + " " * 27 + "#/name is missing",
        ),
        (events.DeadLettered(**_OF_RUN, reason="crash_loop", error=None), "crash_loop"),
        (events.Unchanged(**_OF_TASK, verb="pause"), "pause"),
        (events.Deleted(**_OF_TASK, deleted_at="2026-09-21T09:00:01.500Z", version=2), "deleted"),
    ],
)
def test_each_event_tells_what_is_particular_to_it(event: events.Event, words: str) -> None:
    line = _line(event)
    assert words in line


def test_a_creation_tells_type_and_schedule() -> None:
    created = {
        **_OF_TASK,
        "name": "n",
        "task_type": "echo",
        "schedule": msgspec.to_builtins(Interval(every_seconds=5)),
    }
    (line,) = event_lines("created", created, TaskNames())
    assert line[-1] == "echo  every 5 s"


def test_names_are_learned_from_events_that_carry_the_task_and_the_oldest_forgotten() -> None:
    names = TaskNames()
    names.learn({"task_id": "t1", "task": {"name": "One"}})
    assert names.find("t1") == "One"
    for number in range(10_000):
        names.remember(f"x{number}", "x")
    assert names.find("t1") is None


def test_control_characters_of_others_do_not_reach_the_terminal() -> None:
    line = _line(
        events.Executed(
            **_OF_RUN, **_EXECUTED, status="failed", error=events.ErrorInfo(type="E", message="\x1b[2Jgone")
        )
    )
    assert "\x1b" not in line


def test_an_event_with_hardly_anything_in_it_is_a_line_too() -> None:
    (line,) = event_lines("executed", {}, TaskNames())
    assert _text(line).startswith("--:--")


def test_a_new_calendar_tells_what_changed_and_how_many_slots_move() -> None:
    event = samples()["task.replanned"]
    assert isinstance(event, events.Replanned)
    line = _line(event)
    assert "zone-Asia/Manila changed" in line
    assert "217 slots gone, 217 new" in line
    assert line.split()[-1] == "on"
