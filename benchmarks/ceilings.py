"""Ceilings: bare loops on nats-py, that do only what cannot be left out, on streams of their own on the same server.

The streams are as plain as can be (files, no transform, nothing republished), the messages as large as ours. What a
bare loop reaches is what broker, disk and client library give on this machine at this moment.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import RetentionPolicy

from gnomon_schemas import headers as h

__all__ = ["BareStreams", "Message", "bare_streams", "publish_batch"]

_EVENTS, _WORK, _COMMANDS = "BARE_EVENTS", "BARE_WORK", "BARE_COMMANDS"
_ASK_AGAIN = 50
_RELAY_SECONDS = 30.0
DUE_BYTES, EVENT_BYTES = 700, 650
"""About what a due, and an event of an execution, have with their payload."""


class Message(NamedTuple):
    """A message to be stored in a batch."""

    subject: str
    data: bytes
    headers: dict[str, str]


async def publish_batch(nc: Client, messages: Sequence[Message], *, timeout: float = 30.0) -> None:
    """Store messages as one atomic batch. Raises RuntimeError when the broker refuses it."""
    batch = secrets.token_hex(8)
    for number, message in enumerate(messages, 1):
        headers = {**message.headers, h.BATCH_ID: batch, h.BATCH_SEQUENCE: str(number)}
        if number < len(messages):
            await nc.publish(message.subject, message.data, headers=headers)
        else:
            headers[h.BATCH_COMMIT] = "1"
            answer = await nc.request(message.subject, message.data, timeout=timeout, headers=headers)
            if b'"error"' in answer.data:
                raise RuntimeError(f"the bare batch was refused: {answer.data.decode()}")


async def bare_streams(nc: Client) -> BareStreams:
    """Make the streams, empty."""
    streams = BareStreams(nc)
    for name, retention in (
        (_EVENTS, RetentionPolicy.LIMITS),
        (_WORK, RetentionPolicy.WORK_QUEUE),
        (_COMMANDS, RetentionPolicy.WORK_QUEUE),
    ):
        config: dict[str, Any] = {
            "name": name,
            "subjects": [f"{name.lower()}.>"],
            "retention": retention.value,
            "storage": "file",
            "num_replicas": 1,
            "allow_atomic": True,
            "duplicate_window": 10**8,
        }
        await streams.api(f"STREAM.CREATE.{name}", config)
    return streams


class BareStreams:
    """The streams of the bare loops, and the loops."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js = nc.jetstream(timeout=30)

    async def api(self, verb: str, request: Any = None) -> None:
        """A request to JetStream's API. Raises RuntimeError when it is refused."""
        answer = await self.nc.request(f"$JS.API.{verb}", msgspec.json.encode(request), timeout=30)
        if b'"error"' in answer.data:
            raise RuntimeError(f"{verb}: {answer.data.decode()}")

    async def fill(self, count: int) -> None:
        """Store work."""
        for begin in range(0, count, 500):
            messages = [
                Message(f"{_WORK.lower()}.{secrets.token_hex(8)}", b"x" * DUE_BYTES, {})
                for _ in range(min(500, count - begin))
            ]
            await publish_batch(self.nc, messages)

    async def pull(self, stream: str) -> BarePull:
        """Deliveries of a durable pull consumer over the whole of a stream."""
        config = {"durable_name": "bare", "ack_policy": "explicit", "max_ack_pending": 100_000}
        await self.api(f"CONSUMER.DURABLE.CREATE.{stream}.bare", {"stream_name": stream, "config": config})
        inbox, delivered = self.nc.new_inbox(), asyncio.Queue[Msg]()

        async def take(message: Msg) -> None:
            if message.reply:
                delivered.put_nowait(message)

        subscription = await self.nc.subscribe(inbox, cb=take)
        return BarePull(self.nc, stream, inbox, delivered, subscription)

    async def executions(self, count: int, in_flight: int) -> float:
        """Fetch, publish a claim and a result, each expecting the chain's last sequence, ack_sync: seconds for all."""
        begun = time.perf_counter()
        await self._each_of_work(count, in_flight, self._claim_and_finish)
        return time.perf_counter() - begun

    async def _each_of_work(self, count: int, in_flight: int, do: Callable[[Msg], Awaitable[None]]) -> None:
        """Do this with so many pieces of work, so many at a time; more is asked for as some are done."""
        pull = await self.pull(_WORK)
        await pull.ask(in_flight)
        busy, done = set[asyncio.Task[None]](), 0

        async def carry_out(message: Msg) -> None:
            nonlocal done
            await do(message)
            done += 1
            if done % _ASK_AGAIN == 0:
                await pull.ask(_ASK_AGAIN)

        for _ in range(count):
            task = asyncio.create_task(carry_out(await pull.delivered.get()))
            busy.add(task)
            task.add_done_callback(busy.discard)
        await asyncio.gather(*busy)
        await pull.close()

    async def _claim_and_finish(self, message: Msg, on_claim: Callable[[], None] | None = None) -> None:
        task_id = message.subject.rpartition(".")[2]
        expected = 0
        for name in ("started", "executed"):
            headers = {
                h.EXPECTED_SEQ: str(expected),
                h.EXPECTED_SUBJECT: f"{_EVENTS.lower()}.*.{task_id}",
            }
            subject = f"{_EVENTS.lower()}.{name}.{task_id}"
            expected = (await self.js.publish(subject, b"x" * EVENT_BYTES, headers=headers)).seq
            if on_claim is not None and name == "started":
                on_claim()
        await message.ack_sync(timeout=30)

    async def claims_after(self, count: int, in_flight: int) -> list[float]:
        """Store so much work in batches, take it and publish claims: after how many milliseconds each claim was
        stored, counted from the first batch on. Results and acks follow as in `executions`, and compete."""
        after: list[float] = []

        async def carry_out(message: Msg) -> None:
            await self._claim_and_finish(
                message, on_claim=lambda: after.append((time.perf_counter() - begun) * 1e3)
            )

        begun = time.perf_counter()
        await asyncio.gather(self.fill(count), self._each_of_work(count, in_flight, carry_out))
        return after

    async def claims_spread(self, count: int, seconds: float) -> list[float]:
        """Store single pieces of work, spread evenly over so many seconds, and claim each as it comes: the
        milliseconds from before each publish until its claim is stored."""
        relay = await self.relay()
        after: list[float] = []

        async def one() -> None:
            after.append(await relay.work())

        begun, tasks = time.perf_counter(), list[asyncio.Task[None]]()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number * seconds / count - time.perf_counter()))
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
        await relay.close()
        return after

    async def relay(self) -> BareRelay:
        """What a run command passes on its way, without deciding anything."""
        relay = BareRelay(self)
        await relay.open()
        return relay

    async def batches(self, messages: Sequence[Message], size: int, streams: int) -> float:
        """Store these messages in batches of `size`, so many batches at a time: seconds for all."""
        queue = [messages[begin : begin + size] for begin in range(0, len(messages), size)]
        begun = time.perf_counter()

        async def one_after_another() -> None:
            while queue:
                await publish_batch(self.nc, queue.pop())

        await asyncio.gather(*(one_after_another() for _ in range(streams)))
        return time.perf_counter() - begun

    async def registrations(self, count: int, size: int) -> float:
        """Take commands and store a register and an event for each in batches, then ack: seconds for all.

        The commands are stored before and not counted, unlike ours; there is no client beside it.
        """
        for begin in range(0, count, 500):
            await publish_batch(
                self.nc,
                [
                    Message(f"{_COMMANDS.lower()}.{begin + number}", b"x" * 300, {})
                    for number in range(min(500, count - begin))
                ],
            )
        pull = await self.pull(_COMMANDS)
        begun, taken = time.perf_counter(), 0
        await pull.ask(2 * size)
        while taken < count:
            messages = [await pull.delivered.get() for _ in range(min(size, count - taken))]
            await pull.ask(size)
            stored: list[Message] = []
            for message in messages:
                token = message.subject.rpartition(".")[2]
                stored.append(Message(f"{_EVENTS.lower()}.register.{token}", b"x" * 900, {}))
                stored.append(Message(f"{_EVENTS.lower()}.created.{token}", b"x" * 1400, {}))
            await publish_batch(self.nc, stored)
            for message in messages:
                await message.ack()
            taken += len(messages)
        await self.nc.flush()
        took = time.perf_counter() - begun
        await pull.close()
        return took


