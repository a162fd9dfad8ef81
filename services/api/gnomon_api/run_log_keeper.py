"""Taking what handlers log out of its stream into Postgres. One api process at a time has the duty (a lease).

**What it promises.** Every line that was stored in `TASK_LOGS` is in `run_logs` once, whoever is killed when. The
position is in the database, in the transaction of the lines that it stands for, and a line that comes again (it was
published twice, or read twice) is known by its execution, claim and number. So two keepers at work at once do no harm
either.

**Not one by one.** After a write it lets lines gather for `_GATHER_SECONDS`: a transaction costs as much as a hundred
lines in it. Nobody waits for that, since whoever reads or follows finds them in the stream.

**When Postgres is away** the batch in hand is tried again until it is back. Meanwhile lines wait in the stream, which
holds three days or 256 MiB of them; beyond that the oldest are gone, and the keeper says between which sequences.

**What is taken is purged** from the stream, every few seconds. Whoever reads looks into the stream first and into the
table then, so a line is always in one of the two. Lines leave the table by their age.

A message that cannot be read or stored is skipped and logged: nobody else's lines wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import asyncpg
import msgspec
import structlog
from typing_extensions import override

from gnomon_api.database import Database, DatabaseAway
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.follower import Follower
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.clock_text import EPOCH, parse_instant
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.run_logs import RunLogLines
from gnomon_schemas.subjects import LOGS_FILTER, LOGS_STREAM

__all__ = ["RunLogKeeper", "StoredLines", "lines_of"]

_PURGE_EVERY_SECONDS: Final = 10.0
_FORGET_EVERY_SECONDS: Final = 600.0
_FORGET_AT_ONCE: Final = 20_000
_GATHER_SECONDS: Final = 0.2
_MANY: Final = 1_000
"""Messages: after so many in one write it is behind, and goes on at once."""
_UNFIT: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError)
"""What Postgres says of a value that it does not take."""
_BIGINT: Final = 2**63 - 1
_INTEGER: Final = 2**31 - 1

_log = structlog.get_logger(__name__)


_NONE: Final[tuple[tuple[()], ...]] = ((),) * 6
"""The columns of no messages."""
_instant: Final = lru_cache(maxsize=1024)(parse_instant)
"""A handler logs many lines within a millisecond."""


class _Line(msgspec.Struct):
    """A line as the statement takes it."""

    n: int
    at: datetime
    level: str
    message: str
    details: str


class StoredLines(NamedTuple):
    """The lines of a message, in the order in which the statement takes them."""

    execution_id: str
    claim: int
    attempt: int
    executor: str
    stored_at: datetime
    lines: str
    """As JSON: Postgres makes rows of them for a fifth of what it costs to hand them over one by one."""


def lines_of(stored: Stored) -> StoredLines:
    """The lines of a message. Raises ValueError, msgspec.DecodeError, or RecursionError where it is none.

    Executors write them, but what stands in the table must be readable whoever wrote it.
    """
    told = decode(stored.data, RunLogLines)
    _, _, task_id, run = stored.subject.split(".")
    if told.execution_id != f"{task_id}.{run}":
        raise ValueError(f"lines of {told.execution_id!r} under {stored.subject!r}")
    if not (0 <= told.claim <= _BIGINT and 0 <= told.attempt <= _INTEGER):
        raise ValueError(f"claim={told.claim}, attempt={told.attempt}")
    lines = []
    for line in told.lines:
        if not 0 < line.n <= _INTEGER:
            raise ValueError(f"line {line.n}")
        details = bytes(line.details).decode()
        lines.append(_Line(line.n, _instant(line.at), line.level, _plain(line.message), details))
    stored_at = EPOCH + timedelta(milliseconds=stored.time_ms)
    return StoredLines(
        told.execution_id, told.claim, told.attempt, _plain(told.executor), stored_at, encode(lines).decode()
    )


def _readable(batch: Sequence[Stored]) -> list[StoredLines]:
    """The lines of the messages that can be read."""
    found = []
    for stored in batch:
        try:
            found.append(lines_of(stored))
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            _log.error(LogEvent.EVENT_UNREADABLE, subject=stored.subject, seq=stored.seq, error=str(error))
    return found


def _plain(text: str) -> str:
    """Text as Postgres can hold it."""
    return text.replace("\0", "\ufffd")


class RunLogKeeper(Service):
    """Takes lines in while its process has the duty: started when the lease is gained, stopped when lost."""

    def __init__(self, bus: NatsBus, database: Database, clock: Clock, *, retention_seconds: float) -> None:
        """`retention_seconds`: how long lines stay in the table."""
        super().__init__("run-log-keeper")
        self._bus, self._database, self._clock = bus, database, clock
        self._retention = timedelta(seconds=retention_seconds)
        self._created = ""
        self._taken = 0
        """Last sequence whose lines are in the table."""
        self._purged = 0
        self._stopping = asyncio.Event()

    @override
    async def on_start(self) -> None:
        """Begin to take lines in; ready at once, since the database may be away."""
        self._stopping.clear()
        _ = self.spawn(self._run(), "take")
        _ = self.spawn(self._forget(), "forget")

    @override
    async def on_stop(self) -> None:
        """Wait for no database any more: whoever has the duty next takes the same lines."""
        self._stopping.set()

    async def _run(self) -> None:
        backoff = Backoff(first=0.1, longest=2.0)
        while True:
            try:
                start = await self._begin()
                break
            except (DatabaseAway, BusError) as error:
                _log.info(LogEvent.RUN_LOG_WAITS, error=f"{type(error).__name__}: {error}")
                await backoff.pause()
        follower = Follower(
            self._bus,
            LOGS_STREAM,
            [LOGS_FILTER],
            start_seq=start,
            handler=self._take,
            name="run-log-keeper:follower",
            headers=False,
        )
        await self.start_child(follower)
        while True:
            await asyncio.sleep(_PURGE_EVERY_SECONDS)
            await self._purge()

    async def _begin(self) -> int:
        """From which sequence on to take lines in. Raises DatabaseAway, BusError."""
        info = await self._bus.stream_info(LOGS_STREAM)
        row = await self._database.fetchrow(statement("run_log_position"))
        self._created, self._taken = info.created, 0
        if row is not None and row["stream_created"] == info.created and row["sequence"] <= info.last_seq:
            self._taken = row["sequence"]
        else:
            # A stream made anew, or one that lost its end: its lines have other sequences than those taken before.
            await self._database.execute(statement("begin_run_logs"), info.created, 0)
        self._purged = self._taken
        if row is not None and self._taken and info.first_seq > self._taken + 1:
            _log.error(LogEvent.RUN_LOG_LOST, after=self._taken, first=info.first_seq)
        return self._taken + 1

    async def _take(self, batch: list[Stored]) -> None:
        """Take a batch in, as often as it needs to be tried; then let the next one grow."""
        parts = [batch]
        backoff = Backoff(first=0.1, longest=2.0)
        while not self._stopping.is_set():
            try:
                for part in parts:
                    await self._write(part, alone=len(parts) > 1)
            except DatabaseAway as error:
                if backoff.attempts == 0:
                    _log.warning(LogEvent.RUN_LOG_WAITS, error=str(error))
                await backoff.pause()
            except _UNFIT:
                parts = [[stored] for stored in batch]
            else:
                self._taken = batch[-1].seq
                if len(batch) < _MANY:
                    await self._let_gather()
                return

    async def _write(self, batch: Sequence[Stored], *, alone: bool) -> None:
        """The lines of some messages, and the position behind them, in one transaction.

        A message that is `alone` and does not fit is left out. Raises DatabaseAway, asyncpg's errors.
        """
        told = _readable(batch)
        columns = zip(*told, strict=True) if told else _NONE
        last = batch[-1]
        try:
            await self._database.execute(statement("add_run_logs"), self._created, last.seq, *columns)
        except _UNFIT as error:
            if not alone and len(batch) > 1:
                raise
            _log.error(LogEvent.EVENT_UNREADABLE, subject=last.subject, seq=last.seq, error=str(error))

    async def _let_gather(self) -> None:
        try:
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _purge(self) -> None:
        """Take out of the stream what is in the table."""
        if self._taken <= self._purged:
            return
        taken = self._taken
        try:
            await self._bus.purge(LOGS_STREAM, up_to_seq=taken + 1)
        except BusError as error:
            _log.debug(LogEvent.NATS_ERROR, error=repr(error))  # the next round does it
            return
        self._purged = taken

    async def _forget(self) -> None:
        """Lines that have reached their age leave the table, some at a time."""
        while True:
            oldest = EPOCH + timedelta(milliseconds=self._clock.now_ms()) - self._retention
            try:
                gone = _FORGET_AT_ONCE
                while gone == _FORGET_AT_ONCE:
                    gone = await self._forget_some(oldest)
            except DatabaseAway as error:
                _log.debug(LogEvent.RUN_LOG_KEPT, error=str(error))
            await asyncio.sleep(_FORGET_EVERY_SECONDS)

    async def _forget_some(self, oldest: datetime) -> int:
        row = await self._database.fetchrow(statement("forget_run_logs"), oldest, _FORGET_AT_ONCE)
        assert row is not None, "a count always answers"
        return int(row["gone"])
