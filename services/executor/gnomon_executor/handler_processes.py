"""Handlers of `isolation="process"`: worker processes, one attempt each at a time, that a timeout can kill.

A worker is started when a job finds none idle, and kept for further jobs. Killing is the only way to stop
one: then whatever its handler was doing is over, and the next job gets a fresh worker.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from gnomon_executor.handler_end import HandlerEnd, raised, worker_died
from gnomon_executor.handler_log import LogSink
from gnomon_executor.jobs import Job
from gnomon_executor.worker_wire import (
    LENGTH,
    CancelOrder,
    EndReport,
    FromWorker,
    ProgressReport,
    RunOrder,
    frame,
)

__all__ = ["HandlerProcesses"]

_READ_LIMIT: Final = 4 * 1024 * 1024
_decoder: msgspec.json.Decoder[FromWorker] = msgspec.json.Decoder(FromWorker)

Spawn = Callable[[Coroutine[Any, Any, None], str], "asyncio.Task[None]"]


class _Worker:
    """One worker process, seen from here."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> _Worker:
        """Start a process; it imports what it needs when the first job comes."""
        here, there = socket.socketpair()
        with there:
            command = [sys.executable, "-m", "gnomon_executor.worker_process", str(there.fileno())]
            process = await asyncio.to_thread(
                subprocess.Popen, command, pass_fds=(there.fileno(),), stdin=subprocess.DEVNULL
            )
        reader, writer = await asyncio.open_connection(sock=here, limit=_READ_LIMIT)
        return cls(process, reader, writer)

    async def run(self, job: Job) -> HandlerEnd:
        """Run one job to its end; when the process dies under it, that is the end."""
        order = RunOrder(
            path=sys.path,
            module=job.task_type.handler.__module__,
            task_type=job.task_type.name,
            config=msgspec.Raw(job.config),
            facts=job.facts,
        )
        log: LogSink | None = None
        try:
            self._writer.write(frame(order))
            await self._writer.drain()
            while True:
                report = await self._report()
                if isinstance(report, EndReport):
                    return report.end
                if isinstance(report, ProgressReport):
                    await job.context.progress(report.fraction, report.message)
                else:
                    log = log or job.open_log()
                    log(report.line)
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await self.reap()
            return worker_died(f"exit code {code}" if code >= 0 else f"signal {-code}")

    async def _report(self) -> FromWorker:
        header = await self._reader.readexactly(LENGTH.size)
        body = await self._reader.readexactly(LENGTH.unpack(header)[0])
        return _decoder.decode(body)

    def tell_cancelled(self) -> None:
        """Raise the cancel flag of the job that runs."""
        if not self._writer.is_closing():
            self._writer.write(frame(CancelOrder()))

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()

    def close(self) -> None:
        """Close the socket."""
        self._writer.close()

    async def reap(self) -> int:
        """Wait for the process that has ended or is about to, and close the socket; its exit code."""
        self.close()
        return await asyncio.to_thread(self.process.wait)


class HandlerProcesses:
    """A runner for `isolation="process"`. `spawn` gives its tasks an owner."""

    def __init__(self, ended: Callable[[Job, HandlerEnd], None], spawn: Spawn) -> None:
        self._ended = ended
        self._spawn = spawn
        self._idle: list[_Worker] = []
        self._busy: dict[int, _Worker] = {}
        self._killed: set[int] = set()
        self._closed = False

    def start(self, job: Job) -> None:
        """See `Runner`."""
        _ = self._spawn(self._run(job), f"process:{job.facts.execution_id}")

    def tell_cancelled(self, job: Job) -> None:
        """Pass the cancel flag on to the process; this one's own flag does not reach there."""
        worker = self._busy.get(id(job))
        if worker is not None:
            worker.tell_cancelled()

    def interrupt(self, job: Job) -> bool:
        """See `Runner`: the process is killed."""
        self._killed.add(id(job))
        worker = self._busy.get(id(job))
        if worker is not None:
            worker.kill()
        return True

    async def close(self) -> None:
        """See `Runner`."""
        self._closed = True
        workers = [*self._idle, *self._busy.values()]
        self._idle.clear()
        for worker in workers:
            worker.kill()
        await asyncio.gather(*(worker.reap() for worker in workers))

    async def _run(self, job: Job) -> None:
        try:
            worker = self._living() or await _Worker.start()
        except OSError as error:  # no process to be had: out of memory, descriptors or pids
            self._ended(job, raised(error, job.usage))
            return
        self._busy[id(job)] = worker
        if id(job) in self._killed or self._closed:
            worker.kill()
        elif job.cancelled:
            worker.tell_cancelled()
        end = await worker.run(job)
        del self._busy[id(job)]
        self._killed.discard(id(job))
        if worker.process.poll() is None and not self._closed:
            self._idle.append(worker)
        self._ended(job, end)

    def _living(self) -> _Worker | None:
        """An idle worker that has not been killed from outside meanwhile."""
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.close()
        return None
