"""Losing an executor or the broker: work goes on elsewhere, runs once where it can, and is recorded once always."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gnomon_core.runtime.bus import BusError
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.events import Executed, Started
from tests.integration.executor.handlers import words
from tests.integration.executor.harness import (
    ExecutorProcess,
    Lab,
    executed,
    executor_process,
    make_due,
    names,
    open_lab,
    until,
)

ACK_WAIT = 3.0


async def test_killed_in_the_middle_its_work_finishes_elsewhere(either_lab: Lab, tmp_path: Path) -> None:
    """kill -9: within the ack wait and three seconds more, everything it ran has finished on another executor."""
    lab = either_lab
    traces = [tmp_path / f"trace-{number}" for number in range(8)]
    dues = [make_due("test_wait", {"trace": str(trace), "seconds": 20.0}) for trace in traces]
    async with executor_process(lab, tmp_path) as process:
        for due in dues:
            await lab.emit(due)
        for trace in traces:
            await until(partial(_said, trace, "begin"))
        async with lab.worker(ack_wait=ACK_WAIT) as successor:
            await until(lambda: _settled(successor))
            process.signal(signal.SIGKILL)
            killed_ms = time.time() * 1000
            await process.wait()
            for trace in traces:
                await until(partial(_said, trace, "begin", 2), timeout=20)
            began = [(await lab.chain(due))[-1] for due in dues]
    for event in began:
        assert isinstance(event, Started)
        assert event.takeovers == 1
        assert instant_ms(event.started_at) - killed_ms < (ACK_WAIT + 3) * 1000
    await lab.bus.purge(subjects.DUE_STREAM, filter="task.due.>")


async def test_paused_past_the_ack_wait_its_result_is_refused_and_heard_by_nobody(
    either_lab: Lab, tmp_path: Path
) -> None:
    """SIGSTOP: another takes over and records; the one that wakes up is refused, and nobody hears of its result."""
    lab = either_lab
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 2.0})
    heard: list[str] = []

    async def hear(message: Any) -> None:
        event = msgspec.json.decode(message.data, type=Executed)
        if event.execution_id == due.execution_id:
            heard.append(event.executor or "")

    await lab.bus.subscribe(subjects.live("task", "executed"), hear)
    async with executor_process(lab, tmp_path) as process:
        await lab.emit(due)
        await until(lambda: _said(trace, "begin"))
        process.signal(signal.SIGSTOP)
        async with lab.worker(executor_id="e-successor", ack_wait=ACK_WAIT):
            result = await lab.ended(due)
            process.signal(signal.SIGCONT)
            await until(lambda: _said(trace, "end", 2))
            await until(lambda: _log_says(process, "result."))
            await lab.queue_empty()
    assert result.executor == "e-successor"
    assert names(await lab.chain(due)) == ["started", "started", "executed"]
    assert heard == ["e-successor"]


async def test_an_executor_that_dies_on_it_every_time_ends_in_a_crash_loop(lab: Lab, tmp_path: Path) -> None:
    """An execution that takes its executors down is given up after its take-overs, and the last one lives."""
    trace = tmp_path / "trace"
    due = make_due("test_suicide", {"trace": str(trace)})
    await lab.emit(due)
    for _ in range(2):
        async with executor_process(lab, tmp_path, GNOMON_TAKEOVER_LIMIT="1") as process:
            assert await process.wait() == 9
    async with executor_process(lab, tmp_path, GNOMON_TAKEOVER_LIMIT="1"):
        result = await lab.ended(due)
        await lab.queue_empty()
    assert (result.status, result.reason) == ("failed", "crash_loop")
    assert words(trace) == ["begin", "begin"]


async def test_failure_17_the_broker_away_for_longer_than_the_ack_wait(
    nats_server: EmbeddedNats, lab: Lab, tmp_path: Path
) -> None:
    """Handlers run on while the broker is gone; each runs once, and its result is recorded when it is back."""
    shorter, longer = tmp_path / "shorter", tmp_path / "longer"
    within = make_due("test_wait", {"trace": str(shorter), "seconds": 2.0})
    beyond = make_due("test_wait", {"trace": str(longer), "seconds": 7.0})
    async with executor_process(lab, tmp_path), executor_process(lab, tmp_path):
        for due in (within, beyond):
            await lab.emit(due)
        for trace in (shorter, longer):
            await until(partial(_said, trace, "begin"))
        await nats_server.stop()
        await asyncio.sleep(ACK_WAIT + 1.5)
        await nats_server.start()
        await lab.bus.wait_connected()
        for due in (within, beyond):
            assert (await lab.ended(due, timeout=30)).status == "completed"
        await lab.queue_empty(timeout=20)
    for due, trace in ((within, shorter), (beyond, longer)):
        assert names(await lab.chain(due)) == ["started", "executed"]
        assert words(trace) == ["begin", "end"]


async def test_the_broker_restarted_under_load(nats_server: EmbeddedNats, lab: Lab) -> None:
    """Hundreds of executions in flight while the broker is killed and comes back: each has one result."""
    dues = [make_due("sleep", {"seconds": 0.01}) for _ in range(600)]
    async with lab.worker(concurrency=50, ack_wait=ACK_WAIT), lab.worker(concurrency=50, ack_wait=ACK_WAIT):
        for due in dues[:300]:
            await lab.emit(due)
        await nats_server.kill()
        await nats_server.start()
        await lab.bus.wait_connected()
        await until(lambda: _streams_answer(lab))
        for due in dues[300:]:
            await lab.emit(due)
        await lab.queue_empty(timeout=40)
    for due in dues:
        chain = await lab.chain(due)
        assert len(executed(chain)) == 1, names(chain)


async def test_a_node_of_three_lost_under_load(nats_cluster: EmbeddedNats) -> None:
    """The cluster loses a node and gets it back: nothing is lost, nothing is recorded twice."""
    async with open_lab(nats_cluster.url, replicas=3) as lab:
        dues = [make_due("sleep", {"seconds": 0.01}) for _ in range(300)]
        async with (
            lab.worker(concurrency=50, ack_wait=ACK_WAIT),
            lab.worker(concurrency=50, ack_wait=ACK_WAIT),
        ):
            for due in dues[:150]:
                await lab.emit(due)
            await nats_cluster.nodes[0].kill()
            await until(lambda: _streams_answer(lab), timeout=30)
            for due in dues[150:]:
                await until(partial(_emitted, lab, due), timeout=30)
            await nats_cluster.nodes[0].start()
            await lab.queue_empty(timeout=60)
        for due in dues:
            chain = await lab.chain(due)
            assert len(executed(chain)) == 1, names(chain)


async def _said(trace: Path, word: str, count: int = 1) -> bool:
    return words(trace).count(word) >= count


async def _settled(worker: Any) -> bool:
    return bool(time.monotonic() - worker.intake._bus.connected_since > 2.1)


async def _log_says(process: ExecutorProcess, part: str) -> bool:
    return part in process._log.read_text()


async def _streams_answer(lab: Lab) -> bool:
    try:
        await lab.bus.stream_info(subjects.DUE_STREAM)
        await lab.bus.stream_info(subjects.EVENTS_STREAM)
    except BusError:
        return False
    return True


async def _emitted(lab: Lab, due: Any) -> bool:
    try:
        await lab.emit(due)
    except BusError:
        return False
    return True
