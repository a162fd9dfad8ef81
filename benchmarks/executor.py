"""How many executions does one executor carry out in a second, beside a bare loop of the same messages?

    .venv/bin/python benchmarks/executor.py [--executions 20000] [--concurrency 200] [--rounds 3]

Method. A single embedded nats-server without fsync. In each round the queue is filled with no-op executions twice:
once an executor's worker takes them (pull, claim, hand the handler to its own loop, record, ack_sync), once a
bare loop on nats-py does only what cannot be left out: fetch, publish the claim and await it, publish the result
and await it, ack_sync, 200 at a time. Both run in this process, in turn, so what else the machine does weighs on
both. Then, on an idle executor, the time from storing a due to the broker's timestamp of its claim.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import statistics
import tempfile
import time
from pathlib import Path

import msgspec
import nats
import structlog
import uvloop
from nats.aio.msg import Msg

from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.clock import ClockGuard, SystemClock
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.messages import Outgoing
from gnomon_core.runtime.metrics import Meter
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_core.runtime.tracing import Tracing
from gnomon_executor.measures import ExecutorMeasures
from gnomon_executor.registry import Registry, load_types
from gnomon_executor.settings import ExecutorSettings
from gnomon_executor.worker import Worker
from gnomon_schemas import headers as h
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.dues import Due
from gnomon_schemas.tasks import Priority, RetryPolicy, Trigger

PARTITIONS = 8
RUN = "20260101T000000Z"
IN_FLIGHT = 200
LATENCY_SAMPLES = 300


def make_due() -> Due:
    """A no-op execution of a fresh task."""
    task_id, now_ms = f"t-{secrets.token_hex(8)}", SystemClock().now_ms()
    return Due(
        execution_id=f"{task_id}.{RUN}",
        task_id=task_id,
        run=RUN,
        user_id="u1",
        task_type="echo",
        config=msgspec.Raw(b'{"a":1}'),
        trigger=Trigger.SCHEDULE,
        attempt=1,
        scheduled_for=format_instant(now_ms),
        due_at=format_instant(now_ms),
        expires_at=format_instant(now_ms + 3_600_000),
        timeout_seconds=60.0,
        deadline=None,
        total_timeout_seconds=None,
        priority=Priority.MEDIUM,
        pool="default",
        credits_per_run=0,
        revision=1,
        epoch=1,
        cause_seq=0,
        retry=RetryPolicy(),
    )


def subject_of(due: Due) -> str:
    """Where a due is stored."""
    partition = subjects.partition_of(due.task_id, PARTITIONS)
    return subjects.due(due.pool, due.priority.value, partition, due.task_id)


async def fill(bus: NatsBus, count: int) -> None:
    """Store so many dues."""
    for begin in range(0, count, 500):
        dues = [make_due() for _ in range(min(500, count - begin))]
        await bus.publish_batch([Outgoing(subject_of(due), encode(due)) for due in dues])


def make_worker(bus: NatsBus, settings: ExecutorSettings) -> Worker:
    return Worker(
        bus,
        SystemClock(),
        ClockGuard(),
        settings,
        Registry(load_types((), installed=False), "bench"),
        executor_id="e-bench",
        pools=("default",),
        measures=ExecutorMeasures(Meter(), Tracing("executor", None)),
    )


async def by_executor(bus: NatsBus, settings: ExecutorSettings, count: int) -> tuple[float, float]:
    """(executions a second, microseconds of processor time each)."""
    own = await connect(settings, name="bench-executor")
    worker = make_worker(own, settings)
    cpu, begun = time.process_time(), time.perf_counter()
    await worker.start()
    while (await bus.stream_info(subjects.DUE_STREAM)).messages:  # noqa: ASYNC110 - another process's queue has no event
        await asyncio.sleep(0.05)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await worker.stop()
    await own.close()
    return count / seconds, cpu / count * 1e6


async def by_bare_loop(url: str, count: int) -> tuple[float, float]:
    """The same messages by nats-py alone."""
    nc = await nats.connect(url)
    js = nc.jetstream(timeout=10)
    lane = subjects.pool_dues("default", "medium")
    pull = await js.pull_subscribe(lane, durable="exec_default_medium", stream=subjects.DUE_STREAM)
    gate, busy, done = asyncio.Semaphore(IN_FLIGHT), set[asyncio.Task[None]](), 0

    async def carry_out(message: Msg) -> None:
        nonlocal done
        due, partition = msgspec.json.decode(message.data), int(message.subject.split(".")[4])
        chain = subjects.chain(partition, due["task_id"], due["run"])
        expected = 0
        for name in ("started", "executed"):
            target = subjects.write(subjects.event("task", name, partition, due["task_id"], due["run"]))
            headers = {h.EXPECTED_SEQ: str(expected), h.EXPECTED_SUBJECT: chain}
            expected = (await js.publish(target, b"x" * 500, headers=headers)).seq
        await message.ack_sync(timeout=10)
        gate.release()
        done += 1

    cpu, begun = time.process_time(), time.perf_counter()
    while done + len(busy) < count:
        for message in await pull.fetch(100, timeout=5):
            await gate.acquire()
            task = asyncio.create_task(carry_out(message))
            busy.add(task)
            task.add_done_callback(busy.discard)
    await asyncio.gather(*busy)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await nc.close()
    return count / seconds, cpu / count * 1e6


async def latency(bus: NatsBus, settings: ExecutorSettings) -> tuple[float, float]:
    """(median, 99th percentile) of milliseconds from storing a due to its stored claim."""
    own = await connect(settings, name="bench-executor")
    worker = make_worker(own, settings)
    await worker.start()
    late: list[float] = []
    for _ in range(LATENCY_SAMPLES):
        due = make_due()
        begun = time.time() * 1000
        await bus.store(subject_of(due), encode(due))
        await asyncio.sleep(0.01)
        claim = f"task.started.*.{due.task_id}.{RUN}"
        while (stored := await bus.last(subjects.EVENTS_STREAM, claim)) is None:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)
        late.append(stored.time_ms - begun)
    await worker.stop()
    await own.close()
    return statistics.median(late), statistics.quantiles(late, n=100)[98]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--executions", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedNats(Path(folder) / "nats", fast=True)
        await server.start()
        settings = ExecutorSettings(nats_url=server.url, concurrency=options.concurrency)
        bus = await connect(settings, name="bench")
        await ensure_topology(bus, TopologySettings(partitions=PARTITIONS))
        try:
            for number in range(1, options.rounds + 1):
                await fill(bus, options.executions)
                ours, our_cpu = await by_executor(bus, settings, options.executions)
                await fill(bus, options.executions)
                bare, bare_cpu = await by_bare_loop(server.url, options.executions)
                print(
                    f"round {number}: executor {ours:,.0f}/s ({our_cpu:.0f} µs each), "
                    f"bare loop {bare:,.0f}/s ({bare_cpu:.0f} µs each): {ours / bare:.0%}"
                )
            median, worst = await latency(bus, settings)
            print(f"idle executor, due stored to claim stored: {median:.1f} ms, 99 % within {worst:.1f} ms")
        finally:
            await bus.close()
            await server.stop()


if __name__ == "__main__":
    uvloop.run(main())
