"""Writes that are gathered, and one timer for all who wait."""

from __future__ import annotations

import asyncio
import time

import pytest
from nats.aio.msg import Msg

from gnomon_core.runtime.bus import NatsBus, NoAnswer
from gnomon_core.runtime.embedded import EmbeddedNats
from tests.integration.runtime.connecting import fresh, open_bus


async def _echo(bus: NatsBus) -> str:
    """Answer every request on a fresh subject with what it holds; the subject."""
    subject = fresh("echo")

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    await bus.subscribe(subject, answer)
    return subject


@pytest.mark.parametrize("many", [5, 100], ids=["few", "many"])
async def test_what_is_published_in_one_turn_is_one_write(
    nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """And each publisher gets the answer to its own, whether the writes are held back for a moment or not."""
    async with open_bus(nats_server.url) as listener, open_bus(nats_server.url) as bus:
        subject = await _echo(listener)
        await bus.request(subject, b"first", 5.0)
        transport = bus.nc._transport
        assert transport is not None
        write, writes = transport.write, list[int]()

        def counted(payload: bytes) -> None:
            writes.append(len(payload))
            write(payload)

        monkeypatch.setattr(transport, "write", counted)
        bodies = [b"%d" % number for number in range(many)]
        answers = await asyncio.gather(*(bus.request(subject, body, 5.0) for body in bodies))
        assert [answer.data for answer in answers] == bodies
        assert len(writes) == 1


async def test_what_is_large_is_written_at_once(nats_server: EmbeddedNats) -> None:
    """Nothing is held in the client that the system has room for."""
    async with open_bus(nats_server.url) as bus:
        await bus.send(fresh("t"), b"x" * 100_000)
        assert bus.nc.pending_data_size == 0


async def test_each_waits_as_long_as_it_was_told(nats_server: EmbeddedNats) -> None:
    """The short wait begins after the long one, and ends before it; what comes in time is not touched."""
    async with open_bus(nats_server.url) as listener, open_bus(nats_server.url) as bus:
        silent = fresh("silent")

        async def silence(_: Msg) -> None:
            return

        await listener.subscribe(silent, silence)
        subject = await _echo(listener)
        begun = time.monotonic()

        async def waited(seconds: float) -> float:
            with pytest.raises(NoAnswer, match=f"no answer within {seconds:g} s"):
                await bus.request(silent, b"", seconds)
            return time.monotonic() - begun

        took = await asyncio.gather(
            waited(0.6), waited(0.2), waited(0.4), bus.request(subject, b"in time", 5.0)
        )
        assert took[3].data == b"in time"
        for seconds, least in zip(took[:3], (0.6, 0.2, 0.4), strict=True):
            assert least - 0.01 <= seconds
        assert took[1] < took[2] < took[0]
