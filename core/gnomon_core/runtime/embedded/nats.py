"""nats-server with JetStream as child processes of this one: a single node, or a cluster of up to three.

A node's files are in a folder of its own (`n1`, `n2`, `n3`): configuration, log, lock and JetStream's store.
Ports are chosen at the first start and kept, so that clients find a restarted node where it was. A node is
ready when its own health endpoint says so, which in a cluster includes a leader of the metadata group and
every stream caught up.

By default JetStream calls fsync before it acknowledges (`sync_interval: always`). `fast` leaves that to the
system's page cache: nothing is lost when a process is killed, but a power cut may take acknowledged messages
with it. Such a server collects its batches in memory, too (see `batch_staging`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gnomon_core.runtime.embedded.batch_staging import BatchStaging
from gnomon_core.runtime.embedded.binaries import nats_server
from gnomon_core.runtime.embedded.errors import EmbeddedServerError
from gnomon_core.runtime.embedded.ports import LOOPBACK, choose_port, free_port, is_free
from gnomon_core.runtime.embedded.process import ServerProcess
from gnomon_schemas.subjects import DUE_STREAM, EVENTS_STREAM

__all__ = ["DEFAULT_NATS_PORT", "MAX_PAYLOAD", "EmbeddedNats", "NatsNode"]

DEFAULT_NATS_PORT: Final = 4222
"""The port that is wished for when none was asked for."""

MAX_PAYLOAD: Final = 1024 * 1024
"""The largest message in bytes, which is also nats-server's own default."""

_READY_SECONDS = 30.0
_STOP_SECONDS = 10.0
_MAX_NODES = 3
_PORT_ATTEMPTS = 3  # between choosing a port and listening on it another process may take it


@dataclass(frozen=True, slots=True)
class _Ports:
    client: int
    monitor: int
    route: int


