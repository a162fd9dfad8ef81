"""Slots that were passed over in bulk."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, maybe_instant, maybe_text, plain_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev

__all__ = ["SpanSection"]


class SpanRow(NamedTuple):
    """A row of `slot_spans`."""

    seq: int
    task_id: str
    user_id: str | None
    outcome: str
    reason: str
    revision: int
    from_at: datetime | None
    to_at: datetime | None
    slots: int
    into_run: str | None
    occurred_at: datetime
    calendar_id: str | None


_SPANS = TableWrite("slot_spans", SpanRow._fields)


class SpanSection(Section):
    """The table `slot_spans`."""

    writes = (_SPANS,)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [(ev.SlotOutcome, self._outcome)]

    @override
    def begin(self) -> None:
        self._rows: list[SpanRow] = []

    @override
    def changes(self) -> Iterable[Change]:
        return [(_SPANS, self._rows)]

    def _outcome(self, stored: Stored, event: ev.SlotOutcome) -> None:
        if event.execution_id is not None and event.run is not None:
            return
        self._rows.append(
            SpanRow(
                stored.seq,
                event.task_id,
                maybe_text(event.user_id),
                ev.event_name(event),
                plain_text(event.reason),
                event.revision,
                maybe_instant(event.from_),
                maybe_instant(event.to),
                event.count,
                event.into if isinstance(event, ev.Coalesced) else None,
                as_instant(event.occurred_at),
                event.calendar_id or None,
            )
        )
