"""Service processes as children: started, killed, paused, heard, and never left behind.

A child logs JSON, and what it logs is a signal that a test can await: no test sleeps until something "should have"
happened. Children die with the test's process, however that ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gnomon_core.runtime.embedded.account import LAUNCHER
from tests.harness.forking import Forked, can_fork, fork
from tests.harness.waiting import PATIENCE

__all__ = ["Process", "ProcessEndedError"]

_ROOT: Final = Path(__file__).parents[2]
_POLL_SECONDS = 0.005
_TAIL_LINES = 60
_READY_WITHIN = 45.0


class ProcessEndedError(AssertionError):
    """A child ended while the test waited for something from it."""


class Process:
    """One run of one service."""

    def __init__(
        self, name: str, module: str, env: Mapping[str, str], *arguments: str, forked: bool = False
    ) -> None:
        """`forked`: it need not be started afresh, see `forking`."""
        self.name = name
        self._forked = forked and not arguments and can_fork(module)
        self._module = module
        self._arguments = arguments
        self._env = dict(env)
        self.lines: list[dict[str, Any]] = []
        """What it has logged, in order. A line that is not JSON is under `text`."""
        self._heard = asyncio.Condition()
        self._child: asyncio.subprocess.Process | Forked | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it lives; it may be paused."""
        return self._child is not None and self._child.returncode is None

    @property
    def was_killed(self) -> bool:
        """Whether SIGKILL has ended it."""
        return self._child is not None and self._child.returncode == -signal.SIGKILL

    def command(self) -> list[str]:
        """What is started."""
        return [sys.executable, "-m", self._module, *self._arguments]

    async def start(self) -> None:
        """Start it; it is not ready yet."""
        self._child = await (fork(self._module, self._env) if self._forked else self._start_afresh())
        self._reader = asyncio.create_task(self._read(), name=f"log of {self.name}")

    async def _start_afresh(self) -> asyncio.subprocess.Process:
        command = self.command()
        if sys.platform == "linux":
            launcher = [sys.executable, "-I", "-S", str(LAUNCHER), "--parent", str(os.getpid())]
            command = [*launcher, "--death-signal", str(int(signal.SIGKILL)), "--", *command]
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=_ROOT,
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=16 * 1024 * 1024,
        )

    async def logged(self, event: str, *, after: int = 0, within: float = PATIENCE, **fields: object) -> int:
        """Wait for a log line with this event and these fields, from the `after`-th on; the index behind it.

        Raises ProcessEndedError when the process ends without it, TimeoutError.
        """
        wanted = {"event": event, **fields}
        try:
            async with asyncio.timeout(within), self._heard:
                while True:
                    for index in range(after, len(self.lines)):
                        if wanted.items() <= self.lines[index].items():
                            return index + 1
                    after = len(self.lines)
                    if self._reader is None or self._reader.done():
                        raise ProcessEndedError(f"{self.name} ended without logging {wanted}\n{self.tail()}")
                    await self._heard.wait()
        except TimeoutError:
            raise TimeoutError(
                f"{self.name} did not log {wanted} within {within:g} s\n{self.tail()}"
            ) from None

    def has_logged(self, event: str) -> list[dict[str, Any]]:
        """The lines so far with this event."""
        return [line for line in self.lines if line.get("event") == event]

    async def ready(self) -> None:
        """Wait until all of its services run. Many of them may be starting at a time, on few cores."""
        await self.logged("process.ready", within=_READY_WITHIN)

    async def ended(self, within: float = PATIENCE) -> int:
        """Wait until it has ended; its exit code, or minus the signal that ended it."""
        assert self._child is not None
        assert self._reader is not None
        async with asyncio.timeout(within):
            code = await self._child.wait()
            await self._reader
        return code

    async def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def stop(self, within: float = PATIENCE) -> int:
        """SIGTERM, and wait until it has ended; its exit code."""
        self.send(signal.SIGTERM)
        return await self.ended(within)

    async def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.send(signal.SIGSTOP)
        await self.paused()

    async def paused(self, within: float = 10.0) -> None:
        """Wait until the process stands still, whoever stopped it."""
        async with asyncio.timeout(within):
            while _state(self.pid) != "T":  # noqa: ASYNC110 - only the kernel knows, and it tells nobody
                await asyncio.sleep(_POLL_SECONDS)

    def resume(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def tail(self) -> str:
        """The end of its log, for a report."""
        lines = [msgspec.json.encode(line).decode() for line in self.lines[-_TAIL_LINES:]]
        return "\n".join([f"--- log of {self.name} ({len(self.lines)} lines)", *lines])

    async def _read(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        async for raw in self._child.stdout:
            async with self._heard:
                self.lines.append(_line(raw))
                self._heard.notify_all()
        async with self._heard:
            self._heard.notify_all()


def _line(raw: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        decoded = None
    return decoded if isinstance(decoded, dict) else {"text": raw.decode(errors="replace").rstrip()}


def _state(pid: int) -> str:
    """State of a process as the kernel tells it: `T` is stopped."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(") ")[2][0]
