"""What callers send of a pool."""

from __future__ import annotations

from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_schemas.commands import UpdatePool
from gnomon_schemas.pools import POOL_LIMIT_MAX, POOL_SYSTEM_FIELDS

__all__ = ["parse_pool"]


def parse_pool(data: bytes) -> UpdatePool:
    """The body of `pool.update`. Fields that only the system sets are ignored. Raises Refused with every error."""
    payload = parse_body(data, UpdatePool, ignored=POOL_SYSTEM_FIELDS)
    limit = payload.max_in_flight
    if isinstance(limit, int) and not 1 <= limit <= POOL_LIMIT_MAX:
        allowed = f"1 to {POOL_LIMIT_MAX:,}, or null for no limit; to hand out nothing, set paused"
        refuse(wrong("#/max_in_flight", f"is {limit}; allowed: {allowed}"))
    return payload
