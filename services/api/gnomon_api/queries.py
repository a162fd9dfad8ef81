"""What callers ask of a list: filters, sorting, cursors, as they stand in the query string.

A list is a statement put together from named pieces (`readmodels/queries`): its columns, one condition for
each filter that was asked for, and a keyset: the condition that it goes on after the last item of the page
before. A page therefore costs the same wherever it is, and items that come or go meanwhile neither repeat nor
hide others.

*A page is to cost little however much there is.* There is an index for each order, and one for each filter with the
usual order behind it; the planner knows how much each value is worth. Four things help it:

* One value is asked for as `=`, since an index gives the rows of several values in no order; a few values are a page of
  each, merged.
* *Keys first*: where filters and an order have no index in common, all that a filter leaves may have to be put in
  order. The keys of a page are found first, from indexes alone where they hold what is asked for, and then the
  page's rows are read.
* *Implied conditions* follow from the others, and tell the planner what it cannot know.
* *Parts*: conditions of which just one holds for each row, where each part has a quick way of its own. A page is made
  of each, and they are merged.

Every parameter that is not known is refused by name: a filter that was spelled wrong must not return all.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from gnomon_api.database import Row
from gnomon_api.readmodels.statements import statement
from gnomon_schemas.clock_text import format_instant, parse_instant
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = [
    "LIMIT_DEFAULT",
    "LIMIT_MAX",
    "Asked",
    "Filter",
    "Implied",
    "ListQuery",
    "Lists",
    "Page",
    "Part",
    "Sort",
    "contains_filter",
    "flag_filter",
    "instant_filter",
    "instant_sort",
    "metadata_filter",
    "parse_limit",
    "parse_list",
    "shown_instant",
    "text_filter",
    "text_sort",
    "words_filter",
]

LIMIT_DEFAULT: Final = 50
LIMIT_MAX: Final = 500
_VALUES_MAX: Final = 100
_MERGED_MAX: Final = 8
"""Up to so many values of a filter are a page of each, merged."""
_SEARCH_MAX: Final = 200
_SEARCH: Final = re.compile(r'(-?)(?:"([^"]*)"|([^\s"]+))')
_ANY: Final = "= any($1::text[])"
_ONE: Final = "= $1::text"
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,15})(?:\.\d{1,15})?", re.ASCII)


class Filter(NamedTuple):
    """One filter: the named condition, and how its text becomes the condition's parameter."""

    condition: str
    read: Callable[[str, str], Any]
    """(name, text) -> value. Raises Refused."""
    schema: Mapping[str, Any]
    """What it takes, as JSON Schema, for the document of the API."""


class Sort(NamedTuple):
    """One way to sort: an expression that is never null, its type, and how a row tells its value."""

    expression: str
    pg_type: str
    value: Callable[[Row], str]


Implied: TypeAlias = "tuple[str, Any]"
"""A named condition, and its parameter; None: it has none."""


class Asked(NamedTuple):
    """What a list was asked for, as far as other conditions follow from it."""

    order: str
    """Name of the sort, without its direction."""
    values: Mapping[str, Any]
    """Parameters of the filters, by filter."""


def _nothing(_asked: Asked) -> Sequence[Implied]:
    return ()


class Part(NamedTuple):
    """A part of a list."""

    conditions: Sequence[Implied] = ()
    """All of them hold for a row of this part, and for no row of another."""
    few: bool = False
    """Whether these rows are few: then they are found and put in order, whatever the planner thinks of going through
    the order until there are enough."""
    until: datetime | None = None
    """Of an order of instants: none of these rows comes at this one or after it."""


def _any_time(_asked: Asked) -> datetime | None:
    return None


def _undivided(_asked: Asked) -> Sequence[Part]:
    return (Part(),)


class Lists(NamedTuple):
    """What can be asked of one kind of list."""

    columns: str
    """Name of the statement's beginning, which ends with the table."""
    key: str
    """Column that tells items apart."""
    filters: Mapping[str, Filter]
    sorts: Mapping[str, Sort]
    default_sort: str
    always: tuple[str, ...] = ()
    """Names of conditions that always hold."""
    implied: Callable[[Asked], Sequence[Implied]] = _nothing
    """Conditions that follow from the others. They change no result."""
    parts: Callable[[Asked], Sequence[Part]] = _undivided
    """What the list is made of."""
    since: Callable[[Asked], datetime | None] = _any_time
    """Of an order of instants: no row comes at this one or before it."""


