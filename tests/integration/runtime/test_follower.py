"""The follower hands over every message in order and once, whatever happens to consumers, nodes and
handlers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gnomon_core.runtime import follower as follower_module
from gnomon_core.runtime.bus import BusError, NatsBus, Outgoing, Stored
from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.follower import BatchHandler, Follower
from gnomon_core.runtime.service import ServiceState
from tests.integration.runtime.connecting import answered, fresh, make_stream, open_bus, until


@pytest.fixture
async def token(bus: NatsBus) -> str:
    """The first token of the test's subjects."""
    return fresh("t")


@pytest.fixture
async def stream(bus: NatsBus, token: str, replicas: int) -> str:
    """A stream of the test's own."""
    return await make_stream(bus, f"{token}.>", replicas=replicas)


class Heard:
    """A handler that remembers, and lets a test wait for how much."""

    def __init__(self) -> None:
        self.messages: list[Stored] = []
        self.batches = 0
        self._more = asyncio.Event()

    async def __call__(self, batch: list[Stored]) -> None:
        self.messages += batch
        self.batches += 1
        self._more.set()

    @property
    def seqs(self) -> list[int]:
        return [message.seq for message in self.messages]

    async def count(self, number: int, within: float = 20.0) -> None:
        """Wait until this many messages were handed over."""
        async with asyncio.timeout(within):
            while len(self.messages) < number:
                self._more.clear()
                await self._more.wait()


async def fill(bus: NatsBus, subjects: list[str], body: bytes = b"x") -> int:
    """Store one message on each subject; the last sequence."""
    seq = 0
    for begin in range(0, len(subjects), 1000):
        part = [Outgoing(subject, body) for subject in subjects[begin : begin + 1000]]
        seq = (await bus.publish_batch(part, door=False, timeout=20)).seq
    return seq


@asynccontextmanager
async def following(
    bus: NatsBus, stream: str, *filters: str, handler: BatchHandler, start_seq: int | None = 1
) -> AsyncIterator[Follower]:
    """A follower for the length of a block."""
    follower = Follower(bus, stream, filters, start_seq=start_seq, handler=handler, name="under-test")
    await follower.start()
    try:
        yield follower
    finally:
        await follower.stop()


