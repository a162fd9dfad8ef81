"""When a slot comes due: its nominal time, plus a share of the jitter that is its own.

The share is a hash, not chance: whichever scheduler reckons it, before or after a take-over, gets the same.
"""

from __future__ import annotations

from hashlib import blake2b

from gnomon_schemas.schedules import Schedule

__all__ = ["emission_ms", "jitter_ms"]


def jitter_ms(task_id: str, nominal: int, jitter_seconds: int | float) -> int:
    """Milliseconds from the nominal time (seconds since 1970) to when the slot is due; under the jitter."""
    if not jitter_seconds:
        return 0
    digest = blake2b(f"{task_id}.{nominal}".encode(), digest_size=8).digest()
    # Scaling instead of a remainder: every millisecond is equally likely, whatever the jitter.
    return int.from_bytes(digest, "big") * int(jitter_seconds * 1000) >> 64


def emission_ms(task_id: str, nominal: int, schedule: Schedule) -> int:
    """When the slot of a task comes due, in milliseconds since 1970."""
    return nominal * 1000 + jitter_ms(task_id, nominal, schedule.jitter_seconds or 0)
