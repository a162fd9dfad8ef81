"""What was stored in `TASKS`, heard durably and in order, and awaited instead of slept for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.codec import decode_event
from gnomon_schemas.events import Event
from gnomon_schemas.subjects import EVENTS_FILTER, EVENTS_STREAM, EventSubject, parse_event
from tests.harness.contract import faults
from tests.harness.waiting import PATIENCE

__all__ = ["Events", "Seen"]

T = TypeVar("T")
_OF_TASKS = "task.*.*.*.*"
_LAST_SECONDS = 60.0


class Seen(NamedTuple):
    """One stored event."""

    seq: int
    time_ms: int
    """By the broker's clock."""
    subject: EventSubject
    event: Event
    headers: dict[str, str]

    @property
    def name(self) -> str:
        """Its name, so `executed`."""
        return self.subject.name

    @property
    def task_id(self) -> str:
        """Its task."""
        return self.subject.object_id

    @property
    def run(self) -> str:
        """Its run; `_` for an event of the task itself."""
        return self.subject.run

    def __str__(self) -> str:
        return f"{self.seq} {self.subject.name}.{self.subject.partition}.{self.task_id}.{self.run}"


class Events:
    """All events of the stream, from its first on."""

    def __init__(self, bus: NatsBus) -> None:
        self.all: list[Seen] = []
        """In the order of the stream."""
        self.sequences: list[int] = []
        """Of these, and of the events of pools, templates, calendars and accounts."""
        self.faults: list[str] = []
        """Where one was not as the contract's schemas say."""
        self._bus = bus
        self._changed = asyncio.Condition()
        self._follower = Follower(
            bus, EVENTS_STREAM, [EVENTS_FILTER], start_seq=1, handler=self._take, name="test-events"
        )

    async def start(self) -> None:
        """Begin to follow."""
        await self._follower.start()

    async def stop(self) -> None:
        """Follow no more. Raises AssertionError when an event was not as the contract's schemas say."""
        await self._follower.stop()
        assert self.faults == [], self.faults

    async def _take(self, messages: list[Stored]) -> None:
        async with self._changed:
            for message in messages:
                self.sequences.append(message.seq)
                subject = parse_event(message.subject)
                self.faults += faults(f"{subject.kind}.{subject.name}", message.data)
                if subject.kind == "task":
                    event = decode_event(message.data)
                    self.all.append(Seen(message.seq, message.time_ms, subject, event, message.headers))
            self._changed.notify_all()

    async def wait_for(
        self, predicate: Callable[[], T | None], within: float = PATIENCE, what: str = ""
    ) -> T:
        """Wait until `predicate` gives something that is true; that. It is asked again after every event."""
        try:
            async with asyncio.timeout(within), self._changed:
                while True:
                    found = predicate()
                    if found:
                        return found
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"{what or 'what was waited for'} did not come within {within:g} s\n{self.tail()}"
            ) from None

    async def catch_up(self) -> None:
        """Wait until everything that is stored by now has been heard. A command's outcome may come before its event."""
        # After a long run there are very many subjects to look through.
        last = await self._bus.last(EVENTS_STREAM, _OF_TASKS, timeout=_LAST_SECONDS)
        if last is not None:
            await self.wait_for(
                lambda: bool(self.all) and self.all[-1].seq >= last.seq,
                within=_LAST_SECONDS,
                what=f"the event at {last.seq}",
            )

    async def more(self, than: int, within: float = PATIENCE) -> None:
        """Wait until there are more than so many events."""
        await self.wait_for(lambda: len(self.all) > than, within, f"an event after {than}")

    async def one(
        self, name: str, task_id: str | None = None, *, within: float = PATIENCE, **filters: Any
    ) -> Seen:
        """Wait for an event of this name, task, and with these further properties (`run`, or of the payload)."""
        found = await self.some(1, name, task_id, within=within, **filters)
        return found[0]

    async def some(
        self, count: int, name: str, task_id: str | None = None, *, within: float = PATIENCE, **filters: Any
    ) -> list[Seen]:
        """Wait for at least so many."""

        def enough() -> list[Seen]:
            found = self.of(name, task_id, **filters)
            return found if len(found) >= count else []

        return await self.wait_for(enough, within, f"{count} x {name} of {task_id} {filters}")

    def of(self, name: str | None = None, task_id: str | None = None, **filters: Any) -> list[Seen]:
        """What there is so far."""
        return [
            seen
            for seen in self.all
            if (name is None or seen.name == name)
            and (task_id is None or seen.task_id == task_id)
            and all(_property(seen, key) == value for key, value in filters.items())
        ]

    def chain(self, task_id: str, run: str) -> list[str]:
        """Names of the events of one execution, in order."""
        return [seen.name for seen in self.all if seen.task_id == task_id and seen.run == run]

    def tail(self, count: int = 40) -> str:
        """The last events, for a report."""
        return "\n".join([f"--- the last of {len(self.all)} events", *map(str, self.all[-count:])])


def _property(seen: Seen, name: str) -> Any:
    return seen.run if name == "run" else getattr(seen.event, name, None)
