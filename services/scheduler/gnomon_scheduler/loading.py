"""Loading the registers of some partitions: what a cold start spends its time on.

Registers are rolled up, so each subject has one message, and reading them all from the stream's beginning gives the
newest of each: one written meanwhile comes again, later. That is one consumer that passes over the stream once, for all
partitions together. A consumer per partition that asks for the last message of every subject makes the broker gather
its subjects first, for seconds when there are a million, and pass over the stream as often as there are partitions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.holiday_loading import holidays_at_hand
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler import patient_reads
from gnomon_schemas import subjects
from gnomon_schemas.subjects import EVENTS_STREAM

__all__ = ["Loadable", "load"]

_log = structlog.get_logger(__name__)
_TELL_EVERY = 100_000


class Loadable(Protocol):
    """What registers are loaded into."""

    partition: int

    def apply_register(self, message: Stored) -> None:
        """Take over the register of a task or of the shard."""


async def load(bus: NatsBus, into: Sequence[Loadable]) -> None:
    """Hand every register of these partitions over, in order. Raises what the follower fails with."""
    for one in into:
        # First of all, since it tells from when on slots matter: a task's own register may be a year old.
        shard = await patient_reads.last(bus, EVENTS_STREAM, subjects.shard_register(one.partition))
        if shard is not None:
            one.apply_register(shard)
    if len(into) == 1:
        partition = into[0].partition
        filters = [subjects.task_registers(partition), subjects.shard_register(partition)]
    else:
        filters = [subjects.ALL_REGISTERS]
    loader = _Loader(into)
    follower = Follower(
        bus, EVENTS_STREAM, filters, start_seq=1, handler=loader.take, name="registers", headers=False
    )
    await follower.start()
    try:
        await _reached(follower)
    finally:
        await follower.stop()
    _log.info(LogEvent.REGISTERS_LOADED, registers=loader.count, seconds=round(loader.seconds, 3))


async def _reached(follower: Follower) -> None:
    """Wait until a follower has handed over what was there."""
    caught_up = asyncio.create_task(follower.caught_up.wait(), name="registers caught up")
    failed = asyncio.create_task(follower.failed(), name="registers failed")
    try:
        await asyncio.wait([caught_up, failed], return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            raise failed.result()
    finally:
        caught_up.cancel()
        failed.cancel()


class _Loader:
    """Hands registers to their partitions, and tells how far it is."""

    def __init__(self, into: Sequence[Loadable]) -> None:
        self._into = {str(one.partition): one.apply_register for one in into}
        self._begun = time.monotonic()
        self.count = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    async def take(self, messages: list[Stored]) -> None:
        """See `BatchHandler`."""
        await holidays_at_hand(message.data for message in messages)
        for message in messages:
            apply = self._into.get(message.subject.split(".", 3)[2])
            if apply is not None:
                apply(message)
        before, self.count = self.count, self.count + len(messages)
        if before // _TELL_EVERY < self.count // _TELL_EVERY:
            _log.info(LogEvent.REGISTERS_LOADING, registers=self.count, seconds=round(self.seconds, 3))
