"""Telling everybody which task types this executor runs.

A type's entry is written when the executor starts. Later it is only put back where it has gone (the bucket
was made anew): two versions of one executor that both insisted would overwrite each other for as long as a
deploy takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import BusError, NatsBus, WrongSequence
from gnomon_core.runtime.kv import kv_create, kv_get, kv_put
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.subjects import TYPES_BUCKET

__all__ = ["Announcer"]

_CHECK_EVERY_SECONDS: Final = 30.0
_log = structlog.get_logger(__name__)


class Announcer(Service):
    """Announces task types. Ready once all of them can be read by others."""

    def __init__(self, bus: NatsBus, announcements: Sequence[TypeAnnouncement]) -> None:
        super().__init__("announcer")
        self._bus = bus
        self._changed = asyncio.Event()
        self._entries = {entry.name: msgspec.json.encode(entry) for entry in announcements}

    async def on_start(self) -> None:
        """Write what differs from what is there."""
        backoff = Backoff(first=0.1, longest=2.0)
        for name, value in self._entries.items():
            while True:
                try:
                    present = await kv_get(self._bus, TYPES_BUCKET, name)
                    if present is None or present.value != value:
                        await kv_put(self._bus, TYPES_BUCKET, name, value)
                    break
                except BusError as error:
                    _log.warning(LogEvent.TYPE_NOT_ANNOUNCED, type=name, error=str(error))
                    await backoff.pause()
        self._bus.listen(self._changed.set)
        _ = self.spawn(self._keep(), "keep")

    async def on_stop(self) -> None:
        """Look after them no more. The entries stay: others may run the same types."""
        self._bus.unlisten(self._changed.set)

    async def _keep(self) -> None:
        """Put back what has gone, now and then and after each reconnect."""
        while True:
            try:
                async with asyncio.timeout(_CHECK_EVERY_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self._bus.wait_connected()
            for name, value in self._entries.items():
                try:
                    if await kv_get(self._bus, TYPES_BUCKET, name) is None:
                        await kv_create(self._bus, TYPES_BUCKET, name, value)
                except WrongSequence:
                    continue  # another executor was quicker
                except BusError as error:
                    _log.warning(LogEvent.TYPE_NOT_ANNOUNCED, type=name, error=str(error))
