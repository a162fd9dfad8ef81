"""A world for one test: streams made anew on a broker that is there already, and the processes that live on it.

    async with World(broker) as world:
        scheduler = await world.scheduler()
        await world.commands.create("t", schedule={"kind": "interval", "every_seconds": 1})
        await world.events.one("executed", "t")
        await scheduler.kill()

When it ends, every child is killed, and what the children logged goes to standard output: pytest shows it where the
test has failed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from gnomon_core.runtime.bus import BusRefused, NatsBus, NoAnswer, connect
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_core.timing import KeptNames
from gnomon_scheduler.registers import ShardRegister, TaskRegister
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.dues import Due, DueFence
from gnomon_schemas.members import Member, SchedulerStatus
from gnomon_schemas.subjects import DUE_STREAM, EVENTS_STREAM
from tests.harness.calendars import CALENDAR_VARIABLE, OtherCalendar
from tests.harness.clocks import CLOCK_OFFSET_VARIABLE
from tests.harness.commands import Commands
from tests.harness.events import Events
from tests.harness.fake_executor import FakeExecutor
from tests.harness.leading import Leader
from tests.harness.ledger import ENDINGS, Audit, audit
from tests.harness.processes import Process
from tests.harness.stopping import TRAPS_VARIABLE, Trap
from tests.harness.waiting import PATIENCE

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["World", "now_ms", "tell"]

_SETTLE_POLL = 0.05
_SCHEDULER, _EXECUTOR = "gnomon_scheduler", "gnomon_executor"


def now_ms() -> int:
    """The machine's wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def tell(figures: str) -> None:
    """Say a figure that a test has seen: shown with `pytest -s`, and where the test fails."""
    sys.stdout.write(f"{figures}\n")


