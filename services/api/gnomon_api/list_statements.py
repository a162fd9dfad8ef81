"""A page of a list as one statement, put together from named pieces (`readmodels/queries`).

A page has a condition for each filter that was asked for, and a keyset: the condition that it goes on after the last
item of the page before. It therefore costs the same wherever it is, and items that come or go meanwhile neither repeat
nor hide others.

*A page is to cost little however much there is.* There is an index for each order, and one for each filter with the
usual order behind it; the planner knows how much each value is worth. What helps it (ADR 0025 has the figures):

* One value is asked for as `=`, since an index gives the rows of several values in no order; a few values are a page of
  each, merged.
* *Keys first*: where filters and an order have no index in common, all that a filter leaves may have to be put in
  order. The keys of a page are found first, from indexes alone where they hold what is asked for, and then the
  page's rows are read.
* *Implied conditions* follow from the others, and tell the planner what it cannot know.
* *Parts*: conditions of which just one holds for each row, where each part has a quick way of its own. A page is made
  of each, and they are merged.
* *Near*: where an order is nearly the usual one, what a filter leaves need not be put in order whole. Say that no row's
  place in the one is further than `near` from its place in the other, and let a page have n rows. The first n rows in
  the usual order, the last of them at `u`, all come before `u + near` in the order that was asked for. So the page's
  rows do, too; and all of them come before `u + 2 near` in the usual order, where an index finds them. Going
  backwards it is the same with the signs turned.
* *Buckets*: rows of a range, in another order than that of the range, come from an index that holds them bucket by
  bucket, each in the order that was asked for: a page of each bucket, merged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from gnomon_api.database import Row
from gnomon_api.readmodels.statements import statement

__all__ = ["Buckets", "Implied", "Part", "Sort", "Wanted", "page_statement"]

_MERGED_MAX: Final = 8
"""Up to so many values of a filter are a page of each, merged."""
_ANY: Final = "= any($1::text[])"
_ONE: Final = "= $1::text"
_PLACE: Final = re.compile(r"\$(\d)")

Implied: TypeAlias = "tuple[str, Any]"
"""A named condition, and its parameter; None: it has none."""


class Sort(NamedTuple):
    """One way to sort: an expression that is never null, its type, and how a row tells its value."""

    expression: str
    pg_type: str
    value: Callable[[Row], str]


class Buckets(NamedTuple):
    """How the rows of a range are kept, bucket by bucket."""

    numbers: str
    """Name of what gives the buckets' numbers, as an item after `from`; it takes `values`."""
    values: Sequence[Any]
    condition: str
    """Name of the condition that a row is in the bucket `bucket.number`."""


class Part(NamedTuple):
    """A part of a list."""

    table: str | None = None
    """The table that has all of these rows, and the list's columns; None: the list's own."""
    conditions: Sequence[Implied] = ()
    """All of them hold for a row of this part, and for no row of another."""
    few: bool = False
    """Whether these rows are few: then they are found and put in order, whatever the planner thinks of going through
    the order until there are enough."""
    until: datetime | None = None
    """Of an order of instants: none of these rows comes at this one or after it."""
    near: timedelta | None = None
    """Of an order of instants: no row's instant in it is further from its instant in the usual order."""
    buckets: Buckets | None = None
    merged: bool = True
    """Whether several values of a filter are a page of each here."""


class Wanted(NamedTuple):
    """The page that is wanted."""

    columns: str
    """Name of the statement's beginning, which ends with the table."""
    key: str
    by: Sort
    usual: Sort
    descending: bool
    since: datetime | None
    """Of an order of instants: no row comes at this one or before it."""
    cursor: tuple[str, str] | None
    """Value and key of the last item before it."""
    rows: int
    keys_first: bool


def page_statement(
    wanted: Wanted, conditions: Sequence[Implied], parts: Sequence[Part]
) -> tuple[str, tuple[Any, ...]]:
    """The statement that reads a page, and its parameters."""
    return _PageStatement(wanted).made(conditions, parts)


