"""An executor's part of the protocol in a few lines, where the scheduler alone is the subject of a test.

It claims, finishes, gives up and acknowledges exactly as told: step by step, or by `run` for all that comes. Its
messages are the protocol's; what it lacks is everything that makes an executor robust.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import (
    IN_PROCESS_PAUSE,
    BusError,
    InProcess,
    NoAnswer,
    NotCommitted,
    WrongSequence,
)
from gnomon_core.runtime.clock import Clock, SystemClock
from gnomon_core.runtime.kv import kv_delete, kv_put
from gnomon_core.runtime.membership import RENEW_EVERY
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import cloud_event_headers, decode, encode
from gnomon_schemas.dues import Due
from gnomon_schemas.events import ErrorInfo, Executed, ExecutionEvent, Retrying, Started, event_name
from gnomon_schemas.members import Member, TypeAnnouncement
from gnomon_schemas.subjects import DUE_STREAM, MEMBERS_BUCKET, TYPES_BUCKET
from gnomon_schemas.tasks import NULL, RetryPolicy
from tests.harness.waiting import PATIENCE

__all__ = ["FakeExecutor", "Work", "announce_type"]

_MEMBER_SECONDS: Final = 600
_ACK_WAIT_SECONDS: Final = 60
"""What was delivered into a connection that broke comes again after so long."""
_PULL: Final = 1000
_PULL_SECONDS: Final = 60
_HEARTBEAT_SECONDS: Final = 1
_SILENCE_SECONDS: Final = 3.5
"""A pull of which nothing is heard for so long is lost: the node that led the consumer stands still, or is gone."""


async def announce_type(
    bus: NatsBus,
    name: str,
    *,
    schema: bytes = b'{"type":"object"}',
    retry: RetryPolicy | None = None,
    **fields: Any,
) -> None:
    """Make a task type known, as an executor does when it starts."""
    announcement = TypeAnnouncement(
        name=name,
        description="",
        pool=fields.get("pool", "default"),
        timeout_seconds=fields.get("timeout_seconds", 60.0),
        retry=retry or RetryPolicy(),
        config_schema=msgspec.Raw(schema),
        isolation="loop",
        version="0",
    )
    await kv_put(bus, TYPES_BUCKET, name, encode(announcement))


class Work:
    """One due that was delivered, and where its chain stands."""

    def __init__(self, message: Msg) -> None:
        self.message = message
        self.due = decode(message.data, Due)
        self.partition = subjects.parse_due(message.subject).partition
        self.seq = message.metadata.sequence.stream
        """Of the due in `TASK_DUE`."""
        self.last = self.due.cause_seq
        """Last sequence of the chain, as far as this executor knows."""
        self.started_at = ""

    @property
    def chain(self) -> str:
        """The execution's chain, as a filter."""
        return subjects.chain(self.partition, self.due.task_id, self.due.run)


