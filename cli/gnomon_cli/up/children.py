"""One service of `gnomon up` as a child process: its start until it is ready, and its stop in two steps."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from gnomon_cli.up.log_watch import last_words
from gnomon_core.runtime.embedded.errors import EmbeddedServerError
from gnomon_core.runtime.embedded.process import ServerProcess

__all__ = ["ServiceChild", "how_it_ended", "why_not_ready"]

READY_SECONDS = 60.0
"""A service that is not ready by then is taken for one that cannot start."""

NO_ANSWER = "nobody answers on its health port"
_PROBE_SECONDS = 2.0
_PROBE_AGAIN_SECONDS = 0.03


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

        Raises `EmbeddedServerError`, with its last words, when it ends or is not ready in time; then nothing is
        left running.
        """
        begin = self.log.stat().st_size if self.log.exists() else 0
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
            failure = await self._failure_to_come_up(process)
        except BaseException:
            await process.stop(signal.SIGKILL, grace=0)
            raise
        if failure is not None:
            await process.stop(signal.SIGKILL, grace=0)
            raise EmbeddedServerError("\n".join((failure, *last_words(self.log, begin))))

    async def _failure_to_come_up(self, process: ServerProcess) -> str | None:
        """Wait until the process is ready (None), has ended, or has had its time; say which."""
        said = NO_ANSWER
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not process.ended:
                    words = await why_not_ready(*self.health)
                    if words is None:
                        return None
                    said = words
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_PROBE_AGAIN_SECONDS):
                            await process.wait()
        except TimeoutError:
            return f"{self.name} was not ready within {READY_SECONDS:g} s: {said}; its log is {self.log}"
        code = await process.wait()
        return f"{self.name} {how_it_ended(code)} while starting; its log is {self.log}"

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


async def why_not_ready(host: str, port: int) -> str | None:
    """Ask `/readyz`: None when it says yes, else what it says, in a few words."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET /readyz HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return NO_ANSWER
    head, _, body = answer.partition(b"\r\n\r\n")
    return None if head.split(b" ")[1:2] == [b"200"] else _objections(body)


def _objections(body: bytes) -> str:
    """The checks that are not content, out of the answer of `/readyz`."""
    try:
        checks = msgspec.json.decode(body, type=_Readiness).checks
    except msgspec.MsgspecError:
        return "its /readyz says no"
    return "; ".join(f"{name}: {words}" for name, words in checks.items() if words != "ok")


class _Readiness(msgspec.Struct):
    checks: dict[str, str]


def how_it_ended(code: int) -> str:
    """An exit code in words: `ended with exit code 3`, `was killed by SIGKILL`."""
    if code >= 0:
        return f"ended with exit code {code}" if code else "ended"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}"
