"""Commands out, outcomes back.

A command is published to JetStream with its id as `Nats-Msg-Id`, and its outcome comes to the inbox that
`Gnomon-Reply-To` names. Either may be lost: the acknowledgement, the outcome, the leader between committing
and answering. So within the wait the same command is sent again under the same id. The broker drops a copy
only within its duplicate window of 100 ms, and copies are sent later than that: each reaches the shard, which
decides a command once and answers it every time.

A request that is repeated while the first is under way is the same command: of copies that come together the broker
stores one, whose outcome is then the answer to all of them. Where they came to several processes, the copies that are
sent later come at times of their own, so that each is stored.

Three ends:

* an outcome, good or bad: that is the answer;
* none within the wait, but the broker has the command: the caller hears 202 and where to look;
* none, and the broker never acknowledged it: the caller hears 503. The command may have been stored all the
  same; sent again with the same `Idempotency-Key` it is the same command.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.nuid import NUID
from typing_extensions import override

from gnomon_api.identity import Caller
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import BusRefused, InProcess, NoAnswer, NotCommitted
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas import headers as h
from gnomon_schemas.codec import decode
from gnomon_schemas.commands import Outcome
from gnomon_schemas.limits import COMMAND_MAX
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import command

__all__ = ["RESEND_SECONDS", "Commander", "WantedCommand"]

RESEND_SECONDS: Final = 1.0
"""How long an outcome may take before the command is sent again; then twice as long, and so on."""

_PUBLISH_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class WantedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """One command: `kind` and `object_id` name what it is for."""

    kind: str = "task"
    verb: str
    object_id: str
    command_id: str
    payload: bytes
    caller: Caller
    traceparent: str
    if_match: str | None = None


class Commander(Service):
    """Sends commands and hears their outcomes, through one inbox for all of them."""

    def __init__(self, bus: Bus) -> None:
        super().__init__("commander")
        self._bus = bus
        self._tokens = NUID()
        self._inbox = f"{h.REPLY_PREFIX}{NUID().next().decode()}"
        self._waiting: dict[str, set[asyncio.Future[Outcome]]] = {}
        """Who waits for the outcome of a command, by its id."""

    @override
    async def on_start(self) -> None:
        """Listen for outcomes."""
        self._heard = await self._bus.subscribe(f"{self._inbox}.*", self._take)

    @override
    async def on_stop(self) -> None:
        """Hear no more; whoever still waits is told that the outcome did not come."""
        await self._heard.unsubscribe()

    async def send(self, wanted: WantedCommand, *, within: float) -> Outcome | None:
        """Send a command and wait for its outcome; None when it is stored and none came `within` seconds.

        Raises Refused: `too_large`, or `unavailable` when the broker did not acknowledge it in that time.
        """
        if len(wanted.payload) > COMMAND_MAX:
            raise Refused(
                Code.TOO_LARGE, f"the command has {len(wanted.payload):,} bytes; allowed: {COMMAND_MAX:,}"
            )
        reply_to = f"{self._inbox}.{self._tokens.next().decode()}"
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(wanted.command_id, set())
        waiting.add(outcome)
        try:
            return await self._exchange(wanted, reply_to, outcome, within)
        finally:
            waiting.discard(outcome)
            if not waiting:
                self._waiting.pop(wanted.command_id, None)

    async def _exchange(
        self, wanted: WantedCommand, reply_to: str, outcome: asyncio.Future[Outcome], within: float
    ) -> Outcome | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        subject, headers = command(wanted.kind, wanted.verb, wanted.object_id), _headers(wanted, reply_to)
        pause, stored = RESEND_SECONDS, False
        while not outcome.done() and loop.time() < deadline:
            stored |= await self._publish(subject, wanted.payload, headers, outcome, deadline)
            again = pause * random.uniform(1.0, 1.5)
            await asyncio.wait([outcome], timeout=min(again, deadline - loop.time()))
            pause *= 2
        if outcome.done():
            return outcome.result()
        _log.warning(
            LogEvent.COMMAND_UNANSWERED, command_id=wanted.command_id, subject=subject, stored=stored
        )
        if not stored:
            raise Refused(
                Code.UNAVAILABLE,
                "NATS did not acknowledge the command; it may have been stored all the same, so try again "
                "with the same Idempotency-Key",
            )
        return None

    async def _publish(
        self,
        subject: str,
        payload: bytes,
        headers: dict[str, str],
        outcome: asyncio.Future[Outcome],
        deadline: float,
    ) -> bool:
        """Publish until the broker has the command, the outcome is there, or the time is up; whether it
        has."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(first=0.15, longest=1.0)
        while not outcome.done() and (remaining := deadline - loop.time()) > 0:
            try:
                await self._bus.publish(
                    subject, payload, headers, timeout=min(_PUBLISH_SECONDS, max(remaining, 0.05))
                )
            except (NoAnswer, NotCommitted, InProcess):
                await asyncio.wait([outcome], timeout=min(backoff.delay(), max(0.0, deadline - loop.time())))
            except BusRefused as error:
                raise Refused(Code.UNAVAILABLE, f"NATS refused the command: {error.description}") from error
            else:
                return True
        return False

    async def _take(self, message: Msg) -> None:
        outcome = decode(message.data, Outcome)
        for waiting in self._waiting.get(outcome.command_id, ()):
            if not waiting.done():
                waiting.set_result(outcome)


def _headers(wanted: WantedCommand, reply_to: str) -> dict[str, str]:
    headers = {
        h.MSG_ID: wanted.command_id,
        h.USER: wanted.caller.user_id,
        h.REPLY_TO: reply_to,
        h.TRACEPARENT: wanted.traceparent,
    }
    if wanted.caller.roles:
        headers[h.ROLES] = ",".join(sorted(wanted.caller.roles))
    if wanted.if_match is not None:
        headers[h.IF_MATCH] = wanted.if_match
    return headers
