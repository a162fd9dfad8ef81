"""Collects what is known about a slot or a run, for `explain` to judge.

Tasks, history, spans, calendars of blackouts and the execution's place in time come from the read models; the
chain's events, each with its sequence, from the stream, as does the shard's leader. What the stream no longer holds
comes from the archive: that read looks through all events from the execution's day on, which is slow on a busy
archive, and is only done for executions older than `GNOMON_EVENT_TTL`, or while NATS is away. What only NATS knows is
left out then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from gnomon_api.calendar_pasts import read_past
from gnomon_api.calendar_views import CalendarViews
from gnomon_api.cluster import Cluster
from gnomon_api.database import Database, Row
from gnomon_api.explaining.facts import Change, Facts, PoolNow, ReadModels, Revision, ShardNow, Span
from gnomon_api.identity import Caller
from gnomon_api.readmodels.fold import fold_chain
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_views import TaskViews
from gnomon_core.ledger import Pasts
from gnomon_core.runtime.bus import NatsBus
from gnomon_core.runtime.bus_errors import BusError
from gnomon_core.runtime.clock import Clock
from gnomon_core.runtime.messages import Stored
from gnomon_core.runtime.telemetry import LogEvent
from gnomon_core.timing import Touch, next_fire
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import EPOCH, format_instant, instant_ms, parse_slot_run, slot_run
from gnomon_schemas.codec import decode, decode_event
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.subjects import (
    EVENTS_STREAM,
    chain,
    event,
    partition_of,
    shard_register,
)
from gnomon_schemas.tasks import Task

__all__ = ["ExplanationFacts"]

_MOST_CHANGES: Final = 2_000
"""Changes of a task that are looked at; what lies behind them is told by the oldest of these."""
_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""How much the clock of whoever told an event may be ahead of the broker's, by which the archive is ordered."""


_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode
_log = structlog.get_logger(__name__)


class _ShardRegister(msgspec.Struct, frozen=True):
    epoch: int
    owner: str


