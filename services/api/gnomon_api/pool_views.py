"""Pools as callers read them: what is set of each, who works for it, and what waits in it."""

from __future__ import annotations

import msgspec

from gnomon_api.cluster import Cluster
from gnomon_api.database import Database
from gnomon_api.queries import shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_core.rules.task_type import DEFAULT_POOL
from gnomon_schemas.pools import Pool

__all__ = ["PoolView", "PoolViews"]


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: what is set of it, who works for it, and what waits in it."""

    pool: str
    max_in_flight: int | None
    """Executions that may be handed out at a time, over all executors; null: as many as they take."""
    paused: bool
    """Nothing of it is handed out; what runs goes on."""
    version: int
    """Goes up with every change; 0: nothing was ever set."""
    updated_at: str | None
    executors: int
    """Live executors that work for it."""
    capacity: int
    """What they run at a time, all together and for all of their pools."""
    waiting: int
    """Executions that are queued: for room in the pool, for a key, or for an earlier one of their task."""
    pending: int
    """Executions handed out that no executor has taken yet."""
    in_flight: int
    """Executions that executors have."""


class PoolViews:
    """Reads pools: the default one, and those that are set, that an executor works for, or that a task type names."""

    def __init__(self, database: Database, cluster: Cluster) -> None:
        self._database = database
        self._cluster = cluster

    async def list(self) -> tuple[PoolView, ...]:
        """All pools by name. Raises DatabaseAway, and BusError while NATS does not answer."""
        rows = await self._database.fetch(statement("pools_set"))
        is_set = {
            row["pool"]: Pool(
                pool=row["pool"],
                max_in_flight=row["max_in_flight"],
                paused=row["paused"],
                version=row["version"],
                updated_at=shown_instant(row["updated_at"]),
            )
            for row in rows
        }
        waiting = {
            row["pool"]: row["waiting"] for row in await self._database.fetch(statement("pools_waiting"))
        }
        told = await self._cluster.executors()
        names = {DEFAULT_POOL, *is_set, *waiting, *(entry.pool for entry in told.pools)}
        names |= {known.announcement.pool for known in self._cluster.known_types.values()}
        names |= {pool for member in told.items for pool in member.pools}
        found = []
        for name in sorted(names):
            one = is_set.get(name) or Pool(
                pool=name, max_in_flight=None, paused=False, version=0, updated_at=None
            )
            members = [member for member in told.items if name in member.pools and not member.draining]
            lanes = [entry for entry in told.pools if entry.pool == name]
            found.append(
                PoolView(
                    pool=name,
                    max_in_flight=one.max_in_flight,
                    paused=one.paused,
                    version=one.version,
                    updated_at=one.updated_at,
                    executors=len(members),
                    capacity=sum(member.capacity for member in members),
                    waiting=waiting.get(name, 0),
                    pending=sum(lane.pending for lane in lanes),
                    in_flight=sum(lane.in_flight for lane in lanes),
                )
            )
        return tuple(found)
