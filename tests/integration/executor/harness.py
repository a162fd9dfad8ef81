"""What the executor's tests stand on: dues written as a shard writes them, chains read back, executors in this
process and in processes of their own."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.clock import Clock, ClockGuard, SystemClock
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.metrics import Meter
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_core.runtime.tracing import Tracing
from gnomon_executor.measures import ExecutorMeasures
from gnomon_executor.registry import Registry, load_types
from gnomon_executor.settings import ExecutorSettings
from gnomon_executor.worker import Worker
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode_event, encode
from gnomon_schemas.dues import Due
from gnomon_schemas.events import Event, Executed, Started, event_name
from gnomon_schemas.members import Member
from gnomon_schemas.subjects import DUE_STREAM, EVENTS_STREAM, MEMBERS_BUCKET
from gnomon_schemas.tasks import Priority, RetryPolicy, Trigger

__all__ = [
    "HANDLERS",
    "ExecutorProcess",
    "Lab",
    "answer_claims",
    "executed",
    "executor_process",
    "make_due",
    "names",
    "open_lab",
    "settings_for",
    "until",
]

HANDLERS = "tests.integration.executor.handlers"
"""The module with the task types of these tests."""
PARTITIONS = 8
ROOT = Path(__file__).parents[3]

T = TypeVar("T")
_slots = itertools.count()


def settings_for(url: str, **changes: Any) -> ExecutorSettings:
    """Settings of an executor in these tests: an ack wait of 3 s, so that losing one takes no longer."""
    values = {"nats_url": url, "ack_wait": 3.0, "drain_grace": 5.0, "tasks": (HANDLERS,), "concurrency": 20}
    return ExecutorSettings(**{**values, **changes})


def make_due(task_type: str = "echo", config: object = None, **changes: Any) -> Due:
    """A due of a fresh task, as a shard emits it for a slot of now."""
    task_id = changes.pop("task_id", f"t-{secrets.token_hex(6)}")
    now_ms = SystemClock().now_ms()
    run = changes.pop("run", None) or f"20260101T{next(_slots) % 240000:06d}Z"
    values: dict[str, Any] = {
        "execution_id": f"{task_id}.{run}",
        "task_id": task_id,
        "run": run,
        "user_id": "u1",
        "task_type": task_type,
        "config": msgspec.Raw(encode(config if config is not None else {})),
        "trigger": Trigger.SCHEDULE,
        "attempt": 1,
        "scheduled_for": format_instant(now_ms),
        "due_at": format_instant(now_ms),
        "expires_at": format_instant(now_ms + 3_600_000),
        "timeout_seconds": 30.0,
        "deadline": None,
        "total_timeout_seconds": None,
        "priority": Priority.MEDIUM,
        "pool": "default",
        "credits_per_run": 0,
        "revision": 1,
        "epoch": 1,
        "cause_seq": 0,
        "retry": RetryPolicy(),
    }
    return Due(**{**values, **changes})


class Lab:
    """One broker with Gnomon's streams on it, and a connection of the test's own."""

    def __init__(self, bus: NatsBus, url: str, replicas: int = 1) -> None:
        self.bus = bus
        self.url = url
        self.replicas = replicas

    async def emit(self, due: Due) -> int:
        """Store a due, as a shard does; its sequence."""
        partition = self.partition(due)
        subject = subjects.due(due.pool, due.priority.value, partition, due.task_id)
        ack = await self.bus.store(subject, encode(due))
        return ack.seq

    async def emit_raw(self, subject: str, data: bytes) -> int:
        """Store anything as a due."""
        return (await self.bus.store(subject, data)).seq

    async def put(self, due: Due, event: Event, expected: int) -> int:
        """Put an event on a due's chain, as another process would; its sequence."""
        subject = subjects.event("task", event_name(event), self.partition(due), due.task_id, due.run)
        headers = {"Nats-Msg-Id": f"test:{secrets.token_hex(8)}"}
        ack = await self.bus.store(
            subject, encode(event), headers, expected=expected, expected_subject=self.chain_of(due)
        )
        return ack.seq

    @staticmethod
    def partition(due: Due) -> int:
        """The partition of a due's task."""
        return subjects.partition_of(due.task_id, PARTITIONS)

    def chain_of(self, due: Due) -> str:
        """The filter of a due's chain."""
        return subjects.chain(self.partition(due), due.task_id, due.run)

    async def chain(self, due: Due) -> list[Event]:
        """All events of a due's chain, in order."""
        return [decode_event(stored.data) for stored in await self.stored(self.chain_of(due))]

    async def stored(self, subject: str, stream: str = EVENTS_STREAM) -> list[Stored]:
        """All messages of a filter, in order."""
        return [stored async for stored in self.bus.scan(stream, subject)]

    async def ended(self, due: Due, timeout: float = 20.0) -> Executed:
        """Wait for the due's `executed`; the one there is."""

        async def look() -> list[Executed]:
            return executed(await self.chain(due))

        results = await until(look, timeout=timeout)
        assert len(results) == 1
        return results[0]

    async def queue_empty(self, timeout: float = 10.0) -> None:
        """Wait until no work is left in the queue, which in these tests holds nothing else."""

        async def look() -> bool:
            return (await self.bus.stream_info(DUE_STREAM)).messages == 0

        await until(look, timeout=timeout)

    async def members(self) -> list[Member]:
        """The executors that announce themselves."""
        stored = await self.bus.multi_last(f"KV_{MEMBERS_BUCKET}", [f"$KV.{MEMBERS_BUCKET}.executor.>"])
        return [msgspec.json.decode(item.data, type=Member) for item in stored if item.data]

    def started_event(self, due: Due, executor: str, **changes: Any) -> Started:
        """A claim by some other executor."""
        now = format_instant(SystemClock().now_ms())
        values: dict[str, Any] = {
            "task_id": due.task_id,
            "user_id": due.user_id,
            "partition": self.partition(due),
            "occurred_at": now,
            "execution_id": due.execution_id,
            "run": due.run,
            "task_type": due.task_type,
            "attempt": due.attempt,
            "trigger": due.trigger,
            "scheduled_for": due.scheduled_for,
            "due_at": due.due_at,
            "revision": due.revision,
            "executor": executor,
            "due_seq": 1,
            "nonce": f"{executor}:1",
            "takeovers": 0,
            "started_at": now,
            "pool": due.pool,
            "priority": due.priority.value,
        }
        return Started(**{**values, **changes})

    @asynccontextmanager
    async def worker(
        self,
        *,
        executor_id: str | None = None,
        bus: NatsBus | None = None,
        clock: Clock | None = None,
        guard: ClockGuard | None = None,
        pools: tuple[str, ...] = ("default",),
        **changes: Any,
    ) -> AsyncIterator[Worker]:
        """An executor's worker in this process, on a connection of its own."""
        settings = settings_for(self.url, **changes)
        own = bus or await connect(settings, name="test-worker")
        worker = Worker(
            own,
            clock or SystemClock(),
            guard or ClockGuard(),
            settings,
            Registry(load_types(settings.tasks, installed=False), "test"),
            executor_id=executor_id or f"e-test-{secrets.token_hex(4)}",
            pools=pools,
            measures=ExecutorMeasures(Meter(), Tracing("executor", None)),
        )
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()
            await own.close()


