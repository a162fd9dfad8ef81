"""The stage of one question: servers of its own, and the services as the processes that run in production.

    async with Stage("executions", "fast", options) as stage:
        await stage.scheduler()
        await stage.executor(concurrency=200)
        await stage.api()
        async with stage.measuring("execution", count, profile="whole"):
            ...

Everything is in a fresh folder and on free ports, and gone when the stage ends. CPU time is read of every process of
the stage, of Postgres with all its children, and of the benchmark itself, which plays the callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import asyncpg
import msgspec
import nats
from nats.aio.client import Client

from benchmarks.ceilings import BareStreams, bare_streams
from benchmarks.measurement import Mode
from benchmarks.options import Options
from benchmarks.usage import cpu_seconds, per_operation
from gnomon_api.readmodels.migrate import migrate
from gnomon_cli.up.children import ServiceChild
from gnomon_cli.up.log_watch import last_words
from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.embedded import LOOPBACK, EmbeddedNats, EmbeddedPostgres, free_port
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.codec import decode
from gnomon_schemas.members import SchedulerStatus, ShardStatus
from tests.servers import reachable_folder

__all__ = ["PARTITIONS", "ROOT", "Stage"]

PARTITIONS: Final = 8
ROOT: Final = Path(__file__).parents[1]
_ALL = frozenset(range(PARTITIONS))
_POLL_SECONDS = 0.05
_STOP_SECONDS = 60.0
_STATUS_SECONDS = 30.0
_PROFILE_RATE = 200
_PROFILE_ENDS_SECONDS = 30.0


class _ShardSaid(msgspec.Struct):
    """What a scheduler logs of a shard."""

    event: str
    partition: int


class Stage:
    """Servers, services, and a connection of plain nats-py for the callers."""

    def __init__(
        self,
        question: str,
        mode: Mode,
        options: Options,
        *,
        postgres: bool = True,
        postgres_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.question, self.mode, self.options = question, mode, options
        self._postgres_wanted = postgres
        self._postgres_settings = postgres_settings
        self._exit = contextlib.AsyncExitStack()
        self._pids: dict[str, Callable[[], int]] = {}
        self.services: dict[str, ServiceChild] = {}
        """Running services by name, as `scheduler-1`."""
        self.cpu: dict[str, dict[str, float]] = {}
        """As `Result.cpu`."""
        self.operations: dict[str, int] = {}
        """As `Result.operations`."""
        self.notes: list[str] = []
        """As `Result.notes`."""
        self.folder: Path
        self.nats: EmbeddedNats
        self.postgres: EmbeddedPostgres | None = None
        self.nc: Client
        """Plain nats-py, for callers and bare loops."""
        self.bare: BareStreams
        """For the bare loops, on a connection of their own."""
        self.bus: NatsBus
        """The product's own connection, for looking and for what only services may do."""
        self.api_url = ""

    # -- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for name, service in self.services.items():
                print(f"--- {name}, last words:", *last_words(service.log, 0), sep="\n", file=sys.stderr)
        await self._exit.aclose()

    async def _open(self) -> None:
        fast = self.mode == "fast"
        self.folder = self._exit.enter_context(reachable_folder())
        self.nats = EmbeddedNats(self.folder / "nats", fast=fast)
        await self.nats.start()
        self._exit.push_async_callback(self.nats.stop)
        self._pids["nats"] = lambda: self.nats.nodes[0].pid
        if self._postgres_wanted:
            self.postgres = EmbeddedPostgres(
                self.folder / "postgres", fast=fast, options=self._postgres_settings
            )
            await self.postgres.start()
            self._exit.push_async_callback(self.postgres.stop)
            self._pids["postgres"] = lambda: self._database.pid
            await migrate(self.postgres.url)
        self.nc = await quiet_client(self.nats.url)
        self._exit.push_async_callback(self.nc.close)
        self.bare = await bare_streams(await quiet_client(self.nats.url))
        self._exit.push_async_callback(self.bare.nc.close)
        self.bus = await connect(CommonSettings(nats_url=self.nats.url), name="benchmark")
        self._exit.push_async_callback(self.bus.close)
        await ensure_topology(self.bus, TopologySettings(partitions=PARTITIONS))
        self._exit.push_async_callback(self._stop_services)

    async def _stop_services(self) -> None:
        """Schedulers first, so that nothing new is handed out; then whoever works, then whoever reads."""
        for kind in ("scheduler", "executor", "api", "bare"):
            going = [service for name, service in self.services.items() if name.startswith(kind)]
            await asyncio.gather(*(service.stop() for service in going))
        self.services.clear()

    # -- services --------------------------------------------------------------------------------

    async def scheduler(self, number: int = 1, *, wait_until_led: bool = True) -> ServiceChild:
        """Start a scheduler and wait until it is ready, and until every shard is led."""
        service = await self._start("scheduler", number, {})
        if wait_until_led:
            await self.all_led()
        return service

    async def executor(self, number: int = 1, *, concurrency: int = 200) -> ServiceChild:
        """Start an executor with the benchmarks' task types and wait until it is ready."""
        settings = {
            "GNOMON_EXECUTOR_TASKS": "benchmarks.task_types",
            "GNOMON_EXECUTOR_CONCURRENCY": str(concurrency),
        }
        return await self._start("executor", number, settings)

    async def api(self) -> ServiceChild:
        """Start the api and wait until it is ready."""
        port = free_port()
        settings = {"GNOMON_DATABASE_URL": self._database.url, "GNOMON_HTTP_PORT": str(port)}
        self.api_url = f"http://{LOOPBACK}:{port}"
        return await self._start("api", 1, settings, port=port)

    async def everything(self, *, concurrency: int = 200) -> None:
        """One process of each kind."""
        await self.executor(concurrency=concurrency)
        await self.api()
        await self.scheduler()

    async def program(self, module: str, settings: dict[str, str], port: int) -> ServiceChild:
        """Start a program of the benchmarks' own, that answers `/readyz` on this port."""
        return await self._start(module.rpartition(".")[2], 1, settings, port=port, module=module)

    async def stop(self, name: str) -> None:
        """Stop a service cleanly."""
        await self.services.pop(name).stop()

    async def kill(self, name: str) -> None:
        """Kill a service with SIGKILL and wait until it is gone."""
        service = self.services.pop(name)
        service.kill()
        await service.wait_ended()

    async def _start(
        self,
        kind: str,
        number: int,
        settings: dict[str, str],
        *,
        port: int | None = None,
        module: str | None = None,
    ) -> ServiceChild:
        name, port = f"{kind}-{number}", port or free_port()
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GNOMON_", "OTEL_"))}
        env |= {
            "GNOMON_NATS_URL": self.nats.url,
            "GNOMON_PARTITIONS": str(PARTITIONS),
            "GNOMON_LOG_FORMAT": "json",
            "GNOMON_HEALTH_PORT": str(port),
            **settings,
        }
        service = ServiceChild(
            name,
            # Services as `gnomon up` starts them; our own are found in the working directory.
            command=[sys.executable, *(("-m", module) if module else ("-P", "-m", f"gnomon_{kind}"))],
            env=env,
            folder=ROOT,
            log=self.folder / f"{name}.log",
            lock=self.folder / f".{name}.lock",
            health=(LOOPBACK, port),
            grace=_STOP_SECONDS,
        )
        await service.start()
        self.services[name] = service
        return service

    # -- looking ---------------------------------------------------------------------------------

    async def shards(self) -> list[ShardStatus]:
        """Every led shard, as its leader tells it. A leader goes over all its tasks for it: not to be asked often."""
        inbox = self.nc.new_inbox()
        subscription = await self.nc.subscribe(inbox)
        schedulers = sum(name.startswith("scheduler") for name in self.services)
        try:
            await self.nc.publish(subjects.SCHEDULER_STATUS, b"", reply=inbox)
            found: list[ShardStatus] = []
            for _ in range(schedulers):
                answer = await subscription.next_msg(timeout=_STATUS_SECONDS)
                found += decode(answer.data, SchedulerStatus).shards
        finally:
            await subscription.unsubscribe()
        return found

    async def passed(self, instant: float) -> list[ShardStatus]:
        """The shards, when all are led and each has passed an instant (epoch milliseconds, 0 for any); else none."""
        shards = await self.shards()
        behind = [
            shard for shard in shards if shard.watermark is None or instant_ms(shard.watermark) < instant
        ]
        return [] if behind or {shard.partition for shard in shards} != _ALL else shards

    async def all_led(self, within: float = 120.0) -> None:
        """Wait until every shard has a leader, by what the schedulers log: to be asked would cost them time."""
        async with asyncio.timeout(within):
            while self._led() != _ALL:  # noqa: ASYNC110 - a log file tells nobody that it has grown
                await asyncio.sleep(_POLL_SECONDS / 2)

    def _led(self) -> set[int]:
        led: set[int] = set()
        for name, service in self.services.items():
            if not name.startswith("scheduler"):
                continue
            own: set[int] = set()
            for line in service.log.read_bytes().splitlines():
                if b'"event": "shard.' in line:
                    said = msgspec.json.decode(line, type=_ShardSaid)
                    (own.add if said.event == LogEvent.SHARD_LED else own.discard)(said.partition)
            led |= own
        return led

    async def commands_waiting(self) -> int:
        """Commands that are not decided yet."""
        return (await self.bus.stream_info(subjects.COMMANDS_STREAM)).messages

    async def due_messages(self) -> int:
        """Dues that are not finished; the fences do not count."""
        info = await self.bus.api(
            f"STREAM.INFO.{subjects.DUE_STREAM}", {"subjects_filter": "due.fence._._.*._"}
        )
        return int(info["state"]["messages"]) - len(info["state"].get("subjects") or {})

    async def count(self, subject: str) -> int:
        """How many stored messages of `TASKS` match: the broker counts them for a consumer that nobody reads."""
        name = f"count-{os.urandom(6).hex()}"
        config = {"name": name, "ack_policy": "none", "filter_subject": subject, "mem_storage": True}
        stream = subjects.EVENTS_STREAM
        answer = await self.bus.api(
            f"CONSUMER.CREATE.{stream}.{name}", {"stream_name": stream, "config": config}, timeout=30.0
        )
        await self.bus.api(f"CONSUMER.DELETE.{stream}.{name}")
        return int(answer["num_pending"])

    async def database(self) -> asyncpg.Connection[asyncpg.Record]:
        """A connection to the read models, closed with the stage."""
        connection = await asyncpg.connect(self._database.url)
        self._exit.push_async_callback(connection.close)
        return connection

    @property
    def database_url(self) -> str:
        """Where the read models are."""
        return self._database.url

    @property
    def _database(self) -> EmbeddedPostgres:
        if self.postgres is None:
            raise RuntimeError(f"the stage of {self.question} was made without Postgres")
        return self.postgres

    # -- measuring -------------------------------------------------------------------------------

    def cpu_now(self) -> dict[str, float]:
        """CPU seconds so far, by process."""
        pids = {name: pid() for name, pid in self._pids.items()}
        pids |= {name: service.pid for name, service in self.services.items()}
        own = os.times()
        return {name: cpu_seconds(pid) for name, pid in pids.items()} | {"bench": own.user + own.system}

    @contextlib.asynccontextmanager
    async def measuring(self, operation: str, count: int, *, profile: bool = True) -> AsyncIterator[None]:
        """What is done in here is `count` operations of this name: CPU time of each process, and a profile of it
        where one was asked for. Measured again, it takes the place of what was measured before."""
        async with (
            self._profiled(operation) if profile and self.options.profile else contextlib.nullcontext()
        ):
            epochs, before = await self._epochs(), self.cpu_now()
            yield
            self.cpu[operation] = per_operation(before, self.cpu_now(), count)
            self.operations[operation] = count
            if epochs and (more := await self._epochs() - epochs):
                self.notes.append(
                    f"{operation}: shards changed their leader {more} times while it was measured"
                )

    async def _epochs(self) -> int:
        """Sum of the epochs of all shards; 0 without a scheduler. It goes up by one with each change of a leader."""
        if not any(name.startswith("scheduler") for name in self.services):
            return 0
        async with asyncio.timeout(60):
            while not (shards := await self.passed(0)):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(_POLL_SECONDS)
        return sum(shard.epoch for shard in shards)

    @contextlib.asynccontextmanager
    async def _profiled(self, operation: str) -> AsyncIterator[None]:
        """Record every service with py-spy meanwhile."""
        folder = self.options.out / "profiles"
        folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("py-spy") or str(Path(sys.executable).with_name("py-spy"))
        recorders: list[asyncio.subprocess.Process] = []
        try:
            for name, service in self.services.items():
                words = "-".join(
                    [self.question, self.mode, operation.replace(", ", "-").replace(" ", "_"), name]
                )
                arguments = ["record", "--rate", str(_PROFILE_RATE), "--pid", str(service.pid)]
                recorders.append(
                    await asyncio.create_subprocess_exec(
                        program,
                        *arguments,
                        "--output",
                        str(folder / f"{words}.svg"),
                        stdin=asyncio.subprocess.DEVNULL,
                        stdout=asyncio.subprocess.DEVNULL,
                        stderr=asyncio.subprocess.DEVNULL,
                    )
                )
            yield
        finally:
            for recorder in recorders:
                with contextlib.suppress(ProcessLookupError):
                    recorder.send_signal(signal.SIGINT)
            async with asyncio.timeout(_PROFILE_ENDS_SECONDS):
                await asyncio.gather(*(recorder.wait() for recorder in recorders))


async def quiet_client(url: str) -> Client:
    """A connection of plain nats-py; what it has to say about a server that was stopped helps nobody."""

    async def ignore(_: Exception) -> None:
        return

    return await nats.connect(url, max_reconnect_attempts=-1, error_cb=ignore)
