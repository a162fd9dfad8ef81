"""What is being recorded, live: one follower of `TASKS` per process, and everyone here who wants to hear.

*Readers* are the open connections to /events. Each has a queue with a limit; one that does not keep up is cut
off rather than buffered for ever, and comes back with its `Last-Event-ID`. *Waiters* wait for the end of one
execution (`?wait=`).

A reader that resumes first reads the stream from where it was, and joins the hub once it has read everything
that the hub has seen. Between that look and the joining there is no await, so nothing falls in between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Final, NamedTuple, TypeAlias

import msgspec
import structlog
from nats.aio.msg import Msg
from typing_extensions import override

from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import kv_get
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.codec import decode
from gnomon_schemas.events import TERMINAL
from gnomon_schemas.members import PurgeFloor
from gnomon_schemas.subjects import ACCOUNTS_BUCKET, EVENTS_FILTER, EVENTS_STREAM, PURGE_FLOOR_KEY, progress

__all__ = ["EventHub", "EventReader", "Gap", "LiveEvent", "Reading", "Wanted", "live_event"]

_PROGRESS_KEPT: Final = 10_000
_log = structlog.get_logger(__name__)


class _Owner(msgspec.Struct):
    user_id: str | None = None


class _Progress(msgspec.Struct, omit_defaults=True):
    """What a running handler tells of itself."""

    fraction: float
    message: str = ""
    execution_id: str = ""
    attempt: int = 0
    at: str = ""
    user_id: str | None = None


_decode_progress = msgspec.json.Decoder(_Progress).decode
_decode_owner = msgspec.json.Decoder(_Owner).decode


class LiveEvent(NamedTuple):
    """An event as readers get it."""

    seq: int | None
    """Sequence in `TASKS`; None for what is not stored (progress)."""
    name: str
    """`task.executed` and the like, as on the live subject."""
    task_id: str
    run: str
    data: bytes

    @property
    def user_id(self) -> str | None:
        """Whose task it is."""
        return _decode_owner(self.data).user_id


class Gap(NamedTuple):
    """Some of what a reader missed is gone: what follows begins at `first`."""

    after: int
    """The last event that the reader has."""
    first: int


Reading: TypeAlias = LiveEvent | Gap | None
"""What a reader is given; None: nothing has happened for a while."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a reader wants; None: all."""

    names: frozenset[str] | None = None
    """Without the kind: `executed`."""
    task_ids: frozenset[str] | None = None
    user_id: str | None = None

    def takes(self, event: LiveEvent) -> bool:
        """Whether the reader wants this event."""
        if self.names is not None and event.name.partition(".")[2] not in self.names:
            return False
        if self.task_ids is not None and event.task_id not in self.task_ids:
            return False
        return self.user_id is None or event.user_id == self.user_id


def live_event(stored: Stored) -> LiveEvent:
    """A stored event as readers get it."""
    kind, name, _, task_id, run = stored.subject.split(".")
    return LiveEvent(stored.seq, f"{kind}.{name}", task_id, run, stored.data)


class EventReader:
    """One reader's queue. `take` gives what has arrived; it ends with an empty list when the reader was
    cut."""

    def __init__(self, wanted: Wanted, limit: int) -> None:
        self.wanted = wanted
        self._limit = limit
        self._queue: deque[LiveEvent] = deque()
        self._arrived = asyncio.Event()
        self.after = 0
        """Events up to this sequence have been read from the stream."""
        self.cut = False
        """It was too slow, or the process is stopping."""

    def offer(self, event: LiveEvent) -> None:
        """Queue an event that the reader wants; cuts a reader whose queue is full."""
        if self.cut or (event.seq is not None and event.seq <= self.after) or not self.wanted.takes(event):
            return
        if len(self._queue) >= self._limit:
            _log.info(LogEvent.READER_CUT, waiting=len(self._queue))
            self.close()
            return
        self._queue.append(event)
        self._arrived.set()

    def close(self) -> None:
        """End the reader."""
        self.cut = True
        self._queue.clear()
        self._arrived.set()

    async def take(self, *, within: float) -> list[LiveEvent]:
        """What has arrived; empty when nothing came `within` seconds, or when it is `cut`."""
        if not self._queue and not self.cut:
            try:
                async with asyncio.timeout(within):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        events = list(self._queue)
        self._queue.clear()
        if not self.cut:
            self._arrived.clear()
        return events


