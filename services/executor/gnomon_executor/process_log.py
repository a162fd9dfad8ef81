"""What handlers log, in the log of the process that runs them: many lines in one write, by a thread of its own.

A write gives up the interpreter's lock, and a thread of a busy process waits up to the whole switch interval (5 ms) to
get it back. Ten lines of one handler, written by its own thread one by one, cost more than all the rest of the
execution. So a handler only leaves its lines here.

**What it promises.** Lines are written in the order in which they came, within some hundredths of a second. None is
lost but in a process that is killed, or where nothing can be written at all. Where the log's reader does not keep up,
handlers wait for it: beyond `HELD_MAX` lines whoever logs one writes what is held by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from gnomon_core.runtime.logs import ToldLine, write_told
from gnomon_core.runtime.service import Service
from gnomon_executor.attempt import Attempt
from gnomon_executor.handler_log import LogLine, LogSink
from gnomon_schemas.run_logs import LEVELS
from gnomon_schemas.tasks import NULL

__all__ = ["HELD_MAX", "ProcessLog"]

HELD_MAX: Final = 2_000
"""Lines that wait to be written, at the most."""
_GATHER_SECONDS: Final = 0.02
_AT_ONCE: Final = 200
"""Lines of one write: between two of them other threads get their turn."""
_STOP_SECONDS: Final = 2.0
_METHODS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_ITS_OWN: Final = ("event", "exc_info", "stack_info")
"""Words of structlog: a handler's detail of such a name gets another."""


class _Held(NamedTuple):
    attempt: Attempt
    line: LogLine


class ProcessLog(Service):
    """Tells the lines of the handlers of one executor."""

    def __init__(self) -> None:
        super().__init__("process-log")
        self._held: deque[_Held] = deque()
        self._some = threading.Event()
        self._ending = threading.Event()
        self._writing = threading.Lock()
        self._levels: frozenset[str] = frozenset()

    async def on_start(self) -> None:
        """Able to take lines."""
        log = structlog.get_logger()
        self._levels = frozenset(level for level in LEVELS if log.is_enabled_for(_METHODS[level]))
        self._ending.clear()
        self._thread = threading.Thread(target=self._run, name="gnomon-process-log", daemon=True)
        self._thread.start()

    async def on_stop(self) -> None:
        """Write what is left. Lines that come later are written by whoever logs them."""
        self._ending.set()
        self._some.set()
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    def sink(self, attempt: Attempt) -> LogSink:
        """Where the lines of an attempt's handler go. It may be called from any thread."""
        held, levels = self._held, self._levels

        def put(line: LogLine) -> None:
            if line.level not in levels:
                return
            held.append(_Held(attempt, line))
            # The line is in before the flag is read, and the flag is taken down before the lines are taken out.
            if not self._some.is_set():
                self._some.set()
            if len(held) > HELD_MAX or self._ending.is_set():
                self._write()

        return put

    def _run(self) -> None:
        while not self._ending.is_set():
            self._some.wait()
            self._ending.wait(_GATHER_SECONDS)
            self._some.clear()
            self._write()
        self._write()  # what was put by somebody who looked whether it is ending just before

    def _write(self) -> None:
        """Write all that is held."""
        with self._writing:
            while self._held:
                some = [self._held.popleft() for _ in range(min(_AT_ONCE, len(self._held)))]
                try:
                    write_told(map(_told, some))
                except (OSError, ValueError):
                    return  # the log itself is gone, so there is no place to say so, and a run must not fail for it


def _told(held: _Held) -> ToldLine:
    attempt, line = held
    due = attempt.due
    fields: dict[str, Any] = {"execution_id": due.execution_id, "attempt": due.attempt}
    if line.details != NULL:
        details = msgspec.json.decode(line.details)
        for word in _ITS_OWN:
            if word in details:
                details[f"{word}_"] = details.pop(word)
        fields |= details
    fields["event"] = line.message
    return ToldLine(line.at_ms, line.level, attempt, fields)
