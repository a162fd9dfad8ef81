"""An executor that is announced and takes nothing: where the scheduler alone is the question."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from benchmarks.stage import Stage
from gnomon_core.runtime.kv import kv_put
from gnomon_core.runtime.membership import Membership, this_process
from gnomon_schemas.codec import encode
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.subjects import TYPES_BUCKET
from gnomon_schemas.tasks import RetryPolicy

__all__ = ["announced"]


@asynccontextmanager
async def announced(stage: Stage) -> AsyncIterator[None]:
    """Announce `bench_noop` and an executor of it meanwhile."""
    entry = TypeAnnouncement(
        name="bench_noop",
        description="",
        pool="default",
        timeout_seconds=60.0,
        retry=RetryPolicy(),
        config_schema=msgspec.Raw(b'{"type":"object"}'),
        isolation="loop",
        version="0",
    )
    await kv_put(stage.bus, TYPES_BUCKET, entry.name, encode(entry))
    member = this_process(
        "executor", "x-bench", "0", pools=("default",), task_types=("bench_noop",), capacity=1000
    )
    membership = Membership(stage.bus, member)
    await membership.start()
    try:
        yield
    finally:
        await membership.stop()
