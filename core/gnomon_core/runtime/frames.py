"""Reading the NATS protocol: a parser for nats-py's client that hands messages straight to whoever takes
them.

nats-py's own parser matches every line with regular expressions, decodes all headers, builds a message
object and puts it into a queue that a task reads. A cold load of a million registers, and the answers of the
hot path, do not need any of that: their subscriptions carry a `Sink`, which gets the raw parts of a message
synchronously, in order, without a queue that could overflow and drop. Everything else goes to nats-py as it
always did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from operator import methodcaller

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ProtocolError
from nats.protocol.parser import Parser
from typing_extensions import override

from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["Answer", "FrameParser", "Sink", "parse_headers"]

Take = Callable[[str, str, bytes, bytes], None]
"""Takes a message: subject, reply subject, header block (empty for none), payload. Must not raise or
block."""

_log = structlog.get_logger(__name__)
_HEADER_LINE = b"NATS/1.0"
_H = ord("H")
_pair = methodcaller("split", ": ", 1)


def parse_headers(block: bytes) -> dict[str, str]:
    """Headers from their wire form, `NATS/1.0` line first; empty for an empty block.

    The status of a message that the server made is not among them; see `Answer.status`.
    """
    lines = block.decode("utf-8", "replace").split("\r\n")
    try:
        # As every client and the server write them, `Name: value`, with two empty lines at the end.
        return dict(map(_pair, lines[1:-2]))
    except ValueError:
        pass  # written in another way, which is allowed too
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, separator, value = line.partition(":")
        if separator:
            headers[name] = value.strip()
    return headers


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A message as it came over the wire."""

    subject: str
    reply: str
    head: bytes
    """The header block as it came, empty for none."""
    data: bytes

    @property
    def headers(self) -> dict[str, str]:
        """The headers, decoded anew at every call."""
        return parse_headers(self.head)

    @property
    def status(self) -> str | None:
        """The three digits by which the server says something of its own, such as `503`; None in a real
        message."""
        if self.data or not self.head.startswith(_HEADER_LINE + b" "):
            return None
        return self.head[9:12].decode("utf-8", "replace")

    @property
    def status_text(self) -> str:
        """The words after the status, such as `No Messages`."""
        line, _, _ = self.head.partition(b"\r\n")
        return line[12:].decode("utf-8", "replace").strip()


def _readable(word: bytes) -> bytes:
    """A subject as UTF-8. The broker takes any bytes; those that are no text are told as `\\xff`, which no name of ours
    has. Whoever may publish could otherwise end every connection that hears of it."""
    if word.isascii():
        return word
    return word.decode("utf-8", "backslashreplace").encode()


class Sink(asyncio.Future[Msg]):
    """Stands in for a subscription's future: `nc.subscribe(subject, future=Sink(take))`. It never
    completes."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self.take = take


class FrameParser(Parser):
    """Parses what the server sends, for one client."""

    def __init__(self, nc: Client) -> None:
        self._client = nc
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = 0
        """Bytes that must have come before the next message is complete."""
        self._resets = 0
        super().__init__(nc)

    @override
    def reset(self) -> None:
        """Forget what was not complete: the connection is new."""
        super().reset()
        self._parts = []
        self._held = 0
        self._needed = 0
        self._resets += 1

    @override
    async def parse(self, data: bytes = b"") -> None:
        """Take in what was read. Raises ProtocolError when it makes no sense."""
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._needed:
            return  # in the middle of a large message: joining now would copy it again and again
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        at, self._needed, resets = 0, 0, self._resets
        while (end := buffer.find(b"\r\n", at)) >= 0:
            if buffer.startswith((b"MSG ", b"HMSG "), at):
                following = await self._message(buffer, at, end)
                if following < 0:
                    break
                at = following
            else:
                await self._control(buffer[at:end])
                at = end + 2
            if self._resets != resets:
                return  # the connection broke during a delivery: what is left belongs to the old one
        rest = buffer[at:]
        self._parts, self._held = ([rest] if rest else []), len(rest)

    async def _message(self, buffer: bytes, at: int, end: int) -> int:
        """Deliver the message whose line is `buffer[at:end]`; where the next one begins, or -1 when it is
        incomplete."""
        fields = buffer[at:end].split(b" ")  # not at all white space: a subject may hold a form feed
        count = len(fields)
        least = 5 if buffer[at] == _H else 4  # operation, subject, subscription, sizes; a reply is one more
        if not least <= count <= least + 1:
            raise ProtocolError(f"nats: malformed line {buffer[at:end]!r}")
        try:
            size, sid = int(fields[-1]), int(fields[2])
            head = int(fields[-2]) if least == 5 else 0
        except ValueError:
            raise ProtocolError(f"nats: malformed line {buffer[at:end]!r}") from None
        reply = fields[3] if count > least else b""
        begin = end + 2
        following = begin + size + 2
        if following > len(buffer):
            self._needed = following - at
            return -1
        subscription = self._client._subs.get(sid)
        if subscription is None:
            return following
        sink, subject, reply = subscription._future, _readable(fields[1]), _readable(reply)
        headers, payload = buffer[begin : begin + head], buffer[begin + head : following - 2]
        if type(sink) is Sink:
            subscription._received += 1
            sink.take(subject.decode(), reply.decode(), headers, payload)
        else:
            try:
                await self._client._process_msg(sid, subject, reply, payload, headers)
            except (ValueError, IndexError) as error:
                # Headers that are none: raised into the reading loop it would end the connection.
                _log.warning(LogEvent.NATS_UNREADABLE, subject=subject.decode(), error=str(error))
        return following

    async def _control(self, line: bytes) -> None:
        """Everything that is not a message."""
        word = line[:5].upper().split(b" ")[0].rstrip()
        if word == b"PING":
            await self._client._process_ping()
        elif word == b"PONG":
            await self._pong()
        elif word.startswith(b"+OK") or not line:
            return
        elif word.startswith(b"-ERR"):
            await self._client._process_err(line[5:].decode("utf-8", "replace").strip().strip("'").lower())
        elif word == b"INFO":
            await self._client._process_info(msgspec.json.decode(line[5:]))
        else:
            raise ProtocolError(f"nats: unknown line {line[:80]!r}")

    async def _pong(self) -> None:
        waiting = self._client._pongs
        if waiting and waiting[0].done():
            # Whoever sent that ping gave up. Answering a future that is done would end nats-py's reading
            # loop.
            del waiting[0]
            self._client._pongs_received += 1
            self._client._pings_outstanding = 0
            return
        await self._client._process_pong()
