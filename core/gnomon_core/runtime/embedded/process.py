"""One server process: started, watched, signalled, stopped in two steps, and never left behind.

Terms. The *lock* is a file beside the server's data, locked (flock) by a descriptor that the server process
and all its own children inherit, and that this process closes at once. So the lock is held exactly as long as
any process of that server lives, whatever happens to its parent, and whatever a stale pid file says.

Safety. Two servers never run on one data folder, since the second does not get the lock. Nothing is ever
killed or adopted by a process id read from a file: a server of an earlier run that still lives makes the
start fail after `LOCK_WAIT_SECONDS`, naming the file. That time is given because a server whose parent was
just killed needs a moment to end (see `launch`).

Failures. The parent is killed: the server is ended by the launcher's means. The server dies: `ended` is set,
and `wait` returns in every event loop that waits. The start is cancelled: preparing ends before the lock is
given up, and no process is started. A server that ignores its stop signal is killed after the grace.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gnomon_core.runtime.embedded.account import LAUNCHER, Account
from gnomon_core.runtime.embedded.errors import EmbeddedServerError

__all__ = ["LOCK_WAIT_SECONDS", "ServerProcess"]

LOCK_WAIT_SECONDS = 15.0
"""How long a start waits for a server of an earlier run to end."""

_POLL_SECONDS = 0.02
_TAIL_BYTES = 4096
_Result = TypeVar("_Result")
_LOG_BYTES = 10 * 1024 * 1024


class ServerProcess:
    """One run of one server program. Not restarted: a new run is a new object.

    `name` is for messages; `folder` its working directory; `log` the file to which its output is appended;
    `lock` the file described above; `account` the user it runs as (None: the user we are); `death_signal`
    what it gets when this process dies; `watch` uses the portable watcher instead of the kernel's signal
    (default: where the kernel has none).
    """

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        log: Path,
        lock: Path,
        env: Mapping[str, str],
        account: Account | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        watch: bool = sys.platform != "linux",
    ) -> None:
        self.name = name
        self._folder = folder
        self._log = log
        self._lock = lock
        self._env = dict(env)
        self._account = account
        self._death_signal = death_signal
        self._watch = watch
        self._process: subprocess.Popen[bytes] | None = None
        self._code: Future[int] = Future()
        self._watch_writer = -1

    @property
    def pid(self) -> int:
        """The process id. Raises `EmbeddedServerError` before the start."""
        if self._process is None:
            raise EmbeddedServerError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether the process has ended and been collected."""
        return self._code.done()

    async def start(self, prepare: Callable[[], Sequence[str | Path]]) -> None:
        """Take the lock and start the process; it is then running, but not yet ready.

        `prepare` readies the folder while the lock is held, and returns the program and its arguments; it may
        block, and runs in a thread.
        Raises `EmbeddedServerError` when a server of an earlier run holds the lock.
        """
        if self._process is not None:
            raise EmbeddedServerError(f"{self.name} was started before: one object is one run")
        lock = await self._take_lock()
        try:
            program = await _to_the_end(prepare)
            # Spawned in this thread: the kernel's signal comes when the *thread* that started a server ends.
            self._process = self._spawn(program, lock)
        finally:
            os.close(lock)
        # A thread works in every event loop and in none, and outlives the loop that started the server.
        threading.Thread(
            target=self._collect, args=(self._process,), name=f"wait-{self.name}", daemon=True
        ).start()

    async def wait(self) -> int:
        """Wait until the process has ended; return its exit code, or minus the signal that ended it."""
        return await asyncio.shield(asyncio.wrap_future(self._code))

    async def ready(self, *, within: float, probe: Callable[[], Awaitable[bool]]) -> None:
        """Ask `probe` until it says yes.

        Raises `EmbeddedServerError` when the process ends or `within` seconds pass.
        """
        try:
            async with asyncio.timeout(within):
                while not self.ended:
                    if await probe():
                        return
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_SECONDS):
                            await self.wait()
        except TimeoutError:
            raise EmbeddedServerError(
                f"{self.name} was not ready within {within:g} s.{self.tail()}"
            ) from None
        raise EmbeddedServerError(f"{self.name} ended while starting.{self.tail()}")

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self._process is not None and not self.ended:
            self._process.send_signal(number)

    async def stop(self, number: signal.Signals, *, grace: float) -> int:
        """Ask the process to end, and kill it after `grace` seconds; return its exit code.

        May be called again.
        """
        if self._process is None:
            return 0
        self.send(number)
        self.send(signal.SIGCONT)  # a paused process would not hear the other one
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self.wait()

    def tail(self) -> str:
        """Return the end of its log, for an error message."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
                text = log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            text = ""
        return f" Its log, {self._log}, ends with:\n{text}" if text else f" Its log, {self._log}, is empty."

    async def _take_lock(self) -> int:
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except PermissionError:
            raise EmbeddedServerError(
                f"{self._lock} belongs to another user, who ran {self.name} here before: run gnomon as that "
                "user, or use another data folder"
            ) from None
        try:
            async with asyncio.timeout(LOCK_WAIT_SECONDS):
                # No signal tells of a lock given up, and a blocking flock in a thread cannot be cancelled.
                while not _try_lock(descriptor):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, TimeoutError):
                raise EmbeddedServerError(
                    f"another {self.name} still runs on {self._lock.parent}: stop the gnomon that started it "
                    f"(`fuser {self._lock}` names it), or use another data folder"
                ) from None
            raise
        return descriptor

    def _spawn(self, program: Sequence[str | Path], lock: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", str(LAUNCHER), "--parent", str(os.getpid())]
        command += ["--death-signal", str(int(self._death_signal)), "--keep-fd", str(lock)]
        if self._account is not None:
            command += ["--uid", str(self._account.uid), "--gid", str(self._account.gid)]
        inherited = [lock]
        watch_reader = -1
        if self._watch:
            watch_reader, self._watch_writer = os.pipe()
            command += ["--watch-fd", str(watch_reader)]
            inherited.append(watch_reader)
        try:
            self._keep_log_small()
            with self._log.open("ab") as log:
                return subprocess.Popen(
                    [*command, "--", *(str(part) for part in program)],
                    cwd=self._folder,
                    env=self._env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=inherited,
                    # Ctrl-C in a terminal goes to the whole group: the servers must outlast the services.
                    start_new_session=True,
                )
        finally:
            if watch_reader >= 0:
                os.close(watch_reader)

    def _keep_log_small(self) -> None:
        """Begin a new log when the old one has grown; one old one is kept."""
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES:
            self._log.rename(self._log.with_suffix(".log.old"))

    def _collect(self, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if self._watch_writer >= 0:
            os.close(self._watch_writer)
        self._code.set_result(code)


async def _to_the_end(work: Callable[[], _Result]) -> _Result:
    """Run blocking work in a thread to its end, even when cancelled: it needs the lock until then."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
