"""What one api process tells its metrics."""

from __future__ import annotations

from gnomon_core.runtime.metrics import Meter, Metric

__all__ = ["ApiMeasures"]


class ApiMeasures:
    """Counts of one api process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def projected(self, events: int, seconds: float, unreadable: int) -> None:
        """A batch of events was committed to the read models; so many of it could only be archived."""
        self._meter.add(Metric.PROJECTED, events)
        self._meter.record(Metric.PROJECTOR_SECONDS, seconds)
        if unreadable:
            self._meter.add(Metric.PROJECTOR_UNREADABLE, unreadable)

    def projector_lag(self, events: int) -> None:
        """So many events wait for the projector of this process."""
        self._meter.set(Metric.PROJECTOR_LAG, events)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is its pattern, never its path."""
        self._meter.record(Metric.HTTP_SECONDS, seconds, method=method, route=route, status=str(status))

    def readers(self, count: int) -> None:
        """So many connections to /events are open."""
        self._meter.set(Metric.SSE_CLIENTS, count)
