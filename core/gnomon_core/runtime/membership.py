"""Who is there: every process announces itself, and sees the others.

A process keeps a `Member` under `<kind>.<id>` in `GNOMON_MEMBERS`, renewed every 2 s and at once when
something about it changes; the key expires 10 s after the last renewal. A clean stop deletes it. Announcing
is a write with a timestamp of the broker's, so it also tells whether the own clock is right (`ClockGuard`):
every renewal is read back.

Watchers follow the bucket. One that was cut off for longer than a marker of expiry stays would keep a ghost,
so a member that has not been heard of for longer than its TTL, on a connection that stood all the time, is
dropped as well.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock, ClockGuard, SystemClock
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import bucket_filter, bucket_stream, entry_of, kv_delete, kv_put
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.members import Member
from gnomon_schemas.subjects import MEMBERS_BUCKET

__all__ = ["MEMBER_TTL", "RENEW_EVERY", "MemberWatch", "Membership", "this_process"]

MEMBER_TTL = 10.0
"""Seconds after its last renewal at which a member is gone."""
RENEW_EVERY = 2.0
"""Seconds between renewals."""
_GHOST_AFTER = MEMBER_TTL + 5.0
_SWEEP_EVERY = 1.0

_log = structlog.get_logger(__name__)
_decode = msgspec.json.Decoder(Member).decode


def this_process(
    kind: str, member_id: str, version: str, clock: Clock | None = None, **fields: Any
) -> Member:
    """The `Member` of the running process. `kind` is `scheduler`, `executor` or `api`."""
    now_ms = (clock or SystemClock()).now_ms()
    return Member(
        id=member_id,
        kind=kind,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=version,
        started_at=format_instant(now_ms),
        **fields,
    )


class Membership(Service):
    """Announces this process for as long as it runs."""

    def __init__(
        self, bus: NatsBus, member: Member, *, clock: Clock | None = None, guard: ClockGuard | None = None
    ) -> None:
        super().__init__("membership")
        self._bus = bus
        self._member = member
        self._key = f"{member.kind}.{member.id}"
        self._clock = clock or SystemClock()
        self.guard = guard or ClockGuard()
        """Whether the own clock agrees with the broker's; two observations are made before `start`
        returns."""
        self._changed = asyncio.Event()

    @property
    def member(self) -> Member:
        """What is announced."""
        return self._member

    def update(self, **fields: Any) -> None:
        """Change what is announced; it is told at once, and again by every renewal. Raises TypeError for no
        field."""
        changed = msgspec.structs.replace(self._member, **fields)
        if changed != self._member:
            self._member = changed
            self._changed.set()

    def look(self) -> None:
        """Have the broker's clock looked at soon: a renewal comes at once, and the next one in its turn."""
        self._changed.set()

    async def announce(self) -> None:
        """Tell the present state and observe the clock. Raises as `Bus.publish` and `Bus.get`."""
        sent_ms = self._clock.now_ms()
        seq = await kv_put(
            self._bus, MEMBERS_BUCKET, self._key, msgspec.json.encode(self._member), ttl=MEMBER_TTL
        )
        acked_ms = self._clock.now_ms()
        stored = await self._bus.get(bucket_stream(MEMBERS_BUCKET), seq)
        if stored is None:
            return
        changed = self.guard.told(sent_ms, stored.time_ms, acked_ms)
        # Without a wake-up: the next renewal tells it.
        self._member = msgspec.structs.replace(self._member, clock_offset_ms=self.guard.offset_ms)
        if changed:
            if self.guard.off:
                _log.error(LogEvent.CLOCK_OFF, offset_ms=self.guard.offset_ms)
            else:
                _log.info(LogEvent.CLOCK_RIGHT)

    @override
    async def on_start(self) -> None:
        """Announce, twice: two observations of the clock decide whether it is off."""
        await self.announce()
        await self.announce()
        _ = self.spawn(self._renew(), "renew")

    @override
    async def on_stop(self) -> None:
        """Say good-bye; without an answer the key expires by itself."""
        try:
            _ = await kv_delete(self._bus, MEMBERS_BUCKET, self._key, expiring=True)
        except BusError as error:
            _log.debug(LogEvent.NATS_ERROR, error=repr(error))

    async def _renew(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RENEW_EVERY):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.announce()
            except BusError as error:
                _log.debug(LogEvent.NATS_ERROR, error=repr(error))


