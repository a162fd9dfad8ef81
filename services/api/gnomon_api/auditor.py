"""The auditor: the audit of the last hour, again and again, and a sign of life while it is clean.

One api process at a time has the duty (a lease), never a scheduler: whoever hands slots out must not be the one who
says that none was lost. Each round audits the window that ends now; slots that are on their way count as pending, so
what is missing is really missing. The figures are gauges; what is found is logged with its ids.

The *heartbeat* is a dead-man's switch: a URL that is asked, or a subject that is published on, after each clean round
and at no other time. Whoever watches it raises the alarm when it falls silent, be it because a slot was lost, or
because auditor, api, NATS, Postgres or the machine is gone.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import httpx
import structlog
from typing_extensions import override

from gnomon_api.auditing import Auditing, AuditReport
from gnomon_api.database import DatabaseAway
from gnomon_api.repairing import AUDITOR, Repairing
from gnomon_api.task_heartbeats import TaskHeartbeats
from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.clock_text import EPOCH
from gnomon_schemas.codec import encode
from gnomon_schemas.problems import Refused

__all__ = ["Auditor", "Heartbeat"]

_log = structlog.get_logger(__name__)
_NAMED: Final = 20
"""Slots that one line of the log names."""
_ANSWER_SECONDS: Final = 10.0


class Heartbeat:
    """Where the sign of life goes: a URL, a subject, both, or nowhere."""

    def __init__(self, bus: Bus, url: str, subject: str) -> None:
        self._bus, self._url, self._subject = bus, url, subject

    async def send(self, report: AuditReport) -> None:
        """Say that the audit was clean. What goes wrong is logged: the next round tries again."""
        if self._subject:
            await self._bus.send(self._subject, encode(report))
        if not self._url:
            return
        try:
            async with httpx.AsyncClient(timeout=_ANSWER_SECONDS) as client:
                response = await client.get(self._url)
                response.raise_for_status()
        except httpx.HTTPError as error:
            _log.warning(LogEvent.HEARTBEAT_FAILED, error=f"{type(error).__name__}: {error}")


class Auditor(Service):
    """Audits every so often while the duty is this process's."""

    def __init__(
        self,
        auditing: Auditing,
        heartbeat: Heartbeat,
        clock: Clock,
        meter: Meter,
        *,
        every_seconds: float,
        window_seconds: float,
        repairing: Repairing | None = None,
        of_tasks: TaskHeartbeats | None = None,
    ) -> None:
        """`repairing`: what is missing is repaired by it; None: it is only told. `of_tasks`: the signs of life of
        single tasks."""
        super().__init__("auditor")
        self._auditing, self._heartbeat = auditing, heartbeat
        self._clock, self._meter, self._repairing = clock, meter, repairing
        self._of_tasks = of_tasks
        self._every, self._window = every_seconds, timedelta(seconds=window_seconds)

    @override
    async def on_start(self) -> None:
        """Begin to audit."""
        _ = self.spawn(self._loop(), "loop")

    @override
    async def on_stop(self) -> None:
        """Somebody else's figures count from now on."""
        self._meter.set(Metric.LEDGER_MISSING, 0)
        self._meter.set(Metric.LEDGER_DUPLICATE, 0)

    async def _loop(self) -> None:
        while True:
            await self.audit()
            await asyncio.sleep(self._every)

    async def _repair(self, report: AuditReport) -> None:
        """Have repaired what is missing, where that was asked for; the next round tells whether it was."""
        if self._repairing is None or not report.missing:
            return
        try:
            done = await self._repairing.repair(report, AUDITOR)
        except Refused as error:
            _log.warning(LogEvent.AUDITOR_WAITS, error=f"repair: {error}")
            return
        self._meter.add(Metric.LEDGER_REPAIRED, done.repaired)
        _log.warning(
            LogEvent.LEDGER_REPAIRED,
            slots=[slot.execution_id for slot in report.missing[:_NAMED]],
            repaired=done.repaired,
            pending=done.pending,
            refused=[f"{one.task_id}: {one.detail}" for one in done.refused[:_NAMED]],
        )

    async def audit(self) -> AuditReport | None:
        """One round; None where it could not be done, which is no sign of life."""
        now_ms = self._clock.now_ms()
        until = EPOCH + timedelta(milliseconds=now_ms)
        try:
            report = await self._auditing.audit(until - self._window, until)
            if report.sound:
                await self._heartbeat.send(report)
            if self._of_tasks is not None:
                await self._of_tasks.send(report)
        except (Refused, DatabaseAway, BusError) as error:
            # The read models are behind, Postgres or NATS is away: the next round sees more.
            _log.info(LogEvent.AUDITOR_WAITS, error=f"{type(error).__name__}: {error}")
            return None
        self._meter.set(Metric.LEDGER_MISSING, report.missing_count)
        self._meter.set(
            Metric.LEDGER_DUPLICATE,
            report.duplicate_count + report.misplaced_count + len(report.miscounted),
        )
        self._meter.set(Metric.LEDGER_AUDITED, now_ms / 1000)
        if not report.sound:
            _log.error(
                LogEvent.LEDGER_UNSOUND,
                missing=[slot.execution_id for slot in report.missing[:_NAMED]],
                duplicate=[slot.execution_id for slot in report.duplicate[:_NAMED]],
                misplaced=[slot.execution_id for slot in report.misplaced[:_NAMED]],
                miscounted=len(report.miscounted),
            )
            await self._repair(report)
        return report