class BarePull:
    """Deliveries of one pull consumer."""

    def __init__(
        self, nc: Client, stream: str, inbox: str, delivered: asyncio.Queue[Msg], subscription: Subscription
    ) -> None:
        self._nc, self._inbox, self._subscription = nc, inbox, subscription
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.bare"
        self.delivered = delivered

    async def ask(self, count: int) -> None:
        """Ask for so many more; they come when they are there."""
        await self._nc.publish(self._next, b'{"batch":%d}' % count, reply=self._inbox)

    async def close(self) -> None:
        """Ask no more: the broker forgets what is asked when nobody listens."""
        await self._subscription.unsubscribe()


class BareRelay:
    """Command stored, taken, a batch stored, a due stored, taken, a claim stored: the shortest way of a run command."""

    def __init__(self, streams: BareStreams) -> None:
        self._streams, self._js = streams, streams.js
        self._tasks: list[asyncio.Task[None]] = []
        self._pulls: list[BarePull] = []
        self._claimed: dict[str, asyncio.Future[float]] = {}

    async def open(self) -> None:
        """Begin to relay."""
        for stream, step in ((_COMMANDS, self._decide), (_WORK, self._claim)):
            pull = await self._streams.pull(stream)
            self._pulls.append(pull)
            self._tasks.append(asyncio.create_task(self._take(pull, step), name=f"bare {stream}"))

    async def close(self) -> None:
        """Relay no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        for pull in self._pulls:
            await pull.close()

    async def run(self) -> float:
        """Milliseconds from before the command's publish until its claim is stored."""
        return await self._until_claimed(_COMMANDS, 300)

    async def work(self) -> float:
        """Milliseconds from before the publish of a piece of work until its claim is stored."""
        return await self._until_claimed(_WORK, DUE_BYTES)

    async def _until_claimed(self, stream: str, size: int) -> float:
        token = secrets.token_hex(8)
        claimed: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._claimed[token] = claimed
        before = time.perf_counter()
        await self._js.publish(f"{stream.lower()}.{token}", b"x" * size)
        everybody: set[asyncio.Future[Any]] = {claimed, *self._tasks}
        async with asyncio.timeout(_RELAY_SECONDS):
            await asyncio.wait(everybody, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            if task.done():
                task.result()  # raises what ended it
        del self._claimed[token]
        return (claimed.result() - before) * 1e3

    async def _take(self, pull: BarePull, step: Callable[[Msg], Awaitable[None]]) -> None:
        """One after another, as a shard takes its commands."""
        while True:
            await pull.ask(_ASK_AGAIN)
            for _ in range(_ASK_AGAIN):
                await step(await pull.delivered.get())

    async def _decide(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        events = [
            Message(f"{_EVENTS.lower()}.{name}.{token}", b"x" * EVENT_BYTES, {})
            for name in ("shard", "register", "queued")
        ]
        await publish_batch(self._streams.nc, events)
        await self._js.publish(f"{_WORK.lower()}.{token}", b"x" * DUE_BYTES)
        await message.ack()

    async def _claim(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        await self._js.publish(f"{_EVENTS.lower()}.started.{token}", b"x" * EVENT_BYTES)
        self._claimed[token].set_result(time.perf_counter())
        await message.ack()