async def wait_for(event: asyncio.Event, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        await event.wait()


async def test_everything_in_order_from_a_sequence_and_then_what_is_new(
    bus: NatsBus, stream: str, token: str
) -> None:
    """More than the window holds; the position is the last one handled, and catching up is told."""
    await fill(bus, [f"{token}.{number % 10}" for number in range(10_000)])
    heard = Heard()
    async with following(bus, stream, f"{token}.>", handler=heard, start_seq=501) as follower:
        await wait_for(follower.caught_up)
        assert heard.seqs == list(range(501, 10_001))
        assert (follower.position, follower.lag) == (10_000, 0)
        await bus.publish(f"{token}.new", b"live", {"a": "b"})
        await heard.count(9_501)
    last = heard.messages[-1]
    assert (last.seq, last.data, last.headers, last.subject) == (10_001, b"live", {"a": "b"}, f"{token}.new")
    assert heard.batches < 9_501, "messages are handed over in batches"


async def test_several_filters_are_one_order(bus: NatsBus, stream: str, token: str) -> None:
    await fill(bus, [f"{token}.{number % 3}.x" for number in range(300)])
    heard = Heard()
    async with following(bus, stream, f"{token}.0.*", f"{token}.2.*", handler=heard) as follower:
        await wait_for(follower.caught_up)
    assert heard.seqs == [seq for seq in range(1, 301) if (seq - 1) % 3 != 1]


async def test_a_load_brings_the_last_of_each_subject_and_then_all(
    bus: NatsBus, stream: str, token: str
) -> None:
    await fill(bus, [f"{token}.{number % 100}" for number in range(1_000)])
    heard = Heard()
    async with following(bus, stream, f"{token}.*", handler=heard, start_seq=None) as follower:
        await wait_for(follower.loaded)
        assert heard.seqs == list(range(901, 1_001))
        await fill(bus, [f"{token}.0"] * 5)
        await heard.count(105)
    assert heard.seqs[100:] == list(range(1_001, 1_006))


async def test_nothing_to_load_is_loaded_at_once(bus: NatsBus, stream: str, token: str) -> None:
    heard = Heard()
    async with following(bus, stream, f"{token}.*", handler=heard, start_seq=None) as follower:
        await wait_for(follower.loaded)
        await wait_for(follower.caught_up)
        assert (follower.position, follower.lag, heard.messages) == (0, 0, [])
        await bus.publish(f"{token}.a", b"")
        await heard.count(1)


async def test_a_start_beyond_the_end_waits_for_it(bus: NatsBus, stream: str, token: str) -> None:
    heard = Heard()
    await fill(bus, [f"{token}.a"] * 3)
    async with following(bus, stream, f"{token}.*", handler=heard, start_seq=4) as follower:
        await wait_for(follower.caught_up)
        assert follower.position == 3
        await fill(bus, [f"{token}.a"] * 2)
        await heard.count(2)
    assert heard.seqs == [4, 5]


async def test_a_slow_handler_stops_the_flow_and_loses_nothing(
    bus: NatsBus, stream: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it works nothing is handed over, and no more than the window is requested."""
    monkeypatch.setattr(follower_module, "_WINDOW", 200)
    await fill(bus, [f"{token}.a"] * 3_000)
    heard, largest, entered, gate = Heard(), 0, asyncio.Event(), asyncio.Event()

    async def slow(batch: list[Stored]) -> None:
        nonlocal largest
        largest = max(largest, len(batch))
        entered.set()
        await gate.wait()
        await heard(batch)

    async with following(bus, stream, f"{token}.*", handler=slow) as follower:
        await wait_for(entered)
        assert (follower.position, heard.messages) == (0, [])
        gate.set()
        await wait_for(follower.caught_up)
    assert heard.seqs == list(range(1, 3_001))
    assert largest <= 200


async def test_a_handler_that_raises_fails_the_follower(bus: NatsBus, stream: str, token: str) -> None:
    """What it did not take is not behind it: the position stays."""
    await fill(bus, [f"{token}.a"] * 3)

    async def handler(batch: list[Stored]) -> None:
        raise RuntimeError(f"cannot take {batch[0].seq}")

    follower = Follower(bus, stream, [f"{token}.*"], start_seq=1, handler=handler, name="failing")
    await follower.start()
    async with asyncio.timeout(10):
        assert str(await follower.failed()) == "cannot take 1"
    assert follower.position == 0
    await follower.stop()


async def consumers(bus: NatsBus, stream: str) -> list[str]:
    """Names of the stream's consumers."""
    return (await answered(lambda: bus.api(f"CONSUMER.NAMES.{stream}")))["consumers"] or []


async def the_consumer(bus: NatsBus, stream: str) -> str:
    """The one consumer of the stream: of three nodes the one that is asked may hear of it, or of its end, late."""
    async with asyncio.timeout(10):
        while len(names := await consumers(bus, stream)) != 1:  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.02)
    return names[0]


async def test_a_consumer_that_is_deleted_is_made_anew(bus: NatsBus, stream: str, token: str) -> None:
    """By an administrator, or by the broker when a node is gone."""
    heard = Heard()
    async with following(bus, stream, f"{token}.*", handler=heard):
        for round_number in range(1, 4):
            await fill(bus, [f"{token}.a"] * 10)
            await heard.count(round_number * 20 - 10)
            await bus.api(f"CONSUMER.DELETE.{stream}.{await the_consumer(bus, stream)}")
            await fill(bus, [f"{token}.a"] * 10)
        await heard.count(60)
    assert heard.seqs == list(range(1, 61))
    async with asyncio.timeout(10):
        while await consumers(bus, stream):  # noqa: ASYNC110 - only asking tells when the broker has removed it
            await asyncio.sleep(0.02)


async def test_a_load_that_breaks_is_repeated_without_repeating_messages(
    bus: NatsBus, stream: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer is deleted in the middle of it, and what has been loaded changes meanwhile."""
    monkeypatch.setattr(follower_module, "_WINDOW", 100)
    await fill(bus, [f"{token}.{number}" for number in range(1_000)])
    heard, halted = Heard(), False

    async def handler(batch: list[Stored]) -> None:
        nonlocal halted
        await heard(batch)
        if not halted and len(heard.messages) >= 300:
            halted = True
            name = await the_consumer(bus, stream)
            await bus.api(f"CONSUMER.DELETE.{stream}.{name}")
            await fill(bus, [f"{token}.{number}" for number in (0, 1, 2, 900, 901)])

    async with following(bus, stream, f"{token}.*", handler=handler, start_seq=None) as follower:
        await wait_for(follower.loaded)
        await wait_for(follower.caught_up)
    assert halted
    assert heard.seqs == sorted(set(heard.seqs)), "in order and once"
    newest = {message.subject: message.seq for message in heard.messages}
    assert len(newest) == 1_000
    assert [newest[f"{token}.{number}"] for number in (0, 1, 2, 900, 901)] == list(range(1_001, 1_006))


async def test_a_delivery_that_was_lost_is_noticed_and_read_again(
    bus: NatsBus, stream: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker counts what it delivers; a number that is missing means that a message is."""
    lost: list[str] = []
    original = follower_module._Reader._delivered

    def lossy(reader: follower_module._Reader, subject: str, reply: str, head: bytes, data: bytes) -> None:
        if data == b"50" and not lost:
            lost.append(reply)
            return
        original(reader, subject, reply, head, data)

    monkeypatch.setattr(follower_module._Reader, "_delivered", lossy)
    heard = Heard()
    async with following(bus, stream, f"{token}.*", handler=heard):
        for number in range(100):
            await bus.publish(f"{token}.a", str(number).encode())
        await heard.count(100)
    assert lost
    assert heard.seqs == list(range(1, 101))


async def write_all_along(bus: NatsBus, subject: str, stop: asyncio.Event) -> int:
    """Publish numbered messages one after another until told to stop; how many are certainly stored.

    Each expects its predecessor, so that one whose answer was lost is stored once all the same.
    """
    stored = 0
    while not stop.is_set():
        try:
            await bus.publish(subject, str(stored).encode(), expected=stored, timeout=1)
        except BusError as error:
            last = getattr(error, "last_seq", None)
            if last is not None and last > stored:
                stored = last
                continue
            await asyncio.sleep(0.02)
            continue
        stored += 1
    return stored


async def test_a_broker_that_restarts_loses_and_repeats_nothing(
    bus: NatsBus, broker: EmbeddedNats, stream: str, token: str
) -> None:
    """Killed with -9 and started again, three times, while one writes and two follow."""
    heard, late, stop = Heard(), Heard(), asyncio.Event()
    async with (
        open_bus(broker.url) as writer,
        following(bus, stream, f"{token}.*", handler=heard) as follower,
        following(writer, stream, f"{token}.*", handler=late, start_seq=None),
    ):
        writing = asyncio.create_task(write_all_along(writer, f"{token}.a", stop))
        for round_number in range(3):
            before = len(heard.messages)
            await heard.count(before + 50)
            if len(broker.nodes) == 1:
                await broker.kill()
                await broker.start()
            else:
                node = broker.nodes[round_number]
                await node.kill()
                await heard.count(len(heard.messages) + 20)
                await node.start()
        await heard.count(len(heard.messages) + 50)
        stop.set()
        stored = await writing
        await heard.count(stored)
        await until(lambda: late.seqs[-1] == stored, within=20)
        assert follower.position == stored
    assert [int(message.data) for message in heard.messages] == list(range(stored))
    assert heard.seqs == list(range(1, stored + 1))
    # It began with the last message of the subject, whichever that was.
    assert late.seqs == heard.seqs[late.seqs[0] - 1 :]
    assert late.seqs[0] < 50


async def test_a_follower_finds_the_way_when_its_stream_comes_later(bus: NatsBus, replicas: int) -> None:
    token, heard = fresh("t"), Heard()
    name = fresh("LATE")
    async with following(bus, name, f"{token}.>", handler=heard):
        config = {"name": name, "subjects": [f"{token}.>"], "num_replicas": replicas}
        await answered(lambda: bus.api(f"STREAM.CREATE.{name}", config))
        await answered(lambda: bus.publish(f"{token}.a", b""))
        await heard.count(1)


async def test_a_work_queue_cannot_be_followed(bus: NatsBus) -> None:
    """The broker refuses it, and the follower fails with the broker's words instead of trying for ever."""
    token = fresh("q")
    stream = await make_stream(bus, f"{token}.>", retention="workqueue")
    follower = Follower(bus, stream, [f"{token}.>"], start_seq=1, handler=Heard(), name="wrong")
    await follower.start()
    async with asyncio.timeout(10):
        assert "work" in str(await follower.failed()) or "ack" in str(await follower.failed())
    await follower.stop()


async def test_stopping_lets_the_handler_finish_and_hands_nothing_further_over(
    bus: NatsBus, stream: str, token: str
) -> None:
    """And a follower that is started again goes on after the last one it handed over."""
    heard, entered, gate = Heard(), asyncio.Event(), asyncio.Event()

    async def handler(batch: list[Stored]) -> None:
        entered.set()
        await gate.wait()
        await heard(batch)

    follower = Follower(bus, stream, [f"{token}.*"], start_seq=1, handler=handler, name="stopping")
    await follower.start()
    await follower.caught_up.wait()
    await bus.publish(f"{token}.a", b"1")
    await wait_for(entered)
    stopping = asyncio.create_task(follower.stop())
    await until(lambda: follower.state is ServiceState.STOPPING)
    await bus.publish(f"{token}.a", b"2")
    assert not stopping.done()
    gate.set()
    await stopping
    assert heard.seqs == [1]
    assert follower.position == 1
    await follower.start()
    await heard.count(2)
    await follower.stop()
    assert heard.seqs == [1, 2]


async def test_stopping_without_a_broker_does_not_wait_for_it(nats_server: EmbeddedNats) -> None:
    async with open_bus(nats_server.url) as bus:
        token = fresh("t")
        stream = await make_stream(bus, f"{token}.>")
        follower = Follower(bus, stream, [f"{token}.*"], start_seq=1, handler=Heard(), name="alone")
        await follower.start()
        await wait_for(follower.caught_up)
        await nats_server.stop()
        await until(lambda: not bus.connected)
        async with asyncio.timeout(1):
            await follower.stop()