class MemberWatch(Service):
    """The processes that are there, of some kinds. Ready once the present ones are known."""

    def __init__(
        self,
        bus: NatsBus,
        kinds: tuple[str, ...] = ("scheduler", "executor", "api"),
        *,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        """`on_change` is called after every change of a member, and must neither raise nor block."""
        super().__init__("members")
        self._bus = bus
        self._listeners = [on_change] if on_change is not None else []
        self._heard: dict[str, float] = {}
        self._renewed: dict[str, int] = {}
        self.members: dict[str, Member] = {}
        """Live members by id."""
        bucket = MEMBERS_BUCKET
        filters = [f"$KV.{bucket}.{kind}.>" for kind in kinds] if kinds else [bucket_filter(bucket)]
        self._follower = Follower(
            bus, bucket_stream(bucket), filters, handler=self._take, name="members:follower"
        )

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every change too."""
        self._listeners.append(listener)

    def of_kind(self, kind: str) -> list[Member]:
        """Live members of a kind, by id."""
        return sorted((m for m in self.members.values() if m.kind == kind), key=lambda m: m.id)

    def renewed_ms(self, member_id: str) -> int:
        """Broker time of the member's last announcement; 0 when it is not there."""
        return self._renewed.get(member_id, 0)

    def behind_ms(self, member_id: str) -> int:
        """By how many milliseconds of the broker's time the member's last announcement is older than the newest of
        anybody. One that lives is hardly more than `RENEW_EVERY` behind, however long the watcher has been there."""
        return max(self._renewed.values(), default=0) - self.renewed_ms(member_id)

    def types_live(self, pool: str) -> frozenset[str]:
        """Task types that some executor of the pool announces and which takes work."""
        return frozenset(
            name
            for member in self.members.values()
            if member.kind == "executor" and pool in member.pools and not member.draining
            for name in member.task_types
        )

    def capacity(self, pool: str) -> int:
        """How many executions the executors of a pool, which take work, run at a time."""
        return sum(
            member.capacity
            for member in self.members.values()
            if member.kind == "executor" and pool in member.pools and not member.draining
        )

    @override
    async def on_start(self) -> None:
        """Follow; ready when loaded."""
        await self.start_child(self._follower)
        await self._follower.loaded.wait()
        _ = self.spawn(self._sweep(), "sweep")

    async def _take(self, batch: list[Stored]) -> None:
        now = asyncio.get_running_loop().time()
        changed = False
        for stored in batch:
            entry = entry_of(stored)
            _, _, member_id = entry.key.partition(".")
            if entry.gone:
                changed |= self._forget(member_id)
                continue
            try:
                member = _decode(entry.value)
            except msgspec.DecodeError:
                continue  # a later version's entry: not one that this process can deal with
            self._heard[member_id] = now
            self._renewed[member_id] = entry.time_ms
            before = self.members.get(member_id)
            if before is None:
                _log.info(
                    LogEvent.MEMBER_SEEN, kind=member.kind, id=member.id, host=member.host, pid=member.pid
                )
            if before != member:
                self.members[member_id] = member
                changed = True
        if changed:
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _forget(self, member_id: str) -> bool:
        member = self.members.pop(member_id, None)
        self._heard.pop(member_id, None)
        self._renewed.pop(member_id, None)
        if member is None:
            return False
        _log.info(LogEvent.MEMBER_GONE, kind=member.kind, id=member.id)
        return True

    async def _sweep(self) -> None:
        """Drop ghosts: silent for longer than their TTL while the connection stood."""
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        while True:
            await asyncio.sleep(_SWEEP_EVERY)
            now = loop.time()
            if not self._bus.connected:
                silent_since = now
            if now - silent_since < _GHOST_AFTER:
                continue
            ghosts = [member_id for member_id, heard in self._heard.items() if now - heard > _GHOST_AFTER]
            if [ghost for ghost in ghosts if self._forget(ghost)]:
                self._tell()
