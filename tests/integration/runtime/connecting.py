"""Connections and streams for the tests of the runtime."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from gnomon_core.runtime.bus import BusRefused, NatsBus, NoAnswer, NotCommitted, connect

T = TypeVar("T")


class Address(msgspec.Struct, frozen=True):
    """What `connect` needs of the settings."""

    nats_url: str
    nats_creds: str | None = None


@asynccontextmanager
async def open_bus(url: str, name: str = "test", **options: Any) -> AsyncIterator[NatsBus]:
    """A bus on a connection of its own."""
    bus = await connect(Address(url), name=name, **options)
    try:
        yield bus
    finally:
        await bus.close()


def fresh(prefix: str) -> str:
    """A name that no other test has used."""
    return f"{prefix}{secrets.token_hex(4)}"


async def make_stream(bus: NatsBus, *subjects: str, replicas: int = 1, **config: Any) -> str:
    """A stream of its own for one test; its name. Waits for a cluster that is still settling."""
    name = fresh("S")
    request = {"name": name, "subjects": list(subjects), "storage": "file", "num_replicas": replicas}
    options = {"allow_direct": True, "allow_atomic": True, "allow_rollup_hdrs": True}
    await answered(lambda: bus.api(f"STREAM.CREATE.{name}", request | options | config))
    # A publish that can only be refused: when it is, the whole cluster knows where the stream is.
    probe = subjects[0].replace(">", "probe").replace("*", "probe")
    try:
        await answered(lambda: bus.publish(probe, b"", {"Nats-Expected-Stream": "_"}))
    except BusRefused as refusal:
        if refusal.err_code != 10060:
            raise
    return name


async def answered(ask: Callable[[], Awaitable[T]], within: float = 20.0) -> T:
    """Ask until the broker answers: for a broker that is starting or choosing a leader."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await ask()
            except (NoAnswer, NotCommitted, BusRefused) as error:
                if isinstance(error, BusRefused) and error.err_code != 10005:
                    raise
                await asyncio.sleep(0.05)


async def until(holds: Callable[[], bool], within: float = 10.0) -> None:
    """Wait until something about objects of this process holds; looked at every 5 ms."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0.005)
