"""Lines on their way: while nothing is taken they wait, up to a limit, and what was lost is said."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from gnomon_core.runtime.bus import Bus, NotCommitted, PubAck
from gnomon_executor import run_logs
from gnomon_executor.attempt import Attempt
from gnomon_executor.delivery import Delivery
from gnomon_executor.handler_log import LogLine
from gnomon_executor.run_logs import RunLogs
from gnomon_schemas.codec import decode
from gnomon_schemas.dues import Due
from gnomon_schemas.run_logs import RunLogLines
from gnomon_schemas.samples import samples


class Moody:
    """A bus that takes lines only when told to."""

    def __init__(self) -> None:
        self.willing = asyncio.Event()
        self.refused = asyncio.Event()
        self.took = asyncio.Event()
        self.taken: list[RunLogLines] = []

    async def store(self, _subject: str, data: bytes) -> PubAck:
        """As `Bus.store`."""
        if not self.willing.is_set():
            self.refused.set()
            raise NotCommitted("away")
        self.taken.append(decode(data, RunLogLines))
        self.took.set()
        return PubAck(len(self.taken), "TASK_LOGS", False)


def an_attempt() -> Attempt:
    due = samples()["task.due"]
    assert isinstance(due, Due)
    delivery = Delivery("task.due.default.medium.3.t", b"", None, "", "c", 1, 1, 0, 0)
    return Attempt(due, delivery, 3, 0, "n")


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
