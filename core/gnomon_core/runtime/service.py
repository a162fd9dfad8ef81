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

The class keeps its own state in attributes that begin with `_svc_`, out of the way of its subclasses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, Final

import structlog

from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["Service", "ServiceState"]

_CANCEL_AGAIN_SECONDS: Final = 5.0
"""How long a task may take to end once it was cancelled, before it is cancelled again."""

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
        self._svc_state = ServiceState.STOPPED
        self._svc_turn = asyncio.Lock()
        self._svc_tasks: set[asyncio.Task[Any]] = set()
        self._svc_children: list[Service] = []
        self._svc_watches: dict[Service, asyncio.Task[Any]] = {}
        self._svc_failure: BaseException | None = None
        self._svc_failed = asyncio.Event()
        self._svc_stopping: asyncio.Task[None] | None = None

    @property
    def state(self) -> ServiceState:
        """Where the service is in its life."""
        return self._svc_state

    @property
    def running(self) -> bool:
        """Whether the service is ready and has not been asked to stop."""
        return self._svc_state is ServiceState.RUNNING

    @property
    def failure(self) -> BaseException | None:
        """What made the service fail since it was last started; None while all is well."""
        return self._svc_failure

    async def failed(self) -> BaseException:
        """Wait until one of the service's tasks, or of its children's, crashes; what it crashed with."""
        await self._svc_failed.wait()
        assert self._svc_failure is not None
        return self._svc_failure

    async def on_start(self) -> None:
        """Subclasses: acquire, `spawn` the loops, return when ready. When it raises, everything is undone."""

    async def on_stop(self) -> None:
        """Subclasses: take nothing more, then finish and record what is in hand. The tasks still run
        meanwhile."""

    async def start(self) -> None:
        """Start and wait until ready; returns at once when running. Raises what `on_start` raised."""
        async with self._svc_turn:
            if self._svc_state is ServiceState.RUNNING:
                return
            self._svc_state = ServiceState.STARTING
            self._svc_failure = None
            self._svc_failed = asyncio.Event()
            try:
                await self.on_start()
            except BaseException:
                await self._svc_end_tasks()
                self._svc_state = ServiceState.STOPPED
                raise
            self._svc_state = ServiceState.RUNNING

    async def stop(self) -> None:
        """Stop softly and wait until stopped; fine when never started, stopped before, or being stopped.

        Raises what `on_stop` raised, after the tasks have been ended all the same.
        """
        async with self._svc_turn:
            if self._svc_state is ServiceState.STOPPED:
                return
            self._svc_state = ServiceState.STOPPING
            self._svc_stopping = asyncio.create_task(self.on_stop(), name=f"{self.name}:stop")
            try:
                await self._svc_stopping
            except asyncio.CancelledError:
                self._svc_stopping.cancel()
                # Cancelled by `abort`, which wants the tasks ended and nothing more; or this very call was
                # cancelled.
                if _is_cancelled():
                    raise
            finally:
                await _settled(self._svc_stopping)
                self._svc_stopping = None
                await self._svc_end_tasks()
                self._svc_state = ServiceState.STOPPED

    async def abort(self) -> list[str]:
        """Stop without finishing anything; returns the names of the tasks that had to be cut off."""
        cut = [task.get_name() for task in self._svc_tasks if not task.done()]
        for child in self._svc_children:
            cut += await child.abort()
        if self._svc_stopping is not None:
            self._svc_stopping.cancel()
        else:
            await self._svc_end_tasks()
        async with self._svc_turn:
            await self._svc_end_tasks()
            self._svc_state = ServiceState.STOPPED
        return cut

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` as a task of this service, `<service>:<name>`. When it raises, the service has
        failed."""
        task = asyncio.create_task(work, name=f"{self.name}:{name}")
        self._svc_tasks.add(task)
        task.add_done_callback(self._svc_task_ended)
        return task

    async def start_child(self, child: Service) -> None:
        """Start another service as a part of this one: its failure is this one's, and it stops with this
        one."""
        await child.start()
        self._svc_children.append(child)
        self._svc_watches[child] = self.spawn(self._svc_watch(child), f"watch:{child.name}")

    async def stop_child(self, child: Service) -> None:
        """Stop a part early."""
        if child in self._svc_children:
            self._svc_children.remove(child)
        watch = self._svc_watches.pop(child, None)
        if watch is not None:
            watch.cancel()
        await child.stop()

    def fail(self, error: BaseException) -> None:
        """Declare the service failed. The first failure counts."""
        if self._svc_failure is None:
            self._svc_failure = error
            self._svc_failed.set()

    async def _svc_watch(self, child: Service) -> None:
        error = await child.failed()
        if child in self._svc_children:
            self.fail(error)

    def _svc_task_ended(self, task: asyncio.Task[Any]) -> None:
        self._svc_tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.error(LogEvent.TASK_CRASHED, task=task.get_name(), exc_info=error)
            self.fail(error)

    async def _svc_end_tasks(self) -> None:
        """Stop the children, last started first, then cancel the own tasks and wait for them."""
        while self._svc_children:
            child = self._svc_children.pop()
            self._svc_watches.pop(child, None)
            try:
                await child.stop()
            except Exception:  # noqa: BLE001 - the others must still be stopped; it is logged whole
                _log.exception(LogEvent.SERVICE_STOP_FAILED, service=child.name)
        while self._svc_tasks:
            ending = [task for task in self._svc_tasks if task is not asyncio.current_task()]
            if not ending:
                return
            for task in ending:
                task.cancel()
            # Python 3.11's `wait_for`, in which nats-py waits, may swallow a cancellation; who only waited once would
            # wait for ever.
            await asyncio.wait(ending, timeout=_CANCEL_AGAIN_SECONDS)
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
