"""Task types for benchmarks: one that does nothing, one that tells when its handler began, one that only logs."""

from __future__ import annotations

import time
from typing import Final

import msgspec

from gnomon import Context, task_type

__all__ = ["LINES", "clock", "logging", "noop"]

LINES: Final = 10
"""Lines that one run logs."""


class Nothing(msgspec.Struct):
    """A config that says nothing."""


@task_type("bench_noop")
async def noop(config: Nothing, ctx: Context) -> None:
    """Does nothing."""


@task_type("bench_clock")
async def clock(config: Nothing, ctx: Context) -> dict[str, int]:
    """Tells when it began, in nanoseconds of the wall clock."""
    return {"began_ns": time.time_ns()}


@task_type("bench_logging")
async def logging(config: Nothing, ctx: Context) -> None:
    """Logs some lines, each with a detail."""
    for number in range(LINES):
        ctx.log.info("a page has been written", page=number)
