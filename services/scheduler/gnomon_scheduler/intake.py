"""Taking commands from `TASK_COMMANDS`, in stream order.

Each leader reads its partition by a durable consumer of its own epoch, `cmd-<p>-<epoch>`. A consumer shared by
successive leaders would reorder: what the dead leader had fetched would come after what it had not. The broker lets
only one consumer have a filter of a work queue, so opening one means deleting those of lower epochs first; finding
one of a higher epoch means being deposed. Only the leader of an epoch creates its consumer, and not before it has
looked at the shard register: a leader whose consumer was deleted by its successor, who is about to open one, would
otherwise put its own back, and the two would take it in turns for as long as the first does not know.

**Nothing is passed over.** What the broker has delivered into a connection that broke comes again only after the ack
wait, behind commands that came later, and would then pass for decided. So after a reconnect, and when the broker's
numbering of deliveries shows a hole, the consumer is made anew: it begins with the oldest command that is not
acknowledged. What comes twice that way is recognised by its position.

Acknowledging comes last, after the commit and the reply: a crash before it delivers the command again, and the shard
register's `last_command` tells that it was decided.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

import nats.errors
import structlog
from nats.aio.subscription import Subscription

from gnomon_core.runtime.ack_subject import CONSUMER_SEQ, STREAM_SEQ, ack_fields
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusRefused, NoAnswer, NotCommitted
from gnomon_core.runtime.frames import Answer, Sink
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import trace_id_of
from gnomon_scheduler.commit import Deposed
from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.registers import ShardRegister
from gnomon_schemas import headers as h
from gnomon_schemas.codec import decode
from gnomon_schemas.subjects import CMD_PATTERN, COMMANDS_STREAM, EVENTS_STREAM, parse_command, shard_register

__all__ = ["STRAYS", "Intake", "Received"]

STRAYS = (CMD_PATTERN, CMD_PATTERN.removesuffix(".*"))
"""Filters for the commands that were stored without a partition.

