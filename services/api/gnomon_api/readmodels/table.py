"""How rows get into tables: the statements are made from the columns, so that a read model only names those.

Two ways lead into a table. A small batch is one statement, which moves the position and writes everything that
it changes, its rows as arrays of parameters: one round trip, for little latency. A large one is copied, row by row
of the table into it or, where COPY cannot do what is to be done, into a temporary table and merged from there.

The types of the parameters are those of `schema/`, which the migrations lead to.
"""

# Identifiers cannot be parameters; all of them are names that the sections spell, and values are parameters.
# ruff: noqa: S608

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

from gnomon_api.readmodels.statements import schema_sql

__all__ = ["Mode", "Records", "TableWrite", "batch_sql", "by_columns", "rows_by_key"]

Records: TypeAlias = Sequence[tuple[Any, ...]]
"""Rows as they are written, their values in the order of the columns."""

_TABLE: Final = re.compile(r"^create table (\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_COLUMN: Final = re.compile(r"^ {4}(?!primary key)(\w+) +(double precision|\w+)", re.MULTILINE)
_FIRST_PARAMETER: Final = 5
"""Those before it are the position that is expected, and the one that is reached."""


class Mode(Enum):
    """What becomes of a row."""

    APPEND = "append"
    """It is new."""
    FIRST = "first"
    """It is new, or the one that is there stays."""
    REPLACE = "replace"
    """It is new, or takes the place of the one that is there."""
    UPDATE = "update"
    """It takes the place of the one that is there; where there is none, nothing happens."""
    ADD = "add"
    """It is new, or its numbers are added to those of the one that is there."""


@dataclass(frozen=True, eq=False)
class TableWrite:
    """One way in which rows are written to a table. A table may have several."""

    table: str
    columns: tuple[str, ...]
    mode: Mode = Mode.APPEND
    key: tuple[str, ...] = ()
    """Columns that tell rows apart; needed for every mode but APPEND. Each key at most once in a batch."""
    fixed: frozenset[str] = frozenset()
    """Columns that a row has for good: they are not written to one that is there."""
    only: str = ""
    """Of UPDATE: a condition on the row `t` that is there, in SQL."""
    by_month: str | None = None
    """Of a table in parts by month: the column whose month says into which one a row belongs; null into none."""
    parts: str = ""
    """The table that those parts are of."""

    def types(self) -> tuple[str, ...]:
        """The columns' types. Raises KeyError for a table or column that the schema does not have."""
        known = _types()[self.table]
        return tuple(known[column] for column in self.columns)

    @property
    def stage(self) -> str:
        """Name of the temporary table that rows go through."""
        return f"staged_{self.table}_{self.mode.value}_{len(self.key)}"

    def stage_sql(self) -> str:
        """Makes the temporary table."""
        return (
            f"create temporary table if not exists {self.stage} as "
            f"select {', '.join(self.columns)} from {self.table} with no data"
        )

    def merge_sql(self, source: str, guard: str = "") -> str:
        """Writes the rows of `source` (what can stand after `from`), if the condition `guard` holds."""
        names = ", ".join(self.columns)
        if self.mode is Mode.UPDATE:
            sets = ", ".join(f"{one} = s.{one}" for one in self._changing())
            same = " and ".join(filter(None, [*(f"t.{one} = s.{one}" for one in self.key), self.only, guard]))
            return f"update {self.table} t set {sets} from {source} as s ({names}) where {same}"
        where = f" where {guard}" if guard else ""
        return (
            f"insert into {self.table} as t ({names}) "
            f"select * from {source} as s ({names}){where}{self._on_conflict()}"
        )

    def array_sql(self, first: int) -> str:
        """The rows as arrays, one parameter per column, numbered from `first`."""
        arrays = (f"${first + place}::{kind}[]" for place, kind in enumerate(self.types()))
        return f"unnest({', '.join(arrays)})"

    def _changing(self) -> Iterable[str]:
        return (one for one in self.columns if one not in self.key and one not in self.fixed)

    def _on_conflict(self) -> str:
        if self.mode is Mode.APPEND:
            return ""
        keys = ", ".join(self.key)
        if self.mode is Mode.FIRST:
            return f" on conflict ({keys}) do nothing"
        added = "t.{0} + excluded.{0}" if self.mode is Mode.ADD else "excluded.{0}"
        sets = ", ".join(f"{one} = {added.format(one)}" for one in self._changing())
        return f" on conflict ({keys}) do update set {sets}"


@lru_cache(maxsize=512)
def batch_sql(writes: tuple[TableWrite, ...]) -> str:
    """Moves the position from ($1, $2) to ($3, $4) and does these writes, each with an array per column as its
    parameters, in this order; or, where the position has moved, nothing, and then it tells no row."""
    parts = [
        "moved as (update projector_position set sequence = $3, event_time = $4 "
        "where stream_created = $1 and sequence = $2 returning sequence)"
    ]
    first = _FIRST_PARAMETER
    for number, one in enumerate(writes):
        parts.append(f"w{number} as ({one.merge_sql(one.array_sql(first), 'exists (select from moved)')})")
        first += len(one.columns)
    return f"with {', '.join(parts)} select sequence from moved"


def by_columns(records: Records) -> Sequence[Sequence[Any]]:
    """Rows turned on their side: one sequence of values per column. There must be a row."""
    return list(zip(*records, strict=True))


def rows_by_key(table: str, columns: Sequence[str], key: str) -> str:
    """The statement that reads the rows whose key is among `$1`."""
    return f"select {', '.join(columns)} from {table} where {key} = any($1::text[])"


@cache
def _types() -> dict[str, dict[str, str]]:
    """The type of each column of each table, as the schema says."""
    return {table: dict(_COLUMN.findall(body)) for table, body in _TABLE.findall(schema_sql())}
