"""Bytes and requests on one NATS connection.

nats-py keeps the connection: it dials, authenticates, reconnects, parses. This module adds what the hot path
needs and what safety asks for:

* Publishes are encoded here in one piece and an atomic batch is handed over in one write, which is several
  times cheaper than one `publish` call per message.
* Answers to requests come in on one shared inbox, and are matched to their waiters without a queue or a task
  between (see `frames`).
* One timer watches over all waiters. Hardly any of them is ever late, so it goes off once for thousands of
  requests, where a timer each would be made and cancelled.
* **Nothing waits in the client to be delivered later.** While the connection is down a request is refused at
  once; when it breaks, what the client had not yet written is thrown away and everyone who waits for an
  answer is told `NoAnswer` at once. A publish that sat in a buffer through an outage and came out after its
  task was paused would be a fire that nobody decided.

The two places where nats-py's own buffer is touched (`_pending`, `_send_command`) are in this file and
nowhere else.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from itertools import count

from gnomon_core.runtime.bus_errors import BusRefused, NoAnswer, NotCommitted
from gnomon_core.runtime.client import NatsClient
from gnomon_core.runtime.frames import Answer, Sink

__all__ = ["Wire", "encode_publish"]

_FEW = 16
"""While no more answers than this are awaited, each counts: nothing is held back to be written with others."""
_MESSAGE_TOO_LARGE = 10054


def encode_publish(subject: str, reply: str, headers: Mapping[str, str] | None, data: bytes) -> bytes:
    """One publish as the NATS protocol writes it.

    Raises ValueError when the subject or a header could be read as something else (white space, line ends):
    ids reach this place from outside.
    """
    if subject.split() != [subject] or "\0" in subject:
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


class _Waiter:
    """Somebody who waits for an answer, or for several."""

    __slots__ = ("answers", "deadline", "future", "seconds")

    def __init__(self, future: asyncio.Future[Answer], answers: list[Answer] | None) -> None:
        self.future = future
        self.answers = answers
        """Those so far, where all up to a status are wanted."""
        self.deadline = math.inf
        """By the loop's clock."""
        self.seconds = 0.0
        """How long it waits."""


class Wire:
    """Requests and one-piece writes on a NATS connection. One per connection, used from its event loop
    only."""

    def __init__(self, nc: NatsClient) -> None:
        self.nc = nc
        self._tokens = count(1)
        self._prefix = ""
        self._waiting: dict[str, _Waiter] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._watch_at = math.inf

    async def open(self) -> None:
        """Subscribe to the shared inbox. nats-py subscribes it again at every reconnect."""
        self._prefix = self.nc.new_inbox() + "."
        await self.nc.subscribe(self._prefix + "*", future=Sink(self._answered))

    def connection_lost(self) -> None:
        """Drop what was not written and tell everyone who waits. To be called when the connection breaks."""
        self.nc.drop_unsent()
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            if not waiter.future.done():
                waiter.future.set_exception(NoAnswer("the connection to NATS was lost before an answer came"))

    async def write(self, payload: bytes) -> None:
        """Hand encoded publishes to the connection.

        Raises NotCommitted when there is no connection: then nothing was sent and nothing will be.
        """
        self._write(payload)

    async def post(self, subject: str, data: bytes, *, reply: str = "") -> None:
        """Publish without waiting for anything. Raises as `write`."""
        self._write(encode_publish(subject, reply, None, data))

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
        self._waiting[token] = _Waiter(future, None)
        return self._prefix + token, future

    def forget(self, reply: str) -> None:
        """Nobody waits for an answer on `reply` any more."""
        self._waiting.pop(reply[len(self._prefix) :], None)

    async def answer(self, reply: str, future: asyncio.Future[Answer], timeout: float) -> Answer:
        """Wait for the answer on `reply`. Raises NoAnswer after `timeout` seconds or when the connection
        breaks."""
        waiter = self._waiting.get(reply[len(self._prefix) :])
        if waiter is not None:
            self._set_deadline(waiter, asyncio.get_running_loop().time(), timeout)
        try:
            return await future
        finally:
            self.forget(reply)

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None, *, timeout: float = 5.0
    ) -> Answer:
        """Publish and wait for one answer, whatever it says.

        Raises NotCommitted (not connected, nothing sent), NoAnswer, BusRefused (too large), ValueError (bad
        subject).
        """
        token = str(next(self._tokens))
        payload = encode_publish(subject, self._prefix + token, headers, data)
        self.check_size(subject, len(payload) if headers else len(data))
        self._write(payload)
        # Nothing is read before this turn ends, so the answer cannot have come.
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[token] = waiter = _Waiter(future, None)
        self._set_deadline(waiter, loop.time(), timeout)
        try:
            return await future
        finally:
            self._waiting.pop(token, None)

    async def gather(self, subject: str, data: bytes, *, timeout: float = 5.0) -> tuple[list[Answer], Answer]:
        """Publish and take every answer up to one that is only a status: (the answers, the status).

        Raises as `request`; `timeout` seconds are for all the answers together.
        """
        reply, future = self.expect()
        answers = self._waiting[reply[len(self._prefix) :]].answers = []
        try:
            self._write(encode_publish(subject, reply, None, data))
            return answers, await self.answer(reply, future, timeout)
        finally:
            self.forget(reply)

    def _write(self, payload: bytes) -> None:
        if not self.nc.is_connected or self.nc.is_draining_pubs:
            raise NotCommitted("not connected to NATS; nothing was sent")
        self.nc.write_soon(payload, busy=len(self._waiting) > _FEW)

    def _answered(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        waiter = self._waiting.get(subject[len(self._prefix) :])
        if waiter is None:
            return
        answer = Answer(subject, reply, head, data)
        if waiter.answers is not None and answer.status is None:
            waiter.answers.append(answer)
        elif not waiter.future.done():
            waiter.future.set_result(answer)

    def _set_deadline(self, waiter: _Waiter, now: float, timeout: float) -> None:
        waiter.seconds = timeout
        waiter.deadline = deadline = now + timeout
        if deadline < self._watch_at:
            self._watch_until(deadline)

    def _watch_until(self, deadline: float) -> None:
        """Look after the waiters at `deadline`, which comes before the time set so far."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch_at = deadline
        self._watch = asyncio.get_running_loop().call_at(deadline, self._look_after)

    def _look_after(self) -> None:
        """Tell those whose time is up, and set the timer for the next."""
        now, self._watch, self._watch_at = asyncio.get_running_loop().time(), None, math.inf
        nearest = math.inf
        for waiter in self._waiting.values():
            if waiter.deadline > now:
                nearest = min(nearest, waiter.deadline)
            elif not waiter.future.done():
                waiter.future.set_exception(NoAnswer(f"no answer within {waiter.seconds:g} s"))
        if nearest < math.inf:
            self._watch_until(nearest)
