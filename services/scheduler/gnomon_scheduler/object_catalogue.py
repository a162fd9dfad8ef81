"""What is set of every template, calendar and account, as the whole process knows it.

The shards decide by it: a task is made from a template that lives in another shard, say. One follower a process reads
the registers of all kinds as they are stored. It may be behind by as long as the process was stalled, so whoever has
to be sure asks: `reach` before a shard is led, and `look_up` for single objects right before they decide something.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler import patient_reads
from gnomon_scheduler.blackout_catalogue import BlackoutCatalogue
from gnomon_scheduler.object_kinds import KINDS
from gnomon_scheduler.object_registers import KnownAccount, KnownObject
from gnomon_schemas.codec import decode
from gnomon_schemas.subjects import EVENTS_STREAM, object_registers, parse_object_register

__all__ = ["ObjectCatalogue"]

_log = structlog.get_logger(__name__)
_ASK_AGAIN_SECONDS = 0.5


class ObjectCatalogue(Service):
    """Follows the registers of all objects. Ready when all that is set so far is known."""

    def __init__(self, bus: NatsBus) -> None:
        super().__init__("objects")
        self._bus = bus
        self._known: dict[str, dict[str, KnownObject]] = {kind: {} for kind in KINDS}
        self._seqs: dict[tuple[str, str], int] = {}
        """Where the newest register of each object is that was heard: also of those deleted, or set aside."""
        self._heard_up_to = dict.fromkeys(KINDS, 0)
        self._moved = asyncio.Event()
        self.blackouts = BlackoutCatalogue(self._known["calendar"])
        """The calendars, as slots are compared with them."""
        self.closed: set[str] = set()
        """Users whose account is closed. Shared with the shards, which only read it."""
        self.closings: list[str] = []
        """Users of whom a closing was heard, also where the account was open again by then, in that order. Shared with
        the shards, which only read it."""
        self._closed_ms: dict[str, int | None] = {}
        self._listeners: list[Callable[[frozenset[str]], None]] = []

    @property
    def known(self) -> Mapping[str, Mapping[str, KnownObject]]:
        """The objects that are there and can be read, by kind and id. Shared with the shards, which only read it."""
        return self._known

    def listen(self, listener: Callable[[frozenset[str]], None]) -> None:
        """Have `listener` called with the kinds of which something was heard."""
        self._listeners.append(listener)

    async def on_start(self) -> None:
        """Load and follow."""
        follower = Follower(
            self._bus,
            EVENTS_STREAM,
            [object_registers(kind) for kind in KINDS],
            handler=self._heard,
            name="objects-follower",
            headers=False,
        )
        await self.start_child(follower)
        await follower.loaded.wait()

    async def reach(self) -> None:
        """Know at least all that is stored now: as much as whoever led a shard before now."""
        for kind in KINDS:
            while True:
                self._moved.clear()
                last = await patient_reads.last(self._bus, EVENTS_STREAM, object_registers(kind))
                if last is None or last.seq <= self._heard_up_to[kind]:
                    break
                # It is on its way; or it was a tombstone that is purged before it comes, so ask again some time.
                try:
                    async with asyncio.timeout(_ASK_AGAIN_SECONDS):
                        await self._moved.wait()
                except TimeoutError:
                    continue

    async def look_up(self, objects: Iterable[tuple[str, str]]) -> None:
        """Know of these objects (kind, id) what is stored now."""
        reads = (
            patient_reads.last(self._bus, EVENTS_STREAM, object_registers(kind, object_id))
            for kind, object_id in objects
        )
        found = [stored for stored in await asyncio.gather(*reads) if stored is not None]
        self._take_all(found)

    async def _heard(self, messages: list[Stored]) -> None:
        self._take_all(messages)
        for message in messages:
            named = parse_object_register(message.subject)
            assert named is not None, "the follower's filters name registers of objects"
            self._heard_up_to[named[0]] = max(self._heard_up_to[named[0]], message.seq)
        self._moved.set()

    def _take_all(self, messages: Iterable[Stored]) -> None:
        kinds = frozenset(kind for message in messages if (kind := self._take(message)) is not None)
        if "calendar" in kinds:
            self.blackouts.refresh()
        if kinds:
            for listener in self._listeners:
                listener(kinds)

    def _take(self, message: Stored) -> str | None:
        """Take a register over; its kind where it was news."""
        named = parse_object_register(message.subject)
        assert named is not None, "only registers of objects are asked for"
        kind, object_id = named
        if message.seq <= self._seqs.get((kind, object_id), 0):
            return None
        self._seqs[kind, object_id] = message.seq
        try:
            known = decode(message.data, KINDS[kind].known)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            # Its shard refuses to change it; nobody goes by what it said before.
            self._known[kind].pop(object_id, None)
            _log.error(
                LogEvent.REGISTER_UNREADABLE, subject=message.subject, seq=message.seq, error=str(error)
            )
            return kind
        if isinstance(known, KnownAccount):
            self._note_closing(known)
        if known.deleted_ms is None:
            self._known[kind][object_id] = known
        else:
            self._known[kind].pop(object_id, None)
        return kind

    def _note_closing(self, account: KnownAccount) -> None:
        user, was_closed = account.user_id, account.user_id in self.closed
        (self.closed.add if account.closed else self.closed.discard)(user)
        if (account.closed and not was_closed) or account.closed_ms != self._closed_ms.get(user):
            self._closed_ms[user] = account.closed_ms
            self.closings.append(user)