class EventHub(Service):
    """Follows the event log from now on, and hands every event to whoever wants it."""

    def __init__(
        self,
        bus: NatsBus,
        *,
        reader_limit: int = 2000,
        on_readers: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`reader_limit`: events that wait for one reader; `on_readers` hears how many there are."""
        super().__init__("events")
        self._on_readers = on_readers
        self._bus = bus
        self._limit = reader_limit
        self._open: set[EventReader] = set()
        self._readers: set[EventReader] = set()
        """Those that hear live events; a reader that resumes reads the stream first."""
        self._waiters: dict[str, set[asyncio.Future[int]]] = {}
        self._follower: Follower | None = None
        self._progress: dict[str, bytes] = {}
        self.position = 0
        """Sequence of the last event seen; 0 before the first."""

    @property
    def readers(self) -> int:
        """How many readers are connected."""
        return len(self._open)

    @override
    async def on_start(self) -> None:
        """Follow from the stream's present end."""
        begun = (await self._bus.stream_info(EVENTS_STREAM)).last_seq
        self.position = 0
        self._follower = Follower(
            self._bus,
            EVENTS_STREAM,
            [EVENTS_FILTER],
            start_seq=begun + 1,
            handler=self._take,
            name="events:follower",
        )
        await self.start_child(self._follower)
        self._heard = await self._bus.subscribe(progress("*", "*"), self._take_progress)

    @override
    async def on_stop(self) -> None:
        """End whoever still reads or waits."""
        await self._heard.unsubscribe()
        self.end_readers()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.cancel()

    def end_readers(self) -> None:
        """End all readers, before HTTP waits for its open requests; they come back to another process."""
        for reader in list(self._open):
            reader.close()

    def progress_of(self, execution_id: str) -> bytes | None:
        """The last progress that a running execution has told, as JSON; None when it told none."""
        return self._progress.get(execution_id)

    def expect_end(self, execution_id: str) -> asyncio.Future[int]:
        """A future for the sequence of the event that ends an execution; to be `forget`-ed afterwards."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(execution_id, set()).add(future)
        return future

    def forget(self, execution_id: str, future: asyncio.Future[int]) -> None:
        """Nobody waits for this any more."""
        waiters = self._waiters.get(execution_id, set())
        waiters.discard(future)
        if not waiters:
            self._waiters.pop(execution_id, None)

    def connect(self, wanted: Wanted, *, live: bool) -> EventReader:
        """A reader for one connection; with `live` it hears everything from this moment on. `read` ends it."""
        reader = EventReader(wanted, self._limit)
        self._open.add(reader)
        self._on_readers(len(self._open))
        if live:
            self._readers.add(reader)
        return reader

    async def read(
        self, reader: EventReader, *, after: int | None, idle: float
    ) -> AsyncGenerator[Reading, None]:
        """What a reader is given: with `after`, what is stored after it and then what is live.

        Yields `Gap` first where some of what was stored is gone, and None when nothing happened for `idle`
        seconds. Ends when the reader was too slow or the process stops. Raises BusError.
        """
        try:
            if after is not None:
                async for reading in self._resume(reader, after):
                    yield reading
            while not reader.cut:
                events = await reader.take(within=idle)
                for event in events:
                    yield event
                if not events and not reader.cut:
                    yield None
        finally:
            self._readers.discard(reader)
            self._open.discard(reader)
            self._on_readers(len(self._open))

    async def _resume(self, reader: EventReader, after: int) -> AsyncIterator[Reading]:
        following = after + 1
        floor = await self._floor()
        last = (await self._bus.stream_info(EVENTS_STREAM)).last_seq
        if following < floor or after > last:
            # Beyond the end: an id of another stream, whose events nobody here ever had.
            first = floor if following < floor else last + 1
            yield Gap(after=after, first=first)
            following = first
        while not reader.cut:
            target = self.position
            seen_all = self.position if self.position >= following else 0
            async for stored in self._bus.scan(
                EVENTS_STREAM, EVENTS_FILTER, start_seq=following, at_least_seq=seen_all
            ):
                following = stored.seq + 1
                event = live_event(stored)
                if reader.wanted.takes(event):
                    yield event
            following = max(following, target + 1)
            if self.position < following:
                # Everything up to the hub's position has been read, and nothing is awaited before this. What
                # was read ahead of the hub comes by it once more.
                reader.after = following - 1
                self._readers.add(reader)
                return

    async def _floor(self) -> int:
        """Events below this sequence may have been purged."""
        entry = await kv_get(self._bus, ACCOUNTS_BUCKET, PURGE_FLOOR_KEY)
        return 0 if entry is None else decode(entry.value, PurgeFloor).sequence

    async def _take(self, batch: list[Stored]) -> None:
        for stored in batch:
            self.position = stored.seq
            if self._readers or self._waiters or self._progress:
                self._spread(live_event(stored))

    def _spread(self, event: LiveEvent) -> None:
        for reader in self._readers:
            reader.offer(event)
        if event.name.partition(".")[2] in TERMINAL:
            execution_id = f"{event.task_id}.{event.run}"
            self._progress.pop(execution_id, None)
            for waiter in self._waiters.pop(execution_id, ()):
                if not waiter.done():
                    waiter.set_result(event.seq or 0)

    async def _take_progress(self, message: Msg) -> None:
        task_id, run = message.subject.split(".")[2:]
        # Anyone with permission may publish there, and it is shown inside of our own JSON.
        told = msgspec.json.encode(_decode_progress(message.data))
        self._progress[f"{task_id}.{run}"] = told
        if len(self._progress) > _PROGRESS_KEPT:
            self._progress.pop(next(iter(self._progress)))
        event = LiveEvent(None, "task.progress", task_id, run, told)
        for reader in list(self._readers):
            reader.offer(event)
