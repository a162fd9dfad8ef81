"""Telling users' devices of results and reminders: on `users.<user>.tasks`, which MQTT clients of nats-server hear too.

One api process at a time has the duty (a lease). It follows the log, and keeps how far it is in `GNOMON_ACCOUNTS`, once
a second: after a hand-over, or a kill, the next one goes on from there. So a note is sent at least once, and may come
twice (`seq` tells). A device that is not connected does not hear it: what is missed is read over HTTP.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog
from typing_extensions import override

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import kv_get, kv_put
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.codec import decode, decode_event, encode
from gnomon_schemas.devices import RESULT_SHOWN_MAX, DeviceNote
from gnomon_schemas.events import Executed, ReminderTriggered
from gnomon_schemas.members import ProjectorPosition
from gnomon_schemas.subjects import ACCOUNTS_BUCKET, DEVICES_KEY, EVENTS_STREAM, device_notes, events_named

__all__ = ["DeviceFeed", "note_of"]

_KEEP_EVERY_SECONDS: Final = 1.0
_FILTERS: Final = (events_named("task", "executed"), events_named("task", "reminder_triggered"))
_log = structlog.get_logger(__name__)


def note_of(stored: Stored) -> tuple[str, DeviceNote] | None:
    """What the devices of a user are told of an event: the subject and the note; None for a task without a user.

    Raises msgspec.DecodeError for what cannot be read.
    """
    event = decode_event(stored.data)
    if event.user_id is None:
        return None
    subject = device_notes(account_id_of(event.user_id))
    if isinstance(event, Executed):
        small = len(memoryview(event.result)) <= RESULT_SHOWN_MAX
        return subject, DeviceNote(
            event="task.executed",
            seq=stored.seq,
            task_id=event.task_id,
            at=event.completed_at,
            execution_id=event.execution_id,
            status=event.status,
            result=event.result if small else msgspec.UNSET,
            error=None if event.error is None else event.error.message,
            scheduled_for=event.scheduled_for,
        )
    if isinstance(event, ReminderTriggered):
        return subject, DeviceNote(
            event="task.reminder_triggered",
            seq=stored.seq,
            task_id=event.task_id,
            at=event.triggered_at,
            execution_id=event.execution_id,
            name=event.name,
            reminder_type=event.reminder_type,
            scheduled_for=event.scheduled_for,
            due_date=event.due_date,
            description=event.description,
        )
    return None


class DeviceFeed(Service):
    """Tells devices while its process has the duty."""

    def __init__(self, bus: NatsBus) -> None:
        super().__init__("device-feed")
        self._bus = bus
        self._created = ""
        self._told = 0
        self._kept = 0

    @override
    async def on_start(self) -> None:
        """Begin; ready at once, since NATS may not serve yet."""
        _ = self.spawn(self._run(), "tell")

    @override
    async def on_stop(self) -> None:
        """Keep how far it is, for whoever goes on."""
        try:
            await self._keep()
        except BusError as error:
            _log.debug(LogEvent.NATS_ERROR, error=repr(error))  # some notes will come twice

    async def _run(self) -> None:
        backoff = Backoff(first=0.1, longest=2.0)
        while True:
            try:
                start = await self._begin()
                break
            except BusError as error:
                _log.debug(LogEvent.NATS_ERROR, error=repr(error))
                await backoff.pause()
        follower = Follower(
            self._bus,
            EVENTS_STREAM,
            _FILTERS,
            start_seq=start,
            handler=self._take,
            name="device-feed:follower",
            headers=False,
        )
        await self.start_child(follower)
        while True:
            await asyncio.sleep(_KEEP_EVERY_SECONDS)
            try:
                await self._keep()
            except BusError as error:
                _log.debug(LogEvent.NATS_ERROR, error=repr(error))  # the next round does it

    async def _begin(self) -> int:
        """Where to go on: where the one before was, in this very stream; else from now on. Raises BusError."""
        info = await self._bus.stream_info(EVENTS_STREAM)
        entry = await kv_get(self._bus, ACCOUNTS_BUCKET, DEVICES_KEY)
        self._created, self._told = info.created, info.last_seq
        if entry is not None:
            position = decode(entry.value, ProjectorPosition)
            if position.created == info.created and position.sequence <= info.last_seq:
                self._told = position.sequence
        self._kept = 0
        await self._keep()
        return self._told + 1

    async def _keep(self) -> None:
        if self._told <= self._kept or not self._created:
            return
        told = self._told
        position = ProjectorPosition(created=self._created, sequence=told, time="")
        await kv_put(self._bus, ACCOUNTS_BUCKET, DEVICES_KEY, encode(position))
        self._kept = told

    async def _take(self, batch: list[Stored]) -> None:
        notes = []
        for stored in batch:
            try:
                found = note_of(stored)
            except msgspec.DecodeError as error:
                _log.error(
                    LogEvent.EVENT_UNREADABLE, subject=stored.subject, seq=stored.seq, error=str(error)
                )
                continue
            if found is not None:
                notes.append((found[0], encode(found[1])))
        if notes:
            await self._bus.send_all(notes)
        self._told = batch[-1].seq
