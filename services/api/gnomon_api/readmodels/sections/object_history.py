"""Every change of a template, calendar or account: who, when, which fields, by which command and in which trace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, Final, NamedTuple

from msgspec import UNSET
from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, json_text, maybe_text, trace_id_of
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.object_kinds import OBJECT_KINDS, object_event_name
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.subjects import parse_event

__all__ = ["OBJECT_EVENTS", "ObjectHistorySection"]

OBJECT_EVENTS: Final[dict[tuple[str, str], type]] = {
    (kind, name): struct
    for kind, messages in OBJECT_KINDS.items()
    for name, struct in messages.events.items()
}
"""Every event of every object, by kind and name."""


class ObjectHistoryRow(NamedTuple):
    """A row of `object_history`."""

    seq: int
    kind: str
    object_id: str
    version: int
    what: str
    at: datetime
    user_id: str | None
    command_id: str | None
    trace_id: str | None
    changes: str


_HISTORY = TableWrite("object_history", ObjectHistoryRow._fields)
_UPDATED = "updated"


class ObjectHistorySection(Section):
    """The table `object_history`. A command that changed nothing is no change."""

    writes = (_HISTORY,)
    objects: ClassVar = OBJECT_EVENTS

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [(ObjectEvent, self._heard)]

    @override
    def begin(self) -> None:
        self._rows: list[ObjectHistoryRow] = []

    @override
    def changes(self) -> Iterable[Change]:
        return [(_HISTORY, self._rows)]

    def _heard(self, stored: Stored, event: ObjectEvent) -> None:
        what = object_event_name(event)
        if what == _UPDATED and not event.object_changes:
            return
        self._rows.append(
            ObjectHistoryRow(
                stored.seq,
                parse_event(stored.subject).kind,
                event.object_id,
                event.object_version,
                what,
                as_instant(event.occurred_at),
                maybe_text(event.changed_by),
                None if event.command_id is UNSET else maybe_text(event.command_id),
                trace_id_of(stored),
                json_text(event.object_changes),
            )
        )
