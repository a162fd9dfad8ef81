"""What handlers logged, as callers read it: page by page, or followed while it is logged.

A line is in the stream until it is in the table, and is purged from the stream only after that; so reading looks into
the stream first and into the table then, and finds every line that was stored, whether or not anybody has taken it in
yet. What is in both is known by its claim and number.

**Following** listens first, then reads what is there, then tells what is heard. Core NATS may lose a message, when the
connection breaks above all: a line whose number is not the next one of its claim, or a connection made anew, has what
is stored read again. It ends when the execution has ended, after one more look at what is stored.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec
import structlog
from nats.aio.msg import Msg

from gnomon_api.database import Database
from gnomon_api.event_hub import EventHub
from gnomon_api.queries import shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode
from gnomon_schemas.run_logs import LogLevel, RunLogLines

__all__ = [
    "HELD_MAX",
    "START",
    "LiveLines",
    "LogEntry",
    "LogPage",
    "LogPosition",
    "RunLogViews",
    "WantedLines",
]

_PAGE: Final = 500
HELD_MAX: Final = 2_000
"""Lines that are held for a reader who does not keep up; then they are read from where they are stored."""
_LATE_SECONDS: Final = 0.3
"""After the end of an execution: its last lines set off together with its result."""
_log = structlog.get_logger(__name__)


class LogPosition(NamedTuple):
    """Where in the lines of an execution; they are in this order."""

    claim: int
    n: int


START: Final = LogPosition(0, 0)


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a handler logged."""

    id: str
    """Tells the line from all others of its execution, and stands for its place among them."""
    attempt: int
    """From 1."""
    at: str
    """When it was logged, by the executor's clock."""
    level: LogLevel
    message: str
    details: msgspec.Raw
    """An object with what the handler gave besides the message, or null."""
    executor: str
    """Who ran it. Of an attempt that was taken over, the lines of both tries are kept."""


class LogPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the lines of an execution, in order."""

    items: tuple[LogEntry, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: there are no more lines now."""


class WantedLines(NamedTuple):
    """Which lines of an execution; None: all."""

    attempt: int | None = None
    levels: tuple[str, ...] | None = None

    def takes(self, entry: LogEntry) -> bool:
        """Whether this line is wanted."""
        return (self.attempt is None or entry.attempt == self.attempt) and (
            self.levels is None or entry.level in self.levels
        )


Following: TypeAlias = LogEntry | None
"""What a follower is given; None: nothing was logged for a while."""
_Placed: TypeAlias = tuple[LogPosition, LogEntry]


class RunLogViews:
    """Reads lines. Raises DatabaseAway while Postgres is away, BusError while NATS does not answer."""

    def __init__(self, database: Database, bus: NatsBus, hub: EventHub, partitions: int) -> None:
        self._database, self._bus, self._hub = database, bus, hub
        self._partitions = partitions

    async def page(
        self, task_id: str, run: str, *, wanted: WantedLines, after: LogPosition, limit: int
    ) -> LogPage:
        """Lines after a place."""
        found = await self._stored(task_id, run, wanted, after, limit + 1)
        shown = found[:limit]
        more = len(found) > limit
        cursor = _id(shown[-1][0]) if more else None
        return LogPage(items=tuple(entry for _, entry in shown), next_cursor=cursor)

    async def follow(
        self, task_id: str, run: str, *, wanted: WantedLines, after: LogPosition, ended: bool, idle: float
    ) -> AsyncGenerator[Following, None]:
        """Lines after a place, and those to come, until the execution has ended.

        `ended`: it has already. Yields None when nothing was logged for `idle` seconds.
        """
        live = LiveLines(self._bus)
        execution_id = f"{task_id}.{run}"
        end = self._hub.expect_end(execution_id)
        subscription = await self._bus.subscribe(subjects.live_log(task_id, run), live.take)
        self._bus.listen(live.look_again)
        try:
            told = _Told(after)
            while True:
                over = ended or end.done()
                if over and not ended:
                    await asyncio.sleep(_LATE_SECONDS)
                heard = live.heard()
                if live.missed or over or told.misses(heard):
                    live.missed = False
                    async for placed in self._read_all(task_id, run, told.last):
                        if told.is_news(placed) and wanted.takes(placed[1]):
                            yield placed[1]
                for placed in heard:
                    if told.is_news(placed) and wanted.takes(placed[1]):
                        yield placed[1]
                if over:
                    return
                if not await live.wait(end, idle):
                    yield None
        finally:
            self._bus.unlisten(live.look_again)
            self._hub.forget(execution_id, end)
            if self._bus.connected:
                await subscription.unsubscribe()

    async def _read_all(self, task_id: str, run: str, after: LogPosition) -> AsyncIterator[_Placed]:
        while True:
            found = await self._stored(task_id, run, WantedLines(), after, _PAGE)
            for placed in found:
                yield placed
            if len(found) < _PAGE:
                return
            after = found[-1][0]

    async def _stored(
        self, task_id: str, run: str, wanted: WantedLines, after: LogPosition, limit: int
    ) -> list[_Placed]:
        """Up to `limit` lines after a place, in order: of stream and table together."""
        partition = subjects.partition_of(task_id, self._partitions)
        found: dict[LogPosition, LogEntry] = {}
        async for stored in self._bus.scan(subjects.LOGS_STREAM, subjects.run_log(partition, task_id, run)):
            found |= {
                place: entry
                for place, entry in _entries(stored.data)
                if place > after and wanted.takes(entry)
            }
        levels = None if wanted.levels is None else list(wanted.levels)
        rows = await self._database.fetch(
            statement("run_log_lines"), f"{task_id}.{run}", *after, wanted.attempt, levels, limit
        )
        for row in rows:
            place = LogPosition(row["claim"], row["n"])
            found[place] = LogEntry(
                id=_id(place),
                attempt=row["attempt"],
                at=shown_instant(row["at"]) or "",
                level=row["level"],
                message=row["message"],
                details=msgspec.Raw(row["details"].encode()),
                executor=row["executor"],
            )
        return heapq.nsmallest(limit, found.items())


