"""The lines between purses and budgets: core NATS, at most once. What is lost is said again; see ADR 0020.

Over them a shard also answers how many tasks a user has in it.
"""

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
from gnomon_scheduler.book import Book
from gnomon_scheduler.budget_desk import BudgetDesk
from gnomon_scheduler.long_messages import in_messages
from gnomon_scheduler.task_counts import TaskCounts
from gnomon_scheduler.user_doors import UserDoors
from gnomon_schemas import subjects
from gnomon_schemas.budgets import (
    BudgetGrants,
    BudgetStatement,
    BudgetStatements,
    TaskCount,
    TaskCountQuestion,
)
from gnomon_schemas.codec import decode, encode

__all__ = ["BudgetLines"]

_log = structlog.get_logger(__name__)


class BudgetLines(Service):
    """Hears for one led shard what others state of its accounts and what it is granted, and sends what it states."""

    def __init__(
        self,
        bus: NatsBus,
        book: Book,
        users: UserDoors,
        budgets: BudgetDesk,
        counts: TaskCounts,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(f"budget-lines-{book.partition}")
        self._bus, self._book = bus, book
        self._users, self._budgets, self._counts, self._wake = users, budgets, counts, wake
        self._subscriptions: list[Subscription] = []

    async def on_start(self) -> None:
        """Begin to hear."""
        partition = self._book.partition
        for subject, take in (
            (subjects.budget_statements(partition), self._stated),
            (subjects.budget_grants(partition), self._granted),
            (subjects.task_counts(partition), self._asked),
        ):
            self._subscriptions.append(await self._bus.subscribe(subject, take))

    async def on_stop(self) -> None:
        """Hear nothing more."""
        for subscription in self._subscriptions:
            if not self._bus.nc.is_closed:
                await subscription.unsubscribe()

    async def speak(self, now_ms: int) -> None:
        """Say what is to be said."""
        said: dict[int, list[BudgetStatement]] = defaultdict(list)
        for partition, statement in self._users.statements(now_ms):
            said[partition].append(statement)
        if said:
            shard, epoch = self._book.partition, self._book.epoch
            await self._bus.send_all(
                [
                    (subjects.budget_statements(partition), data)
                    for partition, statements in said.items()
                    for data in in_messages(
                        statements, lambda some: BudgetStatements(shard=shard, epoch=epoch, statements=some)
                    )
                ]
            )

    async def _stated(self, message: Msg) -> None:
        try:
            self._budgets.heard.append(decode(message.data, BudgetStatements))
        except msgspec.DecodeError as error:
            _unreadable(message, error)
        else:
            self._wake()

    async def _granted(self, message: Msg) -> None:
        try:
            self._users.heard.append(decode(message.data, BudgetGrants))
        except msgspec.DecodeError as error:
            _unreadable(message, error)
        else:
            self._wake()

    async def _asked(self, message: Msg) -> None:
        if not message.reply:
            return
        try:
            user = decode(message.data, TaskCountQuestion).user
        except msgspec.DecodeError as error:
            _unreadable(message, error)
            return
        answer = TaskCount(partition=self._book.partition, tasks=await self._counts.here(user))
        await self._bus.send(message.reply, encode(answer))


def _unreadable(message: Msg, error: msgspec.DecodeError) -> None:
    _log.error(LogEvent.EVENT_UNREADABLE, subject=message.subject, seq=0, error=str(error))
