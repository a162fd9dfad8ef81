"""nats-server as deployments run it: with the very files of `deploy/nats`, on free ports.

Only addresses, ports and routes are changed, by the command line; the rest comes from the environment, as it does
there. So what a test sees refused or allowed here is what those permissions refuse and allow. The files are copied,
and entries of devices written into the copy of `devices.conf`, as whoever runs NATS does it.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from gnomon_core.runtime.embedded import LOOPBACK, free_port
from gnomon_core.runtime.embedded.binaries import nats_server
from gnomon_core.runtime.embedded.process import ServerProcess

__all__ = ["TLS", "USERS", "DeployedNats", "trusting"]

USERS: Final = ("scheduler", "executor", "api", "reader", "operator", "publisher", "listener", "sys")
"""Every user of `deploy/nats/permissions.conf`."""

TLS: Final = Path(__file__).parent / "tls"
"""A certificate of 127.0.0.1, signed by itself, and its key. No secret: nothing but tests trusts it."""

_FOLDER: Final = Path(__file__).parents[2] / "deploy" / "nats"
_READY_SECONDS: Final = 30.0


def trusting() -> ssl.SSLContext:
    """What a client needs to trust that certificate, and to find that it is the server's."""
    return ssl.create_default_context(cafile=str(TLS / "certificate.pem"))


class _Node(NamedTuple):
    """One server, to be started."""

    name: str
    folder: Path
    client: int
    monitor: int
    route: int
    mqtt: int

    @property
    def configuration(self) -> Path:
        return self.folder / "conf"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"


class DeployedNats:
    """One nats-server on `server.conf`, or three on `cluster.conf`, with these passwords, else with fresh ones.

    `devices`: entries for `devices.conf`; with them, though there be none, `server-mqtt.conf` or `cluster-mqtt.conf`.
    """

    def __init__(
        self,
        folder: Path,
        passwords: Mapping[str, str] | None = None,
        *,
        nodes: int = 1,
        devices: Sequence[str] | None = None,
    ) -> None:
        # A letter first: nats-server would read digits as a number.
        fresh = {user: f"p{secrets.token_hex(12)}" for user in (*USERS, "route")}
        self.passwords = fresh | dict(passwords or {})
        used: set[int] = set()
        self._nodes: list[_Node] = []
        for number in range(nodes):
            ports = [_free(used) for _ in range(4)]
            own = folder / f"n{number}"
            own.mkdir(parents=True)
            self._nodes.append(_Node(f"gnomon-nats-{number}", own, *ports))
        self._mqtt = devices is not None
        for node in self._nodes:
            shutil.copytree(_FOLDER, node.configuration)
        self._write(devices or ())
        self._processes: list[ServerProcess] = []

    @property
    def address(self) -> str:
        """Host and port of the first server."""
        return f"{LOOPBACK}:{self._nodes[0].client}"

    def url(self, user: str) -> str:
        """The address for one user, with its password: what `GNOMON_NATS_URL` takes."""
        return f"nats://{user}:{self.passwords[user]}@{self.address}"

    @property
    def mqtt_ports(self) -> list[int]:
        """Where the servers listen for MQTT, with TLS, on 127.0.0.1."""
        return [node.mqtt for node in self._nodes]

    @property
    def monitors(self) -> list[str]:
        """The addresses of the servers' monitoring ports."""
        return [f"http://{LOOPBACK}:{node.monitor}" for node in self._nodes]

    def let_in(self, devices: Sequence[str]) -> None:
        """Tell the servers to read these entries in place of those before; they do it in a moment."""
        self._write(devices)
        for process in self._processes:
            process.send(signal.SIGHUP)

    async def start(self) -> None:
        """Start it and wait until it is healthy. Raises EmbeddedServerError."""
        for node in self._nodes:
            process = ServerProcess(
                f"nats-server {node.name} of deploy/nats",
                folder=node.folder,
                log=node.log,
                lock=node.folder / "server.lock",
                env=self._environment(node),
            )
            self._processes.append(process)
            await process.start(partial(self._command, node))
        for node, process in zip(self._nodes, self._processes, strict=True):
            await process.ready(within=_READY_SECONDS, probe=partial(_healthy, node.monitor))

    async def stop(self) -> None:
        """End it."""
        await asyncio.gather(*(process.stop(signal.SIGTERM, grace=10.0) for process in self._processes))

    def violations(self) -> list[str]:
        """What it has refused so far, as its log tells."""
        lines = [line for node in self._nodes for line in node.log.read_text().splitlines()]
        return [line for line in lines if "Violation" in line]

    def _environment(self, node: _Node) -> dict[str, str]:
        env = {f"NATS_{user.upper()}_PASSWORD": password for user, password in self.passwords.items()}
        env |= {"POD_NAME": node.name, "NATS_STORE_DIR": f'"{node.folder}/store"'}
        if self._mqtt:
            env |= {"NATS_MQTT_PORT": str(node.mqtt)}
            env |= {"NATS_MQTT_CERT": str(TLS / "certificate.pem"), "NATS_MQTT_KEY": str(TLS / "key.pem")}
        return env | {"PATH": os.environ.get("PATH", "")}

    def _write(self, devices: Sequence[str]) -> None:
        for node in self._nodes:
            text = (_FOLDER / "devices.conf").read_text()
            assert text.endswith("users: [\n]\n")
            text = text.removesuffix("]\n") + "".join(f"  {entry}\n" for entry in devices) + "]\n"
            (node.configuration / "devices.conf").write_text(text)

    def _command(self, node: _Node) -> list[str | Path]:
        name = ("server" if len(self._nodes) == 1 else "cluster") + ("-mqtt.conf" if self._mqtt else ".conf")
        command: list[str | Path] = [nats_server(), "--config", node.configuration / name, "--addr", LOOPBACK]
        command += ["--port", str(node.client), "--http_port", str(node.monitor)]
        if len(self._nodes) > 1:
            login = f"nats://route:{self.passwords['route']}@{LOOPBACK}"
            routes = ",".join(f"{login}:{other.route}" for other in self._nodes if other is not node)
            command += ["--cluster", f"{login}:{node.route}", "--routes", routes]
        return command


def _free(used: set[int]) -> int:
    port = free_port(avoid=used)
    used.add(port)
    return port


async def _healthy(monitor: int) -> bool:
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(LOOPBACK, monitor)
            try:
                writer.write(f"GET /healthz HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]
