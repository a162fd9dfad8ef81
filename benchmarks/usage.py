"""CPU time and memory of processes, with all their children: what a busy machine falsifies least."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import psutil

__all__ = ["cpu_seconds", "per_operation", "resident_bytes"]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children so far, those that have ended included; 0.0 for one gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    seconds = 0.0
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            # Ended and waited for: the parent has their time. (macOS does not tell.)
            ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            seconds += times.user + times.system + ended
    return seconds


def resident_bytes(pid: int) -> int:
    """Resident memory of one process. Raises psutil.NoSuchProcess."""
    return int(psutil.Process(pid).memory_info().rss)


def per_operation(
    before: Mapping[str, float], after: Mapping[str, float], operations: int
) -> dict[str, float]:
    """CPU microseconds an operation by process, from two readings of CPU seconds."""
    return {
        name: round((after[name] - before.get(name, 0.0)) / operations * 1e6, 1)
        for name in after
        if operations
    }
