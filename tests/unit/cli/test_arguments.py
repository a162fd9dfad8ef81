"""What the command line takes, and how it says what it does not take."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gnomon_cli.__main__ import main
from gnomon_cli.errors import UsageError
from gnomon_cli.event_commands import filters
from gnomon_cli.parser import build_parser
from gnomon_cli.process_commands import executor_environment
from gnomon_cli.task_input import patch_body, task_body


def _create(*flags: str) -> dict[str, object]:
    return task_body(build_parser().parse_args(["task", "create", *flags]))


def test_flags_become_the_body_of_a_task() -> None:
    body = _create(
        *("--id", "t1", "--name", "Report", "--type", "http_request", "--config", '{"url": "http://x"}'),
        *("--cron", "0 9 * * *", "--timezone", "Europe/Berlin", "--overlap", "queue", "--timeout", "5m"),
        *("--tag", "a", "--tag", "b", "--attempts", "3", "--catch-up", "skip", "--jitter", "1.5"),
    )
    assert body == {
        "task_id": "t1",
        "name": "Report",
        "task_type": "http_request",
        "config": {"url": "http://x"},
        "schedule": {
            "kind": "cron",
            "expression": "0 9 * * *",
            "timezone": "Europe/Berlin",
            "jitter_seconds": 1.5,
        },
        "overlap": "queue",
        "timeout_seconds": 300,
        "tags": ["a", "b"],
        "retry": {"max_attempts": 3},
        "catch_up": {"policy": "skip"},
    }


def test_every_and_at_become_their_kinds_and_nothing_becomes_no_schedule() -> None:
    assert _create("--name", "n", "--type", "echo", "--every", "2h")["schedule"] == {
        "kind": "interval",
        "every_seconds": 7200,
    }
    assert _create("--name", "n", "--type", "echo", "--at", "2026-09-21T09:00:00Z")["schedule"] == {
        "kind": "once",
        "at": "2026-09-21T09:00:00Z",
    }
    assert "schedule" not in _create("--name", "n", "--type", "echo")


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    stored = {"name": "Old", "task_type": "echo", "schedule": {"kind": "interval", "every_seconds": 5}}
    file.write_text(json.dumps(stored))
    body = _create("--file", str(file), "--name", "New", "--timezone", "Asia/Tokyo")
    assert body["name"] == "New"
    assert body["schedule"] == {"kind": "interval", "every_seconds": 5, "timezone": "Asia/Tokyo"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--name", "n"], "needs --type"),
        (["--type", "echo"], "needs --name"),
        (
            ["--name", "n", "--type", "echo", "--every", "5s", "--cron", "* * * * *"],
            "--cron and --every exclude",
        ),
        (["--name", "n", "--type", "echo", "--timezone", "UTC"], "no schedule"),
        (["--name", "n", "--type", "echo", "--config", "{url: 1}"], "'{url: 1}' is not JSON"),
        (["--name", "n", "--type", "echo", "--config", "@/nowhere.json"], "cannot read /nowhere.json"),
        (["--file", "/nowhere.json"], "--file: cannot read /nowhere.json"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        _create(*flags)
    assert words in refused.value.message
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("schedule", ["every 5 minutes", "*/5 * * * *", '"daily"', "[1]"])
def test_a_schedule_that_is_no_json_is_told_of_the_flags_that_are_meant(schedule: str) -> None:
    with pytest.raises(UsageError) as refused:
        _create("--name", "n", "--type", "echo", "--schedule", schedule)
    assert refused.value.message.startswith("--schedule")
    for flag in ("--every", "--cron", "--daily", "--at"):
        assert flag in refused.value.hint


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tsk"], "did you mean 'task'?"),
        (["task", "lst"], "did you mean 'list'?"),
        (["tsk"], "there is no command 'tsk': allowed are up, "),
        (["up", "--dmeo"], "did you mean '--demo'?"),
        (["task", "create", "--nmae", "x"], "there is no flag '--nmae'"),
        (["task", "create", "--nmae", "x"], "`gnomon task create --help`"),
        (["task", "run", "x", "--wiat=3"], "did you mean '--wait'?"),
        (["task", "create", "--every", "soon"], "'soon' is not a duration such as 30s"),
        (["task", "create", "--overlap", "maybe"], "invalid choice: 'maybe'"),
        (["up", "--schedulers", "two"], "invalid int value: 'two'"),
        (["task"], "`gnomon task --help`"),
    ],
)
def test_arguments_that_are_not_understood_end_with_2_and_help(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--schedulers", "0"], "--schedulers is 0: allowed is 1 to 16"),
        (["--executors", "99"], "--executors is 99: allowed is 0 to 16"),
        (["--http-port", "70000"], "is 70000: allowed is 1 to 65535"),
        (["--demo", "--executors", "0"], "--demo needs an executor"),
        (["--reload"], "--reload watches the modules of --tasks"),
    ],
)
def test_up_refuses_what_cannot_be_before_it_makes_a_folder(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    assert main(["up", "--data", str(folder), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not folder.exists()


def test_everything_that_can_be_given_is_explained() -> None:
    """`--help` of each command says of each argument what it is."""

    def silent(parser: argparse.ArgumentParser) -> Iterator[str]:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for below in action.choices.values():
                    yield from silent(below)
            elif not action.help:
                yield f"{parser.prog} {action.option_strings or action.dest}"

    assert list(silent(build_parser())) == []


def test_without_a_command_it_prints_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "gnomon up --demo" in capsys.readouterr().out


def test_the_flags_of_an_executor_become_its_environment() -> None:
    options = build_parser().parse_args(
        [
            "executor",
            "--tasks",
            "mine",
            "yours.tasks",
            "--tasks",
            "theirs",
            "--pools",
            "mail,web",
            "--concurrency",
            "7",
        ]
    )
    environ = {"GNOMON_EXECUTOR_POOLS": "default", "OTHER": "kept"}
    executor_environment(options, environ)
    assert environ == {
        "GNOMON_EXECUTOR_TASKS": "mine,yours.tasks,theirs",
        "GNOMON_EXECUTOR_POOLS": "mail,web",
        "GNOMON_EXECUTOR_CONCURRENCY": "7",
        "OTHER": "kept",
    }


def test_flags_that_are_not_given_leave_the_environment_alone() -> None:
    environ = {"GNOMON_EXECUTOR_TASKS": "mine"}
    executor_environment(argparse.Namespace(tasks=[], pools=None, concurrency=None), environ)
    assert environ == {"GNOMON_EXECUTOR_TASKS": "mine"}


@pytest.mark.parametrize("last", ["0", "-1"])
def test_no_events_cannot_be_asked_for(last: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "--last", last, "--url", "http://127.0.0.1:1"]) == 2
    assert f"--last is {last}: allowed is a whole number, from 1" in capsys.readouterr().err


def test_a_file_that_cannot_be_imported_is_named_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = tmp_path / "strange.ics"
    strange.write_bytes(b"\xff\xfe")
    for file, words in (
        (tmp_path / "none.ics", "No such file or directory"),
        (strange, "it is not text in UTF-8"),
    ):
        assert main(["calendar", "import", str(file), "--all-tasks", "--url", "http://127.0.0.1:1"]) == 2
        assert f"error: {file} cannot be read: {words}" in capsys.readouterr().err


def test_filters_of_events_are_names_and_fields() -> None:
    assert filters(["executed,failed", "task.skipped", "task_id=t1"]) == {
        "event": "executed,failed,skipped",
        "task_id": "t1",
    }
    with pytest.raises(UsageError, match="there is no event 'exploded'"):
        filters(["exploded"])


def test_up_refuses_a_port_of_the_environment_that_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GNOMON_HTTP_PORT", "eighty")
    assert main(["up", "--data", str(tmp_path / "data")]) == 2
    assert "GNOMON_HTTP_PORT is 'eighty': allowed is 1 to 65535" in capsys.readouterr().err


def test_up_says_which_file_of_its_folder_is_in_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nats").write_text("no folder")
    assert main(["up", "--data", str(tmp_path)]) == 1
    assert f"error: {tmp_path / 'nats'}" in capsys.readouterr().err


def _update(*flags: str) -> dict[str, object]:
    return patch_body(build_parser().parse_args(["task", "update", "t1", *flags]))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--daily", "09:00"], {"schedule": {"kind": "daily", "time": "09:00"}}),
        (["--timezone", "Asia/Tokyo"], {"schedule": {"timezone": "Asia/Tokyo"}}),
        (["--max-runs", "3"], {"schedule": {"max_runs": 3}}),
        (["--attempts", "3"], {"retry": {"max_attempts": 3}}),
        (["--on-demand", "--name", "By hand"], {"name": "By hand", "schedule": None}),
        (
            ["--schedule", '{"kind": "daily", "time": "02:30"}', "--timezone", "Europe/Berlin"],
            {"schedule": {"kind": "daily", "time": "02:30", "timezone": "Europe/Berlin"}},
        ),
    ],
)
def test_flags_become_the_change_of_a_task(flags: list[str], expected: dict[str, object]) -> None:
    assert _update(*flags) == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nothing is to be changed"),
        (["--daily", "09:00", "--every", "5s"], "exclude each other"),
        (["--daily", "09:00", "--schedule", "{}"], "exclude each other"),
        (["--on-demand", "--daily", "09:00"], "--on-demand takes the schedule away"),
        (["--schedule", "[]"], "allowed is a JSON object"),
    ],
)
def test_changes_that_contradict_themselves_are_refused(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _update(*flags)


def test_when_something_is_due_and_people_are_reminded_is_an_instant_or_so_far_off() -> None:
    flags = [
        "task",
        "create",
        "--name",
        "Milk",
        "--type",
        "todo",
        "--due",
        "2026-09-21T18:00:00Z",
        "--remind",
        "2h",
    ]
    before = datetime.now(UTC)
    body = task_body(build_parser().parse_args(flags))
    assert body["due_date"] == "2026-09-21T18:00:00Z"
    away = datetime.fromisoformat(body["reminder_time"]) - before
    assert timedelta(hours=2) <= away < timedelta(hours=2, minutes=1)