class ListQuery(NamedTuple):
    """A list that was asked for, ready to be run; fetch one row more than `limit`."""

    sql: str
    values: tuple[Any, ...]
    limit: int
    sort: str
    lists: Lists

    def page(self, rows: Sequence[Row]) -> Page:
        """The rows of this page, and the cursor of the next one."""
        if len(rows) <= self.limit:
            return Page(rows, None)
        rows = rows[: self.limit]
        sort = self.lists.sorts[self.sort.removeprefix("-")]
        return Page(rows, _encode_cursor([self.sort, sort.value(rows[-1]), rows[-1][self.lists.key]]))


class Page(NamedTuple):
    """One page of a list."""

    rows: Sequence[Row]
    next_cursor: str | None


def parse_list(
    lists: Lists, given: Iterable[tuple[str, str]], fixed: Mapping[str, Any] | None = None
) -> ListQuery:
    """The list that a query string asks for. `fixed`: conditions (by filter) that the path or the caller
    sets.

    Raises Refused with every parameter at fault.
    """
    params, errors = _parameters(lists, given)
    limit = _limit(params.pop("limit", None), errors)
    sort = params.pop("sort", lists.default_sort)
    if sort.removeprefix("-") not in lists.sorts:
        allowed = ", ".join(sorted(lists.sorts))
        errors.append(_wrong("sort", f"is {sort[:80]!r}; allowed: {allowed}, with - for the other way round"))
        sort = lists.default_sort
    cursor = _cursor(params.pop("cursor", None), sort, lists, errors)
    conditions: list[tuple[str, Any]] = [(name, None) for name in lists.always]
    values: dict[str, Any] = {}
    for name, value in (fixed or {}).items():
        conditions.append((lists.filters[name].condition, value))
    for name, text in params.items():
        one = lists.filters["metadata" if name.startswith("metadata.") else name]
        try:
            values[name] = one.read(name, text)
            conditions.append((one.condition, values[name]))
        except Refused as refused:
            errors += refused.problem.errors
    if errors:
        raise Refused(Code.INVALID, f"{errors[0].pointer}: {errors[0].message}", *errors)
    asked = Asked(sort.removeprefix("-"), values)
    given_filters = len(conditions) - len(lists.always)
    conditions += lists.implied(asked)
    usual = asked.order == lists.default_sort.removeprefix("-")
    parts = lists.parts(asked)
    keys_first = given_filters > 1 or len(parts) > 1 or (given_filters == 1 and not usual)
    window = _Window(lists.since(asked), cursor)
    return _build(lists, conditions, parts, sort, window, limit, keys_first=keys_first)


def parse_limit(text: str | None) -> int:
    """How many items a query string asks for. Raises Refused."""
    errors: list[FieldError] = []
    limit = _limit(text, errors)
    if errors:
        raise Refused(Code.INVALID, f"{errors[0].pointer}: {errors[0].message}", *errors)
    return limit


def text_filter(condition: str, allowed: Iterable[str] | None = None) -> Filter:
    """A filter for one of several texts, with commas; `allowed` lists them where they are known."""
    known = None if allowed is None else sorted(allowed)

    def read(name: str, text: str) -> list[str]:
        values = [value.strip() for value in text.split(",") if value.strip()]
        if not 1 <= len(values) <= _VALUES_MAX:
            raise _refused(name, f"has {len(values)} values; allowed: 1 to {_VALUES_MAX}")
        for value in values:
            if "\x00" in value:
                raise _refused(name, f"is {value[:80]!r}; allowed is printable text")
            if known is not None and value not in known:
                raise _refused(name, f"is {value[:80]!r}; allowed: {', '.join(known)}")
        return list(dict.fromkeys(values))

    one: dict[str, Any] = {"type": "string"} if known is None else {"type": "string", "enum": known}
    return Filter(condition, read, {"type": "array", "items": one, "minItems": 1, "maxItems": _VALUES_MAX})


def instant_filter(condition: str) -> Filter:
    """A filter for an instant, RFC 3339."""

    def read(name: str, text: str) -> datetime:
        try:
            return parse_instant(text.replace(" ", "+"))  # an unescaped + of the offset arrives as a space
        except ValueError as error:
            raise _refused(name, str(error)) from error

    return Filter(condition, read, {"type": "string", "format": "date-time"})


def contains_filter(condition: str) -> Filter:
    """A filter for a text within another; its own % and _ mean themselves."""

    def read(name: str, text: str) -> str:
        if "\x00" in text:
            raise _refused(name, "has a character with code 0")
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return f"%{escaped}%"

    return Filter(condition, read, {"type": "string"})


