"""What processes say of themselves: leases, members, announced task types, the projector's position."""

from __future__ import annotations

import msgspec

from gnomon_schemas.tasks import RetryPolicy

__all__ = [
    "ClaimAnswer",
    "ClaimQuestion",
    "Lease",
    "Member",
    "ProjectorPosition",
    "PurgeFloor",
    "SchedulerStatus",
    "ShardStatus",
    "TypeAnnouncement",
]


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Who should lead a shard or hold a singleton duty. For efficiency only: fencing is for safety."""

    owner: str
    epoch: int


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One live process. Kept in `GNOMON_MEMBERS` under `<kind>.<id>` with a TTL, renewed by its owner."""

    id: str
    kind: str
    """`scheduler`, `executor` or `api`."""
    host: str
    pid: int
    version: str
    started_at: str
    pools: tuple[str, ...] = ()
    task_types: tuple[str, ...] = ()
    capacity: int = 0
    running: int = 0
    shards: tuple[int, ...] = ()
    draining: bool = False
    """It takes no more work."""
    clock_offset_ms: int = 0
    """How far its clock is ahead of the broker's, as it sees it itself; 0 within two seconds."""


class TypeAnnouncement(msgspec.Struct, frozen=True, kw_only=True):
    """A task type that some executor runs. Kept in `GNOMON_TASK_TYPES` under its name; a cache, announced again."""

    name: str
    description: str
    pool: str
    timeout_seconds: float
    """Of one attempt, where the task says nothing."""
    retry: RetryPolicy
    config_schema: msgspec.Raw
    """JSON Schema (2020-12) of `config`."""
    isolation: str
    """`loop`, `thread` or `process`."""
    version: str
    """Of the executor's package that announced it."""
    one_at_a_time: bool = False
    """Of all tasks of this type together, one execution is in flight at a time."""


class ProjectorPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How far the read models are. `created` names the stream by its creation time, `time` is the last event's."""

    created: str
    sequence: int
    time: str


class PurgeFloor(msgspec.Struct, frozen=True, kw_only=True):
    """How far the janitor has purged: of the stream created at `created`, events below `sequence` may be gone."""

    created: str
    sequence: int


class ShardStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one shard stands, as its leader tells it. Times are RFC 3339 text."""

    partition: int
    leader: str
    epoch: int
    watermark: str | None
    lag_seconds: float
    tasks: int
    in_flight: int
    next_fire: str | None
    catch_up_waiting: int = 0
    """Late slots that are to run and were not handed out yet."""
    catch_up_held: int = 0
    """Those of them that wait for `approve_catch_up`."""
    set_aside: int = 0
    """Tasks that nothing is decided about, since that failed or their register cannot be read."""
    set_aside_tasks: tuple[str, ...] = ()
    """The ids of some of them."""


class SchedulerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduler's answer on `SCHEDULER_STATUS`: itself and the shards it leads."""

    id: str
    host: str
    pid: int
    started_at: str
    shards: tuple[ShardStatus, ...]


class ClaimQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Asked of an executor: are you running this attempt?"""

    execution_id: str
    attempt: int
    nonce: str


class ClaimAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`running`, or not: then whoever asked may take over."""

    running: bool
