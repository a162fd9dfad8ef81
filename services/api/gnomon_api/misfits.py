"""Tasks whose config no longer fits the schema of their type: found when they are asked for, and counted.

A task is checked when it is made or its config is changed, by the schema that executors announce then. When a new
version of the type announces another one, tasks of before may not fit any more: their runs would fail when the executor
decodes the config. Nothing is changed by that; they are listed here, so that somebody changes them.

Looked at are the tasks that may still run: not deleted, completed, failed or cancelled. They come from the read models,
and the schema is the one that this process knows at that moment.

Counting a type looks at each of its tasks: 283,537 among a million took 7 s of CPU here, and two minutes on a busy
machine, most of it for Postgres to read them. So it takes half of the time at the most, a thousand tasks and then a
rest as long, for the requests that this process answers; and a count that took long is made again so much later that
it takes a twentieth of the time.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from typing_extensions import override

from gnomon_api.cluster import Cluster
from gnomon_api.database import Database, DatabaseAway, Row
from gnomon_api.identity import Caller
from gnomon_api.readmodels.statements import statement
from gnomon_core.rules.task_type import KnownType
from gnomon_core.runtime.metrics import Meter, Metric
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["Misfit", "MisfitPage", "MisfitWatch", "Misfits", "rest_until"]

_log = structlog.get_logger(__name__)
_CHUNK: Final = 1000
_CHECKED_MAX: Final = 20_000
"""Tasks that one request looks at."""
_BEFORE_ALL: Final = ("0001-01-01T00:00:00+00:00", "")
_LONG_SECONDS: Final = 1.0
_REST_TIMES: Final = 20
"""A count that took longer than `_LONG_SECONDS` is followed by so many times its own length without one."""
_SAYS_NOTHING: Final = frozenset({"$schema", "$id", "title", "description", "type"})


class Misfit(msgspec.Struct, frozen=True, kw_only=True):
    """One task that does not fit its type."""

    task_id: str
    user_id: str | None
    name: str
    status: str
    errors: tuple[FieldError, ...]
    """What in its config does not fit."""


class MisfitPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of the tasks that do not fit a type."""

    items: tuple[Misfit, ...]
    checked: int
    """Tasks that were looked at for this page."""
    next_cursor: str | None
    """There are more tasks to look at; null: these were the last. A page may be empty and not the last."""


class _Config(msgspec.Struct, frozen=True):
    config: msgspec.Raw


class _Found(NamedTuple):
    row: Row
    errors: list[FieldError]


class Misfits:
    """Looks for misfits. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, cluster: Cluster) -> None:
        self._database, self._cluster = database, cluster

    async def page(self, task_type: str, limit: int, cursor: str | None, caller: Caller) -> MisfitPage:
        """Up to `limit` misfits after a cursor; the caller's own unless that is an admin. Raises Refused."""
        known = self._cluster.known_types.get(task_type)
        if known is None:
            raise Refused(Code.NOT_FOUND, f"no executor has announced the task type {task_type!r}")
        owner = None if caller.admin else caller.user_id
        after, found, checked = _decoded(cursor), list[_Found](), 0
        while checked < _CHECKED_MAX:
            rows = await self._rows(task_type, owner, after)
            misfits = await asyncio.to_thread(_misfits, known, rows)
            if len(found) + len(misfits) > limit:
                misfits = misfits[: limit - len(found)]
                # Those behind the last one that is shown are looked at once more.
                rows = rows[: 1 + next(n for n, row in enumerate(rows) if row is misfits[-1].row)]
            found += misfits
            checked += len(rows)
            if rows:
                after = _place(rows[-1])
            if len(found) >= limit:
                return _page(found, checked, _encoded(after))
            if len(rows) < _CHUNK:
                return _page(found, checked, None)
        return _page(found, checked, _encoded(after))

    async def count(self, known: KnownType) -> int:
        """How many tasks of a type do not fit it."""
        after, count = _BEFORE_ALL, 0
        while True:
            begun = time.monotonic()
            rows = await self._rows(known.announcement.name, None, after)
            count += len(await asyncio.to_thread(_misfits, known, rows))
            if len(rows) < _CHUNK:
                return count
            after = _place(rows[-1])
            await asyncio.sleep(time.monotonic() - begun)

    async def _rows(self, task_type: str, owner: str | None, after: tuple[str, str]) -> Sequence[Row]:
        at, task_id = after
        return await self._database.fetch(
            statement("tasks_to_check"), task_type, owner, datetime.fromisoformat(at), task_id, _CHUNK
        )


