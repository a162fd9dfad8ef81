"""All the places where handlers run, behind one face."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from gnomon.task_types import Isolation
from gnomon_core.runtime.service import Service
from gnomon_executor.handler_end import HandlerEnd
from gnomon_executor.handler_loop import HandlerLoop
from gnomon_executor.handler_processes import HandlerProcesses
from gnomon_executor.handler_threads import HandlerThreads
from gnomon_executor.jobs import Job, Runner
from gnomon_executor.mailbox import Mailbox

__all__ = ["Runners"]

BLOCKED_SECONDS: Final = 5.0
"""A handler loop that does not get round to new work for this long is reported as blocked."""
_LOOK_EVERY_SECONDS: Final = 1.0


class Runners(Service):
    """Starts and interrupts handlers, each where its type wants it."""

    def __init__(self) -> None:
        super().__init__("handlers")
        self._runners: dict[Isolation, Runner] = {}
        self._asked_at: float | None = None
        """When the handler loop was asked for a turn that it has not taken yet."""

    async def on_start(self) -> None:
        """Start the handler loop; threads and processes come with the first job that needs one."""
        ended: Mailbox[tuple[Job, HandlerEnd]] = Mailbox(asyncio.get_running_loop(), self._ended)
        self._loop = HandlerLoop(ended)
        self._threads = HandlerThreads(ended)
        self._processes = HandlerProcesses(self._tell, self.spawn)
        self._runners = {"loop": self._loop, "thread": self._threads, "process": self._processes}
        _ = self.spawn(self._watch_loop(), "watch-loop")

    async def on_stop(self) -> None:
        """Let go of everything. Handlers that are still running are killed or left behind."""
        for runner in self._runners.values():
            await runner.close()

    def run(self, job: Job) -> None:
        """Have a handler run. The job's `on_end` is told once it has ended."""
        self._runners[job.task_type.isolation].start(job)

    def tell_cancelled(self, job: Job) -> None:
        """Raise the job's cancel flag, wherever its handler looks at it."""
        job.cancelled.set()
        if job.task_type.isolation == "process":
            self._processes.tell_cancelled(job)

    def interrupt(self, job: Job) -> bool:
        """Make the handler end, where that can be done from outside; whether it can."""
        return self._runners[job.task_type.isolation].interrupt(job)

    @property
    def blocked(self) -> bool:
        """Whether a handler holds up the handler loop, and has done so for a while."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > BLOCKED_SECONDS

    async def _watch_loop(self) -> None:
        while True:
            self._asked_at = time.monotonic()
            await self._loop.turn()
            self._asked_at = None
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    def _ended(self, item: tuple[Job, HandlerEnd]) -> None:
        job, end = item
        if job.task_type.isolation == "thread":
            self._threads.ended()
        self._tell(job, end)

    @staticmethod
    def _tell(job: Job, end: HandlerEnd) -> None:
        job.on_end(end)
