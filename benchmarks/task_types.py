"""Task types for benchmarks: one that does nothing, and one that tells when its handler began."""

from __future__ import annotations

import time

import msgspec

from gnomon import Context, task_type

__all__ = ["clock", "noop"]


class Nothing(msgspec.Struct):
    """A config that says nothing."""


@task_type("bench_noop")
async def noop(config: Nothing, ctx: Context) -> None:
    """Does nothing."""


@task_type("bench_clock")
async def clock(config: Nothing, ctx: Context) -> dict[str, int]:
    """Tells when it began, in nanoseconds of the wall clock."""
    return {"began_ns": time.time_ns()}
