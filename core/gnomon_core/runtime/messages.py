"""What goes over the bus: messages to send, messages read, and the broker's acknowledgements."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

__all__ = ["BatchAck", "Outgoing", "PubAck", "Stored", "StreamInfo"]


class PubAck(msgspec.Struct, frozen=True, gc=False):
    """The broker's answer to one publish that it took."""

    seq: int
    """Sequence at which the message is stored; for a duplicate, that of the earlier one."""
    stream: str
    duplicate: bool
    """The message id had been seen, so nothing was stored now. On a chain this counts as refused."""


class BatchAck(msgspec.Struct, frozen=True, gc=False):
    """The broker's answer to an atomic batch that it stored whole."""

    seq: int
    """Sequence of the batch's last message."""
    count: int
    """Messages in the batch."""
    stream: str

    @property
    def first(self) -> int:
        """Sequence of the batch's first message: a batch is stored without gaps."""
        return self.seq - self.count + 1


class Outgoing(NamedTuple):
    """One message of an atomic batch."""

    subject: str
    """The stored subject, unless the batch is published with `door=False`."""
    data: bytes
    headers: dict[str, str] | None = None
    expected: int | None = None
    """Refuse the batch unless this is the last sequence of `expected_subject` (0: there is none)."""
    expected_subject: str | None = None
    """What `expected` speaks of, a subject or a filter; None: the message's own subject."""
    rollup: bool = False
    """Drop all earlier messages of this subject once this one is stored."""


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A message as a stream holds it."""

    subject: str
    seq: int
    """Sequence in the stream, from 1."""
    time_ms: int
    """When the broker stored it: epoch milliseconds by the broker's clock."""
    headers: dict[str, str]
    """As they were published; what the broker adds to its answers is taken off."""
    data: bytes


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream's state and configuration, as its leader tells them."""

    name: str
    created: str
    """Creation time, RFC 3339 text of the broker: names this very stream, and not one of the same name made
    later."""
    first_seq: int
    last_seq: int
    messages: int
    replicas: int
    metadata: dict[str, str]
    config: dict[str, Any]
    """The whole configuration as the broker's JSON has it."""
    leader: str | None
    """Name of the node that leads the stream; None outside a cluster."""
