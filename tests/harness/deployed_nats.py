"""nats-server as deployments run it: with the very files of `deploy/nats`, on free ports.

Only the address and the ports are changed, by the command line; the rest comes from the environment, as it does there.
So what a test sees refused or allowed here is what those permissions refuse and allow.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gnomon_core.runtime.embedded import LOOPBACK, free_port
from gnomon_core.runtime.embedded.binaries import nats_server
from gnomon_core.runtime.embedded.process import ServerProcess

__all__ = ["USERS", "DeployedNats"]

USERS: Final = ("scheduler", "executor", "api", "reader", "operator", "publisher", "listener", "sys")
"""Every user of `deploy/nats/permissions.conf`."""

_CONFIGURATION: Final = Path(__file__).parents[2] / "deploy" / "nats" / "server.conf"
_READY_SECONDS: Final = 30.0


class DeployedNats:
    """One nats-server on `deploy/nats/server.conf`, with these passwords, else a fresh one for every user."""

    def __init__(self, folder: Path, passwords: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # A letter first: nats-server would read digits as a number.
        self.passwords = dict(passwords or {user: f"p{secrets.token_hex(12)}" for user in USERS})
        self._port = self._monitor = 0
        self._process: ServerProcess | None = None

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{LOOPBACK}:{self._port}"

    def url(self, user: str) -> str:
        """The address for one user, with its password: what `GNOMON_NATS_URL` takes."""
        return f"nats://{user}:{self.passwords[user]}@{self.address}"

    async def start(self) -> None:
        """Start it and wait until it is healthy. Raises EmbeddedServerError."""
        self._port = free_port()
        self._monitor = free_port(avoid={self._port})
        env = {f"NATS_{user.upper()}_PASSWORD": password for user, password in self.passwords.items()}
        self._process = ServerProcess(
            "nats-server of deploy/nats",
            folder=self._folder,
            log=self._log,
            lock=self._folder / "server.lock",
            env=env | {"PATH": os.environ.get("PATH", ""), "NATS_STORE_DIR": f'"{self._folder}/store"'},
        )
        await self._process.start(self._command)
        await self._process.ready(within=_READY_SECONDS, probe=self._healthy)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            await self._process.stop(signal.SIGTERM, grace=10.0)

    def violations(self) -> list[str]:
        """What it has refused so far, as its log tells."""
        return [line for line in self._log.read_text().splitlines() if "Violation" in line]

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _command(self) -> list[str | Path]:
        own = ["--addr", LOOPBACK, "--port", str(self._port), "--http_port", str(self._monitor)]
        return [nats_server(), "--config", _CONFIGURATION, *own]

    async def _healthy(self) -> bool:
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, self._monitor)
                try:
                    writer.write(f"GET /healthz HTTP/1.0\r\nHost: {LOOPBACK}\r\n\r\n".encode())
                    status = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return status.split(b" ")[1:2] == [b"200"]