class MisfitWatch(Service):
    """Counts the misfits of each type whose schema has changed, and of those that had some, while it is this
    process's duty."""

    def __init__(self, misfits: Misfits, cluster: Cluster, meter: Meter, *, every_seconds: float) -> None:
        super().__init__("misfits")
        self._misfits, self._cluster, self._meter = misfits, cluster, meter
        self._every = every_seconds
        self._counted: dict[str, tuple[str, int]] = {}
        """By type: of which schema, and how many."""
        self._resting: dict[str, float] = {}
        """By type: until when it is not counted again, by the monotonic clock."""

    @override
    async def on_start(self) -> None:
        """Begin to look."""
        _ = self.spawn(self._loop(), "loop")

    @override
    async def on_stop(self) -> None:
        """Somebody else's figures count from now on."""
        for task_type in self._counted:
            self._meter.set(Metric.TYPE_MISFITS, 0, task_type=task_type)
        self._counted.clear()

    async def _loop(self) -> None:
        while True:
            try:
                await self.look()
            except DatabaseAway as error:
                _log.info(LogEvent.MISFITS_WAIT, error=str(error))
            await asyncio.sleep(self._every)

    async def look(self) -> None:
        """Look once. Raises DatabaseAway."""
        for name, known in sorted(self._cluster.known_types.items()):
            digest = hashlib.sha256(bytes(known.announcement.config_schema)).hexdigest()
            before, count = self._counted.get(name, ("", 0))
            begun = time.monotonic()
            if before == digest and (not count or begun < self._resting.get(name, 0.0)):
                continue
            count = 0 if _takes_anything(known) else await self._misfits.count(known)
            if count and before != digest:
                _log.warning(LogEvent.MISFITS_FOUND, type=name, tasks=count)
            self._counted[name] = (digest, count)
            self._resting[name] = rest_until(begun, time.monotonic())
            self._meter.set(Metric.TYPE_MISFITS, count, task_type=name)


def rest_until(begun: float, ended: float) -> float:
    """Until when a type is not counted again, after a count from `begun` to `ended`."""
    took = ended - begun
    return ended + _REST_TIMES * took if took > _LONG_SECONDS else ended


def _misfits(known: KnownType, rows: Sequence[Row]) -> list[_Found]:
    """Those of some tasks that do not fit: apart from the loop, since each may take a tenth of a millisecond."""
    found = []
    for row in rows:
        errors = known.check(bytes(_decode_task(row["task"]).config))
        if errors:
            found.append(_Found(row, errors))
    return found


_decode_task: Final = msgspec.json.Decoder(_Config).decode


def _takes_anything(known: KnownType) -> bool:
    """Whether the schema says no more of a config than that it is an object."""
    schema: Any = msgspec.json.decode(known.announcement.config_schema)
    return schema is True or (
        isinstance(schema, dict)
        and schema.get("type", "object") == "object"
        and schema.keys() <= _SAYS_NOTHING
    )


def _page(found: Sequence[_Found], checked: int, cursor: str | None) -> MisfitPage:
    items = tuple(
        Misfit(
            task_id=one.row["task_id"],
            user_id=one.row["user_id"],
            name=one.row["name"],
            status=one.row["status"],
            errors=tuple(one.errors),
        )
        for one in found
    )
    return MisfitPage(items=items, checked=checked, next_cursor=cursor)


def _place(row: Row) -> tuple[str, str]:
    return row["created_at"].astimezone(UTC).isoformat(), row["task_id"]


def _encoded(place: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _decoded(cursor: str | None) -> tuple[str, str]:
    if cursor is None:
        return _BEFORE_ALL
    try:
        padded = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, task_id = msgspec.json.decode(padded, type=tuple[str, str])
        if datetime.fromisoformat(at).tzinfo is None or "\x00" in task_id:
            raise ValueError
    except ValueError as error:
        message = "is no cursor of ours; allowed is what next_cursor said"
        raise Refused.at("#/cursor", message) from error
    return at, task_id
