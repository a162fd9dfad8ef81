"""Task types that do not give way. Each run leaves a line in a file, wherever it runs."""

from __future__ import annotations

import os
import time

import msgspec

from gnomon import task_type


class Blocking(msgspec.Struct, frozen=True):
    """Where to write a line when a run starts, and for how many seconds it then blocks."""

    trace: str
    seconds: float


@task_type("shown_block_loop")
async def block_loop(config: Blocking) -> str:
    """Block the event loop on which it runs."""
    _leave_a_line(config.trace)
    time.sleep(config.seconds)  # noqa: ASYNC251 - that is what it is for
    return "blocked a loop"


@task_type("shown_block_thread")
def block_thread(config: Blocking) -> str:
    """Block a thread."""
    _leave_a_line(config.trace)
    time.sleep(config.seconds)
    return "blocked a thread"


@task_type("shown_spin")
def spin(config: Blocking) -> str:
    """Compute without end, holding the interpreter whenever it can get it."""
    _leave_a_line(config.trace)
    until = time.monotonic() + config.seconds
    while time.monotonic() < until:
        sum(range(1000))
    return "spun"


@task_type("shown_block_process", isolation="process")
def block_process(config: Blocking) -> str:
    """Block a worker process."""
    _leave_a_line(config.trace)
    time.sleep(config.seconds)
    return "blocked a process"


def _leave_a_line(path: str) -> None:
    """Append in one write: several processes share the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{os.getpid()}\n".encode())
    finally:
        os.close(descriptor)