class FakeExecutor:
    """Announces itself and its types, and takes the dues of one pool."""

    def __init__(
        self,
        bus: NatsBus,
        *,
        types: tuple[str, ...] = ("echo",),
        pool: str = "default",
        clock: Clock | None = None,
        ack_wait_seconds: int = _ACK_WAIT_SECONDS,
    ) -> None:
        self.id = f"x-{secrets.token_hex(4)}"
        self._bus, self._types, self._pool = bus, types, pool
        self._clock = clock or SystemClock()
        self._ack_wait_seconds = ack_wait_seconds
        self._consumer = f"fake_{pool}"
        self._inbox = bus.nc.new_inbox()
        self._subscription: Subscription | None = None
        self._delivered: asyncio.Queue[Work] = asyncio.Queue()
        self._left = 0
        self._waiting: list[Work] = []
        self._loop: asyncio.Task[None] | None = None
        self.seen: list[Due] = []
        """Every due that was delivered."""
        self._renewing: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._announced: dict[str, Any] = {}
        self.unanswered = 0
        """Acknowledgements that the broker did not answer."""
        self.refused = 0
        """Claims and results that were refused while running all that comes."""

    async def start(self) -> None:
        """Announce, and open the pool's consumer."""
        for name in self._types:
            await announce_type(self._bus, name, pool=self._pool)
        await self.open()
        await self.announce()
        self._renewing = asyncio.create_task(self._renew(), name=f"fake executor {self.id} renews")

    async def announce(self, **fields: Any) -> None:
        """Say that this executor is there; `fields` of its `Member` may differ."""
        self._announced = fields
        member = Member(
            id=self.id,
            kind="executor",
            host="test",
            pid=1,
            version="0",
            started_at=format_instant(self._clock.now_ms()),
            pools=(self._pool,),
            task_types=self._types,
            capacity=100,
        )
        value = encode(msgspec.structs.replace(member, **fields))
        await kv_put(self._bus, MEMBERS_BUCKET, f"executor.{self.id}", value, ttl=_MEMBER_SECONDS)

    async def open(self) -> None:
        """Make sure of the pool's consumer and begin to pull from it."""
        config = {
            "durable_name": self._consumer,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "filter_subject": subjects.pool_dues(self._pool, "*"),
            "ack_wait": self._ack_wait_seconds * 10**9,
            "max_ack_pending": 100_000,
            "max_deliver": -1,
        }
        request = {"stream_name": DUE_STREAM, "config": config}
        await self._bus.api(f"CONSUMER.DURABLE.CREATE.{DUE_STREAM}.{self._consumer}", request)
        self._subscription = await self._bus.subscribe(self._inbox, self._take)
        self._bus.listen(self._connection_changed)
        await self._pull()
        self._listening = asyncio.create_task(
            self._pull_again_after_silence(), name=f"fake executor {self.id} listens"
        )

    async def _renew(self) -> None:
        """Members that nothing is heard of for a while count as gone, whatever their key says."""
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                await self.announce(**self._announced)
            except BusError:
                continue  # the broker is away, as in some tests: it is told again in a moment

    async def leave(self) -> None:
        """Say good-bye, as a deploy that removes its types does."""
        await self._end(self._renewing)
        await kv_delete(self._bus, MEMBERS_BUCKET, f"executor.{self.id}", expiring=True)

    async def rest(self) -> None:
        """Do no more of itself what `run` told it; what is delivered waits for `next`."""
        if self._loop is not None:
            await self._end(self._loop)
            if not self._loop.cancelled() and (error := self._loop.exception()) is not None:
                raise error
            self._loop = None

    @staticmethod
    async def _end(task: asyncio.Task[None] | None) -> None:
        while task is not None and not task.done():
            # Python 3.11's `wait_for`, in which nats-py waits, may swallow a cancellation.
            task.cancel()
            await asyncio.wait([task], timeout=0.2)

    async def stop(self) -> None:
        """Take no more."""
        await self.rest()
        await self._end(self._renewing)
        await self._end(self._listening)
        self._bus.unlisten(self._connection_changed)
        if self._subscription is not None and self._bus.connected:
            await self._subscription.unsubscribe()
        self._subscription = None

    # -- step by step ------------------------------------------------------------------------------

    async def next(self, within: float = PATIENCE, *, task_id: str | None = None) -> Work:
        """The next due that is delivered, of this task where one is named; others wait for their turn."""
        async with asyncio.timeout(within):
            while True:
                for index, work in enumerate(self._waiting):
                    if task_id is None or work.due.task_id == task_id:
                        return self._waiting.pop(index)
                self._waiting.append(await self._delivered.get())

    async def claim(self, work: Work, *, takeovers: int = 0) -> int:
        """Store `started`. Raises WrongSequence where another was first."""
        work.started_at = format_instant(self._clock.now_ms())
        return await self._store(
            work,
            Started,
            executor=self.id,
            due_seq=work.seq,
            nonce=secrets.token_hex(8),
            takeovers=takeovers,
            started_at=work.started_at,
            pool=self._pool,
            priority=work.due.priority,
        )

    async def finish(
        self,
        work: Work,
        status: str = "completed",
        *,
        message: str = "failed as told",
        reported: float = 0,
    ) -> int:
        """Store `executed`. `reported`: credits that the handler says it used."""
        now = format_instant(self._clock.now_ms())
        failed = status != "completed"
        return await self._store(
            work,
            Executed,
            status=status,
            result=NULL if failed else work.due.config,
            error=ErrorInfo(type="Told", message=message) if failed else None,
            started_at=work.started_at or now,
            completed_at=now,
            executed_at=now,
            duration_ms=0,
            credits_consumed=reported + (0 if failed else work.due.credits_per_run),
            tokens_used=0,
            api_calls_made=0,
            executor=self.id,
        )

    async def retry(self, work: Work, after_seconds: float) -> int:
        """Store `retrying`."""
        now_ms = self._clock.now_ms()
        return await self._store(
            work,
            Retrying,
            retry_at=format_instant(now_ms + int(after_seconds * 1000)),
            error=ErrorInfo(type="Told", message="again, as told"),
            executor=self.id,
            started_at=work.started_at,
            first_started_at=work.started_at,
            duration_ms=0,
        )

    async def ack(self, work: Work) -> None:
        """Take the due off the queue. When the broker does not answer it is delivered again, and this said again."""
        try:
            await work.message.ack_sync(timeout=5)
        except nats.errors.Error:
            self.unanswered += 1

    async def complete(self, work: Work, status: str = "completed") -> int:
        """Claim, finish and acknowledge; the sequence of `executed`."""
        await self.claim(work)
        seq = await self.finish(work, status)
        await self.ack(work)
        return seq

    # -- all that comes ----------------------------------------------------------------------------

    def run(self, do: Callable[[Work], Awaitable[object]] | None = None) -> None:
        """From now on do this with everything that is delivered: `complete` unless told otherwise.

        What is refused since the execution was withdrawn meanwhile is dropped, and counted in `refused`.
        """
        work_on = do or self.complete

        async def loop() -> None:
            while True:
                work = await self._delivered.get()
                try:
                    await work_on(work)
                except WrongSequence:
                    self.refused += 1
                    if work.message.metadata.num_delivered > 1:
                        await self.ack(work)  # the acknowledgement of an earlier delivery was lost

        self._loop = asyncio.create_task(loop(), name=f"fake executor {self.id}")

    async def _pull(self) -> None:
        self._left = _PULL
        self._heard = time.monotonic()
        request = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}' % (
            _PULL,
            _PULL_SECONDS * 10**9,
            _HEARTBEAT_SECONDS * 10**9,
        )
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{DUE_STREAM}.{self._consumer}"
        await self._bus.nc.publish(subject, request, reply=self._inbox)

    async def _pull_again_after_silence(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            if self._bus.connected and time.monotonic() - self._heard > _SILENCE_SECONDS:
                await self._pull()

    async def _take(self, message: Msg) -> None:
        self._heard = time.monotonic()
        if message.headers and "Status" in message.headers:
            if message.headers["Status"] != "100":
                await self._pull()
            return
        work = Work(message)
        self.seen.append(work.due)
        self._delivered.put_nowait(work)
        self._left -= 1
        if self._left <= 0:
            await self._pull()

    def _connection_changed(self) -> None:
        """A pull does not outlive its connection."""
        if self._bus.connected:
            self._again = asyncio.ensure_future(self._pull())

    async def _store(self, work: Work, kind: type[ExecutionEvent], **fields: Any) -> int:
        due = work.due
        event = kind(
            task_id=due.task_id,
            user_id=due.user_id,
            partition=work.partition,
            occurred_at=format_instant(self._clock.now_ms()),
            execution_id=due.execution_id,
            run=due.run,
            task_type=due.task_type,
            attempt=due.attempt,
            trigger=due.trigger,
            scheduled_for=due.scheduled_for,
            due_at=due.due_at,
            revision=due.revision,
            **fields,
        )
        subject = subjects.event("task", event_name(event), work.partition, due.task_id, due.run)
        headers = cloud_event_headers(event, ce_id=secrets.token_hex(8), source=f"gnomon/executor/{self.id}")
        work.last = await self._stored(work, subject, encode(event), headers)
        return work.last

    async def _stored(self, work: Work, subject: str, data: bytes, headers: dict[str, str]) -> int:
        """Have an event stored as the chain's next, through whatever the broker does meanwhile; its sequence."""
        while True:
            try:
                ack = await self._bus.store(
                    subject, data, headers, expected=work.last, expected_subject=work.chain
                )
                return ack.seq
            except (InProcess, NotCommitted):
                await asyncio.sleep(IN_PROCESS_PAUSE)
            except NoAnswer:
                last = await self._last(work)
                if last is not None and last.data == data:
                    return last.seq

    async def _last(self, work: Work) -> Stored | None:
        while True:
            try:
                return await self._bus.last(subjects.EVENTS_STREAM, work.chain)
            except NoAnswer:
                await asyncio.sleep(IN_PROCESS_PAUSE)
