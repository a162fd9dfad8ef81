"""What a process sees of all leases: who holds each key, at which revision, or why nobody does.

The view follows the bucket and may be behind; nothing rests on it but the decision to *try*. Every try is a
compare-and-set on the revision seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import KvEntry, bucket_filter, bucket_stream, entry_of
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_schemas.headers import MARKER_REASON
from gnomon_schemas.members import Lease
from gnomon_schemas.subjects import LEASES_BUCKET

__all__ = ["EPOCH_HEADER", "LEAVING_HEADER", "LeaseView", "LeaseWatch", "decode_lease"]

LEAVING_HEADER = "Gnomon-Leaving"
"""On the tombstone of a lease: the id of the member that gave it up because it is leaving for good."""

EPOCH_HEADER = "Gnomon-Epoch"
"""On the tombstone of a lease: its epoch, for those who never saw the value."""

_decode = msgspec.json.Decoder(Lease).decode


def decode_lease(value: bytes) -> Lease | None:
    """A lease from its stored form; None when it is not one that this version can read."""
    try:
        return _decode(value)
    except msgspec.DecodeError:
        return None


def _epoch_of(entry: KvEntry) -> int:
    text = entry.headers.get(EPOCH_HEADER, "")
    return int(text) if text.isdigit() else 0


class LeaseView(msgspec.Struct, frozen=True):
    """A key as last seen."""

    revision: int
    """Sequence of the key's last message, the one to expect."""
    lease: Lease | None
    """Who holds it; None when it was given up or has expired."""
    epoch: int
    """The highest epoch seen on this key, whoever held it."""
    last_owner: str | None
    """Who held it last, when nobody does."""
    heard: float
    """Loop time of the last message."""
    expired: bool = False
    """The broker took it away because it was not renewed."""


class LeaseWatch(Service):
    """Follows the leases. `on_change` is called after every batch that changed a holder."""

    def __init__(self, bus: NatsBus, name: str, *, on_change: Callable[[], None]) -> None:
        super().__init__(name)
        self.views: dict[str, LeaseView] = {}
        """By key."""
        self.leaving: set[str] = set()
        """Members that gave up leases because they leave; ids are never used again."""
        self._on_change = on_change
        self._follower = Follower(
            bus,
            bucket_stream(LEASES_BUCKET),
            [bucket_filter(LEASES_BUCKET)],
            handler=self._take,
            name=f"{name}:follower",
        )

    @override
    async def on_start(self) -> None:
        """Follow; ready once all present leases are known."""
        await self.start_child(self._follower)
        await self._follower.loaded.wait()

    def learn(self, entry: KvEntry) -> bool:
        """Take in an entry, from the follower or read by hand; whether the holder changed."""
        before = self.views.get(entry.key)
        if before is not None and entry.revision < before.revision:
            return False
        if before is not None and entry.revision == before.revision and entry.gone == (before.lease is None):
            return False
        lease = None if entry.gone else decode_lease(entry.value)
        known_epoch = before.epoch if before is not None else 0
        last_owner = before.last_owner if before is not None else None
        if before is not None and before.lease is not None:
            last_owner = before.lease.owner
        self.views[entry.key] = LeaseView(
            revision=entry.revision,
            lease=lease,
            epoch=max(known_epoch, lease.epoch if lease is not None else _epoch_of(entry)),
            last_owner=None if lease is not None else last_owner,
            heard=asyncio.get_running_loop().time(),
            expired=MARKER_REASON in entry.headers,
        )
        if LEAVING_HEADER in entry.headers:
            self.leaving.add(entry.headers[LEAVING_HEADER])
        return before is None or before.lease != lease

    def absent(self, key: str) -> None:
        """Take in that a key has no message at all: its marker has gone too."""
        before = self.views.get(key)
        self.views[key] = LeaseView(
            revision=0,
            lease=None,
            epoch=before.epoch if before is not None else 0,
            last_owner=before.last_owner if before is not None else None,
            heard=asyncio.get_running_loop().time(),
        )

    async def _take(self, batch: list[Stored]) -> None:
        changed = False
        for stored in batch:
            changed |= self.learn(entry_of(stored))
        if changed:
            self._on_change()
