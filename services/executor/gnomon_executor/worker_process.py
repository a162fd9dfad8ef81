"""`python -m gnomon_executor.worker_process FD`: runs handlers of `isolation="process"`, one at a time.

Started by `handler_processes` with one end of a socket pair. The main thread runs the handler; a second one
listens, so that a cancel is heard, and the executor's death noticed, while the handler computes. Signals that
are meant for the executor (Ctrl-C, a service manager's SIGTERM to the whole group) are ignored here: the
executor decides what ends.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import sys
import threading
from queue import SimpleQueue
from typing import Final

import msgspec

from gnomon import TaskType
from gnomon.task_types import collect
from gnomon_core.runtime.clock import SystemClock
from gnomon_executor.context import AttemptContext, CancelFlag
from gnomon_executor.handler_end import HandlerEnd, Usage, bad_config, raised, returned
from gnomon_executor.handler_log import LogLine
from gnomon_executor.worker_wire import (
    LENGTH,
    CancelOrder,
    EndReport,
    FromWorker,
    LogReport,
    ProgressReport,
    RunOrder,
    ToWorker,
    frame,
)

__all__ = ["main"]

_ORPHANED: Final = 3
_decode = msgspec.json.Decoder(ToWorker).decode


class Worker:
    """The worker's side of the socket, and the attempt it runs."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._orders: SimpleQueue[RunOrder] = SimpleQueue()
        self._cancelled = CancelFlag()
        self._now_ms = SystemClock().now_ms

    def serve(self) -> None:
        """Run orders until the executor closes the socket, which ends the process."""
        threading.Thread(target=self._listen, name="gnomon-worker-orders", daemon=True).start()
        while True:
            order = self._orders.get()
            end = self._run(order)
            self._send(EndReport(end))

    def _listen(self) -> None:
        stream = self._connection.makefile("rb")
        while header := stream.read(LENGTH.size):
            order = _decode(stream.read(LENGTH.unpack(header)[0]))
            if isinstance(order, CancelOrder):
                self._cancelled.set()
            else:
                self._cancelled = CancelFlag()
                self._orders.put(order)
        os._exit(_ORPHANED)

    def _run(self, order: RunOrder) -> HandlerEnd:
        usage = Usage()
        try:
            task_type = _find(order)
        except BaseException as error:  # noqa: BLE001 - importing runs the user's code; whatever it raises is the result
            return raised(error, usage)
        try:
            config = msgspec.json.decode(order.config, type=task_type.config_type)
        except Exception as error:  # noqa: BLE001 - a Struct's __post_init__ may raise anything
            return bad_config(error)
        context = AttemptContext(
            order.facts, self._cancelled, usage, self._progress, lambda: self._log, self._now_ms
        )
        try:
            arguments = (config, context) if task_type.takes_context else (config,)
            value = task_type.handler(*arguments)
            if task_type.is_coroutine:
                value = asyncio.run(value)
        except BaseException as error:  # noqa: BLE001 - also SystemExit: however it ended, it is recorded
            return raised(error, usage)
        return returned(value, usage)

    def _progress(self, fraction: float, message: str) -> None:
        self._send(ProgressReport(fraction, message))

    def _log(self, line: LogLine) -> None:
        self._send(LogReport(line))

    def _send(self, report: FromWorker) -> None:
        data = frame(report)
        with self._sending:
            try:
                self._connection.sendall(data)
            except OSError:
                os._exit(_ORPHANED)


def _find(order: RunOrder) -> TaskType:
    for entry in order.path:
        if entry not in sys.path:
            sys.path.append(entry)
    for declared in collect(importlib.import_module(order.module)):
        if declared.name == order.task_type:
            return declared
    raise LookupError(f"module {order.module!r} defines no task type {order.task_type!r}")


def main(arguments: list[str]) -> None:
    """Serve the executor at the other end of the socket whose descriptor is given."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Worker(socket.socket(fileno=int(arguments[0]))).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
