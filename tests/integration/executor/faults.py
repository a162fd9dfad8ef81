"""A bus that loses answers, or requests, at named publishes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from typing_extensions import override

from gnomon_core.runtime.bus import InProcess, NatsBus, NoAnswer, connect
from gnomon_core.runtime.client import NatsClient
from gnomon_core.runtime.messages import PubAck
from gnomon_executor.settings import ExecutorSettings

__all__ = ["FaultyBus", "connect_faulty"]


class FaultyBus(NatsBus):
    """Loses what it is told to lose, once for each time it is told."""

    def __init__(self, nc: NatsClient) -> None:
        super().__init__(nc)
        self._lose_answer: list[str] = []
        self._lose_request: list[str] = []
        self._in_process: dict[str, int] = {}
        self._hold: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()
        """Set when a publish that is held has been reached."""

    def lose_answer(self, part: str) -> None:
        """Let the next publish whose subject contains `part` be stored, and its answer be lost."""
        self._lose_answer.append(part)

    def lose_request(self, part: str) -> None:
        """Let the next publish whose subject contains `part` never reach the broker."""
        self._lose_request.append(part)

    def answer_in_process(self, part: str, times: int) -> None:
        """Let so many publishes whose subject contains `part` be told that another write is in process."""
        self._in_process[part] = times

    def hold(self, part: str) -> asyncio.Event:
        """Hold publishes whose subject contains `part` until the event that is returned is set."""
        self._hold[part] = asyncio.Event()
        return self._hold[part]

    @override
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
        for part, gate in list(self._hold.items()):
            if part in subject:
                self.reached.set()
                await gate.wait()
        for part, times in self._in_process.items():
            if part in subject and times > 0:
                self._in_process[part] = times - 1
                raise InProcess("in process, says the test")
        for part in self._lose_request:
            if part in subject:
                self._lose_request.remove(part)
                raise NoAnswer("lost by the test before it was sent")
        answer = await super().publish(
            subject,
            data,
            headers,
            expected=expected,
            expected_subject=expected_subject,
            msg_ttl=msg_ttl,
            timeout=timeout,
        )
        for part in self._lose_answer:
            if part in subject:
                self._lose_answer.remove(part)
                raise NoAnswer("lost by the test after it was stored")
        return answer


async def connect_faulty(url: str) -> FaultyBus:
    """A connection of that kind."""
    bus = await connect(ExecutorSettings(nats_url=url), name="test-faulty", make_bus=FaultyBus)
    assert isinstance(bus, FaultyBus)
    return bus
