"""When the broker is away: nobody waits in vain, and nothing that was given up comes out later."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from gnomon_core.runtime.bus import (
    BusError,
    NatsBus,
    NoAnswer,
    NoResponders,
    NotCommitted,
    Outgoing,
    PubAck,
)
from gnomon_core.runtime.embedded import EmbeddedNats
from tests.integration.runtime.connecting import answered, fresh, make_stream, open_bus, until


@pytest.fixture
async def healed(nats_server: EmbeddedNats) -> AsyncIterator[EmbeddedNats]:
    """The module's server, running again after the test whatever was done to it."""
    yield nats_server
    for node in nats_server.nodes:
        if node.running:
            node.resume()
    await nats_server.start()


async def test_a_publish_while_the_broker_is_away_is_refused_at_once(healed: EmbeddedNats) -> None:
    """Nothing was sent, so it is certain that nothing is stored; and nothing comes out after the
    reconnect."""
    async with open_bus(healed.url) as bus:
        token = fresh("t")
        stream = await make_stream(bus, f"{token}.>")
        await healed.stop()
        await until(lambda: not bus.connected)
        begin = time.monotonic()
        with pytest.raises(NotCommitted, match="nothing was sent"):
            await bus.publish(f"{token}.a", b"")
        with pytest.raises(NotCommitted):
            await bus.publish_batch([Outgoing(f"{token}.a", b"")], door=False)
        with pytest.raises(NoAnswer):
            await bus.last(stream, f"{token}.a")
        with pytest.raises(NoAnswer):
            await bus.request("anyone", b"", 5.0)
        await bus.send(f"{token}.a", b"lost, as core messages may be")
        assert time.monotonic() - begin < 0.5
        await healed.start()
        await bus.wait_connected()
        assert bus.generation == 1
        assert (await answered(lambda: bus.stream_info(stream))).last_seq == 0
        assert (await bus.publish(f"{token}.a", b"")).seq == 1


async def test_whoever_waits_is_told_when_the_connection_breaks(healed: EmbeddedNats) -> None:
    """A publish on its way when the broker dies is unknown, at once and not after its timeout."""
    async with open_bus(healed.url) as bus:
        token = fresh("t")
        await make_stream(bus, f"{token}.>")
        healed.pause()
        waiting = [
            asyncio.create_task(bus.publish(f"{token}.a", b"", timeout=60)),
            asyncio.create_task(bus.multi_last("TASKS", ["x"])),
        ]
        await asyncio.sleep(0.05)
        begin = time.monotonic()
        await healed.kill()
        for task in waiting:
            with pytest.raises(NoAnswer, match="lost before an answer"):
                await task
        assert time.monotonic() - begin < 1
        await healed.start()
        await bus.wait_connected()


async def test_what_was_given_up_never_comes_out_of_a_buffer(healed: EmbeddedNats) -> None:
    """Forty megabytes for a server that stands still: some lie in the client when the connection breaks."""
    async with open_bus(healed.url) as bus:
        token = fresh("t")
        stream = await make_stream(bus, f"{token}.>")
        healed.pause()
        body = b"x" * 400_000
        first = [asyncio.create_task(bus.publish(f"{token}.{n}", body, timeout=1)) for n in range(50)]
        # The system takes what it has room for; what comes now stays in the client.
        await asyncio.sleep(0.1)
        then = [asyncio.create_task(bus.publish(f"{token}.{n}", b"late", timeout=0.5)) for n in range(50)]
        outcomes = await asyncio.gather(*first, *then, return_exceptions=True)
        assert all(isinstance(outcome, NoAnswer) for outcome in outcomes)
        assert bus.nc.unsent_bytes > 0, "the test has to fill the client's buffer"
        await healed.kill()
        await healed.start()
        await bus.wait_connected()
        assert (await bus.publish(f"{token}.end", b"")).seq == 1
        assert (await bus.stream_info(stream)).messages == 1


async def test_a_server_that_froze_is_left_for_another(nats_cluster: EmbeddedNats) -> None:
    """Also with the socket full: the client does not wait until the frozen server has read it all."""
    async with open_bus(nats_cluster.url) as bus:
        token = fresh("t")
        await make_stream(bus, f"{token}.>", replicas=3)
        url = bus.nc.connected_url
        assert url is not None
        frozen = next(node for node in nats_cluster.nodes if node.url.endswith(f":{url.port}"))
        frozen.pause()
        try:
            body = b"x" * 500_000
            sent = [asyncio.create_task(bus.publish(f"{token}.{n}", body, timeout=30)) for n in range(40)]
            outcomes = await asyncio.gather(*sent, return_exceptions=True)
            assert all(isinstance(outcome, NoAnswer) for outcome in outcomes)
            async with asyncio.timeout(10):
                await bus.wait_connected()
            assert bus.generation == 1
            assert (await answered_despite(bus, f"{token}.end")).stream
        finally:
            frozen.resume()


async def answered_despite(bus: NatsBus, subject: str) -> PubAck:
    """Publish until it is stored: the stream may have to choose another leader."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await bus.publish(subject, b"", timeout=1)
            except BusError:
                await asyncio.sleep(0.1)


async def test_a_timeout_is_no_answer(nats_server: EmbeddedNats) -> None:
    """Somebody listens and says nothing; somebody says something; nobody listens."""
    async with open_bus(nats_server.url) as bus:
        subject = fresh("core.")

        async def silent(_: object) -> None:
            heard.set()

        heard = asyncio.Event()
        subscription = await bus.subscribe(subject, silent)
        with pytest.raises(NoAnswer, match=r"no answer within 0\.1 s"):
            await bus.request(subject, b"", 0.1)
        assert heard.is_set()
        await subscription.unsubscribe()
        with pytest.raises(NoResponders, match=subject):
            await bus.request(subject, b"", 5.0)


async def test_a_handler_that_raises_does_not_end_its_subscription(nats_server: EmbeddedNats) -> None:
    async with open_bus(nats_server.url) as bus:
        subject, heard = fresh("core."), asyncio.Queue[bytes]()

        async def handler(message: object) -> None:
            data = getattr(message, "data", b"")
            await heard.put(data)
            if data == b"1":
                raise RuntimeError("the first one")

        await bus.subscribe(subject, handler)
        await bus.send(subject, b"1")
        await bus.send(subject, b"2", {"traceparent": "x"})
        assert [await heard.get(), await heard.get()] == [b"1", b"2"]


async def test_subscriptions_outlive_a_restart(healed: EmbeddedNats) -> None:
    """And the listeners hear of both ends of the outage."""
    async with open_bus(healed.url) as bus, open_bus(healed.url) as other:
        changes: list[bool] = []
        bus.listen(lambda: changes.append(bus.connected))
        heard = asyncio.Event()

        async def handler(_: object) -> None:
            heard.set()

        subject = fresh("core.")
        await bus.subscribe(subject, handler)
        await healed.kill()
        await healed.start()
        await bus.wait_connected()
        await other.wait_connected()
        await other.request("$JS.API.INFO", b"", 5.0)
        await bus.request("$JS.API.INFO", b"", 5.0)
        await other.send(subject, b"")
        async with asyncio.timeout(5):
            await heard.wait()
        assert changes == [False, True]
        assert bus.connected_since is not None
        assert time.monotonic() - bus.connected_since < 30
