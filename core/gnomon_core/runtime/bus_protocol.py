"""What the services need of NATS, as a type: see `bus`, which has the real one and the rules of use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_core.runtime.frames import Answer
from gnomon_core.runtime.messages import BatchAck, Outgoing, PubAck, Stored, StreamInfo

__all__ = ["Bus", "Handler"]

Handler = Callable[[Msg], Awaitable[None]]


class Bus(Protocol):
    """What the services need of NATS. Sequences count from 1; timeouts are seconds."""

    @property
    def generation(self) -> int:
        """How often the connection has been made anew; 0 for the first one."""

    @property
    def connected(self) -> bool:
        """Whether the connection is up."""

    @property
    def connected_since(self) -> float | None:
        """`time.monotonic()` of the last connect or reconnect; None while the connection is down."""

    @property
    def server_version(self) -> tuple[int, int, int]:
        """Of the nats-server connected to."""

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
        """Publish one message to the stream that listens on `subject`, and wait for its acknowledgement.

        `expected` is the last sequence that `expected_subject` (None: the stored subject itself) must have,
        0 for none. `msg_ttl` is in seconds; the broker cuts it to whole ones and takes no less than 1.
        Raises WrongSequence, InProcess, NotCommitted, NoAnswer, BusRefused.
        """

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
        """`publish` through the write door, so that `stored_subject` is what the stream holds."""

    async def publish_batch(
        self, messages: Sequence[Outgoing], *, door: bool = True, timeout: float = 5.0
    ) -> BatchAck:
        """Publish messages of one stream as one atomic batch: all are stored, one after another, or none.

        Also a single message goes as a batch of one. With `door` the subjects are stored subjects. Raises as
        `publish`, WrongSequence without telling which message; ValueError for none or more than `BATCH_MAX`
        messages.
        """

    async def last(self, stream: str, subject: str, *, timeout: float = 5.0) -> Stored | None:
        """The last message of a subject or filter, from the stream's leader. Raises NoAnswer, BusRefused."""

    async def first_from(self, stream: str, subject: str, seq: int, *, timeout: float = 5.0) -> Stored | None:
        """The first message that matches a subject or filter, at a sequence or later, from the stream's leader.

        Raises NoAnswer, BusRefused.
        """

    async def get(self, stream: str, seq: int, *, timeout: float = 5.0) -> Stored | None:
        """The message at a sequence, from the stream's leader. Raises NoAnswer, BusRefused."""

    async def multi_last(self, stream: str, filters: Sequence[str], *, at_least_seq: int = 0) -> list[Stored]:
        """The last message of every subject that matches one of the filters, from any replica.

        No replica that has not reached `at_least_seq` is believed. Raises NoAnswer, BusRefused.
        """

    def scan(
        self, stream: str, subject: str, *, start_seq: int = 1, at_least_seq: int = 0
    ) -> AsyncIterator[Stored]:
        """Every message that matches, in order, from any replica, consuming nothing: for work queues.

        Does not end before it has shown a matching message of `at_least_seq` or later. Raises NoAnswer,
        BusRefused.
        """

    async def delete(self, stream: str, seq: int) -> bool:
        """Delete one message by sequence; False when it was not there. Raises NoAnswer, BusRefused."""

    async def purge(
        self,
        stream: str,
        *,
        filter: str | None = None,  # noqa: A002 - the broker's own word for it
        up_to_seq: int | None = None,
        keep: int | None = None,
    ) -> int:
        """Delete what matches `filter` below `up_to_seq` (exclusive), or all but the last `keep`; how many.

        Raises NoAnswer, BusRefused.
        """

    async def stream_info(self, stream: str) -> StreamInfo:
        """A stream's state and configuration. Raises NoAnswer, BusRefused (404 when there is none)."""

    async def api(self, verb: str, request: Any = None, *, timeout: float = 5.0) -> dict[str, Any]:
        """A request to `$JS.API.<verb>`. Raises NoAnswer, BusRefused."""

    async def request(
        self, subject: str, data: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask whoever listens on a core subject. Raises NoResponders, NoAnswer."""

    async def send(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Publish on a core subject, at most once: it is lost when nobody listens or the connection is
        down."""

    async def send_all(self, messages: Sequence[tuple[str, bytes]]) -> None:
        """`send` for several subjects and payloads, in order and in one write."""

    async def subscribe(self, subject: str, handler: Handler, queue: str | None = None) -> Subscription:
        """Hear a core subject, across reconnects; raises NoAnswer. A handler that raises is logged, and the
        next message follows."""
