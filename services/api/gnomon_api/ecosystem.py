"""Listening to other services: a user who is deleted, a subscription that changes, a calendar with a new entry.

**Durable.** Each subject has a consumer of its own that keeps its place: on the stream that already holds the subject,
its owner's, or where there is none on `ECOSYSTEM`, a stream of ours. A message is acknowledged when everything that it
asks for has been decided by the shards, or when it has been set aside; whatever dies before, it comes again.

**Idempotent.** See `ecosystem_plan`: a message that comes again is the same commands.

**In order**, one at a time for each subject. What may pass (NATS or Postgres is away, no scheduler decides) is tried
again with growing pauses, and those behind it wait. What will never do (it cannot be read, a shard refuses what it asks
for) is *set aside*: kept in `ecosystem_poison` with the reason, counted, shown by `GET /ecosystem/poison`, and the next
one is taken. There it stays until somebody has it tried again, or drops it.

One api process at a time has the duty (a lease).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import nats.errors
import nats.js.errors
import structlog
from nats.aio.msg import Msg
from nats.js.client import JetStreamContext
from typing_extensions import override

from gnomon_api import ecosystem_plan as plan
from gnomon_api.commander import Commander, WantedCommand
from gnomon_api.database import Database, DatabaseAway
from gnomon_api.ecosystem_plan import Unusable, Wanted
from gnomon_api.idempotency import derived_id
from gnomon_api.projection import Projection
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError, BusRefused
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import new_traceparent
from gnomon_schemas import headers as h
from gnomon_schemas.codec import decode
from gnomon_schemas.commands import Outcome
from gnomon_schemas.ecosystem import (
    ECOSYSTEM_SUBJECTS,
    CalendarEventCreated,
    SubscriptionChanged,
    UserDeleted,
)
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import ECOSYSTEM_STREAM

__all__ = ["Ecosystem"]

_NS: Final = 1_000_000_000
_ACK_WAIT_SECONDS: Final = 6.0
"""After so long without a sign a message is given to the next listener: that of a process that was killed."""
_KEPT_SECONDS: Final = 7 * 24 * 3600
_KEPT_BYTES: Final = 64 * 1024 * 1024
_FETCH_SECONDS: Final = 5.0
_LOOK_AGAIN_SECONDS: Final = 30.0
"""Where nobody has a stream for a subject, and ours may not."""
_COMMAND_SECONDS: Final = 10.0
_CATCH_UP_SECONDS: Final = 10.0
_NOT_FOUND: Final = 404
_PASSES: Final = frozenset({Code.UNAVAILABLE})
"""Refusals that another try may not meet."""
_GONE: Final = frozenset({Code.ACCOUNT_CLOSED})
"""What is said of an entry whose user was deleted meanwhile."""
_LINKED: Final = frozenset({Code.ALREADY_EXISTS, Code.DELETED})
"""What is said of an entry that was told before, with another time to remind, or whose task was deleted since."""
_PASSED: Final = frozenset({"#/reminder_time"})
"""The field that is refused where the time has passed."""

_log = structlog.get_logger(__name__)


class _Later(Exception):
    """It cannot be done now, and may be later."""


class Ecosystem(Service):
    """Listens while its process has the duty."""

    def __init__(
        self,
        bus: NatsBus,
        commander: Commander,
        database: Database,
        projection: Projection,
        meter: Meter,
        *,
        listening: str,
        lead_seconds: float,
        replicas: int,
    ) -> None:
        """`listening` as in the settings; `lead_seconds`: how long before a calendar entry its reminder comes."""
        super().__init__("ecosystem")
        self._bus, self._commander, self._database = bus, commander, database
        self._projection, self._meter = projection, meter
        self._listening, self._replicas = listening, replicas
        self._lead_ms = round(lead_seconds * 1000)
        self._making = asyncio.Lock()

    @override
    async def on_start(self) -> None:
        """Begin to listen; ready at once, since NATS may not serve yet."""
        if self._listening != "off":
            for subject in ECOSYSTEM_SUBJECTS:
                # There from the start, so that the first one shows as an increase.
                self._meter.add(Metric.ECOSYSTEM_MESSAGES, 0, subject=subject, fate="set_aside")
                _ = self.spawn(self._listen(subject), subject)

    # -- the consumers -----------------------------------------------------------------------------

    async def _listen(self, subject: str) -> None:
        """Take one message after the other, over reconnects, and consumers that somebody deletes."""
        backoff = Backoff(first=0.2, longest=5.0)
        while True:
            try:
                stream = await self._stream_of(subject)
                if stream is None:
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                    continue
                subscription = await self._bind(stream, subject)
                backoff.reset()
                try:
                    await self._take_all(subscription, subject, stream)
                finally:
                    if self._bus.connected:
                        await subscription.unsubscribe()
            except (BusError, nats.errors.Error) as error:
                _log.info(LogEvent.ECOSYSTEM_WAITS, subject=subject, error=f"{type(error).__name__}: {error}")
                await backoff.pause()

    async def _stream_of(self, subject: str) -> str | None:
        """The stream that holds the subject: its owner's, else ours. None where ours may not be."""
        answer = await self._bus.api("STREAM.NAMES", {"subject": subject})
        names = [name for name in answer.get("streams") or () if name != ECOSYSTEM_STREAM]
        if names:
            return str(names[0])
        if self._listening == "bind":
            return None
        async with self._making:  # three listeners begin at the same moment
            await self._widen(subject)
        return ECOSYSTEM_STREAM

    async def _widen(self, subject: str) -> None:
        """Have our own stream hold the subject."""
        try:
            config = (await self._bus.stream_info(ECOSYSTEM_STREAM)).config
        except BusRefused as refusal:
            if refusal.code != _NOT_FOUND:
                raise
            await self._bus.api(
                f"STREAM.CREATE.{ECOSYSTEM_STREAM}",
                {
                    "name": ECOSYSTEM_STREAM,
                    "description": "What other services tell that have no stream of their own for it",
                    "subjects": [subject],
                    "retention": "limits",
                    "discard": "old",
                    "max_age": _KEPT_SECONDS * _NS,
                    "max_bytes": _KEPT_BYTES,
                    "storage": "file",
                    "num_replicas": self._replicas,
                },
            )
            return
        if subject not in config["subjects"]:
            widened = config | {"subjects": [*config["subjects"], subject]}
            await self._bus.api(f"STREAM.UPDATE.{ECOSYSTEM_STREAM}", widened)

    async def _bind(self, stream: str, subject: str) -> JetStreamContext.PullSubscription:
        """The durable consumer of the subject, made where it is not there yet.

        A new one begins with what the stream has: what was told while no Gnomon was there is not lost either.
        """
        durable = "gnomon_" + subject.replace(".", "_")
        config = {
            "durable_name": durable,
            "filter_subject": subject,
            "ack_policy": "explicit",
            "ack_wait": round(_ACK_WAIT_SECONDS * _NS),
            "deliver_policy": "all",
            "max_deliver": -1,
            "max_ack_pending": 1,
        }
        await self._bus.api(
            f"CONSUMER.DURABLE.CREATE.{stream}.{durable}", {"stream_name": stream, "config": config}
        )
        context = self._bus.nc.jetstream()
        return await context.pull_subscribe_bind(durable, stream=stream)

    async def _take_all(
        self, subscription: JetStreamContext.PullSubscription, subject: str, stream: str
    ) -> None:
        while True:
            try:
                (message,) = await subscription.fetch(1, timeout=_FETCH_SECONDS)
            except TimeoutError:
                # Nothing has come; or the consumer is gone, which only a look tells.
                await self._bus.api(f"CONSUMER.INFO.{stream}.gnomon_{subject.replace('.', '_')}")
                if stream == ECOSYSTEM_STREAM and await self._stream_of(subject) != stream:
                    return  # its owner has a stream now
                continue
            await self._take(message, subject)

    # -- one message -------------------------------------------------------------------------------

    async def _take(self, message: Msg, subject: str) -> None:
        """Do what a message asks for, as often as it needs to be tried; then acknowledge it."""
        backoff = Backoff(first=0.5, longest=10.0)
        keeping = asyncio.create_task(_keep(message), name=f"{self.name}:keep:{subject}")
        try:
            while True:
                try:
                    fate = await self._settled(message, subject)
                    break
                except (_Later, DatabaseAway, BusError) as error:
                    words = f"{type(error).__name__}: {error}"
                    _log.info(LogEvent.ECOSYSTEM_WAITS, subject=subject, error=words)
                    await backoff.pause()
        finally:
            keeping.cancel()
        await message.ack_sync()
        self._meter.add(Metric.ECOSYSTEM_MESSAGES, subject=subject, fate=fate)

    async def _settled(self, message: Msg, subject: str) -> str:
        """`done`, `ignored` or `set_aside`. Raises what may pass."""
        headers = dict(message.headers or {})
        name = plan.message_name(headers, message.metadata.stream, message.metadata.sequence.stream)
        try:
            told = decode(message.data, ECOSYSTEM_SUBJECTS[subject])
        except (msgspec.DecodeError, RecursionError) as error:
            return await self._set_aside(message, name, headers, f"it cannot be read: {error}")
        try:
            match told:
                case UserDeleted():
                    # Their shards cancel the tasks, also those that are made at this moment.
                    await self._send(plan.closing_of(name, told))
                    _log.info(LogEvent.ECOSYSTEM_DONE, subject=subject, message=name)
                case SubscriptionChanged():
                    await self._send(plan.tier_of(name, told))
                case CalendarEventCreated():
                    return await self._link(name, told, message)
        except Unusable as error:
            return await self._set_aside(message, name, headers, str(error))
        return "done"

    async def _link(self, name: str, told: CalendarEventCreated, message: Msg) -> str:
        """Make a reminder of a calendar entry, where the user's account asks for that."""
        user = plan.user_of(told)
        await self._caught_up()
        row = await self._database.fetchrow(statement("wants_calendar_reminders"), user)
        if row is None or not row["calendar_reminders"]:
            return "ignored"
        told_ms = round(_stored_at(message).timestamp() * 1000)
        for wanted in plan.reminders_of(name, told, told_ms=told_ms, lead_ms=self._lead_ms):
            try:
                outcome = await self._send(wanted, fine=_GONE | _LINKED)
            except Unusable as error:
                if error.pointers != _PASSED:
                    raise
            else:
                return "done" if outcome.ok else "ignored"
        return "ignored"  # it had begun when it was told, or has begun since

    async def _caught_up(self) -> None:
        """The read models have everything that is stored by now. Raises _Later."""
        try:
            await self._projection.catch_up(within=_CATCH_UP_SECONDS)
        except Refused as error:
            raise _Later(error.problem.detail) from None

    async def _send(self, wanted: Wanted, *, fine: frozenset[Code] = frozenset()) -> Outcome:
        """Send a command and wait until it is decided. Raises _Later, and Unusable where it is refused for good."""
        command = WantedCommand(
            kind=wanted.kind,
            verb=wanted.verb,
            object_id=wanted.object_id,
            command_id=wanted.command_id,
            payload=wanted.payload,
            caller=wanted.caller,
            traceparent=new_traceparent(),
        )
        try:
            outcome = await self._commander.send(command, within=_COMMAND_SECONDS)
        except Refused as error:
            if error.problem.code not in _PASSES:  # too large: it will never do, and others wait behind it
                raise Unusable(f"{wanted.kind}.{wanted.verb}: {error.problem.detail}") from None
            raise _Later(error.problem.detail) from None
        if outcome is None:
            raise _Later(f"nobody has decided command {wanted.command_id} within {_COMMAND_SECONDS:g} s")
        if outcome.ok or (outcome.error is not None and outcome.error.code in fine):
            return outcome
        problem = outcome.error or Refused(Code.INTERNAL, "refused without a reason").problem
        if problem.code in _PASSES:
            raise _Later(problem.detail)
        words = "; ".join(f"{error.pointer}: {error.message}" for error in problem.errors)
        raise Unusable(
            f"{wanted.kind}.{wanted.verb} was refused, {problem.code}: {words or problem.detail}",
            frozenset(error.pointer for error in problem.errors),
        )

    async def _set_aside(self, message: Msg, name: str, headers: Mapping[str, str], reason: str) -> str:
        """Keep a message that will never do. Raises DatabaseAway."""
        plain = {key: value for key, value in headers.items() if key != h.REPLY_TO}
        await self._database.execute(
            statement("set_aside"),
            derived_id("poison", message.subject, name),
            name.replace("\0", "\ufffd"),
            message.subject,
            _stored_at(message),
            message.data,
            msgspec.json.encode(plain).decode(),
            reason.replace("\0", "\ufffd"),
        )
        _log.error(LogEvent.ECOSYSTEM_SET_ASIDE, subject=message.subject, message=name, reason=reason)
        return "set_aside"


async def _keep(message: Msg) -> None:
    """Say that a message is being worked on, for as long as it is."""
    while True:
        await asyncio.sleep(_ACK_WAIT_SECONDS / 3)
        try:
            await message.in_progress()
        except nats.errors.Error as error:
            _log.debug(LogEvent.NATS_ERROR, error=repr(error))  # the next one may reach it


def _stored_at(message: Msg) -> datetime:
    """When the broker stored it; nats-py tells it in UTC, and may leave that out."""
    at = message.metadata.timestamp
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
