"""Lines on their way: while nothing is taken they wait, up to a limit, and what was lost is said."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gnomon_core.runtime.bus import Bus, NotCommitted, PubAck
from gnomon_executor import run_logs
from gnomon_executor.attempt import Attempt
from gnomon_executor.handler_log import LogLine
from gnomon_executor.run_logs import RunLogs
from gnomon_schemas.codec import decode
from gnomon_schemas.run_logs import RunLogLines
from tests.harness.attempts import an_attempt
from tests.harness.waiting import until


class Moody:
    """A bus that takes lines only when told to."""

    def __init__(self) -> None:
        self.willing = asyncio.Event()
        self.refused = asyncio.Event()
        self.took = asyncio.Event()
        self.taken: list[RunLogLines] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.most_asked = 0
        """Messages that wait for an answer."""

    async def store(self, _subject: str, data: bytes) -> PubAck:
        """As `Bus.store`."""
        if not self.willing.is_set():
            self.refused.set()
            raise NotCommitted("away")
        self.asked += 1
        self.most_asked = max(self.most_asked, self.asked)
        await self.answers.wait()
        await asyncio.sleep(0)
        self.asked -= 1
        self.taken.append(decode(data, RunLogLines))
        self.took.set()
        return PubAck(len(self.taken), "TASK_LOGS", False)


async def test_what_nobody_takes_waits_and_comes_whole_and_in_order() -> None:
    bus = Moody()
    logs = RunLogs(cast(Bus, bus), "e-1")
    await logs.start()
    sink = logs.sink(an_attempt())
    for number in range(10):
        sink(LogLine(number, "info", f"line {number}"))
    await asyncio.wait_for(bus.refused.wait(), 5)
    sink(LogLine(10, "info", "line 10"))
    bus.willing.set()
    await logs.stop()
    lines = [line for told in bus.taken for line in told.lines]
    assert [(line.n, line.message) for line in lines] == [(n + 1, f"line {n}") for n in range(11)]


async def test_beyond_the_limit_lines_are_lost_and_the_next_one_kept_says_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_logs, "HELD_MAX", 100)
    counted: list[tuple[int, int]] = []
    bus = Moody()
    logs = RunLogs(cast(Bus, bus), "e-1", lambda stored, lost: counted.append((stored, lost)))
    await logs.start()
    sink = logs.sink(an_attempt())
    for _ in range(5):
        sink(LogLine(0, "info", "x" * 40))
    await asyncio.wait_for(bus.refused.wait(), 5)
    bus.willing.set()
    await asyncio.wait_for(bus.took.wait(), 10)
    sink(LogLine(1, "info", "later"))
    await logs.stop()
    told = [line.message for message in bus.taken for line in message.lines]
    assert told[:2] == ["x" * 40] * 2
    assert told[2].startswith("3 lines are missing here")
    assert told[3] == "later"
    totals: Any = [sum(part) for part in zip(*counted, strict=True)]
    assert totals == [4, 3]


async def test_a_stop_does_not_wait_for_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_logs, "_LAST_BREATH_SECONDS", 0.2)
    logs = RunLogs(cast(Bus, Moody()), "e-1")
    await logs.start()
    logs.sink(an_attempt())(LogLine(0, "info", "never stored"))
    async with asyncio.timeout(5):
        await logs.stop()


async def test_a_broker_that_takes_its_time_holds_up_nobody_elses_lines() -> None:
    """While it has not answered for one attempt, others' lines set off; further ones of that attempt wait for it."""
    bus = Moody()
    bus.willing.set()
    bus.answers.clear()
    logs = RunLogs(cast(Bus, bus), "e-1")
    await logs.start()
    first = an_attempt()
    sink = logs.sink(first)
    sink(LogLine(0, "info", "1"))
    await until(lambda: bus.asked == 1)
    sink(LogLine(0, "info", "2"))
    for _ in range(30):
        await _log_and_end(logs, an_attempt())
    logs.send_soon(first)
    await until(lambda: bus.asked == 31)
    sink(LogLine(0, "info", "3"))
    bus.answers.set()
    await logs.stop()
    assert bus.most_asked == 31
    own = [line for told in bus.taken for line in told.lines if line.message != "ends"]
    assert [(line.n, line.message) for line in own] == [(1, "1"), (2, "2"), (3, "3")]
    assert len(bus.taken) == 32


async def test_lines_of_a_run_that_goes_on_do_not_set_off_with_every_other_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_logs, "_LINGER_SECONDS", 60.0)
    bus = Moody()
    bus.willing.set()
    logs = RunLogs(cast(Bus, bus), "e-1")
    await logs.start()
    logs.sink(an_attempt())(LogLine(0, "info", "goes on"))
    await _log_and_end(logs, an_attempt())
    await until(lambda: len(bus.taken) == 1)
    assert bus.taken[0].lines[0].message == "ends"
    await logs.stop()
    assert [told.lines[0].message for told in bus.taken] == ["ends", "goes on"]


async def _log_and_end(logs: RunLogs, attempt: Attempt) -> None:
    logs.sink(attempt)(LogLine(0, "info", "ends"))
    await asyncio.sleep(0)  # handed over from the handler's thread to the loop
    await asyncio.sleep(0)
    logs.send_soon(attempt)
