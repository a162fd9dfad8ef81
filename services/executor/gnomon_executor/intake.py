"""Taking work from `TASK_DUE`: one durable consumer for each pool and priority, asked for no more than there
is room for.

`pull_plan` says what to ask for; this module asks, and hands over what comes. The consumers are shared by all
executors of a pool and made by whichever is first. Pulls end on the broker before they are given up here, so
no message is sent to a pull that nobody counts any more; after a reconnect all pulls are made anew on a new
inbox, and those that the broker may still know lose their last listener.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import BusRefused, NatsBus, NoAnswer, NotCommitted
from gnomon_core.runtime.frames import Answer, Sink
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_executor.delivery import Delivery, parse_delivery
from gnomon_executor.pull_plan import Lane, Lanes, Pull
from gnomon_schemas import subjects
from gnomon_schemas.subjects import DUE_STREAM, PRIORITIES

__all__ = ["Intake", "consumer_config", "consumer_name"]

_MAX_ACK_PENDING: Final = 100_000
"""Messages that are delivered and not acknowledged, of all executors together; delayed ones count too."""
_MAX_WAITING: Final = 4096
"""Pulls that may wait at a consumer: each executor has one at a time."""
_NANOSECONDS: Final = 10**9
_TICK_SECONDS: Final = 1.0
_CROWDED_PAUSE_SECONDS: Final = 0.05
_NOTHING_THERE: Final = "404"
_EXPIRED: Final = "408"

_log = structlog.get_logger(__name__)

Take = Callable[[Delivery], None]
"""Takes a delivery. Must not raise or block."""


def consumer_name(lane: Lane) -> str:
    """The durable consumer of a lane."""
    return f"exec_{lane.pool}_{lane.priority}"


def consumer_config(lane: Lane, ack_wait: float) -> dict[str, Any]:
    """How a lane's consumer is made: redelivered without limit, `ack_wait` seconds after the executor fell
    silent."""
    return {
        "durable_name": consumer_name(lane),
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait * _NANOSECONDS),
        "max_deliver": -1,
        "max_ack_pending": _MAX_ACK_PENDING,
        "max_waiting": _MAX_WAITING,
        "filter_subject": subjects.pool_dues(lane.pool, lane.priority),
    }


class Intake(Service):
    """Pulls for one executor. `take` gets each delivery; its slot is taken until `finished` is told.

    `may_take` is asked before every pull: False while this process should claim nothing.
    """

    def __init__(
        self,
        bus: NatsBus,
        pools: tuple[str, ...],
        capacity: int,
        ack_wait: float,
        take: Take,
        may_take: Callable[[], bool],
    ) -> None:
        super().__init__("intake")
        self._bus = bus
        self._ack_wait = ack_wait
        self._take = take
        self._may_take = may_take
        self.lanes = Lanes(capacity, pools, PRIORITIES)
        """The book of slots and pulls."""
        self._by_consumer = {consumer_name(lane): number for number, lane in enumerate(self.lanes.lanes)}
        self._wake = asyncio.Event()
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._broken = asyncio.Event()
        self._unmade: list[int] = []
        """Pulls that ended because their consumer is not there or cannot answer."""

    async def on_start(self) -> None:
        """Make sure of the consumers and begin to pull."""
        backoff = Backoff(first=0.1, longest=2.0)
        while True:
            try:
                await self._ensure_consumers()
                break
            except NoAnswer as error:
                _log.warning(LogEvent.CONSUMER_NOT_MADE, error=str(error))
                await backoff.pause()
        self._wake.set()
        _ = self.spawn(self._ask(), "ask")
        _ = self.spawn(self._tick(), "tick")
        _ = self.spawn(self._repair(), "repair")

    async def on_stop(self) -> None:
        """Ask for nothing more. What was on its way when the broker heard so is still handed over."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await self._let_go(subscription)

    def finished(self) -> None:
        """A slot is free again."""
        self.lanes.finished()
        self._wake.set()

    def look_again(self) -> None:
        """Whether this process may take work may have changed."""
        self._wake.set()

    async def _ask(self) -> None:
        generation = -1
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if not self._bus.connected:
                await self._bus.wait_connected()
            if generation != self._bus.generation:
                generation = self._bus.generation
                await self._new_inbox()
            if not self._may_take() or self._subscription is None:
                continue
            for lane in self.lanes.give_up_lost(loop.time()):
                _log.warning(LogEvent.PULL_LOST, consumer=consumer_name(lane))
            for pull in self.lanes.plan(loop.time()):
                await self._post(pull)

    async def _post(self, pull: Pull) -> None:
        consumer = consumer_name(self.lanes.lanes[pull.lane])
        request = b'{"batch":%d,"no_wait":true,"expires":%d}' % (
            pull.batch,
            int(pull.expires_seconds * _NANOSECONDS),
        )
        try:
            await self._bus.wire.post(
                f"$JS.API.CONSUMER.MSG.NEXT.{DUE_STREAM}.{consumer}",
                request,
                reply=f"{self._inbox}.{pull.number}",
            )
        except NotCommitted:
            # The connection broke: the next generation begins with a clean book.
            self._wake.set()

    async def _new_inbox(self) -> None:
        """Begin anew on a connection: the pulls of the one before are nobody's."""
        before, self._subscription = self._subscription, None
        self._inbox = self._bus.nc.new_inbox()
        self.lanes.forget_pulls()
        self._subscription = await self._bus.nc.subscribe(f"{self._inbox}.*", future=Sink(self._came))
        if before is not None:
            _ = self.spawn(self._let_go(before), "let-go")

    async def _let_go(self, subscription: Subscription) -> None:
        if not self._bus.connected:
            return  # nothing is on its way, and nobody would answer
        try:
            await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py gives it no types
        except NatsError as error:
            _log.debug(LogEvent.NATS_ERROR, error=repr(error))

    def _came(self, subject: str, reply: str, head: bytes, data: bytes) -> None:
        """A message or a status, straight from the connection."""
        if not reply:
            self._ended(int(subject.rpartition(".")[2]), Answer(subject, reply, head, data))
            return
        try:
            delivery = parse_delivery(subject, reply, head, data)
            lane = self._by_consumer[delivery.consumer]
        except (ValueError, KeyError):
            _log.error(LogEvent.DELIVERY_STRANGE, subject=subject, reply=reply)
            return
        self.lanes.delivered(lane, delivery.more, again=delivery.count > 1)
        self._wake.set()
        self._take(delivery)

    def _ended(self, pull: int, status: Answer) -> None:
        if status.status == _NOTHING_THERE or (
            status.status == _EXPIRED and "Pending" not in status.status_text
        ):
            self.lanes.ended(pull, empty=True)
            self._wake.set()
        elif status.status == _EXPIRED:
            # "Requests Pending": other executors ask for all there is. Asking again at once would be answered
            # the same.
            asyncio.get_running_loop().call_later(_CROWDED_PAUSE_SECONDS, self._let_end, pull)
        else:
            _log.warning(LogEvent.PULL_REFUSED, status=status.status, text=status.status_text)
            self._unmade.append(pull)
            self._broken.set()

    def _let_end(self, pull: int) -> None:
        self.lanes.ended(pull, empty=True)
        self._wake.set()

    async def _tick(self) -> None:
        """Look for lost pulls now and then, also when nothing happens."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._wake.set()

    async def _repair(self) -> None:
        """Make sure of the consumers again when a pull was refused; the lane rests meanwhile."""
        backoff = Backoff(first=0.1, longest=2.0)
        while True:
            await self._broken.wait()
            await backoff.pause()
            self._broken.clear()
            pulls, self._unmade = self._unmade, []
            try:
                await self._ensure_consumers()
            except (BusRefused, NoAnswer) as error:
                _log.warning(LogEvent.CONSUMER_NOT_MADE, error=str(error))
                self._unmade += pulls
                self._broken.set()
                continue
            for pull in pulls:
                self._let_end(pull)
            if not self._broken.is_set():
                backoff.reset()

    async def _ensure_consumers(self) -> None:
        """Create each lane's consumer, or update what may change. Raises BusRefused, NoAnswer."""
        for lane in self.lanes.lanes:
            request = {"stream_name": DUE_STREAM, "config": consumer_config(lane, self._ack_wait)}
            await self._bus.api(f"CONSUMER.DURABLE.CREATE.{DUE_STREAM}.{consumer_name(lane)}", request)