class _PageStatement:
    """A statement in the making, with the parameters that it has so far."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._way = "desc" if wanted.descending else "asc"
        self._values: list[Any] = []
        by, last = wanted.by.expression, f"limit {wanted.rows}"
        self._by_keys = f" order by found_at {self._way}, found {self._way} {last}"
        self._plain = f" order by {by} {self._way}, {wanted.key} {self._way} {last}"
        self._order = self._by_keys if wanted.keys_first else self._plain

    def _begin(self, part: Part) -> str:
        columns = statement(self._wanted.columns)
        if not self._wanted.keys_first:
            return columns
        key, by = self._wanted.key, self._wanted.by.expression
        return f"select {key} as found, {by} as found_at from {_table(part, columns)}"  # noqa: S608 - our own names

    def made(self, conditions: Sequence[Implied], parts: Sequence[Part]) -> tuple[str, tuple[Any, ...]]:
        """The whole statement."""
        pages = [page for part in parts for page in self._pages(part, conditions, parts)]
        sql = pages[0] if len(pages) == 1 else _merged(pages, self._order)
        if self._wanted.keys_first:
            columns, key = statement(self._wanted.columns), self._wanted.key
            sql = f"{columns} join ({sql}) as keys on {key} = keys.found{self._by_keys}"
        return sql, tuple(self._values)

    def _pages(self, part: Part, conditions: Sequence[Implied], parts: Sequence[Part]) -> Iterable[str]:
        most = _MERGED_MAX // sum(one.merged for one in parts) if part.merged else 0
        shared, several = self._clauses([*conditions, *part.conditions], most=most)
        shared += self._window(part)
        if not several:
            return [self._page(part, shared)]
        return [self._page(part, [*shared, *self._clauses([one], most=0)[0]]) for one in several]

    def _page(self, part: Part, clauses: list[str]) -> str:
        """A page of the rows that these hold for."""
        if part.near is not None:
            clauses = [*clauses, *self._nearest(part, part.near, clauses)]
        if part.few or part.near is not None:
            found = f"{self._begin(part)}{_where(clauses)}"
            # `offset 0`: the planner takes what is in here by itself.
            return f"select * from ({found} offset 0) as few{self._order}"  # noqa: S608 - our own names
        if part.buckets is not None:
            clauses.append(statement(part.buckets.condition))
            page = f"{self._begin(part)}{_where(clauses)}{self._plain}"
            given = [self._parameter(value) for value in part.buckets.values]
            numbers = _PLACE.sub(lambda place: given[int(place[1]) - 1], statement(part.buckets.numbers))
            return f"select paged.* from {numbers} cross join lateral ({page}) as paged{self._order}"  # noqa: S608 - our own names
        return f"{self._begin(part)}{_where(clauses)}{self._order}"

    def _clauses(self, conditions: Iterable[Implied], *, most: int) -> tuple[list[str], Sequence[Implied]]:
        """Conditions as clauses; and, of the first filter with several values, but with `most` at most, a condition
        for each value."""
        clauses: list[str] = []
        several: Sequence[Implied] = ()
        for name, value in conditions:
            piece = statement(name)
            if isinstance(value, list) and piece.endswith(_ANY):
                if 1 < len(value) <= most and not several:
                    several = [(name, [one]) for one in value]
                    continue
                if len(value) == 1:
                    piece, value = piece.replace(_ANY, _ONE), value[0]
            if value is not None:
                piece = piece.replace("$1", self._parameter(value))
            clauses.append(piece)
        return clauses, several

    def _window(self, part: Part) -> list[str]:
        """Where in its order a page may begin and end.

        Of a bound and a cursor on the same side just the tighter one is asked for: with both, Postgres begins at the
        one and goes through everything between them.
        """
        by, descending = self._wanted.by, self._wanted.descending
        cursor, since, until, at = self._wanted.cursor, self._wanted.since, part.until, self._cursor_at()
        if at is not None:
            if not descending and since is not None and at >= since:
                since = None
            elif descending and until is not None:
                cursor, until = (None, until) if at >= until else (cursor, None)
        clauses = []
        for bound, beyond in ((since, ">"), (until, "<")):
            if bound is not None:
                clauses.append(f"{by.expression} {beyond} {self._parameter(bound)}::timestamptz")
        if cursor is not None:
            value, key = (self._parameter(one) for one in cursor)
            beyond = "<" if descending else ">"
            clauses.append(
                f"({by.expression}, {self._wanted.key}) {beyond} ({value}::text::{by.pg_type}, {key})"
            )
        return clauses

    def _nearest(self, part: Part, near: timedelta, clauses: Sequence[str]) -> list[str]:
        """Where in the usual order the rows of a page are that these clauses hold for."""
        usual, descending, rows = self._wanted.usual.expression, self._wanted.descending, self._wanted.rows
        sign, beyond, back = ("-", ">=", "<=") if descending else ("+", "<=", ">=")
        last, all_of_it = ("min(at)", "-infinity") if descending else ("max(at)", "infinity")
        table, found = _table(part, statement(self._wanted.columns)), []
        if (begin := self._begin_in_usual(part, near)) is not None:
            found.append(f"{usual} {back} {self._parameter(begin)}::timestamptz")
        first = (
            f"select {usual} as at from {table}{_where([*clauses, *found])} "  # noqa: S608 - our own names
            f"order by {usual} {self._way} limit {rows}"
        )
        width = f"{self._parameter(2 * near)}::interval"
        found.append(
            f"{usual} {beyond} (select case when count(*) = {rows} then {last} {sign} {width} "  # noqa: S608 - our own names
            f"else '{all_of_it}'::timestamptz end from ({first}) as first_rows)"
        )
        return found

    def _begin_in_usual(self, part: Part, near: timedelta) -> datetime | None:
        """Where in the usual order a page begins at the earliest; None: anywhere."""
        at, descending = self._cursor_at(), self._wanted.descending
        bound = part.until if descending else self._wanted.since
        known = [one for one in (at, bound) if one is not None]
        if not known:
            return None
        try:
            return min(known) + near if descending else max(known) - near
        except OverflowError:
            return None

    def _cursor_at(self) -> datetime | None:
        """The cursor's value, where it is an instant."""
        cursor = self._wanted.cursor
        if cursor is None or self._wanted.by.pg_type != "timestamptz":
            return None
        if cursor[0] == "infinity":
            return datetime.max.replace(tzinfo=UTC)
        return datetime.fromisoformat(cursor[0])

    def _parameter(self, value: Any) -> str:
        self._values.append(value)
        return f"${len(self._values)}"


def _table(part: Part, columns: str) -> str:
    return part.table or columns.split()[-1]


def _merged(pages: Sequence[str], order: str) -> str:
    """One page of several, each of which is in this order."""
    return f"select * from ({' union all '.join(f'({page})' for page in pages)}) as merged{order}"  # noqa: S608 - from named pieces


def _where(clauses: Sequence[str]) -> str:
    return f" where {' and '.join(clauses)}" if clauses else ""