class World:
    """Streams, commands, events and processes of one test."""

    def __init__(
        self,
        broker: EmbeddedNats,
        *,
        replicas: int = 1,
        partitions: int = 2,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.broker, self.replicas, self.partitions = broker, replicas, partitions
        self.settings = {
            "GNOMON_NATS_URL": broker.url,
            "GNOMON_PARTITIONS": str(partitions),
            "GNOMON_REPLICAS": str(replicas),
            "GNOMON_LEASE_TTL": "2s",
            "GNOMON_ACK_WAIT": "3s",
            "GNOMON_LOG_FORMAT": "json",
            "GNOMON_HEALTH_PORT": "0",
            "GNOMON_CANCEL_GRACE": "1s",
            "GNOMON_HTTP_ALLOW": "127.0.0.0/8",
            "GNOMON_STARTING_TEMPLATES": "false",
            **(settings or {}),
        }
        self.calendars: dict[str, KeptNames] = {}
        """Of calendars that are not the test's own, by fingerprint: what differs in them."""
        self.processes: list[Process] = []
        self._leaders: list[Leader] = []
        self._fakes: list[FakeExecutor] = []
        self._names: dict[str, int] = {}
        self.bus: NatsBus
        """The test's own connection, for looking and for what only services may do."""
        self.commands: Commands
        self.events: Events

    # -- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> World:
        self.bus = await connect(CommonSettings(nats_url=self.broker.url), name="test")
        await self._wipe()
        await ensure_topology(self.bus, TopologySettings(partitions=self.partitions, replicas=self.replicas))
        self.commands = await Commands.open(self.broker.url)
        self.events = Events(self.bus)
        await self.events.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever one part says at its end, the others are ended too."""
        async with AsyncExitStack() as ending:
            ending.push_async_callback(self.bus.close)
            ending.push_async_callback(self.commands.close)
            ending.push_async_callback(self.events.stop)
            ending.callback(lambda: sys.stdout.write(self.events.tail() + "\n"))
            for fake in self._fakes:
                ending.push_async_callback(fake.stop)
            for leader in self._leaders:
                ending.push_async_callback(leader.die)
            for process in self.processes:
                ending.push_async_callback(self._end, process)
            for node in self.broker.nodes:
                if node.running:
                    ending.callback(node.resume)

    @staticmethod
    async def _end(process: Process) -> None:
        if process.running:
            await process.kill()
        sys.stdout.write(process.tail() + "\n")

    async def _wipe(self) -> None:
        """Delete what an earlier test left: new streams are cheaper than a new server."""
        async with asyncio.timeout(30):
            while True:
                try:
                    names = (await self.bus.api("STREAM.NAMES", {"offset": 0})).get("streams") or []
                    for name in names:
                        await self.bus.api(f"STREAM.DELETE.{name}")
                except (NoAnswer, BusRefused):
                    await asyncio.sleep(_SETTLE_POLL)
                else:
                    return

    # -- processes -------------------------------------------------------------------------------

    async def scheduler(
        self,
        *,
        traps: Sequence[Trap] = (),
        clock_offset_ms: int = 0,
        calendar: OtherCalendar | None = None,
        ready: bool = True,
        **settings: str,
    ) -> Process:
        """Start a scheduler and wait until it is ready; with traps, a wrong clock or another calendar by the test's own
        main."""
        if calendar is not None:
            settings[CALENDAR_VARIABLE] = calendar.as_text()
        return await self._service(_SCHEDULER, "scheduler", traps, clock_offset_ms, ready, settings)

    async def executor(
        self,
        *,
        traps: Sequence[Trap] = (),
        clock_offset_ms: int = 0,
        ready: bool = True,
        **settings: str,
    ) -> Process:
        """Start an executor and wait until it is ready."""
        return await self._service(_EXECUTOR, "executor", traps, clock_offset_ms, ready, settings)

    async def api(
        self, database_url: str, *, clock_offset_ms: int = 0, ready: bool = True, **settings: str
    ) -> Process:
        """Start an api and wait until it is ready; with a wrong clock by the test's own main."""
        return await self._service(
            "gnomon_api",
            "api",
            (),
            clock_offset_ms,
            ready,
            {"GNOMON_DATABASE_URL": database_url, "GNOMON_HTTP_PORT": "0", **settings},
        )

    async def _service(
        self,
        module: str,
        name: str,
        traps: Sequence[Trap],
        clock_offset_ms: int,
        ready: bool,
        settings: dict[str, str],
    ) -> Process:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")}
        env |= self.settings | settings
        if traps or clock_offset_ms or CALENDAR_VARIABLE in settings:
            module = f"tests.harness.{name}_main"
            env[TRAPS_VARIABLE] = msgspec.json.encode([trap.as_text() for trap in traps]).decode()
            env[CLOCK_OFFSET_VARIABLE] = str(clock_offset_ms)
        self._names[name] = number = self._names.get(name, 0) + 1
        process = Process(f"{name}-{number}", module, env, forked=True)
        self.processes.append(process)
        await process.start()
        if ready:
            await process.ready()
        return process

    async def leading(self, process: Process, partitions: int | None = None) -> None:
        """Wait until a scheduler leads every shard (or so many)."""
        wanted = self.partitions if partitions is None else partitions
        led: set[int] = set()
        index = 0
        while len(led) < wanted:
            index = await process.logged("shard.led", after=index)
            led.add(int(process.lines[index - 1]["partition"]))

    # -- inside the test -------------------------------------------------------------------------

    def leader(self, partition: int = 0, **options: Any) -> Leader:
        """A shard to be led inside the test; it dies with the world at the latest."""
        leader = Leader(self.broker.url, partition, **{"partitions": self.partitions, **options})
        self._leaders.append(leader)
        return leader

    async def fake_executor(self, **options: Any) -> FakeExecutor:
        """An executor that does what the test tells it, step by step or all that comes."""
        fake = FakeExecutor(self.bus, **options)
        self._fakes.append(fake)
        await fake.start()
        return fake

    # -- looking ---------------------------------------------------------------------------------

    def partition(self, task_id: str) -> int:
        """The partition of a task."""
        return subjects.partition_of(task_id, self.partitions)

    def task_in(self, partition: int, prefix: str = "t") -> str:
        """A task id of this partition, the same for the same arguments."""
        number = 0
        while self.partition(f"{prefix}{number}") != partition:
            number += 1
        return f"{prefix}{number}"

    async def task_register(self, task_id: str) -> tuple[Stored, TaskRegister]:
        """The register of a task, as stored."""
        last = await self.bus.last(EVENTS_STREAM, subjects.task_register(self.partition(task_id), task_id))
        assert last is not None, f"{task_id} has no register"
        return last, decode(last.data, TaskRegister)

    async def shard_register(self, partition: int = 0) -> tuple[Stored, ShardRegister]:
        """The register of a shard, as stored."""
        last = await self.bus.last(EVENTS_STREAM, subjects.shard_register(partition))
        assert last is not None, f"shard {partition} has no register"
        return last, decode(last.data, ShardRegister)

    async def due_fence(self, partition: int = 0) -> tuple[Stored, DueFence]:
        """The due fence of a shard, as stored."""
        last = await self.bus.last(DUE_STREAM, subjects.due_fence(partition))
        assert last is not None, f"shard {partition} has no due fence"
        return last, decode(last.data, DueFence)

    async def dues(self, task_id: str | None = None) -> list[tuple[Stored, Due]]:
        """What is in `TASK_DUE`, in order."""
        return [
            (stored, decode(stored.data, Due))
            async for stored in self.bus.scan(DUE_STREAM, f"task.due.*.*.*.{task_id or '*'}")
        ]

    async def members(self, kind: str) -> list[Member]:
        """The processes of a kind that announce themselves."""
        bucket = subjects.MEMBERS_BUCKET
        kept = await self.bus.multi_last(f"KV_{bucket}", [f"$KV.{bucket}.{kind}.*"])
        return [decode(stored.data, Member) for stored in kept if stored.data]

    async def statuses(self, within: float = 0.3) -> list[SchedulerStatus]:
        """What the schedulers answer to a request for their status."""
        answers: list[SchedulerStatus] = []
        inbox = self.bus.nc.new_inbox()
        subscription = await self.bus.nc.subscribe(inbox)
        await self.bus.nc.publish(subjects.SCHEDULER_STATUS, b"", reply=inbox)
        try:
            async with asyncio.timeout(within):
                while True:
                    message = await subscription.next_msg(timeout=within)
                    answers.append(decode(message.data, SchedulerStatus))
        except TimeoutError:
            return answers
        finally:
            await subscription.unsubscribe()

    # -- the oracle ------------------------------------------------------------------------------

    def audit(self, until_ms: int | None = None) -> Audit:
        """Expected slots against recorded outcomes, up to an instant (now)."""
        return audit(self.events.all, now_ms() if until_ms is None else until_ms, self.calendars)

    async def settled(self, until_ms: int | None = None, within: float = PATIENCE) -> Audit:
        """Wait until every slot up to an instant (now) has its outcome; the audit, which is sound.

        Raises AssertionError with the audit where it is not sound, or not settled in time.
        """
        until = now_ms() if until_ms is None else until_ms
        await self.events.catch_up()
        try:
            async with asyncio.timeout(within):
                while True:
                    position, last = len(self.events.all), self.audit(until)
                    if not (last.pending or last.missing):
                        break
                    await self._ended({*last.pending, *last.missing}, position, within)
        except TimeoutError:
            raise AssertionError(f"not settled within {within:g} s: {last}\n{self.events.tail()}") from None
        assert last.settled, f"{last}\n{self.events.tail()}"
        return last

    async def _ended(self, names: set[str], position: int, within: float) -> None:
        """Wait until each of these slots has ended, or something happened to a task itself, after the events up to
        `position`. An audit of everything takes too long to be made after every event."""

        def look() -> bool:
            nonlocal position
            fresh, position = self.events.all[position:], len(self.events.all)
            for seen in fresh:
                if seen.run == subjects.TASK_RUN:
                    names.clear()
                elif seen.name in ENDINGS:
                    names.discard(f"{seen.task_id}.{seen.run}")
            return not names

        await self.events.wait_for(look, within)
