"""The calendars of blackouts that are enabled, as the whole process knows them and the shards ask them."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import Blackout, Blackouts
from gnomon_scheduler.object_registers import KnownCalendar, KnownObject

__all__ = ["BlackoutCatalogue"]

_log = structlog.get_logger(__name__)


class BlackoutCatalogue:
    """What the object catalogue knows of calendars, made ready for asking."""

    def __init__(self, known: Mapping[str, KnownObject]) -> None:
        """`known`: the calendars by id, which somebody else keeps."""
        self._known = known
        self.present = Blackouts()
        """All that are enabled now. Another object after every change."""

    def refresh(self) -> None:
        """Another calendar is known, or one is no more."""
        made = (self._made(one) for one in self._known.values() if isinstance(one, KnownCalendar))
        self.present = Blackouts(one for one in made if one is not None)

    @staticmethod
    def _made(known: KnownCalendar) -> Blackout | None:
        if not known.spec.enabled:
            return None
        made = Blackout(known.object_id, known.spec)
        try:
            # Here, where it can be told: a slot that is handed out must not meet it.
            made.next_start(0)
        except ValueError as error:
            # A zone or place that this release does not have. It is as good as switched off here.
            _log.error(LogEvent.REGISTER_UNREADABLE, subject=f"calendar {known.object_id}", error=str(error))
            return None
        return made
