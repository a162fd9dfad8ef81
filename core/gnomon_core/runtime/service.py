"""Services: every loop of a process has an owner that starts it, waits until it is ready, and stops it.

A `Service` goes through these states; `start` and `stop` may be called at any time, by several callers at
once, and again after the end:

    stopped --start--> starting --ready--> running --stop--> stopping --> stopped
                          |                   |
                          +--- error ---------+--> the error is kept in `failure` until the next start

`start` returns when the service is ready to do its work. `stop` is the first of two breaths: take nothing
more, finish and record what is in hand (`on_stop`), then end the tasks. `abort` is the second: cancel
whatever is left. A task that crashes fails its service; `failed` tells, and whoever supervises decides.
Nothing is started without an owner: `spawn` names the task after its service and ends it with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any

import structlog

from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["Service", "ServiceState"]

_log = structlog.get_logger(__name__)


class ServiceState(StrEnum):
    """Where a service is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


class Service:
    """Something with loops that can be started, awaited, and stopped. Subclasses fill in `on_start` and
    `on_stop`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._state = ServiceState.STOPPED
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._children: list[Service] = []
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None

    @property
    def state(self) -> ServiceState:
        """Where the service is in its life."""
        return self._state

    @property
    def running(self) -> bool:
        """Whether the service is ready and has not been asked to stop."""
        return self._state is ServiceState.RUNNING

    @property
    def failure(self) -> BaseException | None:
        """What made the service fail since it was last started; None while all is well."""
        return self._failure

    async def failed(self) -> BaseException:
        """Wait until one of the service's tasks, or of its children's, crashes; what it crashed with."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    async def on_start(self) -> None:
        """Subclasses: acquire, `spawn` the loops, return when ready. When it raises, everything is undone."""

    async def on_stop(self) -> None:
        """Subclasses: take nothing more, then finish and record what is in hand. The tasks still run
        meanwhile."""

    async def start(self) -> None:
        """Start and wait until ready; returns at once when running. Raises what `on_start` raised."""
        async with self._turn:
            if self._state is ServiceState.RUNNING:
                return
            self._state = ServiceState.STARTING
            self._failure = None
            self._failed = asyncio.Event()
            try:
                await self.on_start()
            except BaseException:
                await self._end_tasks()
                self._state = ServiceState.STOPPED
                raise
            self._state = ServiceState.RUNNING

    async def stop(self) -> None:
        """Stop softly and wait until stopped; fine when never started, stopped before, or being stopped.

        Raises what `on_stop` raised, after the tasks have been ended all the same.
        """
        async with self._turn:
            if self._state is ServiceState.STOPPED:
                return
            self._state = ServiceState.STOPPING
            self._stopping = asyncio.create_task(self.on_stop(), name=f"{self.name}:stop")
            try:
                await self._stopping
            except asyncio.CancelledError:
                self._stopping.cancel()
                # Cancelled by `abort`, which wants the tasks ended and nothing more; or this very call was
                # cancelled.
                if _is_cancelled():
                    raise
            finally:
                await _settled(self._stopping)
                self._stopping = None
                await self._end_tasks()
                self._state = ServiceState.STOPPED

    async def abort(self) -> list[str]:
        """Stop without finishing anything; returns the names of the tasks that had to be cut off."""
        cut = [task.get_name() for task in self._tasks if not task.done()]
        for child in self._children:
            cut += await child.abort()
        if self._stopping is not None:
            self._stopping.cancel()
        else:
            await self._end_tasks()
        async with self._turn:
            await self._end_tasks()
            self._state = ServiceState.STOPPED
        return cut

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as a task of this service, `<service>:<name>`. When it raises, the service has
        failed."""
        task = asyncio.create_task(work, name=f"{self.name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    async def start_child(self, child: Service) -> None:
        """Start another service as a part of this one: its failure is this one's, and it stops with this
        one."""
        await child.start()
        self._children.append(child)
        _ = self.spawn(self._watch(child), f"watch:{child.name}")

    async def stop_child(self, child: Service) -> None:
        """Stop a part early."""
        if child in self._children:
            self._children.remove(child)
        await child.stop()

    def fail(self, error: BaseException) -> None:
        """Declare the service failed. The first failure counts."""
        if self._failure is None:
            self._failure = error
            self._failed.set()

    async def _watch(self, child: Service) -> None:
        error = await child.failed()
        if child in self._children:
            self.fail(error)

    def _task_ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error(LogEvent.TASK_CRASHED, task=task.get_name(), exc_info=error)
            self.fail(error)

    async def _end_tasks(self) -> None:
        """Stop the children, last started first, then cancel the own tasks and wait for them."""
        while self._children:
            child = self._children.pop()
            try:
                await child.stop()
            except Exception:  # noqa: BLE001 - the others must still be stopped; it is logged whole
                _log.exception(LogEvent.SERVICE_STOP_FAILED, service=child.name)
        while self._tasks:
            ending = [task for task in self._tasks if task is not asyncio.current_task()]
            if not ending:
                return
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)
            # A done callback runs one turn of the loop after its task.
            await asyncio.sleep(0)


def _is_cancelled() -> bool:
    """Whether the running task itself is being cancelled, and not one that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _settled(task: asyncio.Task[None]) -> None:
    """Wait until a task has ended, however; its outcome stays with it."""
    if not task.done():
        await asyncio.wait([task])
