"""The lines between shards, over core NATS, at most once: what is lost is said again, or asked again.

Over them shards state to gates and budgets what they use, and hear what they may use (ADR 0016, ADR 0020); and a shard
answers how many tasks a user has in it. *Ear*: a subject that a led shard hears, and what becomes of its messages.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_scheduler.admission import Admission
from gnomon_scheduler.book import Book
from gnomon_scheduler.budget_desk import BudgetDesk
from gnomon_scheduler.gate_desk import GateDesk
from gnomon_scheduler.long_messages import in_messages
from gnomon_scheduler.task_counts import TaskCounts
from gnomon_scheduler.user_doors import UserDoors
from gnomon_schemas import subjects
from gnomon_schemas.budgets import BudgetGrants, BudgetStatements, TaskCountQuestion
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.gates import Grants, Statements

__all__ = ["Ear", "ShardLines", "lines_of_users", "lines_to_gates"]

_log = structlog.get_logger(__name__)
_Word = TypeVar("_Word")


class Ear(NamedTuple):
    """One subject that is heard."""

    subject: str
    type: type[msgspec.Struct]
    take: Callable[[Any], object] | None = None
    """Told of a message, decoded; the next turn does the rest."""
    answer: Callable[[Any], Awaitable[msgspec.Struct]] | None = None
    """Of a question: what it says is sent back at once."""


class ShardLines(Service):
    """Hears for one led shard what is said to it, and sends what it says."""

    def __init__(
        self,
        bus: NatsBus,
        name: str,
        ears: Sequence[Ear],
        speech: Callable[[int], Iterable[tuple[str, bytes]]],
        wake: Callable[[], None],
    ) -> None:
        """`speech` tells what is to be said at an instant: subjects and payloads; `wake` has the next turn begin."""
        super().__init__(name)
        self._bus, self._ears, self._speech, self._wake = bus, ears, speech, wake
        self._subscriptions: list[Subscription] = []

    async def on_start(self) -> None:
        """Begin to hear."""
        for ear in self._ears:
            self._subscriptions.append(await self._bus.subscribe(ear.subject, self._hearing(ear)))

    async def on_stop(self) -> None:
        """Hear nothing more."""
        for subscription in self._subscriptions:
            if not self._bus.nc.is_closed:
                await subscription.unsubscribe()

    async def speak(self, now_ms: int) -> None:
        """Say what is to be said."""
        said = list(self._speech(now_ms))
        if said:
            await self._bus.send_all(said)

    def _hearing(self, ear: Ear) -> Callable[[Msg], Awaitable[None]]:
        async def heard(message: Msg) -> None:
            try:
                said = decode(message.data, ear.type)
            except msgspec.DecodeError as error:
                _log.error(LogEvent.EVENT_UNREADABLE, subject=message.subject, seq=0, error=str(error))
                return
            if ear.take is not None:
                ear.take(said)
                self._wake()
            if ear.answer is not None and message.reply:
                await self._bus.send(message.reply, encode(await ear.answer(said)))

        return heard


def lines_to_gates(
    bus: NatsBus, book: Book, admission: Admission, gates: GateDesk, wake: Callable[[], None]
) -> ShardLines:
    """The lines between a shard, the gates that it passes, and the shards that pass its own gates."""
    shard, epoch = book.partition, book.epoch
    ears = (
        Ear(subjects.gate_statements(shard), Statements, gates.heard.append),
        Ear(subjects.gate_grants(shard), Grants, admission.heard.append),
    )

    def speech(now_ms: int) -> Iterator[tuple[str, bytes]]:
        return _by_shard(
            admission.statements(now_ms),
            subjects.gate_statements,
            lambda some: Statements(shard=shard, epoch=epoch, statements=some),
        )

    return ShardLines(bus, f"gate-lines-{shard}", ears, speech, wake)


def lines_of_users(
    bus: NatsBus,
    book: Book,
    users: UserDoors,
    budgets: BudgetDesk,
    counts: TaskCounts,
    wake: Callable[[], None],
) -> ShardLines:
    """The lines between purses and budgets, and those by which tasks are counted."""
    shard, epoch = book.partition, book.epoch
    ears = (
        Ear(subjects.budget_statements(shard), BudgetStatements, budgets.heard.append),
        Ear(subjects.budget_grants(shard), BudgetGrants, users.heard.append),
        Ear(subjects.task_counts(shard), TaskCountQuestion, answer=counts.answer),
    )

    def speech(now_ms: int) -> Iterator[tuple[str, bytes]]:
        return _by_shard(
            users.statements(now_ms),
            subjects.budget_statements,
            lambda some: BudgetStatements(shard=shard, epoch=epoch, statements=some),
        )

    return ShardLines(bus, f"budget-lines-{shard}", ears, speech, wake)


def _by_shard(
    words: Iterable[tuple[int, _Word]],
    subject: Callable[[int], str],
    message: Callable[[tuple[_Word, ...]], msgspec.Struct],
) -> Iterator[tuple[str, bytes]]:
    """What is said to each shard, in as many messages as it takes."""
    said: defaultdict[int, list[_Word]] = defaultdict(list)
    for partition, word in words:
        said[partition].append(word)
    for partition, to_it in said.items():
        for data in in_messages(to_it, message):
            yield subject(partition), data
