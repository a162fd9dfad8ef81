"""Stopping in two breaths: finish what is in hand, then give it back, and never run it twice because of that."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from pathlib import Path

from gnomon_executor.worker import Worker
from gnomon_schemas.events import Started
from gnomon_schemas.subjects import DUE_STREAM
from tests.integration.executor.handlers import words
from tests.integration.executor.harness import Lab, executor_process, make_due, names, until


async def test_a_soft_stop_finishes_what_runs(lab: Lab, tmp_path: Path) -> None:
    """SIGTERM: what runs is finished and recorded, nothing more is taken, the process ends with code 0."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 2.0})
    late = make_due()
    async with executor_process(lab, tmp_path) as process:
        await lab.emit(due)
        await until(lambda: _said(trace, "begin"))
        process.signal(signal.SIGTERM)

        async def draining() -> bool:
            return any(member.draining for member in await lab.members())

        await until(draining)
        await lab.emit(late)
        assert await process.wait() == 0
    assert words(trace) == ["begin", "end"]
    assert names(await lab.chain(due)) == ["started", "executed"]
    assert await lab.chain(late) == []
    async with lab.worker():
        begun = time.monotonic()
        await lab.ended(late)
        assert time.monotonic() - begun < 2


async def test_after_the_grace_the_work_is_given_back_at_once_and_uncounted(lab: Lab, tmp_path: Path) -> None:
    """A handler longer than the grace is cancelled, its attempt goes on elsewhere at once, and that is no crash."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 2.0})
    async with lab.worker(executor_id="e-leaving", drain_grace=0.3, ack_wait=30.0) as leaving:
        await lab.emit(due)
        await until(lambda: _said(trace, "begin"))
        async with lab.worker(executor_id="e-staying", ack_wait=30.0):
            await leaving.stop()
            await lab.ended(due)
    chain = await lab.chain(due)
    assert names(chain) == ["started", "started", "started", "executed"]
    told = [
        (event.executor, event.takeovers, event.released) for event in chain if isinstance(event, Started)
    ]
    assert told == [("e-leaving", 0, False), ("e-leaving", 0, True), ("e-staying", 0, False)]
    assert words(trace) == ["begin", "cancelled", "begin", "end"]


async def test_failure_09_five_rolling_deploys_make_no_crash_loop(lab: Lab, tmp_path: Path) -> None:
    """A handler that outlives every grace is moved on five times, and is then still allowed to finish."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 1.0})
    await lab.emit(due)
    for turn in range(5):
        async with lab.worker(drain_grace=0.0, ack_wait=30.0):
            await until(partial(_said, trace, "begin", turn + 1))
    async with lab.worker(ack_wait=30.0):
        result = await lab.ended(due)
    assert result.status == "completed"
    assert [event.takeovers for event in await lab.chain(due) if isinstance(event, Started)] == [0] * 11


async def test_a_thread_that_goes_on_is_not_run_beside_itself(lab: Lab, tmp_path: Path) -> None:
    """A function cannot be stopped: its attempt is marked as given back, but its message stays out until the ack
    wait is over, when the process is gone."""
    trace = tmp_path / "trace"
    due = make_due("test_thread", {"trace": str(trace), "seconds": 4.0})
    async with executor_process(lab, tmp_path, GNOMON_DRAIN_GRACE="0.3s", GNOMON_ACK_WAIT="5s") as process:
        await lab.emit(due)
        await until(lambda: _said(trace, "begin"))
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
        ended = time.monotonic()
        assert names(await lab.chain(due)) == ["started", "started"]
        async with lab.worker(ack_wait=5.0, drain_grace=0.0):
            await until(lambda: _said(trace, "begin", 2))
            assert time.monotonic() - ended < 6
    assert words(trace)[:2] == ["begin", "begin"]
    await lab.bus.purge(DUE_STREAM, filter="task.due.>")


async def test_a_second_signal_ends_it_at_once(lab: Lab, tmp_path: Path) -> None:
    """Whoever cannot wait for the grace asks twice; the work is taken over after the ack wait."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 2.0})
    async with executor_process(lab, tmp_path, GNOMON_DRAIN_GRACE="60s") as process:
        await lab.emit(due)
        await until(lambda: _said(trace, "begin"))
        process.signal(signal.SIGTERM)
        await asyncio.sleep(0.3)  # two signals in one instant would arrive as one
        begun = time.monotonic()
        process.signal(signal.SIGTERM)
        await process.wait()
        assert time.monotonic() - begun < 5
    async with lab.worker():
        assert (await lab.ended(due)).status == "completed"


async def test_what_arrives_while_stopping_goes_back_at_once(lab: Lab) -> None:
    """Messages that were on their way are given back, not kept for an ack wait."""
    dues = [make_due() for _ in range(200)]
    stopping: list[Worker] = []
    async with lab.worker(ack_wait=60.0, concurrency=5) as first:
        stopping.append(first)
        for due in dues:
            await lab.emit(due)
        await first.stop()
    async with lab.worker(ack_wait=60.0):
        await lab.queue_empty(timeout=20)
    for due in dues:
        assert names(await lab.chain(due)) == ["started", "executed"]


async def _said(trace: Path, word: str, count: int = 1) -> bool:
    return words(trace).count(word) >= count
