"""The lines between shards and gates: core NATS, at most once. What is lost is said again; see ADR 0016."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.admission import Admission
from gnomon_scheduler.book import Book
from gnomon_scheduler.gate_desk import GateDesk
from gnomon_scheduler.long_messages import in_messages
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.gates import Grants, Statement, Statements

__all__ = ["GateLines"]

_log = structlog.get_logger(__name__)


class GateLines(Service):
    """Hears for one led shard what others state to its gates and what gates grant it, and sends what it states."""

    def __init__(
        self, bus: NatsBus, book: Book, admission: Admission, gates: GateDesk, wake: Callable[[], None]
    ) -> None:
        super().__init__(f"gate-lines-{book.partition}")
        self._bus, self._book = bus, book
        self._admission, self._gates, self._wake = admission, gates, wake
        self._subscriptions: list[Subscription] = []

    async def on_start(self) -> None:
        """Begin to hear."""
        partition = self._book.partition
        for subject, take in (
            (subjects.gate_statements(partition), self._stated),
            (subjects.gate_grants(partition), self._granted),
        ):
            self._subscriptions.append(await self._bus.subscribe(subject, take))

    async def on_stop(self) -> None:
        """Hear nothing more."""
        for subscription in self._subscriptions:
            if not self._bus.nc.is_closed:
                await subscription.unsubscribe()

    async def speak(self, now_ms: int) -> None:
        """Say what is to be said."""
        said: dict[int, list[Statement]] = defaultdict(list)
        for partition, statement in self._admission.statements(now_ms):
            said[partition].append(statement)
        if said:
            shard, epoch = self._book.partition, self._book.epoch
            await self._bus.send_all(
                [
                    (subjects.gate_statements(partition), data)
                    for partition, statements in said.items()
                    for data in in_messages(
                        statements, lambda some: Statements(shard=shard, epoch=epoch, statements=some)
                    )
                ]
            )

    async def _stated(self, message: Msg) -> None:
        try:
            self._gates.heard.append(decode(message.data, Statements))
        except msgspec.DecodeError as error:
            _log.error(LogEvent.EVENT_UNREADABLE, subject=message.subject, seq=0, error=str(error))
        else:
            self._wake()

    async def _granted(self, message: Msg) -> None:
        try:
            self._admission.heard.append(decode(message.data, Grants))
        except msgspec.DecodeError as error:
            _log.error(LogEvent.EVENT_UNREADABLE, subject=message.subject, seq=0, error=str(error))
        else:
            self._wake()
