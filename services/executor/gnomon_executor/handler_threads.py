"""Plain-function handlers: threads.

A thread cannot be stopped from outside. When its attempt times out, the result is recorded, the function goes
on, and its slot stays taken until it returns; what it returns then is dropped. A function that must be
stoppable looks at `ctx.cancelled`, or its type asks for `isolation="process"`.

The threads are daemons of this module's own, not of a `ThreadPoolExecutor`: that one is joined when the
process ends, so one stuck function would keep a stopping executor alive.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue

from gnomon_core.runtime.logs import handling
from gnomon_executor.handler_end import HandlerEnd, bad_config, raised, returned
from gnomon_executor.jobs import Job
from gnomon_executor.mailbox import Mailbox

__all__ = ["HandlerThreads", "handle_plainly"]


class HandlerThreads:
    """A runner for plain functions. As many threads as jobs ran at a time; those are bounded by the slots."""

    def __init__(self, ended: Mailbox[tuple[Job, HandlerEnd]]) -> None:
        self._ended = ended
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads = 0
        self._open = 0
        """Jobs handed over and not ended. Counted on the main loop only."""

    def start(self, job: Job) -> None:
        """See `Runner`."""
        self._open += 1
        if self._open > self._threads:
            self._threads += 1
            name = f"gnomon-handler-{self._threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        self._queue.put(job)

    def ended(self) -> None:
        """A job of this runner has ended; to be called on the main loop."""
        self._open -= 1

    def interrupt(self, job: Job) -> bool:
        """See `Runner`: a thread cannot be stopped."""
        return False

    async def close(self) -> None:
        """See `Runner`. A function that has not returned keeps its thread, which ends with the process."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            with handling(job.handled):
                end = handle_plainly(job)
            self._ended.put((job, end))
            del job, end  # not kept until the thread gets another


def handle_plainly(job: Job) -> HandlerEnd:
    """Run a plain function to its end."""
    try:
        config = job.decode_config(job.config)
    except Exception as error:  # noqa: BLE001 - a Struct's __post_init__ may raise anything; all of it means a bad config
        return bad_config(error)
    handler = job.task_type.handler
    try:
        value = handler(config, job.context) if job.task_type.takes_context else handler(config)
    except BaseException as error:  # noqa: BLE001 - also SystemExit: however it ended, it is recorded
        return raised(error, job.usage)
    return returned(value, job.usage)
