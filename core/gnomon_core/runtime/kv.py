"""Key-value buckets: reads and compare-and-set writes on the streams that hold them.

A key's *revision* is the sequence of its last message. Three ways in which a key can be without a value,
which a writer must tell apart, because each asks for another expectation:

| | last message of the key | expect |
|---|---|---|
| never written, or its tombstone is gone too | none | 0 |
| deleted | a tombstone (`KV-Operation: DEL` or `PURGE`) | the tombstone's revision |
| expired | a marker of the broker (`Nats-Marker-Reason`) | the marker's revision |

Deletions leave a tombstone that the broker removes after a minute where the bucket allows it, so that
buckets whose keys come and go (one per process) do not grow for ever. Watching a bucket is following its
stream.
"""

from __future__ import annotations

import msgspec

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import WrongSequence
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import headers as h

__all__ = [
    "TOMBSTONE_TTL",
    "KvEntry",
    "bucket_filter",
    "bucket_stream",
    "entry_of",
    "key_subject",
    "kv_create",
    "kv_delete",
    "kv_get",
    "kv_put",
    "kv_update",
]

_OPERATION = "KV-Operation"
TOMBSTONE_TTL = 60
"""Seconds for which a deletion stays to be seen, in buckets whose keys can expire."""


class KvEntry(msgspec.Struct, frozen=True):
    """What a bucket last held under a key."""

    key: str
    value: bytes
    revision: int
    time_ms: int
    """When the broker stored it: epoch milliseconds."""
    gone: bool
    """It was deleted or has expired: there is no value."""
    headers: dict[str, str]


def bucket_stream(bucket: str) -> str:
    """The stream that holds a bucket."""
    return f"KV_{bucket}"


def bucket_filter(bucket: str) -> str:
    """The subjects of all keys of a bucket."""
    return f"$KV.{bucket}.>"


def key_subject(bucket: str, key: str) -> str:
    """The subject of one key."""
    return f"$KV.{bucket}.{key}"


def entry_of(stored: Stored) -> KvEntry:
    """A message of a bucket's stream as an entry."""
    headers = stored.headers
    gone = _OPERATION in headers or h.MARKER_REASON in headers
    key = stored.subject.split(".", 2)[2]
    return KvEntry(key, stored.data, stored.seq, stored.time_ms, gone, headers)


async def kv_get(
    bus: Bus, bucket: str, key: str, *, even_gone: bool = False, timeout: float = 5.0
) -> KvEntry | None:
    """The entry under a key, from the leader; None where there is no value.

    With `even_gone` also a tombstone or marker is returned, whose revision a writer has to expect.
    Raises NoAnswer, BusRefused.
    """
    stored = await bus.last(bucket_stream(bucket), key_subject(bucket, key), timeout=timeout)
    if stored is None:
        return None
    entry = entry_of(stored)
    return None if entry.gone and not even_gone else entry


async def kv_put(bus: Bus, bucket: str, key: str, value: bytes, *, ttl: float | None = None) -> int:
    """Set a key whatever it holds; its new revision. `ttl`: seconds, whole ones, at least 1. Raises as
    `Bus.publish`."""
    ack = await bus.publish(key_subject(bucket, key), value, msg_ttl=ttl)
    return ack.seq


async def kv_update(
    bus: Bus,
    bucket: str,
    key: str,
    value: bytes,
    revision: int,
    *,
    ttl: float | None = None,
    timeout: float = 5.0,
) -> int:
    """Set a key that is at `revision` (0: has no message at all); its new revision.

    Raises WrongSequence when it is not, and otherwise as `Bus.publish`.
    """
    ack = await bus.publish(key_subject(bucket, key), value, expected=revision, msg_ttl=ttl, timeout=timeout)
    return ack.seq


async def kv_create(bus: Bus, bucket: str, key: str, value: bytes, *, ttl: float | None = None) -> int:
    """Set a key that has no value, be it new, deleted or expired; its revision.

    Raises WrongSequence when it has one, and otherwise as `Bus.publish`.
    """
    expected = 0
    while True:
        try:
            return await kv_update(bus, bucket, key, value, expected, ttl=ttl)
        except WrongSequence:
            entry = await kv_get(bus, bucket, key, even_gone=True)
            if entry is not None and not entry.gone:
                raise
            # A marker that expired between the write and this read leaves nothing: expect 0 again.
            expected = 0 if entry is None else entry.revision


async def kv_delete(
    bus: Bus,
    bucket: str,
    key: str,
    *,
    revision: int | None = None,
    expiring: bool = False,
    headers: dict[str, str] | None = None,
) -> int:
    """Delete a key, if at `revision` where that is given; the tombstone's revision.

    `expiring`: the bucket allows TTLs, so the tombstone goes by itself after `TOMBSTONE_TTL`. `headers` are
    put on the tombstone, to tell watchers more. Raises WrongSequence, and otherwise as `Bus.publish`.
    """
    tombstone = {_OPERATION: "PURGE", h.ROLLUP: h.OF_THE_SUBJECT, **(headers or {})}
    ack = await bus.publish(
        key_subject(bucket, key),
        b"",
        tombstone,
        expected=revision,
        msg_ttl=TOMBSTONE_TTL if expiring else None,
    )
    return ack.seq