class LiveLines:
    """What is heard of one execution."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self._queue: list[_Placed] = []
        self._arrived = asyncio.Event()
        self.missed = True
        """What is stored must be read: nothing has been so far, or something was not heard."""

    async def take(self, message: Msg) -> None:
        """Lines have been stored."""
        self._queue += _entries(message.data)
        if len(self._queue) > HELD_MAX:
            self._queue.clear()
            self.missed = True
        self._arrived.set()

    def look_again(self) -> None:
        """The connection broke or came back."""
        if self._bus.connected:
            self.missed = True
            self._arrived.set()

    def heard(self) -> list[_Placed]:
        """What has been heard since the last time."""
        heard, self._queue = self._queue, []
        self._arrived.clear()
        return heard

    async def wait(self, end: asyncio.Future[int], seconds: float) -> bool:
        """Wait until something is heard or the execution ends; False when nothing happened for so long."""
        end.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return False
        finally:
            end.remove_done_callback(self._ended)
        return True

    def _ended(self, _: asyncio.Future[int]) -> None:
        self._arrived.set()


class _Told:
    """What a follower has been given: of each claim the last number."""

    def __init__(self, after: LogPosition) -> None:
        self._last = {after.claim: after.n}

    @property
    def last(self) -> LogPosition:
        """The last line of the newest claim."""
        claim = max(self._last)
        return LogPosition(claim, self._last[claim])

    def misses(self, heard: Sequence[_Placed]) -> bool:
        """Whether there are lines before one of these that have neither been seen nor are among them."""
        last = dict(self._last)
        for (claim, n), _ in heard:
            if n > last.get(claim, 0) + 1:
                return True
            last[claim] = max(n, last.get(claim, 0))
        return False

    def is_news(self, placed: _Placed) -> bool:
        """Whether this line has not been seen; from now on it has."""
        claim, n = placed[0]
        if n <= self._last.get(claim, 0):
            return False
        self._last[claim] = n
        return True


def _entries(data: bytes) -> Sequence[_Placed]:
    """The lines of a message; none where it cannot be read, which the keeper tells of."""
    try:
        told = decode(data, RunLogLines)
    except (msgspec.DecodeError, RecursionError) as error:
        _log.debug(LogEvent.EVENT_UNREADABLE, error=str(error))
        return ()
    found = []
    for line in told.lines:
        place = LogPosition(told.claim, line.n)
        entry = LogEntry(
            id=_id(place),
            attempt=told.attempt,
            at=line.at,
            level=line.level,
            message=line.message,
            details=line.details,
            executor=told.executor,
        )
        found.append((place, entry))
    return found


def _id(place: LogPosition) -> str:
    return f"{place.claim}-{place.n}"
