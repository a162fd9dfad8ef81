"""Bytes and requests on one NATS connection.

nats-py keeps the connection: it dials, authenticates, reconnects, parses. This module adds what the hot path
needs and what safety asks for:

* Publishes are encoded here in one piece and an atomic batch is handed over in one write, which is several
  times cheaper than one `publish` call per message.
* Answers to requests come in on one shared inbox, and are matched to their waiters without a queue or a task
  between (see `frames`).
* **Nothing waits in the client to be delivered later.** While the connection is down a request is refused at
  once; when it breaks, what the client had not yet written is thrown away and everyone who waits for an
  answer is told `NoAnswer` at once. A publish that sat in a buffer through an outage and came out after its
  task was paused would be a fire that nobody decided.

The two places where nats-py's own buffer is touched (`_pending`, `_send_command`) are in this file and
nowhere else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from itertools import count

from gnomon_core.runtime.bus_errors import BusRefused, NoAnswer, NotCommitted
from gnomon_core.runtime.client import NatsClient
from gnomon_core.runtime.frames import Answer, Sink

__all__ = ["Wire", "encode_publish"]

_UNSAFE_SUBJECT = re.compile(r"[\s\x00]|^$")
_MESSAGE_TOO_LARGE = 10054


def encode_publish(subject: str, reply: str, headers: Mapping[str, str] | None, data: bytes) -> bytes:
    """One publish as the NATS protocol writes it.

    Raises ValueError when the subject or a header could be read as something else (white space, line ends):
    ids reach this place from outside.
    """
    if _UNSAFE_SUBJECT.search(subject):
        raise ValueError(f"not a subject: {subject!r}: it must not be empty or hold white space")
    if not headers:
        return b"PUB %b %b%d\r\n%b\r\n" % (
            subject.encode(),
            reply.encode() + b" " if reply else b"",
            len(data),
            data,
        )
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    block = "NATS/1.0\r\n" + "".join(lines) + "\r\n"
    ends = len(lines) + 2
    if block.count("\n") != ends or block.count("\r") != ends:
        bad = next(name for name, value in headers.items() if set("\r\n") & set(name + value))
        raise ValueError(f"header {bad!r} = {headers[bad]!r}: line ends are not allowed in a header")
    head = block.encode()
    target = f"{subject} {reply}" if reply else subject
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (target.encode(), len(head), len(head) + len(data), head, data)


class Wire:
    """Requests and one-piece writes on a NATS connection. One per connection, used from its event loop
    only."""

    def __init__(self, nc: NatsClient) -> None:
        self.nc = nc
        self._tokens = count(1)
        self._prefix = ""
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._gathering: dict[str, tuple[list[Answer], asyncio.Future[Answer]]] = {}

    async def open(self) -> None:
        """Subscribe to the shared inbox. nats-py subscribes it again at every reconnect."""
        self._prefix = self.nc.new_inbox() + "."
        await self.nc.subscribe(self._prefix + "*", future=Sink(self._answered))

    def connection_lost(self) -> None:
        """Drop what was not written and tell everyone who waits. To be called when the connection breaks."""
        self.nc.drop_unsent()
        waiting = [*self._waiting.values(), *(future for _, future in self._gathering.values())]
        self._waiting.clear()
        self._gathering.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(NoAnswer("the connection to NATS was lost before an answer came"))

    async def write(self, payload: bytes) -> None:
        """Hand encoded publishes to the connection.

        Raises NotCommitted when there is no connection: then nothing was sent and nothing will be.
        """
        if not self.nc.is_connected or self.nc.is_draining_pubs:
            raise NotCommitted("not connected to NATS; nothing was sent")
        await self.nc.write_now(payload)

    async def post(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Publish without waiting for anything. Raises as `write`."""
        await self.write(encode_publish(subject, reply, None, data))

    def check_size(self, subject: str, size: int) -> None:
        """Raise BusRefused when a message is larger than the server takes: it would close the connection."""
        limit = self.nc.max_payload
        if size > limit:
            raise BusRefused(
                400, _MESSAGE_TOO_LARGE, f"a message of {size} bytes on {subject} exceeds the {limit} allowed"
            )

    def expect(self) -> tuple[str, asyncio.Future[Answer]]:
        """A reply subject on the shared inbox and the future of the answer to it."""
        token = str(next(self._tokens))
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[token] = future
        return self._prefix + token, future

    def forget(self, reply: str) -> None:
        """Nobody waits for an answer on `reply` any more."""
        self._waiting.pop(reply[len(self._prefix) :], None)

    async def answer(self, reply: str, future: asyncio.Future[Answer], timeout: float) -> Answer:
        """Wait for the answer on `reply`. Raises NoAnswer after `timeout` seconds or when the connection
        breaks."""
        timer = asyncio.get_running_loop().call_later(timeout, _expire, future, timeout)
        try:
            return await future
        finally:
            timer.cancel()
            self.forget(reply)

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, *, timeout: float = 5.0
    ) -> Answer:
        """Publish and wait for one answer, whatever it says.

        Raises NotCommitted (not connected, nothing sent), NoAnswer, BusRefused (too large), ValueError (bad
        subject).
        """
        reply, future = self.expect()
        try:
            payload = encode_publish(subject, reply, headers, data)
            self.check_size(subject, len(data) + (len(payload) - len(data) if headers else 0))
            await self.write(payload)
        except BaseException:
            self.forget(reply)
            raise
        return await self.answer(reply, future, timeout)

    async def gather(self, subject: str, data: bytes, *, timeout: float = 5.0) -> tuple[list[Answer], Answer]:
        """Publish and take every answer up to one that is only a status: (the answers, the status).

        Raises as `request`; `timeout` seconds are for all the answers together.
        """
        reply, future = self.expect()
        token = reply[len(self._prefix) :]
        del self._waiting[token]
        answers: list[Answer] = []
        self._gathering[token] = (answers, future)
        try:
            await self.write(encode_publish(subject, reply, None, data))
            return answers, await self.answer(reply, future, timeout)
        finally:
            self._gathering.pop(token, None)

    def _answered(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        token = subject[len(self._prefix) :]
        future = self._waiting.get(token)
        if future is not None:
            if not future.done():
                future.set_result(Answer(subject, reply, head, data))
            return
        gathering = self._gathering.get(token)
        if gathering is None:
            return
        answers, future = gathering
        answer = Answer(subject, reply, head, data)
        if answer.status is None:
            answers.append(answer)
        elif not future.done():
            future.set_result(answer)


def _expire(future: asyncio.Future[Answer], timeout: float) -> None:
    if not future.done():
        future.set_exception(NoAnswer(f"no answer within {timeout:g} s"))
