"""Handlers' lines in the process's own log: each as it was told, many in one write, and nothing fails for them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import pytest_asyncio
import structlog

from gnomon_core.runtime.logs import configure_logging
from gnomon_executor import process_log
from gnomon_executor.handler_log import AttemptLog, LogLine
from gnomon_executor.process_log import ProcessLog
from tests.harness.attempts import an_attempt
from tests.harness.waiting import until


class Out(io.StringIO):
    """Counts what is written, and may be broken."""

    writes = 0
    broken = False

    def write(self, text: str) -> int:
        """As a file's."""
        if self.broken:
            raise BrokenPipeError
        self.writes += 1
        return super().write(text)

    def lines(self) -> list[dict[str, object]]:
        """What was logged."""
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def out() -> Iterator[Out]:
    """The process's log."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = Out()
    configure_logging("info", "json", process="executor", stream=out)
    yield out
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest_asyncio.fixture
async def told(out: Out) -> AsyncIterator[ProcessLog]:
    """One that runs."""
    log = ProcessLog()
    await log.start()
    yield log
    await log.stop()


async def test_a_line_is_told_as_it_was_with_its_own_time(told: ProcessLog, out: Out) -> None:
    attempt = an_attempt()
    put = told.sink(attempt)
    details = msgspec.Raw(b'{"page":7,"event":"theirs","exc_info":true,"self":1,"level":"theirs"}')
    put(LogLine(1_790_000_000_500, "debug", "not told: the process's level is info"))
    put(LogLine(1_790_000_000_500, "warning", "half \u2013 done", details))
    await until(lambda: bool(out.getvalue()))
    (line,) = out.lines()
    assert line == {
        "execution_id": attempt.due.execution_id,
        "task_id": attempt.due.task_id,
        "attempt": attempt.due.attempt,
        "page": 7,
        "event_": "theirs",
        "exc_info_": True,
        "self": 1,
        "event": "half \u2013 done",
        "level": "warning",
        "process": "executor",
        "timestamp": "2026-09-21T14:13:20.500Z",
    }


async def test_many_lines_are_one_write_in_their_order(told: ProcessLog, out: Out) -> None:
    put = told.sink(an_attempt())
    for number in range(100):
        put(LogLine(0, "info", str(number)))
    await told.stop()
    assert [line["event"] for line in out.lines()] == [str(number) for number in range(100)]
    assert out.writes <= 5
    put(LogLine(0, "info", "late"))
    assert out.lines()[-1]["event"] == "late"


async def test_beyond_what_is_held_whoever_logs_writes(
    told: ProcessLog, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(process_log, "HELD_MAX", 10)
    put = told.sink(an_attempt())
    for number in range(12):
        put(LogLine(0, "info", str(number)))
    assert len(out.lines()) >= 11, "it waits for a log that does not keep up, and loses nothing"
    await told.stop()
    assert len(out.lines()) == 12


async def test_a_log_that_is_gone_fails_nothing(told: ProcessLog, out: Out) -> None:
    out.broken = True
    put = told.sink(an_attempt())
    put(LogLine(0, "info", "lost"))
    await until(lambda: not told._held)
    out.broken = False
    await asyncio.to_thread(put, LogLine(0, "info", "told"))
    await told.stop()
    assert [line["event"] for line in out.lines()] == ["told"]


async def test_details_that_are_no_json_within_lose_no_line(told: ProcessLog, out: Out) -> None:
    log = AttemptLog(told.sink(an_attempt()), lambda: 0)
    log.info("before")
    log.info("passed on", answer=msgspec.Raw(b'{"cut": '))
    log.info("after")
    await told.stop()
    before, passed, after = out.lines()
    assert (before["event"], after["event"]) == ("before", "after")
    assert "no JSON" in str(passed["note"])


async def test_a_line_put_while_it_ends_is_told(
    told: ProcessLog, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, write = told.sink(an_attempt()), told._write

    def write_and_end() -> None:
        write()
        if not told._ending.is_set():
            put(LogLine(0, "info", "between the last write and the end"))
            told._ending.set()

    monkeypatch.setattr(told, "_write", write_and_end)
    put(LogLine(0, "info", "first"))
    await asyncio.to_thread(told._thread.join, 5)
    assert [line["event"] for line in out.lines()] == ["first", "between the last write and the end"]


async def test_whoever_writes_for_others_goes_on_at_its_own_time(
    told: ProcessLog, out: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure_logging("info", "console", process="executor", stream=out)
    monkeypatch.setattr(process_log, "_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(process_log, "HELD_MAX", 1)
    put = told.sink(an_attempt())
    for number in range(3):
        put(LogLine(0, "info", f"line {number}"))
    structlog.get_logger().info("its own")
    own = out.getvalue().splitlines()[-1]
    assert "its own" in own
    assert "execution_id" not in own
    assert not own.startswith("1970")
