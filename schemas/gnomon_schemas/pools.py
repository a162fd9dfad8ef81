"""Pools: what limits the work of one, and the event that tells of a change.

A pool needs no making: it is there as soon as a task or an executor names it. What can be set of it is how many
executions may be handed out at a time, and whether any is.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_schemas.events import FieldChange

__all__ = ["POOL_LIMIT_MAX", "POOL_SYSTEM_FIELDS", "Pool", "PoolUpdated"]

POOL_LIMIT_MAX = 1_000_000
"""Largest `max_in_flight` of a pool."""


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """A pool as everybody reads it: the answer to a command of kind `pool`."""

    pool: str
    max_in_flight: int | None
    """Executions that may be handed out at a time, over all executors; None: as many as they take."""
    paused: bool
    """Nothing of it is handed out; what runs goes on."""
    version: int
    """Goes up with every change; 0: nothing was ever set."""
    updated_at: str | None


POOL_SYSTEM_FIELDS: frozenset[str] = frozenset(
    {*Pool.__struct_fields__, "executors", "capacity", "waiting", "pending", "in_flight"}
    - {"max_in_flight", "paused"}
)
"""Fields that only the system sets: ignored on input, so that a read can be sent back."""


class PoolUpdated(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gnomon.pool.updated.v1"):
    """What is set of a pool, after a command that was accepted. `changes` is empty where it changed nothing."""

    pool: str
    partition: int
    occurred_at: str
    command_id: str | UnsetType = UNSET
    changed_by: str | None = None
    """The acting user."""
    changes: tuple[FieldChange, ...] = ()
    max_in_flight: int | None
    """Executions that may be handed out at a time; None: as many as executors take."""
    paused: bool
    version: int
    updated_at: str
