"""Service processes that are forked off one that has imported the service already.

A service imports for half a second to a second before it does anything, and the tests start hundreds of them. So each
call of pytest has, per program, one process that imports what the program does, and then waits: here it is called the
stem. For every process that a test wants, the stem forks, and the child goes on as `python -m PROGRAM` would, by way of
its `__main__`, with the environment and the output that the test wants, and no argument.

What is the same as for a process that was started afresh: it is a process of its own, with its own memory, that can be
killed, paused and heard; signals are handled as Python does by itself; modules that the program imports late are
imported late; `random` is seeded anew (Python does so after a fork, and `tracing` for its own source of chance).

What is not: children of one stem share their hash seed, and `PYTHON…` variables come too late. Nothing of ours may keep
at import what is to differ between processes: ids, clocks, the environment. `GNOMON_TESTS_FORK=0` starts everything
afresh; `make chaos`, `make e2e` and `tests/integration/shown` do, and the tests of the command line do anyway.

Nobody is left behind: the stem ends when its socket closes, which the kernel sees to when pytest ends, however that
ends; and its children are killed by the kernel when the stem ends.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["SWITCH", "Forked", "Wanted", "can_fork", "fork"]

SWITCH: Final = "GNOMON_TESTS_FORK"
"""The variable that, when 0, has every process started afresh."""
_ROOT: Final = Path(__file__).parents[2]
_LINE_LIMIT: Final = 16 * 1024 * 1024
_PRELOADED: Final = {
    "gnomon_scheduler": ("gnomon_scheduler.bootstrap",),
    "gnomon_executor": ("gnomon_executor.bootstrap", "gnomon_executor.settings"),
    "gnomon_api": ("gnomon_api.bootstrap", "tests.harness.warm_api"),
    "tests.harness.scheduler_main": (
        "gnomon_scheduler.bootstrap",
        "tests.harness.calendars",
        "tests.harness.clocks",
        "tests.harness.stopping",
    ),
    "tests.harness.executor_main": (
        "gnomon_executor.bootstrap",
        "tests.harness.clocks",
        "tests.harness.stopping",
    ),
}
"""By program, what its stem imports: what the program imports itself. One stem for all would hide from a service that
it forgot to import what another one imports."""
_stems: dict[str, socket.socket] = {}


class Wanted(msgspec.Struct, frozen=True):
    """One process that a stem shall fork. Its output, and where to tell of it, come along as descriptors."""

    env: dict[str, str]


class Forked:
    """A process that a stem has forked, with what the harness uses of `asyncio.subprocess.Process`."""

    def __init__(
        self,
        pid: int,
        stdout: asyncio.StreamReader,
        told: asyncio.StreamReader,
        telling: asyncio.StreamWriter,
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._telling = telling
        self._end = asyncio.create_task(self._await_end(told), name=f"end of {pid}")

    async def wait(self) -> int:
        """Wait until it has ended; its exit code, or minus the signal that ended it.

        Raises EOFError when the stem ended before it could say so.
        """
        return await asyncio.shield(self._end)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    async def _await_end(self, told: asyncio.StreamReader) -> int:
        try:
            self.returncode = int(await told.readuntil(b"\n"))
        finally:
            self._telling.close()
        return self.returncode


def can_fork(program: str) -> bool:
    """Whether processes of this program are forked here, and not started afresh."""
    return sys.platform == "linux" and os.environ.get(SWITCH) != "0" and program in _PRELOADED


async def fork(program: str, env: Mapping[str, str]) -> Forked:
    """A new process of a program. Raises EOFError when its stem has ended."""
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    try:
        wanted = msgspec.json.encode(Wanted(dict(env)))
        socket.send_fds(_stem(program), [wanted], [writing, theirs.fileno()])
    finally:
        os.close(writing)
        theirs.close()
    loop = asyncio.get_running_loop()
    stdout = asyncio.StreamReader(limit=_LINE_LIMIT)
    pipe = os.fdopen(reading, "rb", buffering=0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), pipe)
    told, telling = await asyncio.open_connection(sock=ours)
    try:
        pid = int(await told.readuntil(b"\n"))
    except BaseException:
        telling.close()
        raise
    return Forked(pid, stdout, told, telling)


def _stem(program: str) -> socket.socket:
    """The socket of a program's stem, which is started when first asked for."""
    if program not in _stems:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            stem = subprocess.Popen(
                [sys.executable, "-m", "tests.harness.stem", program, *_PRELOADED[program]],
                cwd=_ROOT,
                env={name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )
        _ = atexit.register(_end, ours, stem)
        _stems[program] = ours
    return _stems[program]


def _end(ours: socket.socket, stem: subprocess.Popen[bytes]) -> None:
    ours.close()
    stem.wait()
