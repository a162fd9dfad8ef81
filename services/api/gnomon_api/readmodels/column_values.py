"""Values of events as columns take them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import msgspec

from gnomon_core.runtime.messages import Stored
from gnomon_schemas.tasks import NULL

__all__ = [
    "as_instant",
    "bounded",
    "carried_json",
    "indexable_json",
    "json_text",
    "maybe_instant",
    "maybe_text",
    "plain_text",
    "trace_id_of",
]

_BIGINT_MAX: Final = 2**63 - 1
_encode: Final = msgspec.json.Encoder().encode


def trace_id_of(stored: Stored) -> str | None:
    """The trace that an event belongs to, from its `traceparent` header."""
    parts = stored.headers.get("traceparent", "").split("-")
    return parts[1] if len(parts) == 4 and len(parts[1]) == 32 else None


@lru_cache(maxsize=4096)
def as_instant(text: str) -> datetime:
    """An RFC 3339 text as an instant in UTC. Raises ValueError.

    The events of an execution say the same instants again and again, and so do those of one slot's tasks.
    """
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo is UTC else instant.astimezone(UTC)


def maybe_instant(text: str | None) -> datetime | None:
    """The same; None for None."""
    return None if text is None else as_instant(text)


def bounded(number: int) -> int:
    """A number cut to what a `bigint` holds."""
    return min(number, _BIGINT_MAX)


def plain_text(text: str) -> str:
    """Text as Postgres takes it: it has no character with code 0."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in text else text


def maybe_text(text: str | None) -> str | None:
    """`plain_text`; None for None."""
    return None if text is None else plain_text(text)


def json_text(value: Any) -> str:
    """A value as JSON text, as asyncpg takes `json`."""
    return _encode(value).decode()


def carried_json(raw: msgspec.Raw) -> str | None:
    """JSON that is only carried, as text; None for null."""
    return None if raw == NULL else bytes(raw).decode()


def indexable_json(value: Any) -> str:
    """JSON for a `jsonb` column, which, unlike `json`, cannot hold a character with code 0."""
    text = json_text(value)
    return json_text(_without_nul(value)) if "\\u0000" in text else text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, dict):
        return {plain_text(name): _without_nul(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nul(inner) for inner in value]
    return value