class NatsNode:
    """One nats-server of an `EmbeddedNats`, which makes it."""

    def __init__(
        self, name: str, folder: Path, ports: _Ports, configuration: str, staging: BatchStaging | None
    ) -> None:
        self.name = name
        self.folder = folder
        self._ports = ports
        self._configuration = configuration
        self._staging = staging
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """The address for clients, as `nats://127.0.0.1:4222`."""
        return f"nats://{LOOPBACK}:{self._ports.client}"

    @property
    def monitor_url(self) -> str:
        """The address of the server's monitoring endpoints (`/healthz`, `/jsz`, `/varz`)."""
        return f"http://{LOOPBACK}:{self._ports.monitor}"

    @property
    def running(self) -> bool:
        """Whether the process lives (it may be paused)."""
        return self._process is not None and not self._process.ended

    @property
    def pid(self) -> int:
        """The process id of the latest run. Raises `EmbeddedServerError` before the first."""
        return self._run.pid

    def ports_are_free(self) -> bool:
        """Whether nobody listens on the node's ports at this moment."""
        return all(is_free(port) for port in (self._ports.client, self._ports.monitor, self._ports.route))

    async def launch(self) -> None:
        """Start the process without waiting until it is ready; nothing happens when it runs."""
        if self.running:
            return
        process = ServerProcess(
            f"nats-server {self.name}",
            folder=self.folder,
            log=self.folder / "server.log",
            lock=self.folder / "server.lock",
            env={
                name: os.environ[name] for name in ("PATH", "GOMAXPROCS", "GOMEMLIMIT") if name in os.environ
            },
        )
        await process.start(self._prepare)
        self._process = process

    async def ready(self) -> None:
        """Wait until the node is healthy.

        Raises `EmbeddedServerError` when it ends, or is not so within 30 s.
        """
        await self._run.ready(within=_READY_SECONDS, probe=self._healthy)
        if self._staging is not None:
            self._staging.begin()

    async def start(self) -> None:
        """Start the node and wait until it is healthy."""
        await self.launch()
        await self.ready()

    async def stop(self) -> None:
        """End the node cleanly; after 10 s it is killed. May be called again."""
        self._end_staging()
        if self._process is not None:
            code = await self._process.stop(signal.SIGTERM, grace=_STOP_SECONDS)
            if self._staging is not None and code == 0:
                self._staging.clear()

    async def kill(self) -> None:
        """Kill the node with SIGKILL and wait until it is gone."""
        self._end_staging()
        self._run.send(signal.SIGKILL)
        await self._run.wait()

    async def restart(self) -> None:
        """Stop the node cleanly and start it again on the same ports."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Freeze the process with SIGSTOP: its connections stay open and nothing answers."""
        self._run.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._run.send(signal.SIGCONT)

    async def wait_ended(self) -> int:
        """Wait until the present run has ended, for whatever reason; return its exit code."""
        return await self._run.wait()

    def _end_staging(self) -> None:
        if self._staging is not None:
            self._staging.end()

    @property
    def _run(self) -> ServerProcess:
        if self._process is None:
            raise EmbeddedServerError(f"nats-server {self.name} has not been started")
        return self._process

    def _prepare(self) -> list[str | Path]:
        """Under the lock, so that a refused start leaves the running server's configuration alone."""
        path = self.folder / "server.conf"
        path.write_text(self._configuration)
        return [nats_server(), "--config", path]

    async def _healthy(self) -> bool:
        """Ask the node's own health endpoint; no answer counts as no."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, self._ports.monitor)
                try:
                    writer.write(f"GET /healthz HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return status.split(b" ")[1:2] == [b"200"]


class EmbeddedNats:
    """A nats-server, or a cluster of two or three, on the loopback address.

    `folder` keeps everything; `nodes` is 1 to 3; `port` a port asked for (single node only), else
    `default_port` is wished for; `fast` leaves fsync to the system; `max_payload` is in bytes; `mqtt_port`, of a single
    node only: where it listens for MQTT, on the loopback address as well.
    Raises `EmbeddedServerError` for values that cannot be.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 1,
        port: int | None = None,
        default_port: int | None = None,
        fast: bool = False,
        max_payload: int = MAX_PAYLOAD,
        mqtt_port: int | None = None,
    ) -> None:
        if not 1 <= nodes <= _MAX_NODES:
            raise EmbeddedServerError(f"nodes is {nodes}: allowed is 1 to {_MAX_NODES}")
        if port is not None and nodes > 1:
            raise EmbeddedServerError(f"port is {port}: a cluster of {nodes} nodes chooses its ports itself")
        if mqtt_port is not None and nodes > 1:
            raise EmbeddedServerError(f"mqtt_port is {mqtt_port}: only a single node listens for MQTT")
        self._folder = folder.absolute()
        self._count = nodes
        self._asked = port
        self._default = default_port
        self._fast = fast
        self._max_payload = max_payload
        self._mqtt = mqtt_port
        self._nodes: list[NatsNode] = []

    @property
    def nodes(self) -> tuple[NatsNode, ...]:
        """The nodes; empty before the first start."""
        return tuple(self._nodes)

    @property
    def url(self) -> str:
        """The addresses of all nodes, joined by commas, as clients and `GNOMON_NATS_URL` take them."""
        if not self._nodes:
            raise EmbeddedServerError("nats-server has no address before its start")
        return ",".join(node.url for node in self._nodes)

    async def start(self) -> None:
        """Start all nodes and wait until every one is healthy; ports stay as they were at the first start.

        Raises `PortTaken` when the port asked for is in use, `EmbeddedServerError` when a node does not come
        up; then nothing is left running.
        """
        if self._nodes:
            await self._start_nodes()
            return
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            self._nodes = self._lay_out()
            try:
                await self._start_nodes()
            except BaseException as error:
                nodes, self._nodes = self._nodes, []
                lost_a_port = not all(node.ports_are_free() for node in nodes)
                if not (isinstance(error, EmbeddedServerError) and lost_a_port and attempts_left):
                    raise
            else:
                return

    async def stop(self) -> None:
        """End all nodes cleanly, the same as for each node alone. May be called again."""
        await asyncio.gather(*(node.stop() for node in self._nodes))

    async def kill(self) -> None:
        """Kill all nodes with SIGKILL at once."""
        await asyncio.gather(*(node.kill() for node in self._nodes))

    async def restart(self) -> None:
        """Stop all nodes cleanly and start them again, on the same ports."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Freeze all nodes."""
        for node in self._nodes:
            node.pause()

    def resume(self) -> None:
        """Let all nodes go on."""
        for node in self._nodes:
            node.resume()

    async def _start_nodes(self) -> None:
        try:
            for node in self._nodes:
                await node.launch()
            await asyncio.gather(*(node.ready() for node in self._nodes))
        except BaseException:
            await self.stop()
            raise

    def _lay_out(self) -> list[NatsNode]:
        """Choose the ports and make the folders."""
        ports: list[_Ports] = []
        used: set[int] = set()
        for _ in range(self._count):
            wished = None if self._default in used else self._default
            client = choose_port(asked=self._asked, default=wished, what="nats-server")
            own = _Ports(client, *_two_free_ports(avoid={*used, client}))
            used |= {own.client, own.monitor, own.route}
            ports.append(own)
        nodes: list[NatsNode] = []
        for number, own in enumerate(ports, start=1):
            name = f"n{number}"
            folder = self._folder / name
            folder.mkdir(parents=True, exist_ok=True)
            routes = [other.route for other in ports if other is not own]
            # In a cluster the server collects the batches of replicated streams in memory by itself.
            in_memory = self._fast and self._count == 1
            staging = BatchStaging(folder / "store", (EVENTS_STREAM, DUE_STREAM)) if in_memory else None
            configuration = self._configuration(name, folder, own, routes)
            nodes.append(NatsNode(name, folder, own, configuration, staging))
        return nodes

    def _configuration(self, name: str, folder: Path, ports: _Ports, routes: list[int]) -> str:
        # Quoted: a bare 2m is a size to nats-server, two million, and would be taken for as many seconds.
        sync = '"2m"' if self._fast else "always"
        text = f"""\
# Written by gnomon at each start; changes here are lost.
server_name: {name}
listen: "{LOOPBACK}:{ports.client}"
http: "{LOOPBACK}:{ports.monitor}"
max_payload: {self._max_payload}
jetstream {{
  store_dir: {_quoted(folder / "store")}
  sync_interval: {sync}
}}
"""
        if self._mqtt is not None:
            text += f"""\
mqtt {{
  listen: "{LOOPBACK}:{self._mqtt}"
}}
"""
        if routes:
            addresses = ", ".join(f'"nats://{LOOPBACK}:{port}"' for port in routes)
            text += f"""\
cluster {{
  name: gnomon
  listen: "{LOOPBACK}:{ports.route}"
  no_advertise: true
  routes: [{addresses}]
}}
"""
        return text


def _two_free_ports(*, avoid: set[int]) -> tuple[int, int]:
    first = free_port(avoid=avoid)
    return first, free_port(avoid={*avoid, first})


def _quoted(path: Path) -> str:
    """Write a path as nats-server's configuration language has it: with the escapes of JSON."""
    return json.dumps(str(path), ensure_ascii=False)
