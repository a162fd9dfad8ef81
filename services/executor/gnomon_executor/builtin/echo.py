"""`echo`: returns its config."""

from __future__ import annotations

from typing import Any

from gnomon import task_type

__all__ = ["echo"]


@task_type("echo", timeout_seconds=60)
async def echo(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config as it is: for trying things out."""
    return config
