"""Everything that is read from NATS for one look, in one place: the checks only judge what is in here.

Nothing is written, no consumer is made, and nothing that is read grows with the number of tasks.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import msgspec
import nats.errors

from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.bus_errors import BusError, BusRefused
from gnomon_core.runtime.kv import bucket_stream, entry_of
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.settings import CommonSettings
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.codec import decode
from gnomon_schemas.dues import Due
from gnomon_schemas.members import Lease, Member, ProjectorPosition, SchedulerStatus
from gnomon_schemas.subjects import (
    ACCOUNTS_BUCKET,
    DUE_STREAM,
    EVENTS_FILTER,
    EVENTS_STREAM,
    LEASES_BUCKET,
    MEMBERS_BUCKET,
    PROJECTOR_KEY,
    SCHEDULER_STATUS,
    STREAMS,
    TYPES_BUCKET,
    events_named,
    pool_dues,
)

__all__ = ["DUES_READ", "Chart", "NatsAway", "broker_ms", "read_chart"]

DUES_READ: Final = 1000
"""Of the work in the queue the oldest so many are looked at."""
_CONNECT_SECONDS: Final = 5.0
_GATHER_SECONDS: Final = 1.0
_NOT_FOUND: Final = 404
_BUCKETS: Final = (LEASES_BUCKET, MEMBERS_BUCKET, TYPES_BUCKET, ACCOUNTS_BUCKET)


class NatsAway(Exception):
    """NATS cannot be looked at; the text says why."""


class Chart(msgspec.Struct, kw_only=True):
    """What was read."""

    server_version: tuple[int, int, int]
    offset_ms: int
    """How far the own clock is ahead of the broker's."""
    round_trip_ms: int
    account: dict[str, Any]
    """JetStream's own word about what is used and allowed."""
    streams: dict[str, dict[str, Any] | None]
    """What the broker says of each stream, those of the buckets included; None: there is none."""
    leases: dict[str, Lease]
    members: list[Member]
    schedulers: list[SchedulerStatus]
    """Those that answered within a second."""
    consumers: list[dict[str, Any]]
    """Of the work queue."""
    dues: list[tuple[int, Due]]
    """The oldest work in the queue, each with when it was stored, in epoch milliseconds."""
    newest_event: Stored | None
    projector: ProjectorPosition | None
    unread_ms: int | None
    """When the first event that is not in the read models was stored, in epoch milliseconds; None: they have all."""
    dead_letters: dict[str, int]
    """Stored subjects of the dead letters that the log still has."""


async def read_chart(settings: CommonSettings) -> Chart:
    """Connect, read everything, disconnect. Raises NatsAway."""
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            bus = await connect(settings, name="gnomon-doctor")
    except TimeoutError:
        raise NatsAway(f"no answer within {_CONNECT_SECONDS:g} s") from None
    except (nats.errors.Error, OSError, ValueError) as error:
        raise NatsAway(str(error) or type(error).__name__) from error
    try:
        return await _read(bus)
    except BusError as error:
        raise NatsAway(f"JetStream does not answer: {error}") from error
    finally:
        await bus.close()


async def _read(bus: NatsBus) -> Chart:
    account, offset_ms, round_trip_ms = await _account_and_clock(bus)
    names = [*STREAMS, *(bucket_stream(bucket) for bucket in _BUCKETS)]
    streams = dict(zip(names, await asyncio.gather(*(_stream(bus, name) for name in names)), strict=True))
    there = {name for name, info in streams.items() if info is not None}

    async def bucket(name: str) -> list[Stored]:
        if bucket_stream(name) not in there:
            return []
        return await bus.multi_last(bucket_stream(name), [f"$KV.{name}.>"])

    leases = [entry_of(stored) for stored in await bucket(LEASES_BUCKET)]
    members = [entry_of(stored) for stored in await bucket(MEMBERS_BUCKET)]
    accounts = [entry_of(stored) for stored in await bucket(ACCOUNTS_BUCKET)]
    live = [decode(entry.value, Member) for entry in members if not entry.gone]
    told = next((entry.value for entry in accounts if entry.key == PROJECTOR_KEY and not entry.gone), None)
    projector = None if told is None else decode(told, ProjectorPosition)
    return Chart(
        server_version=bus.server_version,
        offset_ms=offset_ms,
        round_trip_ms=round_trip_ms,
        account=account,
        streams=streams,
        leases={entry.key: decode(entry.value, Lease) for entry in leases if not entry.gone},
        members=live,
        schedulers=await _schedulers(bus, {member.id for member in live if member.kind == "scheduler"}),
        consumers=await _consumers(bus) if DUE_STREAM in there else [],
        dues=await _dues(bus) if DUE_STREAM in there else [],
        newest_event=await bus.last(EVENTS_STREAM, EVENTS_FILTER) if EVENTS_STREAM in there else None,
        projector=projector,
        unread_ms=None if projector is None else await _next_event_ms(bus, projector.sequence),
        dead_letters=await _dead_letters(bus) if EVENTS_STREAM in there else {},
    )


