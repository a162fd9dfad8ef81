"""Asking whether an executor still runs an attempt, on a connection that has only just been made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest_asyncio
from nats.aio.msg import Msg

from gnomon_core.runtime.bus import NatsBus, connect
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.settings import CommonSettings
from gnomon_executor.chain import ChainEnd
from gnomon_executor.claims import ASK_SECONDS, SETTLED_CONNECTION_SECONDS, Answer, Asker
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.members import ClaimAnswer

AT = format_instant(0)
CLAIMED = ChainEnd("started", 1, "", 1, "x-other", "nonce", 0, False, AT, AT)
KEY = ("t.r", 1)


@pytest_asyncio.fixture
async def other(nats_url: str) -> AsyncIterator[NatsBus]:
    """The connection of the executor that is asked about."""
    bus = await connect(CommonSettings(nats_url=nats_url), name="other")
    yield bus
    await bus.close()


@pytest_asyncio.fixture
async def young(nats_url: str, other: NatsBus) -> AsyncIterator[NatsBus]:
    """A connection that has only just been made."""
    bus = await connect(CommonSettings(nats_url=nats_url), name="young")
    yield bus
    await bus.close()


async def test_silence_counts_once_the_connection_is_settled(young: NatsBus, other: NatsBus) -> None:
    """One answer, and not "unsure" and another round a second later."""
    heard = asyncio.Queue[Msg]()
    await other.nc.subscribe(subjects.executor_claims("x-other"), cb=heard.put)
    # The first may be answered by what is left of the handshake (see `LiveView.start`).
    await other.nc.flush()
    await other.nc.flush()
    since = young.connected_since
    assert since is not None
    assert await Asker(young).ask(CLAIMED, KEY) is Answer.GONE
    assert time.monotonic() - since >= SETTLED_CONNECTION_SECONDS + ASK_SECONDS
    assert heard.qsize() > 1, "who came back after the first question has heard a later one"


async def test_who_is_back_while_it_is_asked_for_is_found(young: NatsBus, other: NatsBus) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(encode(ClaimAnswer(running=True)))

    asking = asyncio.create_task(Asker(young).ask(CLAIMED, KEY))
    await asyncio.wait([asking], timeout=SETTLED_CONNECTION_SECONDS)
    assert not asking.done()
    await other.nc.subscribe(subjects.executor_claims("x-other"), cb=answer)
    assert await asking is Answer.RUNNING


async def test_silence_across_a_lost_connection_proves_nothing(
    nats_server: EmbeddedNats, young: NatsBus, other: NatsBus
) -> None:
    await other.nc.subscribe(subjects.executor_claims("x-other"), cb=asyncio.Queue[Msg]().put)
    asking = asyncio.create_task(Asker(young).ask(CLAIMED, KEY))
    await asyncio.wait([asking], timeout=0.5)
    await nats_server.restart()
    await other.wait_connected()
    assert await asking is Answer.UNSURE
