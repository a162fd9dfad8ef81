"""Every change of a task: who, when, which fields, by which command and in which trace; those of its own accord too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET
from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, json_text, maybe_text, trace_id_of
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.sections.tasks import ChangedItself
from gnomon_api.readmodels.table import TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev

__all__ = ["HistorySection"]


class HistoryRow(NamedTuple):
    """A row of `task_history`."""

    seq: int
    task_id: str
    version: int
    what: str
    at: datetime
    user_id: str | None
    command_id: str | None
    trace_id: str | None
    changes: str


_HISTORY = TableWrite("task_history", HistoryRow._fields)


class HistorySection(Section):
    """The table `task_history`."""

    writes = (_HISTORY,)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [
            (ev.Created, self._created),
            (ev.Updated, self._updated),
            (ev.StatusChanged, self._status_changed),
            (ChangedItself, self._changed_itself),
            (ev.Replanned, self._replanned),
            (ev.Deleted, self._deleted),
        ]

    @override
    def begin(self) -> None:
        self._rows: list[HistoryRow] = []

    @override
    def changes(self) -> Iterable[Change]:
        return [(_HISTORY, self._rows)]

    def _created(self, stored: Stored, event: ev.Created) -> None:
        self._remember(stored, event, event.task.version, "created", event.created_at, event.user_id, ())

    def _updated(self, stored: Stored, event: ev.Updated) -> None:
        version, changes = event.task.version, event.changes
        self._remember(stored, event, version, "updated", event.updated_at, event.changed_by, changes)

    def _status_changed(self, stored: Stored, event: ev.StatusChanged) -> None:
        if event.task is not None:
            # More of the task than its status is another, and no caller asked for it.
            version, changes = event.task.version, event.changes
            self._remember(stored, event, version, "updated", event.changed_at, None, changes)

    def _changed_itself(self, stored: Stored, told: ChangedItself) -> None:
        event = told.event
        change = ev.FieldChange(field="status", old=event.old_status, new=event.new_status)
        self._remember(stored, event, told.version, "updated", event.changed_at, None, (change,))

    def _replanned(self, stored: Stored, event: ev.Replanned) -> None:
        change = ev.FieldChange(
            field="calendar",
            old=msgspec.to_builtins(event.old_calendar),
            new=msgspec.to_builtins(event.new_calendar),
        )
        version = event.task.version
        self._remember(stored, event, version, "updated", event.replanned_at, None, (change,))

    def _deleted(self, stored: Stored, event: ev.Deleted) -> None:
        # A scheduler of before did not say who it was: most often the owner.
        who = event.user_id if event.deleted_by is UNSET else event.deleted_by
        self._remember(stored, event, event.version, "deleted", event.deleted_at, who, ())

    def _remember(
        self,
        stored: Stored,
        event: ev.Event,
        version: int,
        what: str,
        at: str,
        user_id: str | None,
        changes: tuple[ev.FieldChange, ...],
    ) -> None:
        command_id = None if event.command_id is UNSET else maybe_text(event.command_id)
        self._rows.append(
            HistoryRow(
                stored.seq,
                event.task_id,
                version,
                what,
                as_instant(at),
                maybe_text(user_id),
                command_id,
                trace_id_of(stored),
                json_text(changes),
            )
        )
