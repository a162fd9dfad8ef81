"""A real `gnomon up` for tests: started as people start it, its terminal read line by line."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gnomon_cli.up.run_file import RunFile, read_run_file
from gnomon_core.runtime.embedded import free_port

DEADLINE = 60.0


def environment(**extra: str) -> dict[str, str]:
    """The environment of a person who has set nothing of Gnomon's, and `extra`.

    What a `make` hands down to another is left out: those tests may run in one.
    """
    ours = ("GNOMON_", "OTEL_", "MAKE", "MFLAGS", "ARGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, **extra}


def alive(pid: int) -> bool:
    """Whether a process of this id exists and is not a zombie that its new parent has not collected yet."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def held_locks(data: Path) -> list[str]:
    """The locks below a data folder that some process still holds: each child holds its own while it lives."""
    held = []
    for path in sorted(data.rglob("*.lock")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path.name)
    return held


class Said(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


async def gnomon(*arguments: str, cwd: Path | None = None, **extra: str) -> Said:
    """Run one command to its end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gnomon_cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(**extra),
        cwd=cwd,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Said(process.returncode or 0, out.decode(), err.decode())


class RunningUp:
    """One `gnomon up` on a folder. `lines` is what its terminal shows so far."""

    def __init__(
        self, data: Path, *flags: str, cwd: Path | None = None, extra: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self.lines: list[str] = []
        self._flags = flags
        self._cwd = cwd
        self._extra = dict(extra or {})
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    @property
    def pid(self) -> int:
        """Of `gnomon up` itself."""
        assert self._process is not None
        return self._process.pid

    @property
    def run_file(self) -> RunFile:
        """What `run.json` says now."""
        return read_run_file(self.data)

    def pid_of(self, name: str) -> int:
        """The process id of a child by its name."""
        return next(entry.pid for entry in self.run_file.processes if entry.name == name)

    async def start(self) -> None:
        """Start it on free ports, and wait until it is ready."""
        await self.launch()
        await self.shows("ready in")

    async def launch(self) -> None:
        """Start it without waiting."""
        ports = ["--http-port", str(free_port())]
        if "GNOMON_NATS_URL" not in self._extra:
            ports += ["--nats-port", str(free_port())]
        self._process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "gnomon_cli",
                "up",
                "--data",
                str(self.data),
                "--fast",
                *ports,
                *self._flags,
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment(**self._extra),
            cwd=self._cwd,
        )
        self._reader = asyncio.create_task(self._read(), name="read-terminal")

    async def shows(self, *words: str, after: int = 0) -> str:
        """Wait for a line, from number `after` on, that holds all these words; return it."""
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    for line in self.lines[after:]:
                        if all(word in line for word in words):
                            return line
                    if self._reader is None or self._reader.done():
                        raise AssertionError(f"gnomon up ended without showing {words}:\n{self.terminal}")
                    self._grown.clear()
                    await self._grown.wait()
        except TimeoutError:
            raise AssertionError(f"gnomon up does not show {words}:\n{self.terminal}") from None

    @property
    def terminal(self) -> str:
        """All that is on the terminal."""
        return "\n".join(self.lines)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to `gnomon up` alone."""
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        async with asyncio.timeout(DEADLINE):
            code = await self._process.wait()
            if self._reader is not None:
                await self._reader
        return code

    async def stop(self) -> int:
        """Ctrl-C, and wait for its end; the exit code. May be called when it has ended."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self.send(signal.SIGINT)
        return await self.ended()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip())
            self._grown.set()
        self._grown.set()
