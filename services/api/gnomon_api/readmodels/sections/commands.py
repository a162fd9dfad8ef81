"""What became of commands: the first event that carries a command's id answers it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET
from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, json_text, maybe_text, plain_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import Mode, TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev
from gnomon_schemas.object_kinds import object_event_name
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.pools import PoolUpdated

__all__ = ["CommandSection"]


class CommandRow(NamedTuple):
    """A row of `commands`."""

    command_id: str
    task_id: str
    """Empty for a command to something else than a task."""
    user_id: str | None
    execution_id: str | None
    status: str
    event: str
    problem: str | None
    decided_at: datetime
    seq: int


_COMMANDS = TableWrite("commands", CommandRow._fields, Mode.FIRST, ("command_id",))


class CommandSection(Section):
    """The table `commands`."""

    writes = (_COMMANDS,)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [(ev.Event, self._of_task), (PoolUpdated, self._of_other), (ObjectEvent, self._of_other)]

    @override
    def begin(self) -> None:
        self._rows: dict[str, CommandRow] = {}

    @override
    def changes(self) -> Iterable[Change]:
        return [(_COMMANDS, list(self._rows.values()))]

    def _of_task(self, stored: Stored, event: ev.Event) -> None:
        command_id = event.command_id
        if command_id is UNSET or command_id in self._rows:
            return
        refused = isinstance(event, ev.Rejected)
        self._rows[command_id] = CommandRow(
            plain_text(command_id),
            event.task_id,
            maybe_text(event.user_id),
            event.execution_id if isinstance(event, ev.ExecutionEvent | ev.SlotOutcome) else None,
            "refused" if refused else "ok",
            ev.event_name(event),
            json_text(event.error) if isinstance(event, ev.Rejected) else None,
            as_instant(event.occurred_at),
            stored.seq,
        )

    def _of_other(self, stored: Stored, event: PoolUpdated | ObjectEvent) -> None:
        command_id = event.command_id
        if command_id is UNSET or command_id in self._rows:
            return
        self._rows[command_id] = CommandRow(
            plain_text(command_id),
            "",
            maybe_text(event.changed_by),
            None,
            "ok",
            "updated" if isinstance(event, PoolUpdated) else object_event_name(event),
            None,
            as_instant(event.occurred_at),
            stored.seq,
        )
