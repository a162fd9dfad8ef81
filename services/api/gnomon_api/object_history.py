"""Every change of a template, calendar or account, as callers read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["ObjectChange", "ObjectChanges", "ObjectHistory"]

_BOUNDS: Final = {"limit": (1, LIMIT_MAX), "cursor": (0, 1 << 62)}


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
        params = _parameters(given)
        limit = params.get("limit", LIMIT_DEFAULT)
        rows = await self._database.fetch(
            statement("object_changes"), kind, object_id, params.get("cursor", 1 << 62), limit + 1
        )
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


def _parameters(given: Sequence[tuple[str, str]]) -> dict[str, int]:
    params: dict[str, int] = {}
    errors: list[FieldError] = []
    for name, text in given:
        at = f"#/{name}"
        if name not in _BOUNDS:
            message = f"the parameter {name[:80]!r} is not known; allowed: {', '.join(sorted(_BOUNDS))}"
            errors.append(FieldError(pointer=at, code=Code.UNKNOWN_FIELD, message=message))
            continue
        least, most = _BOUNDS[name]
        if not (text.isascii() and text.isdigit() and least <= int(text[:19]) <= most):
            allowed = "what next_cursor said" if name == "cursor" else f"{least} to {most}"
            message = f"is {text[:80]!r}; allowed: {allowed}"
            errors.append(FieldError(pointer=at, code=Code.INVALID, message=message))
            continue
        params[name] = int(text)
    if errors:
        raise Refused(Code.INVALID, f"{errors[0].pointer}: {errors[0].message}", *errors)
    return params
