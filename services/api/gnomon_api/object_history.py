"""Every change of a template, calendar or account, as callers read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.parameters import SEQUENCE_MAX, Parameters
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange

__all__ = ["ObjectChange", "ObjectChanges", "ObjectHistory"]


class ObjectChange(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a template, calendar or account."""

    version: int
    """That of the object after it."""
    at: str
    what: str
    """Name of the event that tells of it: `created`, `updated` or `deleted`, say."""
    user_id: str | None
    """Who asked for it; null: a service, or Gnomon itself."""
    command_id: str | None
    """Null: nobody asked for it."""
    trace_id: str | None
    changes: tuple[FieldChange, ...]
    """A value of more than 64 KiB is told by its size alone, as `{"omitted_bytes": n}`."""
    seq: int
    """Of the event in the log."""


class ObjectChanges(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the changes of an object, the newest first."""

    items: tuple[ObjectChange, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


_decode_changes: Final = msgspec.json.Decoder(tuple[FieldChange, ...]).decode


class ObjectHistory:
    """Reads histories of objects besides tasks. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, kind: str, object_id: str, given: Sequence[tuple[str, str]]) -> ObjectChanges:
        """The changes of an object since it was made, the newest first; none where there never was one. Raises Refused
        with every parameter at fault."""
        params = Parameters(given, "limit", "cursor")
        limit = params.number("limit", 1, LIMIT_MAX) or LIMIT_DEFAULT
        cursor = params.cursor()
        params.refuse()
        before = SEQUENCE_MAX if cursor is None else cursor
        rows = await self._database.fetch(statement("object_changes"), kind, object_id, before, limit + 1)
        shown = tuple(map(_shown, rows[:limit]))
        return ObjectChanges(items=shown, next_cursor=str(shown[-1].seq) if len(rows) > limit else None)


def _shown(row: Row) -> ObjectChange:
    return ObjectChange(
        version=row["version"],
        at=format_instant(row["at"]),
        what=row["what"],
        user_id=row["user_id"],
        command_id=row["command_id"],
        trace_id=row["trace_id"],
        changes=_decode_changes(row["changes"]),
        seq=row["seq"],
    )
