"""Every change of a task, as callers read it: who, when, which fields, old and new, by which command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.parameters import Parameters
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX, text_filter
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange
from gnomon_schemas.problems import Refused

__all__ = ["HISTORY_SORTS", "HistoryEntry", "HistoryPage", "TaskHistory"]

HISTORY_SORTS: Final = ("-at", "at")
"""How a history is sorted: the newest change first, or the oldest."""
_FILTERS: Final = {
    "field": text_filter("changes_of_fields"),
    "user_id": text_filter("changes_by_users"),
}


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a task."""

    version: int
    """The task's after it. What a task changes of its own accord leaves it as it is."""
    at: str
    what: str
    """`created`, `updated` or `deleted`."""
    user_id: str | None
    """Who asked for it; null: a service, or the task changed by itself."""
    command_id: str | None
    """Null: nobody asked for it."""
    trace_id: str | None
    changes: tuple[FieldChange, ...]
    """A value of more than 64 KiB is told by its size alone, as `{"omitted_bytes": n}`."""
    status_reason: str | None = None
    """Why the status changed, where it did: the verb or what the caller gave as reason, or why the task changed by
    itself."""
    seq: int
    """Of the event in the log."""


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a history."""

    items: tuple[HistoryEntry, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


class TaskHistory:
    """Reads histories. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, task_id: str, given: Sequence[tuple[str, str]]) -> HistoryPage:
        """The changes of a task that a query string asks for. Raises Refused with every parameter at fault."""
        params = Parameters(given, "limit", "cursor", "sort", *_FILTERS)
        limit = params.number("limit", 1, LIMIT_MAX) or LIMIT_DEFAULT
        sort = params.text("sort") or HISTORY_SORTS[0]
        if sort not in HISTORY_SORTS:
            params.wrong("sort", f"is {sort[:80]!r}; allowed: {', '.join(HISTORY_SORTS)}")
        clauses: list[str] = []
        values: list[Any] = [task_id]
        for name, one in _FILTERS.items():
            text = params.text(name)
            if text is not None:
                try:
                    values.append(one.read(name, text))
                except Refused as refused:
                    params.add(refused.problem.errors)
                clauses.append(statement(one.condition).replace("$1", f"${len(values)}"))
        cursor = params.cursor()
        if cursor is not None:
            values.append(cursor)
            clauses.append(f"seq {'<' if sort.startswith('-') else '>'} ${len(values)}")
        params.refuse()
        way = "desc" if sort.startswith("-") else "asc"
        sql = " and ".join([statement("changes_shown"), *clauses]) + f" order by seq {way} limit {limit + 1}"
        rows = await self._database.fetch(sql, *values)
        shown = tuple(map(_shown, rows[:limit]))
        return HistoryPage(items=shown, next_cursor=str(shown[-1].seq) if len(rows) > limit else None)


_decode_changes: Final = msgspec.json.Decoder(tuple[FieldChange, ...]).decode


def _shown(row: Row) -> HistoryEntry:
    return HistoryEntry(
        version=row["version"],
        at=format_instant(row["at"]),
        what=row["what"],
        user_id=row["user_id"],
        command_id=row["command_id"],
        trace_id=row["trace_id"],
        changes=_decode_changes(row["changes"]),
        status_reason=row["status_reason"],
        seq=row["seq"],
    )
