"""Every change of a template, calendar or account, as callers read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gnomon_api.database import Database
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_history import HistoryPage, history_entry
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["ObjectHistory"]

_BOUNDS: Final = {"limit": (1, LIMIT_MAX), "cursor": (0, 1 << 62)}


class ObjectHistory:
    """Reads histories of objects besides tasks. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, kind: str, object_id: str, given: Sequence[tuple[str, str]]) -> HistoryPage:
        """The changes of an object since it was made, the newest first; none where there never was one. Raises Refused
        with every parameter at fault."""
        params = _parameters(given)
        limit = params.get("limit", LIMIT_DEFAULT)
        rows = await self._database.fetch(
            statement("object_changes"), kind, object_id, params.get("cursor", 1 << 62), limit + 1
        )
        shown = tuple(map(history_entry, rows[:limit]))
        return HistoryPage(items=shown, next_cursor=str(shown[-1].seq) if len(rows) > limit else None)


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
