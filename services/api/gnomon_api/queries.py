"""What callers ask of a list: filters, sorting, cursors, as they stand in the query string.

What is asked for becomes a statement in `list_statements.py`.

Every parameter that is not known is refused by name: a filter that was spelled wrong must not return all.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from gnomon_api.database import Row
from gnomon_api.list_statements import Implied, Part, Sort, Wanted, page_statement
from gnomon_api.parameters import whole_number
from gnomon_schemas.clock_text import format_instant, parse_bound
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = [
    "LIMIT_DEFAULT",
    "LIMIT_MAX",
    "Asked",
    "Filter",
    "ListQuery",
    "Lists",
    "Page",
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
_SEARCH_MAX: Final = 200
_SEARCH: Final = re.compile(r'(-?)(?:"([^"]*)"|([^\s"]+))')
_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,15})(?:\.\d{1,15})?", re.ASCII)


class Filter(NamedTuple):
    """One filter: the named condition, and how its text becomes the condition's parameter."""

    condition: str
    read: Callable[[str, str], Any]
    """(name, text) -> value. Raises Refused."""
    schema: Mapping[str, Any]
    """What it takes, as JSON Schema, for the document of the API."""


class Asked(NamedTuple):
    """What a list was asked for, as far as other conditions follow from it."""

    order: str
    """Name of the sort, without its direction."""
    values: Mapping[str, Any]
    """Parameters of the filters, by filter; also of those that the path or the caller sets."""


def _nothing(_asked: Asked) -> Sequence[Implied]:
    return ()


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
    asked = Asked(sort.removeprefix("-"), {**values, **(fixed or {})})
    given_filters = len(conditions) - len(lists.always)
    conditions += lists.implied(asked)
    usual = lists.default_sort.removeprefix("-")
    parts = lists.parts(asked)
    wanted = Wanted(
        columns=lists.columns,
        key=lists.key,
        by=lists.sorts[asked.order],
        usual=lists.sorts[usual],
        descending=sort.startswith("-"),
        since=lists.since(asked),
        cursor=cursor,
        rows=limit + 1,
        keys_first=given_filters > 1 or len(parts) > 1 or (given_filters == 1 and asked.order != usual),
    )
    return ListQuery(*page_statement(wanted, conditions, parts), limit, sort, lists)


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
            return parse_bound(text.replace(" ", "+"))  # an unescaped + of the offset arrives as a space
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
    found = whole_number(text, 1, LIMIT_MAX)
    if found is None:
        errors.append(_wrong("limit", f"is {text[:80]!r}; allowed: 1 to {LIMIT_MAX}"))
    return found or LIMIT_DEFAULT


def _cursor(text: str | None, sort: str, lists: Lists, errors: list[FieldError]) -> tuple[str, str] | None:
    if text is None:
        return None
    try:
        begun_with, value, key = msgspec.json.decode(
            base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=tuple[str, str, str]
        )
        if "\x00" in value + key:
            raise ValueError(value)
        instant = lists.sorts[sort.removeprefix("-")].pg_type != "text" and value != "infinity"
        # Python reads instants that Postgres does not: just the one way to write one that is ours is let through.
        if (
            begun_with == sort
            and instant
            and datetime.fromisoformat(value).astimezone(UTC).isoformat() != value
        ):
            raise ValueError(value)
    except (ValueError, OverflowError):
        errors.append(_wrong("cursor", "is no cursor of ours; allowed is what next_cursor said"))
        return None
    if begun_with != sort:
        errors.append(_wrong("cursor", f"belongs to sort={begun_with}, not to sort={sort}"))
        return None
    return value, key


def _encode_cursor(parts: list[str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def _wrong(name: str, message: str) -> FieldError:
    return FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message)


def _refused(name: str, message: str) -> Refused:
    return Refused(Code.INVALID, f"{name} {message}", _wrong(name, message))


def shown_instant(value: datetime | None) -> str | None:
    """An instant as callers read it."""
    return None if value is None else format_instant(value)
