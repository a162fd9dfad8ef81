"""Leases of real processes that are killed, paused, and asked to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.kv import bucket_stream
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from gnomon_schemas.subjects import LEASES_BUCKET, MEMBERS_BUCKET
from tests.integration.runtime.connecting import fresh, open_bus, until

PARTITIONS = 8


class Holder:
    """A process that holds leases, as its own output tells."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.holds: dict[int, int] = {}
        self.changed_at = 0.0
        self.reading = asyncio.create_task(self._read(), name="holder")

    @classmethod
    async def start(cls, url: str, ttl: float) -> Holder:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.runtime.lease_process",
            url,
            fresh("p"),
            str(ttl),
            str(PARTITIONS),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if not line.startswith(b"{"):
                continue
            told = json.loads(line)
            self.changed_at = time.monotonic()
            if told["event"] == "gain":
                self.holds[told["partition"]] = told["epoch"]
            else:
                self.holds.pop(told["partition"], None)

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self.reading


@pytest.fixture
async def holders(broker: EmbeddedNats, replicas: int) -> AsyncIterator[list[Holder]]:
    """Three processes that have been up for long enough to suspect each other; their TTL is 4 s."""
    async with open_bus(broker.url) as bus:
        await ensure_topology(bus, TopologySettings(partitions=PARTITIONS, replicas=replicas))
        for bucket in (LEASES_BUCKET, MEMBERS_BUCKET):
            await bus.purge(bucket_stream(bucket))
    async with AsyncExitStack() as stack:
        holders = await asyncio.gather(*[Holder.start(broker.url, 4) for _ in range(3)])
        for holder in holders:
            stack.push_async_callback(holder.end)
        await until(lambda: spread(holders) == [2, 3, 3], within=20)
        await asyncio.sleep(2.2)
        assert spread(holders) == [2, 3, 3], "they stay where they are"
        yield holders


def spread(holders: list[Holder]) -> list[int]:
    """How many each holds, if every partition is held by exactly one; else nothing."""
    held = sorted(partition for holder in holders for partition in holder.holds)
    return sorted(len(holder.holds) for holder in holders) if held == list(range(PARTITIONS)) else []


async def test_killed_with_minus_nine(holders: list[Holder]) -> None:
    """Its leases are elsewhere long before the TTL of 4 s has passed, with the next epoch."""
    victim, *others = holders
    before = dict(victim.holds)
    begin = time.monotonic()
    victim.signal(signal.SIGKILL)
    await until(lambda: spread(others) == [4, 4])
    took = time.monotonic() - begin
    assert took < 2, f"{took:.3f} s"
    for partition, epoch in before.items():
        assert max(holder.holds.get(partition, 0) for holder in others) == epoch + 1


async def test_asked_to_stop(holders: list[Holder]) -> None:
    """SIGTERM: handed over in milliseconds, and the process ends with 0."""
    leaver, *others = holders
    begin = time.monotonic()
    leaver.signal(signal.SIGTERM)
    await until(lambda: spread(others) == [4, 4])
    took = time.monotonic() - begin
    assert took < 0.5, f"{took:.3f} s"
    async with asyncio.timeout(5):
        assert await leaver.process.wait() == 0
    await leaver.reading
    assert leaver.holds == {}


async def test_paused_for_longer_than_the_lease(holders: list[Holder]) -> None:
    """SIGSTOP: no ping is refused, so the leases expire; resumed, it learns its loss and then gets its share
    back."""
    sleeper, *others = holders
    before = dict(sleeper.holds)
    begin = time.monotonic()
    sleeper.signal(signal.SIGSTOP)
    await until(lambda: spread(others) == [4, 4], within=15)
    took = time.monotonic() - begin
    assert 2.5 < took < 6.5, f"{took:.3f} s of a TTL of 4"
    assert sleeper.holds == before, "it has noticed nothing"
    sleeper.signal(signal.SIGCONT)
    # A zombie for a moment: what it does meanwhile is what fencing is for.
    await until(lambda: not set(sleeper.holds) & set(before) or sleeper.holds != before, within=5)
    await until(lambda: spread(holders) == [2, 3, 3], within=20)
