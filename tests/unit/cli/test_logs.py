"""Which lines of a log are shown in the terminal of `gnomon up`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gnomon_cli.up.log_watch import LogWatch, begin_log, last_words, read_warning


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            '{"event": "lease.lost", "level": "warning", "partition": 3, "timestamp": "x"}',
            ("warning", "lease.lost partition=3"),
        ),
        (
            '{"event": "boom", "level": "error", "exception": "Traceback\\n  x\\nValueError: no"}',
            ("error", "boom ValueError: no"),
        ),
        (
            '{"event": "boom", "level": "error", "exception": [{"exc_type": "OSError", "exc_value": "a"}]}',
            ("error", "boom OSError: a"),
        ),
        ('{"event": "fine", "level": "info"}', None),
        ('{"cut off', None),
        (
            "2026-09-21T09:00:00Z [warning  ] lease.lost        partition=3",
            ("warning", "lease.lost partition=3"),
        ),
        ("2026-09-21T09:00:00Z \x1b[31m[error    ]\x1b[0m boom", ("error", "boom")),
        ("2026-09-21T09:00:00Z [info     ] fine", None),
        ("print of somebody's handler", None),
    ],
)
def test_warnings_and_errors_are_found_in_both_log_formats(line: str, shown: tuple[str, str] | None) -> None:
    assert read_warning(line) == shown


async def test_a_watch_tells_what_is_written_after_it_began_and_sums_up_a_flood(tmp_path: Path) -> None:
    log = tmp_path / "executor-1.log"
    log.write_text('{"event": "old", "level": "error"}\n')
    told: list[str] = []
    arrived = asyncio.Event()

    def tell(text: str, style: str) -> None:
        told.append(text)
        arrived.set()

    watch = LogWatch(tell)
    watch.add("executor-1", log)
    with log.open("a") as file:
        for number in range(10):
            file.write(json.dumps({"event": f"odd {number}", "level": "warning"}) + "\n")
        file.write('{"event": "half a line", "le')
    watch.start()
    async with asyncio.timeout(5):
        await arrived.wait()
    with log.open("a") as file:
        file.write('vel": "error"}\n')
    await watch.stop()
    assert told == [
        *(f"executor-1 warning: odd {number}" for number in range(4)),
        f"executor-1: 6 more warnings and errors in {log}",
        "executor-1 error: half a line",
    ]


def test_a_new_run_begins_an_empty_log_and_keeps_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    begin_log(log)
    log.write_text("first run")
    begin_log(log)
    assert log.read_text() == ""
    assert (tmp_path / "api.log.1").read_text() == "first run"


def test_last_words_are_what_is_wrong_and_what_is_no_log_line_of_this_run(tmp_path: Path) -> None:
    log = tmp_path / "executor-1.log"
    before = '{"event": "of the run before", "level": "error"}\n'
    log.write_text(
        before + '{"event": "fine", "level": "info"}\n\n2026-09-21T09:00:00Z [info     ] fine\n'
        '{"event": "odd", "level": "warning"}\ngnomon executor: GNOMON_ACK_WAIT=\'x\': a duration\n'
    )
    assert last_words(log, len(before)) == [
        "warning: odd",
        "gnomon executor: GNOMON_ACK_WAIT='x': a duration",
    ]
