"""What the api counts."""

from __future__ import annotations

__all__ = ["ApiMeasures"]


class ApiMeasures:
    """Counts of one api process."""

    def __init__(self) -> None:
        self.events_projected = 0
        self.events_unreadable = 0
        self.lag = 0

    def projected(self, events: int, seconds: float, unreadable: int) -> None:
        """A batch was committed."""
        self.events_projected += events
        self.events_unreadable += unreadable

    def projector_lag(self, events: int) -> None:
        """So many events wait for the projector."""
        self.lag = events