def words_filter(condition: str) -> Filter:
    """A filter for words: all of them have to be there, each may go on (`rep` finds `report`). `"…"` asks for words
    that follow one another, `-` for what is not there."""

    def read(name: str, text: str) -> str:
        if "\x00" in text or len(text) > _SEARCH_MAX:
            raise _refused(name, f"is not printable text of at most {_SEARCH_MAX} characters")
        parts = [_search_part(*match.groups()) for match in _SEARCH.finditer(text)]
        if not parts:
            raise _refused(name, "names no word")
        return " & ".join(parts)

    return Filter(condition, read, {"type": "string", "minLength": 1, "maxLength": _SEARCH_MAX})


def _search_part(without: str, phrase: str | None, word: str | None) -> str:
    """A part of a search as `to_tsquery` takes it."""
    quoted = (phrase or word or "").replace("\\", "\\\\").replace("'", "''")
    return f"{'!' if without else ''}'{quoted}'{'' if word is None else ':*'}"


def flag_filter(condition: str) -> Filter:
    """A filter that is asked for with `true`, and otherwise left out."""

    def read(name: str, text: str) -> None:
        if text != "true":
            raise _refused(name, f"is {text[:80]!r}; allowed: true")

    return Filter(condition, read, {"type": "boolean", "const": True})


def metadata_filter(condition: str) -> Filter:
    """A filter `metadata.<key>` for a member's value, as text or as the JSON scalar that the text spells."""

    def read(name: str, text: str) -> list[str]:
        key = name.removeprefix("metadata.")
        if not key or "\x00" in name + text:
            raise _refused(name, "names no key; allowed is metadata.<key>")
        found: list[str] = []
        for value in text.split(",")[:_VALUES_MAX]:
            found.append(json.dumps({key: value}))
            if value in ("true", "false", "null") or _NUMBER.fullmatch(value):
                found.append(f"{{{json.dumps(key)}: {value}}}")
        return found

    names = {"propertyNames": {"pattern": r"^metadata\..+$"}}
    return Filter(condition, read, {"type": "object", **names, "additionalProperties": {"type": "string"}})


def instant_sort(column: str, *, always: bool = False) -> Sort:
    """Sort by an instant, which is there `always`; what has none comes last, as if it were at the end of time."""
    if always:
        return Sort(column, "timestamptz", lambda row: str(row[column].astimezone(UTC).isoformat()))
    return Sort(
        f"coalesce({column}, 'infinity'::timestamptz)",
        "timestamptz",
        lambda row: "infinity" if row[column] is None else row[column].astimezone(UTC).isoformat(),
    )


def text_sort(column: str) -> Sort:
    """Sort by a text that is never null."""
    return Sort(column, "text", lambda row: str(row[column]))


def _parameters(lists: Lists, given: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[FieldError]]:
    params: dict[str, str] = {}
    errors: list[FieldError] = []
    known = {*lists.filters, "limit", "cursor", "sort"}
    takes_metadata = "metadata" in lists.filters
    for name, text in given:
        if name in params:
            errors.append(_wrong(name, "is given twice; several values go with commas"))
        elif name == "metadata" or (
            name not in known and not (takes_metadata and name.startswith("metadata."))
        ):
            allowed = ", ".join(sorted(known - {"metadata"})) + (", metadata.<key>" if takes_metadata else "")
            errors.append(
                FieldError(
                    pointer=f"#/{name}",
                    code=Code.UNKNOWN_FIELD,
                    message=f"the parameter {name[:80]!r} is not known; allowed: {allowed}",
                )
            )
        else:
            params[name] = text
    return params, errors


def _limit(text: str | None, errors: list[FieldError]) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= LIMIT_MAX:
        return int(text)
    errors.append(_wrong("limit", f"is {text[:80]!r}; allowed: 1 to {LIMIT_MAX}"))
    return LIMIT_DEFAULT


def _cursor(text: str | None, sort: str, lists: Lists, errors: list[FieldError]) -> tuple[str, str] | None:
    if text is None:
        return None
    try:
        begun_with, value, key = msgspec.json.decode(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[str, str, str]
        )
        if (
            begun_with == sort
            and lists.sorts[sort.removeprefix("-")].pg_type != "text"
            and value != "infinity"
            and datetime.fromisoformat(value).tzinfo is None
        ):
            raise ValueError(value)
    except ValueError:
        errors.append(_wrong("cursor", "is no cursor of ours; allowed is what next_cursor said"))
        return None
    if begun_with != sort:
        errors.append(_wrong("cursor", f"belongs to sort={begun_with}, not to sort={sort}"))
        return None
    return value, key


