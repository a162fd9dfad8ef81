"""What an executor tells its metrics and traces.

A record costs as much as a good part of a short execution. So counters are gathered here and handed on once a
second, and of the histograms no more than `OBSERVED_A_SECOND` executions a second are observed: their shares and
quantiles stay right, and the counters tell how many there were.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from logging import DEBUG
from typing import Final

import structlog

from gnomon_core.runtime.logs import handle
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.runtime.tracing import Tracing, child_traceparent, new_traceparent
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain import Row, Taken
from gnomon_executor.conclusion import Conclusion
from gnomon_schemas.clock_text import instant_ms

__all__ = ["OBSERVED_A_SECOND", "ExecutorMeasures"]

OBSERVED_A_SECOND: Final = 200
_EVERY_SECONDS: Final = 1.0
_log = structlog.get_logger(__name__)
_TAKEN_OVER: Final = (Taken.TAKE_OVER, Taken.CRASH_LOOP, Row.DROPPED_HERE)


class ExecutorMeasures(Service):
    """Counts for one executor. `busy` tells how many slots are taken."""

    def __init__(self, meter: Meter, tracing: Tracing, *, slots: int = 0) -> None:
        super().__init__("measures")
        meter.set(Metric.EXECUTOR_SLOTS, slots)
        self.meter = meter
        self.tracing = tracing
        self.busy: Callable[[], int] = lambda: 0
        self._executions: Counter[tuple[str, str]] = Counter()
        self._rows: Counter[str] = Counter()
        self._tells = _log.is_enabled_for(DEBUG)  # to be told that it is not takes 1.5 µs a line
        self._takeovers = 0
        self._adopted = 0
        self._lines_stored = self._lines_lost = 0
        self._starts_left = self._ends_left = OBSERVED_A_SECOND

    async def on_start(self) -> None:
        """Begin to hand on."""
        _ = self.spawn(self._hand_on(), "hand-on")

    async def on_stop(self) -> None:
        """Hand on the rest."""
        self._flush()

    def carrying_out(self, attempt: Attempt) -> AbstractContextManager[str]:
        """The span of an attempt, below the one of its due; gives the `traceparent` that its events carry."""
        due = attempt.due
        handle(attempt)
        if not self.tracing.recording:
            above = attempt.traceparent
            return nullcontext(child_traceparent(above) if above else new_traceparent())
        attributes: dict[str, str | int | float | bool] = {
            "gnomon.task_id": due.task_id,
            "gnomon.execution_id": due.execution_id,
            "gnomon.trigger": due.trigger.value,
            "gnomon.attempt": due.attempt,
        }
        return self.tracing.span(f"execute {due.task_type}", attempt.traceparent, attributes=attributes)

    def started(self, attempt: Attempt) -> None:
        """A handler starts."""
        if self._tells:
            _log.debug(LogEvent.ATTEMPT_BEGUN, attempt=attempt.due.attempt, task_type=attempt.due.task_type)
        if self._starts_left == 0:
            return
        self._starts_left -= 1
        late_ms = attempt.started_ms - instant_ms(attempt.due.due_at)
        self.meter.record(Metric.START_LATENESS, max(0, late_ms) / 1000)
        self.meter.record(Metric.QUEUE_SECONDS, max(0, attempt.started_ms - attempt.due_published_ms) / 1000)

    def recorded(self, attempt: Attempt, what: Conclusion, now_ms: int) -> None:
        """A result is stored."""
        task_type = attempt.due.task_type
        status = "retrying" if what.retry_at_ms is not None else what.status
        self._executions[task_type, status] += 1
        if self._tells:
            _log.debug(LogEvent.ATTEMPT_RECORDED, attempt=attempt.due.attempt, status=status)
        if self.tracing.recording:
            error = None if what.error is None else f"{what.error.type}: {what.error.message}"
            self.tracing.tell(error, {"gnomon.status": status})
        if self._ends_left == 0:
            return
        self._ends_left -= 1
        seconds = max(0, now_ms - attempt.started_ms) / 1000
        self.meter.record(Metric.EXECUTION_SECONDS, seconds, task_type=task_type)

    def settled(self, row: Row | Taken) -> None:
        """The claim table decided."""
        self._rows[row.name.lower()] += 1
        if row in _TAKEN_OVER:
            self._takeovers += 1

    def adopted(self) -> None:
        """Work that runs here was delivered again."""
        self._adopted += 1

    def logged(self, stored: int, lost: int) -> None:
        """Lines of handlers were stored, or there was no room for them."""
        self._lines_stored += stored
        self._lines_lost += lost

    def dead_letter(self) -> None:
        """Work was set aside since it cannot be read."""
        self.meter.add(Metric.DEAD_LETTERS, reason="unreadable_due")

    async def _hand_on(self) -> None:
        while True:
            self._flush()
            await asyncio.sleep(_EVERY_SECONDS)

    def _flush(self) -> None:
        executions, self._executions = self._executions, Counter()
        rows, self._rows = self._rows, Counter()
        takeovers, self._takeovers = self._takeovers, 0
        adopted, self._adopted = self._adopted, 0
        stored, self._lines_stored = self._lines_stored, 0
        lost, self._lines_lost = self._lines_lost, 0
        self._starts_left = self._ends_left = OBSERVED_A_SECOND
        for (task_type, status), count in executions.items():
            self.meter.add(Metric.EXECUTIONS, count, task_type=task_type, status=status)
        for row, count in rows.items():
            self.meter.add(Metric.CLAIM_CONFLICTS, count, row=row)
        if takeovers:
            self.meter.add(Metric.TAKEOVERS, takeovers)
        if adopted:
            self.meter.add(Metric.DUPLICATES_REFUSED, adopted, what="delivery")
        for fate, lines in (("stored", stored), ("lost", lost)):
            if lines:
                self.meter.add(Metric.LOG_LINES, lines, fate=fate)
        self.meter.set(Metric.EXECUTIONS_RUNNING, self.busy())
