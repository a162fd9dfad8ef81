"""`sleep`: waits."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from gnomon import task_type
from gnomon_schemas.limits import DURATION_MAX_SECONDS

__all__ = ["SleepConfig", "Slept", "sleep"]


class SleepConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to sleep."""

    seconds: Annotated[float, msgspec.Meta(ge=0, le=DURATION_MAX_SECONDS, description="How long to sleep.")]


class Slept(msgspec.Struct, frozen=True):
    """How long it slept."""

    slept_seconds: float


@task_type("sleep", timeout_seconds=DURATION_MAX_SECONDS)
async def sleep(config: SleepConfig) -> Slept:
    """Wait for so many seconds without using any resource: for trying out timeouts, cancels and restarts."""
    await asyncio.sleep(config.seconds)
    return Slept(slept_seconds=config.seconds)
