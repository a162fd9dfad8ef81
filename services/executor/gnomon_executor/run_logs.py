"""Lines that handlers log, on their way into `TASK_LOGS`.

**What it promises.** A line is stored within about a tenth of a second, and lines that were logged before a handler
ended set off together with its result, or some hundredths of a second later where many end. A line that was stored is
kept. What a process that is killed had not sent yet is gone with it: at most the last tenth of a second.

**In rounds.** Whatever is due, of all attempts, sets off in one write, and a round begins no sooner than
`_PACE_SECONDS` after the one before: a message sent alone wakes the broker, and whoever follows, for itself. A round
does not wait for the answers to the one before, since a busy broker takes its time; but of one attempt there is one
message on its way at a time, so what is stored of it is in order.

**What it never does** is hold up a run or fail it. While NATS is away lines wait here, up to `HELD_MAX` bytes in the
whole process; beyond that they are lost, and the next line of that attempt that is kept says how many were.

**Told twice.** A publish without an answer is sent again, so a line may be stored twice, under the same number.
Whoever reads knows a line by its execution, claim and number.

All of it lives on the main loop; handlers hand lines over from wherever they run. A number is given here and not where
the line was logged, since a handler may log from several threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gnomon_core.runtime.backoff import Backoff
from gnomon_core.runtime.bus import Bus, BusError
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_executor.attempt import Attempt
from gnomon_executor.handler_log import LogLine, LogSink
from gnomon_executor.mailbox import Mailbox
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.run_logs import RunLogLine, RunLogLines

__all__ = ["HELD_MAX", "RunLogs"]

HELD_MAX: Final = 16 * 1024 * 1024
"""Bytes of lines that wait in this process, at the most."""
_LINGER_SECONDS: Final = 0.1
"""Lines wait so long for others of the same attempt: each message costs the broker a write to its disk."""
_PACE_SECONDS: Final = 0.02
"""From one round to the next, at the least."""
_MESSAGE_BYTES: Final = 128 * 1024
"""Lines of one message, at the most, not counting the last one."""
_AT_ONCE: Final = 1_000
"""Messages on their way at a time, at the most."""
_LAST_BREATH_SECONDS: Final = 2.0

_log = structlog.get_logger(__name__)


class _AttemptLines:
    """What one attempt has logged and is not stored yet."""

    __slots__ = ("attempt", "due", "last", "lost", "waiting")

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.due = 0.0
        """By the loop's clock: when what waits is to be sent."""
        self.last = 0
        """Number of the last line."""
        self.lost = 0
        """Lines that there was no room for, since the last one that was kept."""
        self.waiting: list[tuple[int, RunLogLine]] = []
        """Each with its size."""

    def add(self, line: LogLine, size: int) -> None:
        """Number a line, and let it wait."""
        self.last += 1
        written = RunLogLine(
            n=self.last,
            at=format_instant(line.at_ms),
            level=line.level,
            message=line.message,
            details=line.details,
        )
        self.waiting.append((size, written))

    def take(self) -> list[tuple[int, RunLogLine]]:
        """What fits into one message."""
        size = count = 0
        while count < len(self.waiting) and size < _MESSAGE_BYTES:
            size += self.waiting[count][0]
            count += 1
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken


class RunLogs(Service):
    """Stores what the handlers of one executor log. `count` hears of lines that were stored, and of lost ones."""

    def __init__(
        self, bus: Bus, executor_id: str, count: Callable[[int, int], None] = lambda _stored, _lost: None
    ) -> None:
        super().__init__("run-logs")
        self._bus = bus
        self._id = executor_id
        self._count = count
        self._unsent: dict[int, _AttemptLines] = {}
        """Attempts with lines that wait, by identity: two tries of one attempt may run in this process."""
        self._on_way: dict[int, _AttemptLines] = {}
        """Attempts with a message on its way. Further lines of theirs wait for its answer."""
        self._held = 0
        self._fault: str | None = None
        """What the broker said when it took a message not, until it is tried again."""
        self._backoff = Backoff(first=0.1, longest=2.0)
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def on_start(self) -> None:
        """Able to take lines."""
        self._loop = asyncio.get_running_loop()
        self._lines: Mailbox[tuple[_AttemptLines, LogLine]] = Mailbox(self._loop, self._take)
        _ = self.spawn(self._send(), "send")

    async def on_stop(self) -> None:
        """Send what is left; a broker that is away is not waited for long."""
        for lines in [*self._unsent.values(), *self._on_way.values()]:
            lines.due = 0.0
        self._hurry.set()
        try:
            async with asyncio.timeout(_LAST_BREATH_SECONDS):
                await self._idle.wait()
        except TimeoutError:
            left = sum(len(lines.waiting) for lines in self._unsent.values())
            _log.warning(LogEvent.RUN_LOG_LOST, lines=left)

    def sink(self, attempt: Attempt) -> LogSink:
        """Where the lines of an attempt's handler go. It may be called from any thread."""
        lines, put = _AttemptLines(attempt), self._lines.put
        return lambda line: put((lines, line))

    def send_soon(self, attempt: Attempt) -> None:
        """Do not wait for more: the attempt's handler has ended."""
        lines = self._unsent.get(id(attempt)) or self._on_way.get(id(attempt))
        if lines is not None:
            lines.due = 0.0
            self._hurry.set()

    def _take(self, item: tuple[_AttemptLines, LogLine]) -> None:
        lines, line = item
        size = line.size
        if self._held + size > HELD_MAX:
            lines.lost += 1
            self._count(0, 1)
            return
        if not lines.waiting:
            lines.due = self._loop.time() + _LINGER_SECONDS
        if lines.lost:
            words = f"{lines.lost} lines are missing here: NATS did not take them, and there was no more room"
            self._held += len(words)
            lines.add(LogLine(line.at_ms, "warning", words), len(words))
            lines.lost = 0
        self._held += size
        lines.add(line, size)
        if id(lines.attempt) not in self._on_way:
            self._wait(lines)

    def _wait(self, lines: _AttemptLines) -> None:
        """An attempt's lines wait to be sent."""
        self._unsent[id(lines.attempt)] = lines
        self._idle.clear()
        self._some.set()

    async def _send(self) -> None:
        began = 0.0
        while True:
            await self._some.wait()
            await self._until_due()
            await asyncio.sleep(max(0.0, began + _PACE_SECONDS - self._loop.time()))
            if self._fault is not None:
                if self._backoff.attempts == 0:
                    _log.warning(LogEvent.RUN_LOG_WAITS, error=self._fault, bytes=self._held)
                await self._backoff.pause()
                self._fault = None
            await self._room.wait()
            began = self._loop.time()
            self._hurry.clear()
            self._begin_round(began)

    async def _until_due(self) -> None:
        """Wait until the first lines are due, or some are in a hurry."""
        first = min(lines.due for lines in self._unsent.values())
        try:
            async with asyncio.timeout_at(first):
                await self._hurry.wait()
        except TimeoutError:
            return

    def _begin_round(self, now: float) -> None:
        """Have what is due sent, a message of each attempt."""
        room = _AT_ONCE - len(self._on_way)
        due = [lines for lines in self._unsent.values() if lines.due <= now][:room]
        for lines in due:
            self._on_way[id(lines.attempt)] = self._unsent.pop(id(lines.attempt))
        if not self._unsent:
            self._some.clear()
        if len(self._on_way) >= _AT_ONCE:
            self._room.clear()
        if due:
            _ = self.spawn(self._round(due), "round")

    async def _round(self, due: list[_AttemptLines]) -> None:
        await asyncio.gather(*map(self._send_one, due))

    async def _send_one(self, lines: _AttemptLines) -> None:
        """Send one message of an attempt; its lines wait again where it was not taken."""
        taken = lines.take()
        try:
            await self._store(lines.attempt, tuple(line for _, line in taken))
        except BusError as error:
            lines.waiting = taken + lines.waiting
            lines.due = 0.0
            self._fault = str(error) or type(error).__name__
        else:
            self._held -= sum(size for size, _ in taken)
            self._count(len(taken), 0)
            self._backoff.reset()
        self._answered(lines)

    def _answered(self, lines: _AttemptLines) -> None:
        """An attempt has nothing on its way any more."""
        del self._on_way[id(lines.attempt)]
        self._room.set()
        if lines.waiting:
            self._wait(lines)
            if lines.due <= self._loop.time():
                self._hurry.set()
        elif not self._unsent and not self._on_way:
            self._idle.set()

    async def _store(self, attempt: Attempt, lines: tuple[RunLogLine, ...]) -> None:
        due = attempt.due
        message = RunLogLines(
            execution_id=due.execution_id,
            task_id=due.task_id,
            run=due.run,
            user_id=due.user_id,
            attempt=due.attempt,
            claim=attempt.claim_seq,
            executor=self._id,
            lines=lines,
        )
        subject = subjects.run_log(attempt.partition, due.task_id, due.run)
        _ = await self._bus.store(subject, encode(message))