@asynccontextmanager
async def open_lab(url: str, *, replicas: int = 1) -> AsyncIterator[Lab]:
    """A lab on a broker; the streams are made where they are missing."""
    bus = await connect(ExecutorSettings(nats_url=url), name="test-lab")
    try:
        await ensure_topology(bus, TopologySettings(partitions=PARTITIONS, replicas=replicas))
        yield Lab(bus, url, replicas)
    finally:
        await bus.close()


class ExecutorProcess:
    """A real executor process: `python -m gnomon_executor`."""

    def __init__(self, url: str, log: Path, *command: str, **environ: str) -> None:
        self._command = command or ("-m", "gnomon_executor")
        self._url = url
        self._log = log
        self._environ = environ
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None
        return self.process.pid

    async def start(self, lab: Lab) -> Member:
        """Start it, and wait until it says that it takes work; what it says of itself."""
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "GNOMON_NATS_URL": self._url,
            "GNOMON_ACK_WAIT": "3s",
            "GNOMON_DRAIN_GRACE": "5s",
            "GNOMON_EXECUTOR_TASKS": HANDLERS,
            "GNOMON_EXECUTOR_CONCURRENCY": "20",
            "GNOMON_LOG_FORMAT": "json",
            "GNOMON_REPLICAS": str(lab.replicas),
            **self._environ,
        }
        self._launch(environ)

        async def look() -> Member | None:
            assert self.process is not None
            assert self.process.poll() is None, self._log.read_text()
            return next((member for member in await lab.members() if member.pid == self.pid), None)

        return await until(look, timeout=60.0)

    def _launch(self, environ: dict[str, str]) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, *self._command], cwd=ROOT, env=environ, stdout=out, stderr=out
            )

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    async def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, timeout)

    async def end(self) -> None:
        """Make sure that it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            await self.wait()


@asynccontextmanager
async def executor_process(
    lab: Lab, folder: Path, *command: str, **environ: str
) -> AsyncIterator[ExecutorProcess]:
    """An executor process for the time of a block; `command` instead of `-m gnomon_executor`."""
    process = ExecutorProcess(lab.url, folder / f"executor-{secrets.token_hex(3)}.log", *command, **environ)
    try:
        await process.start(lab)
        yield process
    finally:
        await process.end()


def executed(events: Sequence[Event]) -> list[Executed]:
    """The results among events."""
    return [event for event in events if isinstance(event, Executed)]


def names(events: Sequence[Event]) -> list[str]:
    """The events' names, in order."""
    return [event_name(event) for event in events]


async def until(look: Callable[[], Awaitable[T | None]], *, timeout: float = 10.0) -> T:
    """Look again and again until there is something to see; that. Raises AssertionError after `timeout` seconds.

    For what can only be looked at: a stream's content, a file that another process writes.
    """
    end = time.monotonic() + timeout
    while True:
        seen = await look()
        if seen:
            return seen
        assert time.monotonic() < end, f"nothing to see within {timeout} s"
        await asyncio.sleep(0.02)


async def answer_claims(lab: Lab, executor_id: str, *, running: bool) -> None:
    """Answer for an executor that is not there, until the lab's connection is closed."""

    async def answer(message: Any) -> None:
        await lab.bus.send(message.reply, encode({"running": running}))

    await lab.bus.subscribe(subjects.executor_claims(executor_id), answer)
