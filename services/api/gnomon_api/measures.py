"""What one api process tells its metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.tracing import Tracing
from gnomon_schemas.headers import TRACEPARENT

__all__ = ["ApiMeasures"]


_SPANS_A_BATCH: Final = 200
"""More are not recorded of one batch: a rebuild must not take its time from the projector."""


class ApiMeasures:
    """Counts of one api process."""

    def __init__(self, meter: Meter, tracing: Tracing) -> None:
        self._meter = meter
        self.tracing = tracing

    def projected(self, batch: Sequence[Stored], seconds: float, unreadable: int) -> None:
        """A batch of events was committed to the read models; so many of it could only be archived."""
        self._meter.add(Metric.PROJECTED, len(batch))
        self._meter.record(Metric.PROJECTOR_SECONDS, seconds)
        if unreadable:
            self._meter.add(Metric.PROJECTOR_UNREADABLE, unreadable)
        if self.tracing.recording:
            self._trace_projected(batch, seconds)

    def _trace_projected(self, batch: Sequence[Stored], seconds: float) -> None:
        """One span below each span that events of the batch came from, however many it made."""
        ended_ns = time.time_ns()
        begun_ns = ended_ns - int(seconds * 1e9)
        events: dict[str, int] = {}
        for stored in batch:
            traceparent = stored.headers.get(TRACEPARENT)
            if traceparent is not None and (traceparent in events or len(events) < _SPANS_A_BATCH):
                events[traceparent] = events.get(traceparent, 0) + 1
        for traceparent, count in events.items():
            self.tracing.past("project", traceparent, begun_ns, ended_ns, {"gnomon.events": count})

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is its pattern, never its path."""
        self._meter.record(Metric.HTTP_SECONDS, seconds, method=method, route=route, status=str(status))

    def readers(self, count: int) -> None:
        """So many connections to /events are open."""
        self._meter.set(Metric.SSE_CLIENTS, count)
