"""A job: one handler to be run, and how the two sides of the hand-over meet.

A *runner* takes a job on the main loop, has its handler run elsewhere, and tells the job's `on_end`, on the
main loop again, exactly once: when the handler has really ended, however late that is. Until then it occupies
its slot.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from gnomon import TaskType
from gnomon_core.runtime.logs import Handled
from gnomon_executor.context import AttemptContext, AttemptFacts, CancelFlag
from gnomon_executor.handler_end import HandlerEnd, Usage
from gnomon_executor.handler_log import LogSink

__all__ = ["Job", "Runner"]


class Job(msgspec.Struct, kw_only=True, eq=False):
    """One handler to be run."""

    task_type: TaskType
    decode_config: Callable[[bytes], object]
    config: bytes
    """JSON, with the run's own overrides merged in."""
    facts: AttemptFacts
    cancelled: CancelFlag
    usage: Usage
    context: AttemptContext
    open_log: Callable[[], LogSink]
    """Gives where the handler's lines go; asked for by the first line, since most handlers log none."""
    handled: Handled
    """Gives what the handler logs its ids."""
    on_end: Callable[[HandlerEnd], None]


class Runner(Protocol):
    """Where handlers of one kind of isolation run."""

    def start(self, job: Job) -> None:
        """Have the job's handler run. Called on the main loop; returns at once."""

    def interrupt(self, job: Job) -> bool:
        """Make the handler end where that can be done from outside (a coroutine is cancelled, a process
        killed).

        Returns whether it can be: a thread cannot be stopped, and is only told through the job's cancel flag.
        """

    async def close(self) -> None:
        """Take no more jobs and let go of threads and processes; handlers still running are left behind or
        killed."""
