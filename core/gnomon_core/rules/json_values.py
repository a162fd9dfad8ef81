"""Values of fields as JSON: made plain, and compared."""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = ["plain_value", "same_value"]

_NUMBER: Final = (int, float)


def plain_value(value: Any) -> Any:
    """A field's value as plain JSON values."""
    return msgspec.json.decode(value if isinstance(value, msgspec.Raw) else msgspec.json.encode(value))


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: `1` and `1.0` are, `1` and `true` are not."""
    return _same(plain_value(one), plain_value(other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_same(first, second) for first, second in zip(one, other, strict=True))
        )
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, _NUMBER) and isinstance(other, _NUMBER):
        return one == other
    return type(one) is type(other) and bool(one == other)
