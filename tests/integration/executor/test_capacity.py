"""Room and order: no more is taken than can run, urgent goes first, nobody starves, and nobody waits for a poll."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import msgspec

from gnomon_core.runtime.messages import Outgoing
from gnomon_executor.worker import Worker
from gnomon_schemas import subjects
from gnomon_schemas.codec import encode
from gnomon_schemas.dues import Due
from gnomon_schemas.events import Started
from gnomon_schemas.subjects import DUE_STREAM
from gnomon_schemas.tasks import Priority
from tests.integration.executor.handlers import words
from tests.integration.executor.harness import Lab, make_due, names, until


async def emit_all(lab: Lab, dues: list[Due]) -> None:
    """Store many dues in batches."""
    for begin in range(0, len(dues), 500):
        await lab.bus.publish_batch(
            [
                Outgoing(
                    subjects.due(due.pool, due.priority.value, lab.partition(due), due.task_id), encode(due)
                )
                for due in dues[begin : begin + 500]
            ]
        )


async def pending(lab: Lab, lane: str) -> tuple[int, int]:
    """(delivered and not acknowledged, not delivered) of a lane."""
    info = await lab.bus.api(f"CONSUMER.INFO.{DUE_STREAM}.exec_{lane}")
    return int(info["num_ack_pending"]), int(info["num_pending"])


async def test_no_more_is_taken_than_there_is_room_for(lab: Lab, tmp_path: Path) -> None:
    """With room for three, three messages are out and the rest is there for other executors."""
    trace = tmp_path / "trace"
    dues = [make_due("test_wait", {"trace": str(trace), "seconds": 1.0}) for _ in range(10)]
    await emit_all(lab, dues)
    async with lab.worker(concurrency=3) as worker:
        await until(lambda: _said(trace, 3))
        assert worker.busy == 3
        for _ in range(10):
            assert (await pending(lab, "default_medium"))[0] <= 3
            assert worker.busy <= 3
            await asyncio.sleep(0.05)  # looking again and again at what must not grow
        assert (await pending(lab, "default_medium"))[1] >= 4
        await lab.queue_empty(timeout=20)
    assert words(trace).count("begin") == 10


async def test_one_slot_serves_every_lane(lab: Lab) -> None:
    """An executor with room for one finds work of each priority."""
    dues = [make_due(priority=priority) for priority in Priority]
    async with lab.worker(concurrency=1):
        for due in dues:
            await lab.emit(due)
            await lab.ended(due)
    for due in dues:
        assert names(await lab.chain(due)) == ["started", "executed"]


async def test_urgent_goes_first_and_low_gets_its_twentieth(lab: Lab) -> None:
    """With everything waiting, at least 5 % of the starts are low's, and urgent is through first."""
    counts = {Priority.URGENT: 600, Priority.HIGH: 600, Priority.MEDIUM: 600, Priority.LOW: 600}
    for priority, count in counts.items():
        await emit_all(lab, [make_due(priority=priority) for _ in range(count)])
    begin = (await lab.bus.stream_info("TASKS")).last_seq + 1
    async with lab.worker(concurrency=40):
        await lab.queue_empty(timeout=60)
    order = [
        msgspec.json.decode(stored.data, type=Started).priority
        async for stored in lab.bus.scan("TASKS", "task.started.*.*.*", start_seq=begin)
    ]
    assert len(order) == 2400
    while_urgent = order[: max(index for index, lane in enumerate(order) if lane == "urgent") + 1]
    shares = {
        lane: while_urgent.count(lane) / len(while_urgent) for lane in ("urgent", "high", "medium", "low")
    }
    assert shares["urgent"] > 0.75
    for lane in ("high", "medium", "low"):
        assert shares[lane] >= 0.045, shares


async def test_urgent_work_does_not_wait_for_a_backlog_of_low(lab: Lab, tmp_path: Path) -> None:
    """A deep backlog below does not hold up what is urgent."""
    await emit_all(lab, [make_due(priority=Priority.LOW) for _ in range(3000)])
    waits = []
    async with lab.worker(concurrency=40):
        for _ in range(10):
            due = make_due(priority=Priority.URGENT)
            begun = time.monotonic()
            await lab.emit(due)
            await lab.ended(due)
            waits.append(time.monotonic() - begun)
        await lab.queue_empty(timeout=60)
    assert statistics.median(waits) < 0.5


async def test_two_executors_share_a_pool(lab: Lab) -> None:
    """Work goes to whoever has room."""
    dues = [make_due() for _ in range(400)]
    async with lab.worker(executor_id="e-one"), lab.worker(executor_id="e-two"):
        await emit_all(lab, dues)
        await lab.queue_empty(timeout=30)
    by = [(await lab.chain(due))[0] for due in dues]
    shares = {
        name: sum(isinstance(e, Started) and e.executor == name for e in by) for name in ("e-one", "e-two")
    }
    assert sum(shares.values()) == 400
    assert min(shares.values()) > 40


async def test_pools_are_apart(lab: Lab) -> None:
    """An executor takes work of its own pools only."""
    here, there = make_due(), make_due("test_elsewhere", pool="elsewhere")
    async with lab.worker():
        await lab.emit(there)
        await lab.emit(here)
        await lab.ended(here)
        assert await lab.chain(there) == []
    async with lab.worker(pools=("default", "elsewhere")):
        await lab.ended(there)


async def test_idle_executors_start_work_at_once(lab: Lab) -> None:
    """A pull is always out while there is room: from storing the due to the stored claim it takes milliseconds."""
    late = []
    async with lab.worker(concurrency=100):
        for _ in range(50):
            due = make_due()
            before = time.time() * 1000
            await lab.emit(due)
            await lab.ended(due)
            late.append((await lab.stored(lab.chain_of(due)))[0].time_ms - before)
    assert statistics.median(late) < 50


async def test_a_consumer_that_was_deleted_is_made_again(lab: Lab) -> None:
    """Somebody removed the consumer under a running executor: it makes it again and goes on."""
    async with lab.worker():
        first = make_due()
        await lab.emit(first)
        await lab.ended(first)
        await lab.bus.api(f"CONSUMER.DELETE.{DUE_STREAM}.exec_default_medium")
        second = make_due()
        await lab.emit(second)
        await lab.ended(second)


async def test_a_backlog_is_drained_without_gaps_or_doubles(lab: Lab) -> None:
    """Two thousand at once: each runs once."""
    dues = [make_due() for _ in range(2000)]
    begin = (await lab.bus.stream_info("TASKS")).last_seq + 1
    await emit_all(lab, dues)
    async with lab.worker(concurrency=200) as worker:
        await lab.queue_empty(timeout=60)
        await until(lambda: _idle(worker))
        assert worker.intake.lanes.outstanding <= 4
    seen: dict[str, int] = {}
    async for stored in lab.bus.scan("TASKS", "task.executed.*.*.*", start_seq=begin):
        seen[stored.subject.split(".")[3]] = seen.get(stored.subject.split(".")[3], 0) + 1
    assert seen == {due.task_id: 1 for due in dues}


async def _idle(worker: Worker) -> bool:
    return worker.busy == 0


async def _said(trace: Path, count: int) -> bool:
    return words(trace).count("begin") >= count
