"""Every change of a task's status, and why. The table refuses one that `gnomon_schemas.lifecycle` does not have."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET
from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, maybe_text, plain_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev

__all__ = ["StatusChangeSection"]


class StatusChangeRow(NamedTuple):
    """A row of `status_changes`."""

    seq: int
    task_id: str
    command_id: str | None
    old_status: str
    new_status: str
    reason: str
    changed_at: datetime


_CHANGES = TableWrite("status_changes", StatusChangeRow._fields)


class StatusChangeSection(Section):
    """The table `status_changes`."""

    writes = (_CHANGES,)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [(ev.StatusChanged, self._changed)]

    @override
    def begin(self) -> None:
        self._rows: list[StatusChangeRow] = []

    @override
    def changes(self) -> Iterable[Change]:
        return [(_CHANGES, self._rows)]

    def _changed(self, stored: Stored, event: ev.StatusChanged) -> None:
        if event.old_status == event.new_status:
            return  # something else of the task changed by itself
        self._rows.append(
            StatusChangeRow(
                stored.seq,
                event.task_id,
                None if event.command_id is UNSET else maybe_text(event.command_id),
                event.old_status,
                event.new_status,
                plain_text(event.reason),
                as_instant(event.changed_at),
            )
        )
