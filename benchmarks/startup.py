"""What does starting cost: importing each process's code, and `gnomon up` until everything is ready?

    .venv/bin/python -m benchmarks.startup [--fast | --sync]

Imports in fresh interpreters, with byte code that is there already; the bare one imports nothing. `gnomon up` in a
fresh folder, from its start until it says that it is ready, with the CPU time of all its processes until then.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.measurement import Figure, Mode, Result, time_figure
from benchmarks.options import Options
from benchmarks.running import Question, main
from benchmarks.stage import ROOT
from benchmarks.usage import cpu_seconds
from tests.servers import reachable_folder

__all__ = ["QUESTION"]

_MODULES = (
    "gnomon_scheduler.bootstrap",
    "gnomon_executor.bootstrap",
    "gnomon_api.bootstrap",
    "gnomon_cli.parser",
)
_READY = b"ready in "
_WITHIN = 120.0


async def measure(mode: Mode, options: Options) -> Result:
    """Imports by module, then two starts of everything: on an empty folder, and again."""
    turns = options.turns(5)
    bare = [await imported("sys") for _ in range(turns)]
    figures: list[Figure] = []
    for module in _MODULES:
        ours = [await imported(module) for _ in range(turns)]
        for name, part in (("wall", 0), ("CPU", 1)):
            figures.append(
                time_figure(
                    f"import {module}, {name}",
                    [each[part] for each in ours],
                    ceiling=[each[part] for each in bare],
                    ceiling_is="an interpreter that imports nothing",
                )
            )
    with reachable_folder() as folder:
        for name in ("first", "next"):
            wall, cpu = await up(folder / "data", mode)
            figures.append(time_figure(f"gnomon up until ready, {name} start, wall", [wall], unit="s"))
            figures.append(time_figure(f"gnomon up until ready, {name} start, CPU", [cpu], unit="s"))
    return Result(
        question="startup",
        title="imports, and `gnomon up` until ready",
        mode=mode,
        settings={"rounds": turns},
        figures=tuple(figures),
    )


async def imported(module: str) -> tuple[float, float]:
    """Milliseconds, wall and CPU, of a fresh interpreter that imports a module and ends."""
    before, begun = os.times(), time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", f"import {module}")
    if code := await process.wait():
        raise RuntimeError(f"importing {module} ended with exit code {code}")
    wall, after = time.perf_counter() - begun, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall * 1e3, cpu * 1e3


async def up(data: Path, mode: Mode) -> tuple[float, float]:
    """Seconds, wall and CPU, of `gnomon up` until it is ready; then it is stopped."""
    command = [sys.executable, "-m", "gnomon_cli", "up", "--data", str(data)]
    if mode == "fast":
        command.append("--fast")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")}
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert process.stdout is not None, "it was asked for"
    said: list[bytes] = []
    try:
        async with asyncio.timeout(_WITHIN):
            async for line in process.stdout:
                said.append(line)
                if line.startswith(_READY):
                    return time.perf_counter() - begun, cpu_seconds(process.pid)
        raise RuntimeError(f"gnomon up ended before it was ready:\n{b''.join(said).decode()}")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        async for _ in process.stdout:
            pass  # it must not stand still at a full pipe while it stops
        await process.wait()


QUESTION = Question("startup", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
