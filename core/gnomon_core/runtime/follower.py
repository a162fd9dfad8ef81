"""Following a stream: every message of some subjects, in order, once, without acknowledgements.

Standby, folding, the projector and the watchers of leases and members all stand on this. It reads with a
*pull consumer* of its own (ephemeral, in memory, no acks) and trusts nothing that it has not counted: the
broker numbers what it delivers to a consumer 1, 2, 3 …, so a number that is not the next one means that
messages were lost on the way (a pull that was answered into a broken connection, a slow reader cut off).
Then, as after every reconnect and whenever the consumer is gone, the follower makes a new consumer that
starts after the last message it *handed over*. Nothing is lost, nothing comes twice:

* what was received but not handed over when a consumer ends is thrown away and read again;
* the handler is awaited before anything further is handed over, so `position` is the handler's word too.

**Pulls.** The follower keeps a window of requested messages open and tops it up as they are handed over: a
handler that is slow stops the flow by itself, and at most a window is held in memory. A pull expires on the
broker, which says so; while it is open the broker sends heartbeats. No heartbeat for two intervals means
that the consumer, its node or the way there is gone.

**Loading.** With `start_seq=None` the consumer first delivers the last message of every subject, ascending,
then what is new. Should it break during this load, a new load drops what is at or below the position:
whatever was handed over and has changed since has a higher sequence now. After the load, a new consumer
continues by sequence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from nats.aio.subscription import Subscription
from typing_extensions import override

from gnomon_core.runtime.ack_subject import CONSUMER_SEQ, PENDING, STREAM_SEQ, TIME, ack_fields
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusRefused, NoAnswer, NotCommitted
from gnomon_core.runtime.frames import Answer, Sink, parse_headers
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.metrics import Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["BatchHandler", "Follower"]

BatchHandler = Callable[[list[Stored]], Awaitable[None]]
"""Takes messages in order. While it runs nothing further is handed over; when it raises, the follower
fails."""

_WINDOW = 4096
"""Messages requested or received and not yet handed over, at the most."""
_PULL_BYTES = 16 * 1024 * 1024
_PULL_EXPIRES = 30.0
_HEARTBEAT = 0.5
_SILENT_BEATS = 3
"""Heartbeat intervals without message or heartbeat after which the consumer counts as gone."""
_INACTIVE = 60.0
"""Seconds after which the broker drops a consumer that nobody pulls from."""
_CREATE_SECONDS = 2.0
_CREATE_SECONDS_MAX = 60.0
_NS = 1_000_000_000
_PULL_ENDED = frozenset({("408", "Request Timeout"), ("409", "Batch Completed"), ("404", "No Messages")})
_MAY_COME = frozenset(
    {
        10059,  # stream not found: it may be about to be made
        10005,  # no suitable peers: the cluster is short of nodes just now
    }
)

_log = structlog.get_logger(__name__)


class _Broken(Exception):
    """The present consumer cannot be trusted any more; the text says why."""


class _Reader:
    """One consumer's deliveries: numbered, buffered, and the state of its pulls."""

    def __init__(self, after: int, *, headers: bool) -> None:
        self.messages: list[Stored] = []
        self.pending: int | None = None
        self.broken: str | None = None
        self.requested = 0
        """Messages that open pulls may still bring."""
        self.arrived = asyncio.Event()
        self.heard = 0
        """Messages and statuses so far: what matters is whether it moves."""
        self.delivered = 0
        self.to_load = 0
        """Messages that waited for the consumer when it was made."""
        self._after = after
        self._headers = headers

    def take(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        """A message or status of the consumer; never raises, since it runs inside the client's parser."""
        self.heard += 1
        try:
            if reply.startswith("$JS.ACK."):
                self._delivered(subject, reply, head, data)
            elif head:
                self._status(Answer(subject, reply, head, data))
        except (ValueError, IndexError) as error:
            self.fail(f"unreadable delivery: {error!r}")

    def fail(self, reason: str) -> None:
        """The consumer cannot be trusted from here on."""
        if self.broken is None:
            self.broken = reason
        self.arrived.set()

    def _delivered(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        if self.broken is not None:
            return
        fields = ack_fields(reply)
        number = int(fields[CONSUMER_SEQ])
        if number != self.delivered + 1:
            self.fail(f"gap: delivery {number} came instead of {self.delivered + 1}")
            return
        self.delivered = number
        self.requested -= 1
        self.pending = int(fields[PENDING])
        seq = int(fields[STREAM_SEQ])
        if seq > self._after:
            time_ms = int(fields[TIME][:-6])  # told in nanoseconds
            self.messages.append(
                Stored(subject, seq, time_ms, parse_headers(head) if head and self._headers else {}, data)
            )
        self.arrived.set()

    def _status(self, answer: Answer) -> None:
        status, text = answer.status, answer.status_text
        if status == "100":
            return
        # A pull that ran out of time, or that was cut short by its size, tells what it did not bring.
        left = answer.headers.get("Nats-Pending-Messages")
        if left is not None and ((status, text) in _PULL_ENDED or "MaxBytes" in text):
            self.requested = max(0, self.requested - int(left))
            self.arrived.set()
            return
        self.fail(f"the broker ended the pull: {status} {text}")


class Follower(Service):
    """Hands every message of `filters` in `stream` to `handler`, in order and once.

    `start_seq` is the first sequence of interest; None loads the last message of every subject first. Limits
    streams only: a work queue refuses a consumer without acks.
    """

    def __init__(
        self,
        bus: NatsBus,
        stream: str,
        filters: Sequence[str],
        *,
        start_seq: int | None = None,
        handler: BatchHandler,
        name: str,
        headers: bool = True,
    ) -> None:
        """`headers`: whether the handler looks at them; without, they are not parsed and stay empty."""
        super().__init__(name)
        self._bus = bus
        self._stream = stream
        self._filters = list(filters)
        self._handler = handler
        self._headers = headers
        self._load = start_seq is None
        self._position = 0 if start_seq is None else start_seq - 1
        self._lag: int | None = None
        self._running: asyncio.Task[None] | None = None
        self._create_seconds = _CREATE_SECONDS
        self._halt = asyncio.Event()
        self._handling = False
        self.caught_up = asyncio.Event()
        """Set once, when everything that was there has been handed over."""
        self.loaded = asyncio.Event()
        """Set once the last message of every subject has been handed over; at once when nothing had to be
        loaded."""

    @property
    def position(self) -> int:
        """Stream sequence of the last message handed over and handled; what is filtered out does not move
        it."""
        return self._position

    @property
    def lag(self) -> int | None:
        """Messages that the broker still had for this follower at the last one handed over; None before the
        first."""
        return self._lag

    @override
    async def on_start(self) -> None:
        """Begin to follow; ready at once, `caught_up` and `loaded` tell the rest."""
        self._halt.clear()
        if not self._load:
            self.loaded.set()
        self._running = self.spawn(self._run(), "follow")

    @override
    async def on_stop(self) -> None:
        """Hand nothing further over, and let the handler finish what it has."""
        self._halt.set()
        if self._running is not None:
            if not self._handling:
                self._running.cancel()
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        backoff = Backoff(first=0.05, longest=2.0)
        while not self._halt.is_set():
            await self._bus.wait_connected()
            position = self._position
            try:
                await self._follow_once()
            except _Broken as reason:
                if self._position > position:
                    backoff.reset()
                self._bus.counts.add(Metric.FOLLOWER_RESTARTS, stream=self._stream)
                _log.warning(
                    LogEvent.FOLLOWER_RESTARTED,
                    follower=self.name,
                    stream=self._stream,
                    position=self._position,
                    reason=str(reason),
                )
                await backoff.pause()

    async def _follow_once(self) -> None:
        """Make a consumer and hand over what it brings, until it breaks (raises) or the follower is to
        stop."""
        generation = self._bus.generation
        reader = _Reader(self._position, headers=self._headers)
        inbox = self._bus.nc.new_inbox()
        subscription = await self._bus.nc.subscribe(inbox, future=Sink(reader.take))
        self._bus.listen(reader.arrived.set)
        consumer = ""
        try:
            consumer, reader.to_load = await self._create()
            if reader.to_load == 0:
                self._reached_end()
            while not self._halt.is_set():
                await self._top_up(reader, consumer, inbox)
                await self._wait(reader, generation)
                await self._hand_over(reader)
                if reader.broken is not None:
                    raise _Broken(reader.broken)
        finally:
            await self._discard(reader, subscription, consumer)

    async def _create(self) -> tuple[str, int]:
        """Make the consumer; its name, and how many messages wait for it."""
        name = self._bus.nc.new_inbox().rpartition(".")[2]
        config: dict[str, Any] = {
            "name": name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(_INACTIVE * _NS),
            "mem_storage": True,
            "num_replicas": 1,
            "max_waiting": 64,
        }
        if self._load:
            config["deliver_policy"] = "last_per_subject"
        else:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self._position + 1}
        if len(self._filters) == 1:
            config["filter_subject"] = self._filters[0]
        else:
            config["filter_subjects"] = self._filters
        request = {"stream_name": self._stream, "config": config}
        try:
            # While a cluster chooses a leader nobody answers: asking often finds it soon after. A consumer
            # that is made all the same is dropped by the broker, since nobody pulls from it.
            answer = await self._bus.api(
                f"CONSUMER.CREATE.{self._stream}.{name}", request, timeout=self._create_seconds
            )
        except NoAnswer as reason:
            # In a stream of a million subjects making one may take the broker longer than that, and a further
            # request would only be queued behind this one.
            self._create_seconds = min(_CREATE_SECONDS_MAX, self._create_seconds * 2)
            raise _Broken(str(reason)) from None
        except BusRefused as refusal:
            if refusal.err_code in _MAY_COME:
                raise _Broken(str(refusal)) from None
            raise
        self._create_seconds = _CREATE_SECONDS
        return name, int(answer["num_pending"])

    async def _top_up(self, reader: _Reader, consumer: str, inbox: str) -> None:
        """Request what the window has room for, once half of it is free."""
        room = _WINDOW - reader.requested - len(reader.messages)
        if room < _WINDOW // 2:
            return
        pull = b'{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}' % (
            room,
            _PULL_BYTES,
            int(_PULL_EXPIRES * _NS),
            int(_HEARTBEAT * _NS),
        )
        reader.requested += room
        try:
            await self._bus.wire.post(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{consumer}", pull, reply=inbox
            )
        except NotCommitted as reason:
            raise _Broken(str(reason)) from None

    async def _wait(self, reader: _Reader, generation: int) -> None:
        """Wait until something arrived or the follower is to stop. Raises _Broken when the consumer is
        lost."""
        silent_beats = 0
        while not reader.arrived.is_set():
            heard = reader.heard
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await reader.arrived.wait()
            except TimeoutError:
                # Counted in waits, not in seconds: after the loop was held up, what came meanwhile is read
                # first.
                silent_beats = silent_beats + 1 if reader.heard == heard else 0
                if silent_beats >= _SILENT_BEATS:
                    raise _Broken(f"no heartbeat for {silent_beats * _HEARTBEAT:g} s") from None
        reader.arrived.clear()
        if not self._bus.connected or self._bus.generation != generation:
            raise _Broken("the connection was lost")

    async def _hand_over(self, reader: _Reader) -> None:
        """Hand over what has arrived, and note how far that is."""
        messages, reader.messages = reader.messages, []
        pending, delivered = reader.pending, reader.delivered
        if messages:
            self._handling = True
            try:
                await self._handler(messages)
            finally:
                self._handling = False
            self._position = messages[-1].seq
        if pending is not None:
            self._lag = pending
            self._bus.counts.set(Metric.FOLLOWER_LAG, pending, stream=self._stream)
            if pending == 0:
                self._reached_end()
            elif self._load and delivered >= reader.to_load:
                self._finish_load()

    def _reached_end(self) -> None:
        self._lag = 0
        self._finish_load()
        self.caught_up.set()

    def _finish_load(self) -> None:
        self._load = False
        self.loaded.set()

    async def _discard(self, reader: _Reader, subscription: Subscription, consumer: str) -> None:
        """Forget a consumer. Telling the broker is a courtesy: it drops one that nobody pulls from by
        itself."""
        self._bus.unlisten(reader.arrived.set)
        reader.fail("discarded")
        if self._bus.connected:
            await subscription.unsubscribe()
            if consumer:
                await self._bus.send(f"$JS.API.CONSUMER.DELETE.{self._stream}.{consumer}", b"")
