"""Keys without a value are told apart, written over, and leave nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from gnomon_core.runtime.bus import NatsBus, WrongSequence
from gnomon_core.runtime.kv import (
    KvEntry,
    bucket_stream,
    kv_create,
    kv_delete,
    kv_get,
    kv_put,
    kv_update,
)
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.subjects import LEASES_BUCKET, TYPES_BUCKET
from tests.integration.runtime.connecting import fresh


@pytest.fixture
async def key(bus: NatsBus, replicas: int) -> str:
    """A key that nobody has used, in a bucket whose keys can expire."""
    await ensure_topology(bus, TopologySettings(replicas=replicas))
    return fresh("k")


async def gone(bus: NatsBus, key: str) -> KvEntry:
    """The entry of a key once it is without a value."""
    async with asyncio.timeout(10):
        while True:
            entry = await kv_get(bus, LEASES_BUCKET, key, even_gone=True)
            assert entry is not None
            if entry.gone:
                return entry
            await asyncio.sleep(0.05)


async def test_a_key_from_creation_to_deletion(bus: NatsBus, key: str) -> None:
    first = await kv_create(bus, LEASES_BUCKET, key, b"1", ttl=30)
    entry = await kv_get(bus, LEASES_BUCKET, key)
    assert entry is not None
    assert (entry.key, entry.value, entry.revision, entry.gone) == (key, b"1", first, False)
    second = await kv_update(bus, LEASES_BUCKET, key, b"2", first, ttl=30)
    with pytest.raises(WrongSequence) as refused:
        await kv_update(bus, LEASES_BUCKET, key, b"3", first, ttl=30)
    assert refused.value.last_seq == second
    with pytest.raises(WrongSequence):
        await kv_create(bus, LEASES_BUCKET, key, b"4", ttl=30)
    with pytest.raises(WrongSequence):
        await kv_delete(bus, LEASES_BUCKET, key, revision=first, expiring=True)
    await kv_delete(bus, LEASES_BUCKET, key, revision=second, expiring=True, headers={"Why": "done"})
    assert await kv_get(bus, LEASES_BUCKET, key) is None
    tombstone = await gone(bus, key)
    assert tombstone.headers["Why"] == "done"
    assert "Nats-Marker-Reason" not in tombstone.headers


async def test_a_deleted_and_an_expired_key_can_be_created_again(bus: NatsBus, key: str) -> None:
    """The client library's own `create` fails on the marker of an expiry."""
    await kv_create(bus, LEASES_BUCKET, key, b"1", ttl=1)
    marker = await gone(bus, key)
    assert "Nats-Marker-Reason" in marker.headers
    again = await kv_create(bus, LEASES_BUCKET, key, b"2", ttl=30)
    assert again > marker.revision
    await kv_delete(bus, LEASES_BUCKET, key, expiring=True)
    assert await kv_create(bus, LEASES_BUCKET, key, b"3", ttl=30) > again


async def test_a_key_that_is_written_again_does_not_expire(bus: NatsBus, key: str) -> None:
    await kv_put(bus, LEASES_BUCKET, key, b"1", ttl=1)
    for number in range(8):
        await asyncio.sleep(0.3)
        await kv_put(bus, LEASES_BUCKET, key, str(number).encode(), ttl=1)
    entry = await kv_get(bus, LEASES_BUCKET, key)
    assert entry is not None
    assert entry.value == b"7"


async def test_racing_from_one_revision_one_wins(bus: NatsBus, key: str) -> None:
    first = await kv_create(bus, LEASES_BUCKET, key, b"first", ttl=30)
    outcomes = await asyncio.gather(
        *[kv_update(bus, LEASES_BUCKET, key, str(n).encode(), first, ttl=30) for n in range(6)],
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, int) for outcome in outcomes) == 1


async def test_only_the_last_value_is_kept_and_no_ttl_means_for_good(bus: NatsBus, key: str) -> None:
    for number in range(5):
        await kv_put(bus, TYPES_BUCKET, key, str(number).encode())
    await kv_delete(bus, TYPES_BUCKET, key)
    await kv_put(bus, TYPES_BUCKET, key, b"back")
    entry = await kv_get(bus, TYPES_BUCKET, key)
    assert entry is not None
    assert entry.value == b"back"
    subjects = [row.seq async for row in bus.scan(bucket_stream(TYPES_BUCKET), f"$KV.{TYPES_BUCKET}.{key}")]
    assert len(subjects) == 1