The second one matches nothing. It is there because the broker takes a consumer whose one filter is the stream's one
subject for a consumer of everything: it would wait for this consumer before it removes any acknowledged command, so
that none was ever removed, and would not show it a command whose id is `>`.
"""

_log = structlog.get_logger(__name__)

_BATCH = 256
_BATCH_BYTES = 8 * 1024 * 1024
_PULL_SECONDS = 20
_MAX_ACK_PENDING = 1000
_ACK_WAIT_SECONDS = 60
_FILTER_TAKEN = 10100
_RETRY_PAUSE = 0.05
_REPLY_SUBJECT = re.compile(re.escape(h.REPLY_PREFIX) + r"[!-)+-=?-~]{1,256}", re.ASCII)
"""Printable, without blanks and without the wildcards `*` and `>`."""
_TRACE_MAX = 128


class Received:
    """One command as delivered: what it says, where to answer, and how to acknowledge."""

    __slots__ = ("ack_subject", "command", "reply_to")

    def __init__(self, command: Command, reply_to: str | None, ack_subject: str) -> None:
        self.command = command
        self.reply_to = reply_to
        """Where the caller wants the outcome: only ever under `_INBOX.`, so that no caller can make the scheduler
        write to a subject that matters."""
        self.ack_subject = ack_subject


class Intake(Service):
    """Pulls the commands that match a filter and hands them over in order, a bounded number of them unacknowledged."""

    def __init__(
        self,
        bus: NatsBus,
        partition: int,
        prefix: str,
        epoch: int,
        filters: tuple[str, ...],
        take: Callable[[Received], None],
    ) -> None:
        super().__init__(f"intake-{prefix}-{epoch}")
        self._bus = bus
        self._partition, self._prefix, self._epoch = partition, prefix, epoch
        self._consumer = f"{prefix}-{epoch}"
        self._filters = filters
        self._take = take
        self._pulled = asyncio.Event()
        self._left = 0
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._delivered_count = 0
        self._generation = -1
        self._in_order = False
        """Whether the consumer's next delivery is the next command."""

    async def on_start(self) -> None:
        """Open the consumer of this epoch and begin to pull. Raises Deposed."""
        await self._open()
        # A pull does not outlive its connection.
        self._bus.listen(self._pulled.set)
        _ = self.spawn(self._pull(), "pull")

    async def on_stop(self) -> None:
        """Take no more. The consumer stays: the next leader deletes it."""
        self._bus.unlisten(self._pulled.set)
        await self._unsubscribe()

    async def _open(self) -> None:
        """Make the consumer, and an inbox that hears nothing of an earlier one. Raises Deposed."""
        await self._unsubscribe()
        self._generation = self._bus.generation
        await self._create()
        self._delivered_count, self._in_order = 0, True
        self._inbox = inbox = self._bus.nc.new_inbox()

        def hear(subject: str, reply: str, head: bytes, data: bytes) -> None:
            if self._inbox != inbox:
                return
            try:
                self._delivered(Answer(subject, reply, head, data))
            except Exception:  # noqa: BLE001 - it is logged whole; raised into the parser it would end the connection
                _log.exception(LogEvent.NATS_HANDLER_FAILED, subject=subject)

        while True:
            try:
                # Straight from the parser, in order: a queue and a task for every command cost as much as deciding it.
                self._subscription = await self._bus.nc.subscribe(inbox, future=Sink(hear))
            except nats.errors.Error:
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                return

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        self._inbox = ""
        if subscription is not None and not self._bus.nc.is_closed:
            await subscription.unsubscribe()

    async def _create(self) -> None:
        config = {
            "durable_name": self._consumer,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": _ACK_WAIT_SECONDS * 10**9,
            "max_ack_pending": _MAX_ACK_PENDING,
            "max_waiting": 8,
            "filter_subjects": self._filters,
        }
        request = {"stream_name": COMMANDS_STREAM, "config": config}
        while True:
            try:
                await self._check_epoch()
                await self._delete_former()
                await self._bus.api(f"CONSUMER.DURABLE.CREATE.{COMMANDS_STREAM}.{self._consumer}", request)
            except BusRefused as error:
                if error.err_code != _FILTER_TAKEN:
                    raise
                # A lower one is back: a deposed leader created it after it was deleted.
                await asyncio.sleep(_RETRY_PAUSE)
            except NoAnswer:
                await asyncio.sleep(_RETRY_PAUSE)
            else:
                return

    async def _check_epoch(self) -> None:
        """Raises Deposed when the shard register is of a higher epoch: its leader opens a consumer after that."""
        last = await self._bus.last(EVENTS_STREAM, shard_register(self._partition))
        epoch = self._epoch if last is None else decode(last.data, ShardRegister).epoch
        if epoch > self._epoch:
            raise Deposed(f"the shard register is of epoch {epoch}, the consumer would be of {self._epoch}")

    async def _delete_former(self) -> None:
        offset = 0
        while True:
            answer = await self._bus.api(f"CONSUMER.NAMES.{COMMANDS_STREAM}", {"offset": offset})
            names = answer.get("consumers") or []
            for name in names:
                prefix, _, epoch = name.rpartition("-")
                if prefix != self._prefix or not epoch.isdigit():
                    continue
                if int(epoch) > self._epoch:
                    raise Deposed(f"consumer {name} is of a higher epoch than {self._epoch}")
                await self._delete(name)
            offset += len(names)
            if not names or offset >= int(answer.get("total", 0)):
                return

    async def _delete(self, name: str) -> None:
        try:
            await self._bus.api(f"CONSUMER.DELETE.{COMMANDS_STREAM}.{name}")
        except BusRefused as error:
            if error.code != 404:
                raise

    async def _pull(self) -> None:
        """Keep one pull open; a new one when it is used up, has expired, or the connection was made anew."""
        request = b'{"batch":%d,"max_bytes":%d,"expires":%d}' % (_BATCH, _BATCH_BYTES, _PULL_SECONDS * 10**9)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{COMMANDS_STREAM}.{self._consumer}"
        while True:
            await self._bus.wait_connected()
            if not self._in_order or self._generation != self._bus.generation:
                try:
                    await self._open()
                except Deposed as error:
                    # The shard finds out by its next batch; until then there is nothing to take here.
                    _log.warning(LogEvent.INTAKE_STATUS, consumer=self._consumer, status=str(error))
                    return
            self._pulled.clear()
            self._left = _BATCH
            try:
                await self._bus.wire.post(subject, request, reply=self._inbox)
            except NotCommitted:
                await asyncio.sleep(_RETRY_PAUSE)
                continue
            try:
                # A lost answer must not stop the intake for ever, so the wait ends a little after the pull has.
                async with asyncio.timeout(_PULL_SECONDS + 2):
                    await self._pulled.wait()
            except TimeoutError:
                continue

    def _delivered(self, message: Answer) -> None:
        """A command, or a word of the broker's about the pull."""
        place = _place_of(message.reply)
        if place is None:
            self._ended(message.status or "", message.status_text)
            return
        self._delivered_count += 1
        if place.delivery != self._delivered_count:
            self._in_order = False
        if not self._in_order:
            self._pulled.set()
            return
        self._take(_received(message, place.seq))
        self._left -= 1
        if self._left <= 0:
            self._pulled.set()

    def _ended(self, status: str, description: str) -> None:
        """The broker says why a pull brings no more."""
        if status == "503" or "Consumer" in description:
            self._in_order = False
        if status not in {"404", "408", "409"}:
            _log.warning(LogEvent.INTAKE_STATUS, consumer=self._consumer, status=status)
        self._pulled.set()


class _Place(NamedTuple):
    """Where a delivered message is stored, and as which of its consumer it was delivered."""

    seq: int
    delivery: int


def _place_of(reply: str) -> _Place | None:
    """What the subject for the acknowledgement tells; None: the message is none of the stream's."""
    try:
        fields = ack_fields(reply)
    except ValueError:
        return None
    return _Place(int(fields[STREAM_SEQ]), int(fields[CONSUMER_SEQ]))


def _received(message: Answer, seq: int) -> Received:
    """A command as delivered. A reply subject or a trace that cannot be used is dropped: whoever may publish commands
    may write anything into a header, and the shard repeats both in messages of its own."""
    subject, headers = parse_command(message.subject), message.headers
    roles = headers.get(h.ROLES)
    reply_to, trace = headers.get(h.REPLY_TO, ""), headers.get(h.TRACEPARENT, "")
    command = Command(
        kind=subject.kind,
        verb=subject.verb,
        object_id=subject.object_id,
        command_id=headers.get(h.MSG_ID),
        user=headers.get(h.USER) or None,
        admin=roles is not None and h.ADMIN_ROLE in {role.strip() for role in roles.split(",")},
        if_match=headers.get(h.IF_MATCH),
        data=message.data,
        seq=seq,
        subject=message.subject,
        traceparent=trace if len(trace) <= _TRACE_MAX and trace_id_of(trace) else None,
    )
    return Received(command, reply_to if _REPLY_SUBJECT.fullmatch(reply_to) else None, message.reply)