def _encode_cursor(parts: list[str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


class _Window(NamedTuple):
    """Where in its order a page may begin."""

    since: datetime | None
    cursor: tuple[str, str] | None
    """Value and key of the last item before it."""

    def clauses(self, part: Part, by: Sort, key: str, values: list[Any], *, descending: bool) -> list[str]:
        """Conditions on the order; their parameters are put behind `values`.

        Of a bound and a cursor on the same side just the tighter one is asked for: with both, Postgres begins at the
        one and goes through everything between them.
        """
        cursor, since, until = self.cursor, self.since, part.until
        if cursor is not None and by.pg_type == "timestamptz":
            at = (
                datetime.max.replace(tzinfo=UTC)
                if cursor[0] == "infinity"
                else datetime.fromisoformat(cursor[0])
            )
            if not descending and since is not None and at >= since:
                since = None
            elif descending and until is not None:
                cursor, until = (None, until) if at >= until else (cursor, None)
        clauses = []
        for bound, beyond in ((since, ">"), (until, "<")):
            if bound is not None:
                values.append(bound)
                clauses.append(f"{by.expression} {beyond} ${len(values)}::timestamptz")
        if cursor is not None:
            values += cursor
            beyond, at_value, at_key = "<" if descending else ">", len(values) - 1, len(values)
            clauses.append(f"({by.expression}, {key}) {beyond} (${at_value}::text::{by.pg_type}, ${at_key})")
        return clauses


def _build(
    lists: Lists,
    conditions: Sequence[Implied],
    parts: Sequence[Part],
    sort: str,
    window: _Window,
    limit: int,
    *,
    keys_first: bool,
) -> ListQuery:
    by, way = lists.sorts[sort.removeprefix("-")], "desc" if sort.startswith("-") else "asc"
    values: list[Any] = []
    shared, several = _clauses(conditions, values, most=_MERGED_MAX // len(parts))
    wanted = [_clauses([one], values, most=0)[0] for one in several] or [[]]
    begin = statement(lists.columns)
    table = begin.split()[-1]
    last = f" limit {limit + 1}"
    plain = f" order by {by.expression} {way}, {lists.key} {way}{last}"
    keys = f" order by found_at {way}, found {way}{last}"
    if keys_first:
        begin = f"select {lists.key} as found, {by.expression} as found_at from {table}"  # noqa: S608 - our own names
    order = keys if keys_first else plain
    pages = []
    for part in parts:
        clauses = [
            *shared,
            *_clauses(part.conditions, values, most=0)[0],
            *window.clauses(part, by, lists.key, values, descending=way == "desc"),
        ]
        for one in wanted:
            found = f"{begin}{_where([*clauses, *one])}"
            # `offset 0`: the planner takes what is in here by itself.
            pages.append(f"select * from ({found} offset 0) as few{order}" if part.few else found + order)  # noqa: S608
    sql = pages[0] if len(pages) == 1 else _merged(pages, order)
    if keys_first:
        sql = f"{statement(lists.columns)} join ({sql}) as keys on {lists.key} = keys.found{keys}"
    return ListQuery(sql, tuple(values), limit, sort, lists)


def _clauses(
    conditions: Iterable[Implied], values: list[Any], *, most: int
) -> tuple[list[str], Sequence[Implied]]:
    """Conditions as clauses, their parameters put behind `values`; and, of the first filter with several values, but
    with `most` at most, a condition for each value."""
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
            values.append(value)
            piece = piece.replace("$1", f"${len(values)}")
        clauses.append(piece)
    return clauses, several


def _merged(pages: Sequence[str], order: str) -> str:
    """One page of several, each of which is in this order."""
    return f"select * from ({' union all '.join(f'({page})' for page in pages)}) as merged{order}"  # noqa: S608 - from named pieces


def _where(clauses: Sequence[str]) -> str:
    return f" where {' and '.join(clauses)}" if clauses else ""


def _wrong(name: str, message: str) -> FieldError:
    return FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message)


def _refused(name: str, message: str) -> Refused:
    return Refused(Code.INVALID, f"{name} {message}", _wrong(name, message))


def shown_instant(value: datetime | None) -> str | None:
    """An instant as callers read it."""
    return None if value is None else format_instant(value)