class ExplanationFacts:
    """Reads facts. Raises DatabaseAway while Postgres is away."""

    def __init__(
        self,
        database: Database,
        tasks: TaskViews,
        calendars: CalendarViews,
        bus: NatsBus,
        clock: Clock,
        cluster: Cluster,
    ) -> None:
        self._database = database
        self._tasks = tasks
        self._bus = bus
        self._clock = clock
        self._calendars, self._cluster = calendars, cluster

    async def of_latest(self, task_id: str, caller: Caller) -> Facts:
        """Facts of the task's latest execution; of its next slot where it has none yet. Raises Refused."""
        task = await self._tasks.known(task_id, caller)
        row = await self._database.fetchrow(statement("latest_execution"), task_id)
        if row is not None:
            return await self._with_chain(task, str(row["run"]), row)
        following = None
        if task.schedule is not None:
            following = next_fire(task.schedule, self._clock.now_ms() // 1000)
        facts = await self._facts(task, None if following is None else following * 1000)
        return await self._with_outlook(facts)

    async def of_instant(self, task_id: str, at_ms: int, caller: Caller) -> Facts:
        """Facts of an instant, slot or not. Raises Refused."""
        task = await self._tasks.known(task_id, caller)
        if at_ms % 1000 == 0:
            run = slot_run(at_ms // 1000)
            row = await self._database.fetchrow(statement("execution_of_run"), f"{task_id}.{run}")
            if row is not None:
                return await self._with_chain(task, run, row)
            at = EPOCH + timedelta(milliseconds=at_ms)
            if await self._database.fetchrow(statement("kept_slot"), task_id, at) is not None:
                # Its row was removed for its age; the archive has its events.
                return await self._with_chain(task, run, {"seq": 0, "recorded_at": at})
        facts = await self._facts(task, at_ms)
        span = await self._database.fetchrow(
            statement("span_over"), task_id, EPOCH + timedelta(milliseconds=at_ms)
        )
        return await (self._with_outlook(facts) if span is None else self._with_span(facts, span))

    async def of_run(self, task_id: str, run: str, caller: Caller) -> Facts:
        """Facts of a run. Raises Refused where there is none of that name."""
        slot = parse_slot_run(run)
        if slot is not None:
            return await self.of_instant(task_id, instant_ms(format_instant(slot)), caller)
        task = await self._tasks.known(task_id, caller)
        row = await self._database.fetchrow(statement("execution_of_run"), f"{task_id}.{run}")
        if row is None:
            raise Refused(Code.NOT_FOUND, f"there is no execution '{task_id}.{run}'")
        return await self._with_chain(task, run, row)

    async def _facts(self, task: Task, at_ms: int | None) -> Facts:
        """What every question needs."""
        task_id = task.task_id
        rows = await self._database.fetch(statement("changes_of_task"), task_id, _MOST_CHANGES)
        marks = await self._database.fetch(statement("revisions_of_task"), task_id)
        position = await self._database.fetchrow(statement("read_models_at"))
        now_ms = self._clock.now_ms()
        pasts: Pasts = {}
        shard: ShardNow | None = None
        try:
            year = datetime.fromtimestamp(now_ms / 1000, UTC).year
            pasts = await read_past(self._bus, self._partition(task_id), year)
            shard = await self._shard(self._partition(task_id))
        except BusError:
            _log.info(LogEvent.EXPLAINED_IN_PART, task_id=task_id)
        return Facts(
            task=task,
            history=_history(rows),
            now_ms=now_ms,
            at_ms=at_ms,
            pasts=pasts,
            revisions=tuple(map(_revision, marks)),
            shard=shard,
            read_models=None
            if position is None
            else ReadModels(position["sequence"], format_instant(position["event_time"])),
        )

    async def _shard(self, partition: int) -> ShardNow | None:
        """Who leads the shard, by its register. Raises BusError."""
        last = await self._bus.last(EVENTS_STREAM, shard_register(partition))
        if last is None:
            return None
        register = decode(last.data, _ShardRegister)
        return ShardNow(partition, register.epoch, register.owner)

    async def _with_outlook(self, facts: Facts) -> Facts:
        """What may be in the way of a slot of which nothing is recorded."""
        task = facts.task
        runs = await self._database.fetch(statement("runs_in_flight"), task.task_id)
        name = task.resolved.pool
        row = await self._database.fetchrow(statement("pool_now"), name)
        pool = PoolNow(
            name,
            row is not None and row["paused"],
            None if row is None else row["max_in_flight"],
            self._cluster.runs(name, task.task_type),
        )
        touch: Touch | None = None
        if facts.at_ms is not None:
            blackouts = await self._calendars.blackouts()
            touch = blackouts.touch(task.tags, task.task_type, task.user_id, facts.at_ms // 1000)
        return replace(facts, in_flight=tuple(one["run"] for one in runs), pool=pool, touch=touch)

    async def _with_span(self, facts: Facts, row: Row) -> Facts:
        """The facts with a span, and its event where that is still to be had."""
        event: ev.Event | None = None
        try:
            stored = await self._bus.get(EVENTS_STREAM, row["seq"])
            event = None if stored is None else _decoded(stored.data)
        except BusError:
            event = None
        if event is None:
            since = row["occurred_at"] - _CLOCKS_DIFFER
            archived = await self._database.fetchrow(statement("archived_event"), row["seq"], since)
            event = None if archived is None else _decoded(archived["payload"])
        return replace(facts, span=_span(row, event if isinstance(event, ev.SlotOutcome) else None))

    def _partition(self, task_id: str) -> int:
        return partition_of(task_id, self._cluster.partitions)

    async def _with_chain(self, task: Task, run: str, row: Row) -> Facts:
        slot = parse_slot_run(run)
        facts = await self._facts(task, None if slot is None else instant_ms(format_instant(slot)))
        stored = await self._chain(task.task_id, run, row)
        return _told(facts, stored)

    async def _chain(self, task_id: str, run: str, row: Row) -> Sequence[Stored]:
        """All events of an execution: from the stream while it holds them all, else from the archive."""
        partition = self._partition(task_id)
        found: list[Stored] = []
        try:
            found += [one async for one in self._bus.scan(EVENTS_STREAM, chain(partition, task_id, run))]
        except BusError:
            found.clear()  # the archive is read instead, which has all that the row stands for
        if _is_whole(found, row):
            return found
        subjects = [event("task", name, partition, task_id, run) for name in ev.EVENT_TYPES]
        rows = await self._database.fetch(
            statement("archived_chain"), row["recorded_at"] - _CLOCKS_DIFFER, subjects
        )
        return [
            Stored(
                one["subject"], one["seq"], instant_ms(format_instant(one["stored_at"])), {}, one["payload"]
            )
            for one in rows
        ]


def _is_whole(found: Sequence[Stored], row: Row) -> bool:
    """Whether a chain has the first and the last event that its row was made of."""
    if not found or all(one.seq != row["seq"] for one in found):
        return False
    first = _decoded(found[0].data)
    return first is not None and first.occurred_at == format_instant(row["recorded_at"])


def _decoded(data: bytes) -> ev.Event | None:
    try:
        return decode_event(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # of a later version: the steps that this one knows are told


def _told(facts: Facts, stored: Sequence[Stored]) -> Facts:
    events = [(one.seq, decoded) for one in stored if (decoded := _decoded(one.data)) is not None]
    return replace(facts, chain=tuple(events), execution=fold_chain(stored))


def _span(row: Row, event: ev.SlotOutcome | None) -> Span:
    return Span(
        seq=row["seq"],
        outcome=row["outcome"],
        reason=row["reason"],
        revision=row["revision"],
        from_at=format_instant(row["from_at"]),
        to_at=format_instant(row["to_at"]),
        slots=row["slots"],
        into=row["into_run"],
        occurred_at=format_instant(row["occurred_at"]),
        event=event,
    )


def _revision(row: Row) -> Revision:
    schedule = None if row["schedule"] is None else _decode_schedule(row["schedule"])
    return Revision(instant_ms(format_instant(row["at"])), row["revision"], schedule)


def _history(rows: Sequence[Row]) -> tuple[Change, ...]:
    """The changes since the task was made, in order; an id may have been another task's before."""
    found: list[Change] = []
    for row in rows:
        changes = msgspec.json.decode(row["changes"], type=list[ev.FieldChange])
        found.append(
            Change(
                seq=row["seq"],
                at_ms=instant_ms(format_instant(row["at"])),
                version=row["version"],
                what=row["what"],
                user_id=row["user_id"],
                fields={one.field: (one.old, one.new) for one in changes},
                by_itself=row["what"] == "updated" and row["command_id"] is None,
            )
        )
        if row["what"] == "created":
            break
    return tuple(reversed(found))
