"""One service of `gnomon up` as a child process: its start until it is ready, and its stop in two steps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from gnomon_core.runtime.embedded.errors import EmbeddedServerError
from gnomon_core.runtime.embedded.process import ServerProcess

__all__ = ["ServiceChild", "answers_ready", "how_it_ended"]

READY_SECONDS = 60.0
"""A service that is not ready by then is taken for one that cannot start."""

_PROBE_SECONDS = 2.0


class ServiceChild:
    """A service that can be run again and again under one name, on one health address.

    `command` is the program with its arguments; `env` all of its environment; `log` the file its output is
    appended to; `health` the host and port where it answers `/readyz`; `grace` how many seconds a stop may
    take before it is killed. The child cannot outlive this process: the kernel kills it then.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        log: Path,
        lock: Path,
        health: tuple[str, int],
        grace: float,
    ) -> None:
        self.name = name
        self.log = log
        self.health = health
        self._command = list(command)
        self._env = dict(env)
        self._folder = folder
        self._lock = lock
        self._grace = grace
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int:
        """The process id of the latest run. Raises `EmbeddedServerError` before the first."""
        return self._run.pid

    @property
    def pids(self) -> tuple[tuple[str, int], ...]:
        """Name and process id, for `run.json`."""
        return ((self.name, self.pid),)

    async def start(self) -> None:
        """Start the process and wait until `/readyz` says yes.

        Raises `EmbeddedServerError`, with the end of the log, when it ends or is not ready in time; then
        nothing is left running.
        """
        process = ServerProcess(
            self.name,
            folder=self._folder,
            log=self.log,
            lock=self._lock,
            env=self._env,
            # Without its broker and with nobody to restart it a service is of no use: it shall end at once.
            death_signal=signal.SIGKILL,
        )
        self._process = process
        try:
            await process.start(lambda: self._command)
            await process.ready(within=READY_SECONDS, probe=lambda: answers_ready(*self.health))
        except BaseException:
            await process.stop(signal.SIGKILL, grace=0)
            raise

    async def wait_ended(self) -> int:
        """Wait until the present run has ended, for whatever reason; return its exit code."""
        return await self._run.wait()

    async def stop(self) -> None:
        """Let it finish what it has begun, then kill it. May be called again."""
        if self._process is not None:
            await self._process.stop(signal.SIGTERM, grace=self._grace)

    def kill(self) -> None:
        """Kill it at once; a `stop` under way then returns."""
        if self._process is not None:
            self._process.send(signal.SIGKILL)

    @property
    def _run(self) -> ServerProcess:
        if self._process is None:
            raise EmbeddedServerError(f"{self.name} has not been started")
        return self._process


async def answers_ready(host: str, port: int) -> bool:
    """Ask `/readyz`; no answer in time counts as no."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]


def how_it_ended(code: int) -> str:
    """An exit code in words: `ended with exit code 3`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with exit code {code}" if code else "ended"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
