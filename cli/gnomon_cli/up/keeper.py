"""Keeps one child process running: waits for its end, says so, starts it again with growing delays.

The first start is different: when it fails something is set up wrongly, and whoever typed the command wants
to read what. So it raises. Later ends are taken for accidents and repaired for ever. A child that stayed up
for `SETTLED_SECONDS` has proved itself: its next restart is at once again.

Stopping. `stop` may come at any moment, also in the middle of a restart; the restart is then cancelled, and
what it had begun is stopped like everything else. `restart` (for --reload) stops the child cleanly and does
not count as an accident.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from gnomon_cli.up.children import how_it_ended
from gnomon_core.runtime.embedded.errors import EmbeddedServerError

__all__ = ["Keeper", "Kept"]

SETTLED_SECONDS = 30.0
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 15.0


class Kept(Protocol):
    """What can be kept: a service, or an embedded server."""

    name: str

    @property
    def pids(self) -> tuple[tuple[str, int], ...]:
        """Names and process ids of the present run."""

    async def start(self) -> None:
        """Start and wait until ready. Raises `EmbeddedServerError`; then nothing is left running."""

    async def wait_ended(self) -> int:
        """Wait until the present run has ended; return its exit code."""

    async def stop(self) -> None:
        """End it cleanly, within a grace. May be called again, and when it never started."""

    def kill(self) -> None:
        """End it at once, also in the middle of a `stop`."""


class Keeper:
    """Keeps `child` running from `start` to `stop`.

    `tell(text, style)` is called for whatever a person should read, `changed()` after each restart.
    """

    def __init__(
        self,
        child: Kept,
        *,
        tell: Callable[[str, str], None],
        changed: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        first_delay: float = FIRST_DELAY_SECONDS,
    ) -> None:
        self.child = child
        self.restarts = 0
        """How often it was started again after an accident."""
        self._tell = tell
        self._changed = changed
        self._clock = clock
        self._first_delay = first_delay
        self._loop: asyncio.Task[None] | None = None
        self._restart_asked = asyncio.Event()

    async def start(self) -> float:
        """Start the child for the first time; return how many seconds that took.

        Raises `EmbeddedServerError`.
        """
        begun = self._clock()
        await self.child.start()
        self._loop = asyncio.create_task(self._keep(), name=f"keep-{self.child.name}")
        return self._clock() - begun

    async def stop(self) -> None:
        """End the child for good. May be called again, and when it was never started."""
        if self._loop is not None:
            self._loop.cancel()
            # Only our own cancellation and a failed restart can come out of it, and both are over now.
            await asyncio.gather(self._loop, return_exceptions=True)
        await self.child.stop()

    def restart(self) -> None:
        """Ask for a clean stop and a new start; returns at once."""
        self._restart_asked.set()

    async def wait_failed(self) -> BaseException:
        """Wait until the keeping itself has failed, which only an error of this program can bring about."""
        if self._loop is None:
            raise EmbeddedServerError(f"{self.child.name} has not been started")
        await asyncio.wait((self._loop,))
        return self._loop.exception() or RuntimeError(f"keep-{self.child.name} ended")

    async def _keep(self) -> None:
        delay = self._first_delay
        while True:
            started = self._clock()
            if await self._ended_by_itself():
                if self._clock() - started > SETTLED_SECONDS:
                    delay = self._first_delay
                await self._pause(delay)
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)
                self.restarts += 1
            else:
                await self.child.stop()
            while not await self._started_again():
                await self._pause(delay)
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)
            self._changed()

    async def _ended_by_itself(self) -> bool:
        """Wait for the child's end (true) or for a wish to restart it (false)."""
        asked = asyncio.create_task(self._restart_asked.wait(), name=f"restart-asked-{self.child.name}")
        ended = asyncio.create_task(self.child.wait_ended(), name=f"ended-{self.child.name}")
        try:
            await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
            self._restart_asked.clear()
            if ended.done():
                self._tell(f"{self.child.name} {how_it_ended(ended.result())}; starting it again", "yellow")
                return True
            return False
        finally:
            asked.cancel()
            ended.cancel()
            await asyncio.gather(asked, ended, return_exceptions=True)

    async def _started_again(self) -> bool:
        begun = self._clock()
        try:
            await self.child.start()
        except (EmbeddedServerError, OSError) as error:
            # OSError: the machine has no process or file descriptor left, which may pass.
            self._tell(f"{self.child.name} does not start: {error}", "red")
            return False
        took = self._clock() - begun
        pid = self.child.pids[0][1]
        self._tell(f"{self.child.name} is back (process {pid}, {took:.1f} s)", "green")
        return True

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try; a wish to restart (a file was mended) ends the wait."""
        try:
            async with asyncio.timeout(seconds):
                await self._restart_asked.wait()
        except TimeoutError:
            return
        self._restart_asked.clear()
