"""Coroutine handlers: an event loop of their own, in a thread of its own.

The connection to NATS, the claims and their in-progress acks live on the main loop. A handler that blocks
holds up this loop, and with it the other coroutine handlers, but no claim.
"""

from __future__ import annotations

import asyncio
import threading

import uvloop

from gnomon_core.runtime.logs import handle
from gnomon_executor.handler_end import HandlerEnd, bad_config, raised, returned
from gnomon_executor.jobs import Job
from gnomon_executor.mailbox import Mailbox

__all__ = ["HandlerLoop"]


class HandlerLoop:
    """A runner for coroutine handlers."""

    def __init__(self, ended: Mailbox[tuple[Job, HandlerEnd]]) -> None:
        self._ended = ended
        self._loop = uvloop.new_event_loop()
        self._inbox: Mailbox[Job] = Mailbox(self._loop, self._begin)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._thread = threading.Thread(target=self._run_loop, name="gnomon-handlers", daemon=True)
        self._thread.start()

    def start(self, job: Job) -> None:
        """See `Runner`."""
        self._inbox.put(job)

    def interrupt(self, job: Job) -> bool:
        """See `Runner`: the coroutine is cancelled at its next await."""
        self._loop.call_soon_threadsafe(self._cancel, job)
        return True

    async def turn(self) -> None:
        """Return when the loop has got round to new work: at once, unless a handler blocks it."""
        here = asyncio.get_running_loop()
        answered = asyncio.Event()
        self._loop.call_soon_threadsafe(here.call_soon_threadsafe, answered.set)
        await answered.wait()

    async def close(self) -> None:
        """See `Runner`. A handler that blocks keeps the thread, which ends with the process."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, 1.0)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()

    def _begin(self, job: Job) -> None:
        task = self._loop.create_task(self._run(job))
        self._tasks[id(job)] = task

    def _cancel(self, job: Job) -> None:
        task = self._tasks.get(id(job))
        if task is not None:
            # One turn later: a task that is cancelled before its first step would end without having run, and
            # without telling anyone.
            self._loop.call_soon(task.cancel)

    async def _run(self, job: Job) -> None:
        handle(job.handled)
        end = await _handle(job)
        self._tasks.pop(id(job), None)
        self._ended.put((job, end))


async def _handle(job: Job) -> HandlerEnd:
    try:
        config = job.decode_config(job.config)
    except Exception as error:  # noqa: BLE001 - a Struct's __post_init__ may raise anything; all of it means a bad config
        return bad_config(error)
    handler = job.task_type.handler
    try:
        if job.task_type.takes_context:
            value = await handler(config, job.context)
        else:
            value = await handler(config)
    except BaseException as error:  # noqa: BLE001 - also CancelledError and SystemExit: however it ended, it is recorded
        return raised(error, job.usage)
    return returned(value, job.usage)
