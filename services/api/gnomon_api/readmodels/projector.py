"""The projector: follows `TASKS` and keeps the read models up to date. One at a time among the api processes.

**What it promises.** Every event of the stream is in the archive and in the rows exactly once, whatever is
killed when. The position is in the database, in the same transaction as what it stands for; the projector
starts from it and from nothing else. The lease keeps two projectors apart; should two work at once all the
same, the guard on the position lets one of them change nothing (see `writer`).

**When Postgres is away** the batch in hand is tried again until it is back: the follower waits, nothing is
taken meanwhile, and commands flow on without it.

**What it refuses**, in words that readiness repeats, since going on would leave holes that nobody sees:

* a database that stands for another stream (`stream created` differs);
* a position beyond the stream's end: the stream lost what the database has;
* a position below the purge floor: events that it never saw are gone.

It looks again every few seconds, so that mending the cause is enough.

Every hour it removes what has been over for longer than it is to be kept (see `retention`), between two batches.

After each commit the position is told: in this process, and to all others under `PROJECTOR_KEY`. The janitor
purges nothing beyond it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import asyncpg
import structlog
from typing_extensions import override

from gnomon_api.database import AWAY
from gnomon_api.measures import ApiMeasures
from gnomon_api.readmodels.migrate import MigrationError, migrate
from gnomon_api.readmodels.pipeline import WritePipeline
from gnomon_api.readmodels.retention import Retention, Rounds
from gnomon_api.readmodels.statements import statement
from gnomon_api.readmodels.writer import (
    WRITER_SETTINGS,
    Connection,
    Deposed,
    Position,
    ReadModelWriter,
    Unreadable,
)
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock, SystemClock
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.kv import kv_get, kv_put
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.members import ProjectorPosition, PurgeFloor
from gnomon_schemas.subjects import (
    ACCOUNTS_BUCKET,
    EVENTS_FILTER,
    EVENTS_STREAM,
    PROJECTOR_KEY,
    PURGE_FLOOR_KEY,
)

__all__ = ["Projector", "ProjectorRefused"]

_LOOK_AGAIN_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 60.0
_LAST_BATCH_SECONDS = 5.0
_LOOK_FOR_OLD_SECONDS = 3600.0
_log = structlog.get_logger(__name__)


class ProjectorRefused(Exception):
    """The read models cannot be continued from where they are; the text says why and what to do."""


class Projector(Service):
    """Projects while its process holds the projector's lease: started when it is gained, stopped when lost.

    `on_position` is called after each commit, and must neither raise nor block.
    """

    def __init__(
        self,
        bus: NatsBus,
        dsn: str,
        stream_created: str,
        *,
        on_position: Callable[[ProjectorPosition], None],
        measures: ApiMeasures,
        retention: Retention | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__("projector")
        self._bus = bus
        self._dsn = dsn
        self._created = stream_created
        self._on_position = on_position
        self._measures = measures
        self._rounds, self._clock = Rounds(retention or Retention()), clock or SystemClock()
        self._told: ProjectorPosition | None = None
        self._tell = asyncio.Event()
        self._stop = asyncio.Event()
        self._end = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._pipeline: WritePipeline | None = None
        self._broken: BaseException | None = None
        self.trouble: str | None = None
        """What keeps it from projecting, in words; None while it projects or is not this process's duty."""

    @override
    async def on_start(self) -> None:
        """Begin to project; ready at once, since the database may be away."""
        self._stop.clear()
        self._tell.clear()
        self._running = self.spawn(self._run(), "project")
        _ = self.spawn(self._announce(), "announce")

    @override
    async def on_stop(self) -> None:
        """Take no further batch, and let the one in hand commit; a database that hangs is not waited for."""
        self._stop.set()
        self._end.set()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=_LAST_BATCH_SECONDS)
        self.trouble = None

    async def _run(self) -> None:
        backoff = Backoff(first=0.1, longest=_LOOK_AGAIN_SECONDS)
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                await self._project()
            except AWAY as error:
                self._troubled(f"Postgres is away: {type(error).__name__}: {error}")
            except (ProjectorRefused, MigrationError) as error:
                self._troubled(str(error))
            except (Deposed, asyncpg.PostgresError) as error:
                self._troubled(f"{type(error).__name__}: {error}")
            except BusError as error:
                self._troubled(f"NATS does not answer: {error}")
            except Exception as error:  # noqa: BLE001 - logged whole and told by readiness; the api serves on
                _log.exception(LogEvent.PROJECTOR_WAITS, why=repr(error))
                self.trouble = repr(error)
            if time.monotonic() - begun > _LOOK_AGAIN_SECONDS * 2:
                backoff.reset()
            await self._pause(backoff.delay())

    def _troubled(self, why: str) -> None:
        if why != self.trouble:
            _log.warning(LogEvent.PROJECTOR_WAITS, why=why)
        self.trouble = why

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    async def _project(self) -> None:
        """Connect, check, follow, until something breaks (raises) or the duty ends."""
        # Before the first await: a stop that comes while it connects is to be seen when it follows.
        self._end.clear()
        self._broken = None
        await migrate(self._dsn, timeout=_CONNECT_SECONDS)
        async with AsyncExitStack() as ending:
            connection = await self._connect(ending)
            position = await self._begin(connection)
            writer = ReadModelWriter(connection, position, reader=await self._connect(ending))
            self._commit_told(position)
            self._pipeline = WritePipeline(writer, partial(self._written, writer), self._failed)
            follower = Follower(
                self._bus,
                EVENTS_STREAM,
                [EVENTS_FILTER],
                start_seq=position.sequence + 1,
                handler=self._take,
                name="projector:follower",
            )
            ending.push_async_callback(self._pipeline.close)
            ending.push_async_callback(follower.stop)
            await follower.start()
            self.trouble = None
            _log.info(LogEvent.PROJECTOR_RUNS, sequence=position.sequence)
            await self._watch(follower, connection)

    async def _connect(self, ending: AsyncExitStack) -> Connection:
        connection = await asyncpg.connect(
            self._dsn,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            server_settings={**WRITER_SETTINGS, "application_name": "gnomon-projector"},
        )
        ending.callback(connection.terminate)
        return connection

    async def _watch(self, follower: Follower, connection: Connection) -> None:
        """Wait until the duty ends, a batch fails (raises why), or the connection to Postgres breaks."""
        look_for_old = time.monotonic()
        failing = asyncio.create_task(follower.failed(), name="projector:follower-failed")
        ending = asyncio.create_task(self._end.wait(), name="projector:end")
        try:
            while True:
                await asyncio.wait({failing, ending}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                if failing.done():
                    raise failing.result()
                if self._broken is not None:
                    raise self._broken
                if ending.done():
                    return
                if connection.is_closed():
                    raise ConnectionError("the connection to Postgres was closed")
                if time.monotonic() >= look_for_old:
                    await self._remove_old()
                    look_for_old = time.monotonic() + _LOOK_FOR_OLD_SECONDS
        finally:
            failing.cancel()
            ending.cancel()

    async def _remove_old(self) -> None:
        """Remove what has been over for longer than it is kept."""
        assert self._pipeline is not None, "there is one while it follows"
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        for removal in self._rounds.due(now):
            if not self._rounds.is_needed(removal):
                continue
            gone = await self._pipeline.remove(removal)
            self._rounds.tried(removal, gone)
            if gone:
                _log.info(
                    LogEvent.OLD_REMOVED, what=removal.what, before=removal.before.isoformat(), rows=gone
                )

    async def _begin(self, connection: Connection) -> Position:
        """The position to go on from. Raises ProjectorRefused."""
        await connection.execute(statement("begin_position"), self._created)
        row = await connection.fetchrow(statement("read_position"))
        assert row is not None, "it has just been put there"
        position = Position(*row.values())
        if position.stream_created != self._created:
            raise ProjectorRefused(
                f"the read models stand for the stream of {position.stream_created}, and this one is of "
                f"{self._created}: give this NATS a database of its own, or bring back the other NATS"
            )
        info = await self._bus.stream_info(EVENTS_STREAM)
        if position.sequence > info.last_seq:
            raise ProjectorRefused(
                f"the read models stand at {position.sequence}, and the stream ends at {info.last_seq}: NATS "
                "has lost events; restore its newer data, or begin with an empty database"
            )
        floor = await self._purge_floor()
        if position.sequence + 1 < floor:
            raise ProjectorRefused(
                f"the read models stand at {position.sequence}, and events below {floor} have been purged: "
                "restore a database that reaches further, the archive in it is the only copy"
            )
        return position

    async def _purge_floor(self) -> int:
        entry = await kv_get(self._bus, ACCOUNTS_BUCKET, PURGE_FLOOR_KEY)
        if entry is None:
            return 0
        floor = decode(entry.value, PurgeFloor)
        return floor.sequence if floor.created == self._created else 0

    async def _take(self, batch: list[Stored]) -> None:
        """Hand a batch over. After an error all that this follower still brings is dropped: the next one starts
        from what the database holds."""
        if self._broken is not None or self._pipeline is None:
            return
        try:
            await self._pipeline.put(batch)
        except (*AWAY, Deposed, asyncpg.PostgresError) as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._broken = error
        self._end.set()

    def _written(
        self, writer: ReadModelWriter, batch: Sequence[Stored], unreadable: list[Unreadable], seconds: float
    ) -> None:
        for one in unreadable:
            _log.error(LogEvent.EVENT_UNREADABLE, subject=one.subject, seq=one.seq, error=one.why)
        self._measures.projected(batch, seconds, len(unreadable))
        self._commit_told(writer.position)

    def _commit_told(self, position: Position) -> None:
        self._told = ProjectorPosition(
            created=position.stream_created,
            sequence=position.sequence,
            time=format_instant(position.time),
        )
        self._on_position(self._told)
        self._tell.set()

    async def _announce(self) -> None:
        """Publish the newest position; commits that come faster than the broker answers are told as one."""
        backoff = Backoff(first=0.05, longest=2.0)
        while True:
            await self._tell.wait()
            self._tell.clear()
            assert self._told is not None
            try:
                await kv_put(self._bus, ACCOUNTS_BUCKET, PROJECTOR_KEY, encode(self._told))
                backoff.reset()
            except BusError as error:
                _log.debug(LogEvent.NATS_ERROR, error=repr(error))
                self._tell.set()
                await backoff.pause()
