"""The signs of life of single tasks: after each audit, for those whose ledger is in order and whose slots succeed.

A task with a `heartbeat` gets its sign of life when

* the audit was made, and found nothing wrong of it;
* its newest slot that has ended ended well, and nothing was passed over in bulk after it;
* a slot whose time is more than `within_seconds` past has succeeded, it or a later one: so work that nobody does, or a
  handler that hangs, silences it as well as one that fails.

At no other time: not while the task is paused, not while read models, Postgres or NATS are away, not from an api that
does not have the duty. Silence is the alarm.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Final, NamedTuple

import httpcore
import httpx
import msgspec
import structlog

from gnomon_api.auditing import AuditReport
from gnomon_api.database import Database, Row
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.guarded_http import AddressGuard, ForbiddenAddress, GuardedTransport
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import last_fire
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.signals import SignOfLife
from gnomon_schemas.subjects import heartbeat
from gnomon_schemas.tasks import ExecutionStatus, TaskHeartbeat

__all__ = ["LastSlot", "TaskHeartbeats", "ask", "succeeds"]

_log = structlog.get_logger(__name__)
_TASKS_A_PAGE: Final = 500
_AT_ONCE: Final = 20
_ANSWER_SECONDS: Final = 10.0
_FAILURES: Final = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    ForbiddenAddress,
    OSError,
)
_decode_heartbeat: Final = msgspec.json.Decoder(TaskHeartbeat).decode
_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode


class LastSlot(NamedTuple):
    """What is recorded last of a task's slots. Times in seconds since 1970."""

    scheduled_s: int | None
    """Nominal time of the newest slot that has ended; None: none has."""
    succeeded: bool
    passed_over_s: int | None
    """Up to here slots were passed over in bulk; None: none were."""


class _Beating(NamedTuple):
    """A task with a sign of life."""

    task_id: str
    heartbeat: TaskHeartbeat
    schedule: Schedule | None
    active: bool
    since_s: int
    """When its present revision began."""


def succeeds(
    schedule: Schedule | None, since_s: int, last: LastSlot, within_seconds: float, now_s: int
) -> bool:
    """Whether a task does what its schedule says. `since_s`: when the schedule came into force."""
    if last.scheduled_s is not None:
        if not last.succeeded:
            return False
        if last.passed_over_s is not None and last.passed_over_s > last.scheduled_s:
            return False
    elif last.passed_over_s is not None:
        return False
    expected_s = None if schedule is None else last_fire(schedule, now_s - int(within_seconds))
    if expected_s is None or expected_s <= since_s:
        return True
    return last.scheduled_s is not None and last.scheduled_s >= expected_s


class TaskHeartbeats:
    """Sends the signs of life of all tasks that have one."""

    def __init__(self, database: Database, bus: Bus, clock: Clock, guard: AddressGuard) -> None:
        self._database, self._bus, self._clock, self._guard = database, bus, clock, guard
        self._sent: dict[str, float] = {}
        """When each task's went out last, by the monotonic clock."""

    async def send(self, report: AuditReport) -> int:
        """After an audit: send those that are due; how many. Raises DatabaseAway, BusError."""
        unsound = _unsound(report)
        if unsound is None:
            return 0
        sent, after = 0, ""
        async with httpx.AsyncClient(
            transport=GuardedTransport(self._guard), timeout=_ANSWER_SECONDS, follow_redirects=True
        ) as client:
            while True:
                rows = await self._database.fetch(statement("tasks_with_heartbeat"), after, _TASKS_A_PAGE)
                if not rows:
                    return sent
                after = rows[-1]["task_id"]
                due = [one for one in map(_beating, rows) if one.task_id not in unsound and self._is_due(one)]
                sent += await self._send_page(due, client)

    def _is_due(self, one: _Beating) -> bool:
        last = self._sent.get(one.task_id)
        return one.active and (
            last is None or self._clock.monotonic() - last >= one.heartbeat.every_seconds - 1.0
        )

    async def _send_page(self, due: list[_Beating], client: httpx.AsyncClient) -> int:
        if not due:
            return 0
        rows = await self._database.fetch(statement("last_slots"), [one.task_id for one in due])
        last = {row["task_id"]: row for row in rows}
        now_s = self._clock.now_ms() // 1000
        alive = [one for one in due if _succeeds(one, last[one.task_id], now_s)]
        room = asyncio.Semaphore(_AT_ONCE)

        async def beat(one: _Beating) -> None:
            async with room:
                await self._beat(one, last[one.task_id]["execution_id"], client)

        await asyncio.gather(*(beat(one) for one in alive))
        return len(alive)

    async def _beat(self, one: _Beating, last_success: str | None, client: httpx.AsyncClient) -> None:
        now = format_instant(self._clock.now_ms())
        sign = SignOfLife(task_id=one.task_id, at=now, last_success=last_success)
        await self._bus.send(heartbeat(one.task_id), encode(sign))
        self._sent[one.task_id] = self._clock.monotonic()
        if one.heartbeat.url is None:
            return
        try:
            await ask(one.heartbeat.url, client)
        except _FAILURES as error:
            _log.warning(
                LogEvent.HEARTBEAT_FAILED, task_id=one.task_id, error=f"{type(error).__name__}: {error}"
            )


async def ask(url: str, client: httpx.AsyncClient) -> None:
    """Ask for an address; its status alone counts, so that a body without an end is not read. Raises `_FAILURES`."""
    async with asyncio.timeout(_ANSWER_SECONDS), client.stream("GET", url) as response:
        response.raise_for_status()


def _unsound(report: AuditReport) -> set[str] | None:
    """The tasks of which the audit found something wrong; None where it does not name them all."""
    named = (report.missing, report.duplicate, report.misplaced)
    counts = (report.missing_count, report.duplicate_count, report.misplaced_count)
    if any(len(slots) < count for slots, count in zip(named, counts, strict=True)):
        return None
    return {slot.task_id for slots in named for slot in slots} | {span.task_id for span in report.miscounted}


def _beating(row: Row) -> _Beating:
    return _Beating(
        task_id=row["task_id"],
        heartbeat=_decode_heartbeat(row["heartbeat"]),
        schedule=None if row["schedule"] is None else _decode_schedule(row["schedule"]),
        active=row["active"],
        since_s=_seconds(row["revision_from"]),
    )


def _succeeds(one: _Beating, row: Row, now_s: int) -> bool:
    scheduled, passed_over = row["scheduled_for"], row["passed_over_until"]
    last = LastSlot(
        scheduled_s=None if scheduled is None else _seconds(scheduled),
        succeeded=row["status"] == ExecutionStatus.COMPLETED,
        passed_over_s=None if passed_over is None else _seconds(passed_over),
    )
    return succeeds(one.schedule, one.since_s, last, one.heartbeat.within_seconds, now_s)


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
