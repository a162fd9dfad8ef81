"""Ids that sort by the time they were made (UUID version 7, RFC 9562)."""

from __future__ import annotations

import secrets
import time
import uuid

__all__ = ["new_id"]

_RANDOM_BITS = 74
_RANDOM_B_BITS = 62


def new_id(now_ms: int | None = None) -> str:
    """A new UUIDv7 as text (36 characters): 48 bits of milliseconds since 1970, the rest random.

    `now_ms` stands in for the clock. Raises ValueError where it does not fit 48 bits.
    """
    at = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    if not 0 <= at < 1 << 48:
        raise ValueError(f"now_ms={at}: milliseconds since 1970, 0 to {(1 << 48) - 1}")
    noise = secrets.randbits(_RANDOM_BITS)
    value = at << 80
    value |= 0x7 << 76
    value |= (noise >> _RANDOM_B_BITS) << 64
    value |= 0b10 << _RANDOM_B_BITS
    value |= noise & ((1 << _RANDOM_B_BITS) - 1)
    return str(uuid.UUID(int=value))