async def _account_and_clock(bus: NatsBus) -> tuple[dict[str, Any], int, int]:
    """JetStream's account, and how far the own clock is from the broker's: it stamps what it tells of a stream."""
    account = await bus.api("INFO")
    sent_ms = time.time_ns() // 1_000_000
    try:
        info = await bus.api(f"STREAM.INFO.{EVENTS_STREAM}")
    except BusRefused:
        return account, 0, 0
    came_ms = time.time_ns() // 1_000_000
    told = str(info.get("ts", ""))
    if not told:
        return account, 0, came_ms - sent_ms
    return account, (sent_ms + came_ms) // 2 - broker_ms(told), came_ms - sent_ms


def broker_ms(text: str) -> int:
    """Epoch milliseconds of an instant as the broker writes it, with up to nine digits of a second."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return instant_ms(f"{whole}.{fraction[:3].ljust(3, '0')}Z")


async def _stream(bus: NatsBus, name: str) -> dict[str, Any] | None:
    try:
        return await bus.api(f"STREAM.INFO.{name}")
    except BusRefused as refusal:
        if refusal.code == _NOT_FOUND:
            return None
        raise


async def _schedulers(bus: NatsBus, expected: set[str]) -> list[SchedulerStatus]:
    """Whoever answers within a second: one that does not is what is looked for."""
    told: list[SchedulerStatus] = []
    done = asyncio.Event()

    async def take(message: Any) -> None:
        if message.data:
            told.append(decode(message.data, SchedulerStatus))
        if not message.data or expected <= {status.id for status in told}:
            done.set()  # a message without data is the broker's word that nobody listens

    inbox = bus.nc.new_inbox()
    subscription = await bus.subscribe(inbox, take)
    try:
        await bus.nc.publish(SCHEDULER_STATUS, b"", reply=inbox)
        async with asyncio.timeout(_GATHER_SECONDS):
            await done.wait()
    except TimeoutError:
        return told
    finally:
        await subscription.unsubscribe()
    return told


async def _consumers(bus: NatsBus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = await bus.api(f"CONSUMER.LIST.{DUE_STREAM}", {"offset": len(found)})
        found += page.get("consumers") or []
        if not page.get("consumers") or len(found) >= page["total"]:
            return found


async def _dues(bus: NatsBus) -> list[tuple[int, Due]]:
    dues: list[tuple[int, Due]] = []
    async for stored in bus.scan(DUE_STREAM, pool_dues("*", "*")):
        try:
            dues.append((stored.time_ms, decode(stored.data, Due)))
        except msgspec.DecodeError:
            continue  # an executor sets it aside, and it shows up as a dead letter
        if len(dues) >= DUES_READ:
            break
    return dues


async def _next_event_ms(bus: NatsBus, after: int) -> int | None:
    """When the first event after a sequence was stored; None where there is none."""
    request = {"seq": after + 1, "next_by_subj": EVENTS_FILTER}
    try:
        found = await bus.api(f"STREAM.MSG.GET.{EVENTS_STREAM}", request)
    except BusRefused as refusal:
        if refusal.code == _NOT_FOUND:
            return None
        raise
    return broker_ms(found["message"]["time"])


async def _dead_letters(bus: NatsBus) -> dict[str, int]:
    info = await bus.api(
        f"STREAM.INFO.{EVENTS_STREAM}", {"subjects_filter": events_named("task", "dead_lettered")}
    )
    return dict(info["state"].get("subjects") or {})
