"""What an executor tells its metrics and traces. Counters are gathered here and handed on once a second, since a
record costs as much as a good part of a short execution."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.tracing import Tracing
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain import Row, Taken
from gnomon_executor.conclusion import Conclusion
from gnomon_schemas.clock_text import instant_ms

__all__ = ["ExecutorMeasures"]

_EVERY_SECONDS: Final = 1.0
_TAKEN_OVER: Final = (Taken.TAKE_OVER, Taken.CRASH_LOOP, Row.DROPPED_HERE)


class ExecutorMeasures(Service):
    """Counts for one executor. `busy` tells how many slots are taken."""

    def __init__(self, meter: Meter, tracing: Tracing) -> None:
        super().__init__("measures")
        self.meter = meter
        self.tracing = tracing
        self.busy: Callable[[], int] = lambda: 0
        self._executions: Counter[tuple[str, str]] = Counter()
        self._rows: Counter[str] = Counter()
        self._takeovers = 0

    async def on_start(self) -> None:
        """Begin to hand on."""
        _ = self.spawn(self._hand_on(), "hand-on")

    async def on_stop(self) -> None:
        """Hand on the rest, and send the spans that are still here."""
        self._flush()
        await asyncio.to_thread(self.tracing.close)

    def started(self, attempt: Attempt) -> None:
        """A handler starts."""
        late_ms = attempt.started_ms - instant_ms(attempt.due.due_at)
        self.meter.record(Metric.START_LATENESS, max(0, late_ms) / 1000)

    def recorded(self, attempt: Attempt, what: Conclusion, now_ms: int) -> None:
        """A result is stored."""
        task_type = attempt.due.task_type
        status = "retrying" if what.retry_at_ms is not None else what.status
        self._executions[task_type, status] += 1
        seconds = max(0, now_ms - attempt.started_ms) / 1000
        self.meter.record(Metric.EXECUTION_SECONDS, seconds, task_type=task_type)

    def settled(self, row: Row | Taken) -> None:
        """The claim table decided."""
        self._rows[row.name.lower()] += 1
        if row in _TAKEN_OVER:
            self._takeovers += 1

    async def _hand_on(self) -> None:
        while True:
            self._flush()
            await asyncio.sleep(_EVERY_SECONDS)

    def _flush(self) -> None:
        executions, self._executions = self._executions, Counter()
        rows, self._rows = self._rows, Counter()
        takeovers, self._takeovers = self._takeovers, 0
        for (task_type, status), count in executions.items():
            self.meter.add(Metric.EXECUTIONS, count, task_type=task_type, status=status)
        for row, count in rows.items():
            self.meter.add(Metric.CLAIM_CONFLICTS, count, row=row)
        if takeovers:
            self.meter.add(Metric.TAKEOVERS, takeovers)
        self.meter.set(Metric.EXECUTIONS_RUNNING, self.busy())
