"""The bus: everything that goes to NATS and JetStream passes here.

`Bus` (`bus_protocol.py`) is what the services are written against; `NatsBus` is the real one. A test hands in a bus
that wraps it and stops the process at a named publish, so the product needs no failpoints.

What a publish may answer, and what each answer means, is in `bus_errors`. Three rules of use:

* Nobody publishes on a stored subject. `store` and `publish_batch` go through the write door
  (`gnomon.write.…`), so that whoever listens on `task.>` hears only what has been stored.
* Every publish that must not happen twice or out of turn carries an expectation. A timeout is `NoAnswer`:
  the message may be stored now, later or never, and only a write that excludes it settles which.
* A message id that two processes could both produce is never used where a refusal matters: a broker cluster
  looks at the id before the expectation, and a duplicate would look like success.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.nuid import NUID

from gnomon_core.runtime.bus_errors import (
    IN_PROCESS_PAUSE,
    NO_RESPONDERS,
    BusError,
    BusRefused,
    InProcess,
    NoAnswer,
    NoResponders,
    NotCommitted,
    WrongSequence,
    publish_answer,
)
from gnomon_core.runtime.bus_protocol import Bus, Handler
from gnomon_core.runtime.client import NatsClient
from gnomon_core.runtime.frames import Answer
from gnomon_core.runtime.messages import BatchAck, Outgoing, PubAck, Stored, StreamInfo
from gnomon_core.runtime.metrics import Counts, Uncounted
from gnomon_core.runtime.stream_reads import StreamReads
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.wire import Wire, encode_publish
from gnomon_schemas import headers as h
from gnomon_schemas.subjects import WRITE_DOOR

__all__ = [
    "BATCH_MAX",
    "IN_PROCESS_PAUSE",
    "Answer",
    "BatchAck",
    "Bus",
    "BusError",
    "BusRefused",
    "InProcess",
    "NatsAddress",
    "NatsBus",
    "NoAnswer",
    "NoResponders",
    "NotCommitted",
    "Outgoing",
    "PubAck",
    "Stored",
    "StreamInfo",
    "WrongSequence",
    "connect",
]

BATCH_MAX = 1000
"""Most messages that the broker takes in one atomic batch."""

_NOT_FOUND = 404
_DELETE_FAILED = 10057
_SEQUENCE_GONE = 10043
_log = structlog.get_logger(__name__)
_WAITING_TOLD_SECONDS = 10.0
"""How often a process without any server says that it waits for one."""


class NatsAddress(Protocol):
    """The settings that a connection needs."""

    @property
    def nats_url(self) -> str:
        """One or more addresses, with commas."""

    @property
    def nats_creds(self) -> str | None:
        """Path of a credentials file; None for none."""


_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


class NatsBus:
    """The real bus, over one nats-py connection. Used from that connection's event loop only."""

    def __init__(self, nc: NatsClient) -> None:
        self.nc = nc
        """For what the bus does not cover, such as pulling from a consumer of one's own."""
        self.wire = Wire(nc)
        self._reads = StreamReads(self.wire)
        self._nuid = NUID()
        self._generation = 0
        self._connected_since: float | None = None
        self._listeners: list[Callable[[], None]] = []
        self._up = asyncio.Event()
        self._closing = False
        self._ended = asyncio.Event()
        self.counts: Counts = Uncounted()
        """Where what stands on the connection counts: its process's meter, once there is one."""

    async def open(self) -> None:
        """Take the connection into use, once it is connected."""
        await self.wire.open()
        self._connected_since = time.monotonic()
        self._up.set()

    @property
    def generation(self) -> int:
        """See `Bus`."""
        return self._generation

    @property
    def connected(self) -> bool:
        """See `Bus`."""
        return self._connected_since is not None and self.nc.is_connected

    @property
    def connected_since(self) -> float | None:
        """See `Bus`."""
        return self._connected_since

    @property
    def server_version(self) -> tuple[int, int, int]:
        """See `Bus`."""
        version = self.nc.connected_server_version
        return version.major, version.minor, version.patch

    def lost(self) -> None:
        """The connection broke: nothing unsent may come out later, and nobody waits for an answer of it."""
        self._connected_since = None
        self._up.clear()
        self.wire.connection_lost()
        self._tell()

    def back(self) -> None:
        """The connection was made anew."""
        self._generation += 1
        self._connected_since = time.monotonic()
        self._up.set()
        self._tell()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the connection breaks or is made anew. It must neither raise nor block."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        """Stop calling a listener; fine when it is not called any more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    async def wait_connected(self) -> None:
        """Wait until the connection is up."""
        await self._up.wait()

    async def broken_off(self) -> str:
        """Wait until the connection was closed for good, but not by `close`: a login refused, say. Returns
        why."""
        await self._ended.wait()
        return str(self.nc.last_error or "the server ended it")

    def ended(self) -> None:
        """The client has given the connection up for good."""
        if not self._closing:
            self._ended.set()

    async def close(self) -> None:
        """Close the connection for good. What was written before is flushed, unless the server does not take
        it."""
        self._closing = True
        await self.nc.close_soon()

    async def publish(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int | None = None,
        expected_subject: str | None = None,
        msg_ttl: float | None = None,
        timeout: float = 5.0,
    ) -> PubAck:
        """See `Bus`."""
        if expected is not None or msg_ttl is not None:
            headers = dict(headers) if headers else {}
            if expected is not None:
                headers[h.EXPECTED_SEQ] = str(expected)
                if expected_subject is not None:
                    headers[h.EXPECTED_SUBJECT] = expected_subject
            if msg_ttl is not None:
                headers[h.TTL] = f"{msg_ttl:g}s"
        answer = publish_answer(await self.wire.request(subject, data, headers, timeout=timeout), subject)
        return PubAck(answer.seq, answer.stream, answer.duplicate)

    async def store(
        self,
        stored_subject: str,
        data: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        expected: int | None = None,
        expected_subject: str | None = None,
        timeout: float = 5.0,
    ) -> PubAck:
        """See `Bus`."""
        return await self.publish(
            WRITE_DOOR + stored_subject,
            data,
            headers,
            expected=expected,
            expected_subject=expected_subject,
            timeout=timeout,
        )

    async def publish_batch(
        self, messages: Sequence[Outgoing], *, door: bool = True, timeout: float = 5.0
    ) -> BatchAck:
        """See `Bus`."""
        if not 1 <= len(messages) <= BATCH_MAX:
            raise ValueError(f"a batch of {len(messages)} messages: 1 to {BATCH_MAX} are allowed")
        batch, prefix, last = self._nuid.next().decode(), WRITE_DOOR if door else "", len(messages)
        reply, future = self.wire.expect()
        try:
            pieces: list[bytes] = []
            for number, message in enumerate(messages, 1):
                headers = {h.BATCH_ID: batch, h.BATCH_SEQUENCE: str(number)}
                if message.headers:
                    headers |= message.headers
                if message.expected is not None:
                    headers[h.EXPECTED_SEQ] = str(message.expected)
                    if message.expected_subject is not None:
                        headers[h.EXPECTED_SUBJECT] = message.expected_subject
                if message.rollup:
                    headers[h.ROLLUP] = h.OF_THE_SUBJECT
                if number == last:
                    headers[h.BATCH_COMMIT] = "1"
                piece = encode_publish(
                    prefix + message.subject, reply if number == last else "", headers, message.data
                )
                self.wire.check_size(message.subject, len(piece))
                pieces.append(piece)
            await self.wire.write(b"".join(pieces))
        except BaseException:
            self.wire.forget(reply)
            raise
        answer = publish_answer(await self.wire.answer(reply, future, timeout), messages[0].subject)
        return BatchAck(answer.seq, answer.count, answer.stream)

    async def last(self, stream: str, subject: str, *, timeout: float = 5.0) -> Stored | None:
        """See `Bus`."""
        return await self._reads.from_leader(stream, {"last_by_subj": subject}, timeout)

    async def first_from(self, stream: str, subject: str, seq: int, *, timeout: float = 5.0) -> Stored | None:
        """See `Bus`."""
        return await self._reads.from_leader(stream, {"seq": seq, "next_by_subj": subject}, timeout)

    async def get(self, stream: str, seq: int, *, timeout: float = 5.0) -> Stored | None:
        """See `Bus`."""
        return await self._reads.from_leader(stream, {"seq": seq}, timeout)

    async def multi_last(self, stream: str, filters: Sequence[str], *, at_least_seq: int = 0) -> list[Stored]:
        """See `Bus`."""
        return await self._reads.multi_last(stream, filters, at_least_seq)

    def scan(
        self, stream: str, subject: str, *, start_seq: int = 1, at_least_seq: int = 0
    ) -> AsyncIterator[Stored]:
        """See `Bus`."""
        return self._reads.scan(stream, subject, start_seq, at_least_seq)

    async def delete(self, stream: str, seq: int) -> bool:
        """See `Bus`."""
        try:
            await self.api(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except BusRefused as error:
            # A message that is gone has a number of its own only where others before and after it are left;
            # else the text tells it from a refusal.
            if error.code == _NOT_FOUND or error.err_code == _SEQUENCE_GONE:
                return False
            if error.err_code == _DELETE_FAILED and "permitted" not in error.description:
                return False
            raise
        return True

    async def purge(
        self,
        stream: str,
        *,
        filter: str | None = None,  # noqa: A002 - the broker's own word for it
        up_to_seq: int | None = None,
        keep: int | None = None,
    ) -> int:
        """See `Bus`."""
        limits = {"filter": filter, "seq": up_to_seq, "keep": keep}
        request = {name: value for name, value in limits.items() if value is not None}
        answer = await self.api(f"STREAM.PURGE.{stream}", request, timeout=30.0)
        return int(answer.get("purged", 0))

    async def stream_info(self, stream: str) -> StreamInfo:
        """See `Bus`."""
        answer = await self.api(f"STREAM.INFO.{stream}")
        config, state = answer["config"], answer["state"]
        return StreamInfo(
            name=stream,
            created=answer["created"],
            first_seq=state["first_seq"],
            last_seq=state["last_seq"],
            messages=state["messages"],
            replicas=config["num_replicas"],
            metadata=config.get("metadata") or {},
            config=config,
            leader=(answer.get("cluster") or {}).get("leader"),
        )

    async def api(self, verb: str, request: Any = None, *, timeout: float = 5.0) -> dict[str, Any]:
        """See `Bus`."""
        data = b"" if request is None else msgspec.json.encode(request)
        try:
            message = await self.wire.request(f"$JS.API.{verb}", data, timeout=timeout)
        except NotCommitted as error:
            raise NoAnswer(str(error)) from None
        if message.status == NO_RESPONDERS:
            raise NoAnswer(f"nobody answers $JS.API.{verb}: is JetStream enabled?")
        answer = _decode_any(message.data)
        refusal = answer.get("error")
        if refusal is not None:
            code, err_code, text = refusal["code"], refusal.get("err_code", 0), refusal.get("description", "")
            if code == 503:
                raise NoAnswer(f"{verb}: {text} (error {err_code})")
            raise BusRefused(code, err_code, text)
        return answer

    async def request(
        self, subject: str, data: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """See `Bus`."""
        try:
            message = await self.wire.request(subject, data, headers, timeout=timeout)
        except NotCommitted as error:
            raise NoAnswer(str(error)) from None
        if message.status == NO_RESPONDERS:
            raise NoResponders(f"nobody listens on {subject}")
        return message

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """See `Bus`."""
        payload = encode_publish(subject, "", headers, data)
        self.wire.check_size(subject, len(payload))
        try:
            await self.wire.write(payload)
        except NotCommitted as error:
            _log.debug(LogEvent.NATS_ERROR, error=str(error))

    async def send_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """See `Bus`."""
        pieces = []
        for subject, data in messages:
            self.wire.check_size(subject, len(data))
            pieces.append(encode_publish(subject, "", None, data))
        try:
            await self.wire.write(b"".join(pieces))
        except NotCommitted as error:
            _log.debug(LogEvent.NATS_ERROR, error=str(error))

    async def subscribe(self, subject: str, handler: Handler, queue: str | None = None) -> Subscription:
        """See `Bus`."""

        async def guarded(message: Msg) -> None:
            try:
                await handler(message)
            except Exception:  # noqa: BLE001 - it is logged whole, and the subscription must outlive it
                _log.exception(LogEvent.NATS_HANDLER_FAILED, subject=message.subject)

        try:
            subscription = await self.nc.subscribe(subject, queue=queue or "", cb=guarded)
            if self.nc.is_connected:
                await self.nc.flush(timeout=2)
        except nats.errors.Error as error:
            raise NoAnswer(f"cannot subscribe to {subject}: {error}") from error
        return subscription

    def _tell(self) -> None:
        for listener in [*self._listeners]:
            listener()


async def connect(
    settings: NatsAddress,
    *,
    name: str,
    make_bus: Callable[[NatsClient], NatsBus] = NatsBus,
) -> NatsBus:
    """Connect and return the bus. Waits until a server answers, and reconnects for ever after that.

    `make_bus` lets a test put in a bus that stops the process at a named publish.
    `name` is how the connection shows in the server's monitoring. Raises what nats-py raises for a refused
    login.
    """
    nc = NatsClient()
    bus = make_bus(nc)
    down_since, told_at = 0.0, -math.inf

    async def lost() -> None:
        nonlocal down_since
        if bus.connected_since is None:
            return
        down_since = time.monotonic()
        bus.lost()
        if not nc.is_closed:
            _log.warning(LogEvent.NATS_LOST, name=name)

    async def back() -> None:
        bus.back()
        outage = round(time.monotonic() - down_since, 3)
        _log.info(
            LogEvent.NATS_BACK,
            server=_server_of(nc),
            generation=bus.generation,
            outage_seconds=outage,
        )

    async def closed() -> None:
        bus.ended()

    async def failed(error: Exception) -> None:
        nonlocal told_at
        if bus.connected_since is None and time.monotonic() - told_at > _WAITING_TOLD_SECONDS:
            # Whoever started it with a wrong address sees a process that waits in silence otherwise.
            told_at = time.monotonic()
            where = ", ".join(_without_login(address) for address in settings.nats_url.split(","))
            _log.warning(LogEvent.NATS_ERROR, waiting_for=where, error=str(error) or repr(error))
        else:
            _log.debug(LogEvent.NATS_ERROR, error=repr(error))

    credentials: dict[str, Any] = {}
    if settings.nats_creds:
        credentials["user_credentials"] = settings.nats_creds
    await nc.connect(
        servers=[address.strip() for address in settings.nats_url.split(",")],
        name=name,
        error_cb=failed,
        disconnected_cb=lost,
        reconnected_cb=back,
        closed_cb=closed,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # seconds; nats-py sleeps on it, so a fraction is fine
        connect_timeout=2,
        # A peer that is gone without a word is noticed after three pings.
        ping_interval=2,
        max_outstanding_pings=2,
        # No buffer for an outage: publishing while the connection is down is refused at once.
        pending_size=0,
        **credentials,
    )
    await bus.open()
    _log.info(LogEvent.NATS_CONNECTED, server=_server_of(nc))
    return bus


def _without_login(address: str) -> str:
    """A server's address without user and password."""
    return address.strip().rpartition("//")[2].rpartition("@")[2]


def _server_of(nc: NatsClient) -> str | None:
    """Host and port of the server connected to: the address itself may carry a password."""
    url = nc.connected_url
    return None if url is None else url.netloc.rpartition("@")[2]
