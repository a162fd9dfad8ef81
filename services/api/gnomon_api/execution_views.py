"""Executions as callers read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from gnomon_api.database import Database, Row
from gnomon_api.event_hub import EventHub
from gnomon_api.identity import Caller
from gnomon_api.list_statements import Buckets, Implied, Part, Sort
from gnomon_api.queries import (
    Asked,
    Lists,
    instant_filter,
    instant_sort,
    parse_list,
    shown_instant,
    text_filter,
)
from gnomon_api.readmodels.sections.executions import ACTIVE, Attempt, ExecutionRow
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_views import ItemList
from gnomon_schemas.clock_text import EPOCH
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import NULL, ExecutionStatus, Trigger

__all__ = ["EXECUTION_LISTS", "Execution", "ExecutionViews", "Lateness", "shown_row"]

_CLOCKS: Final = timedelta(minutes=30)
"""No two clocks of a system differ by more."""
_SOON: Final = timedelta(minutes=30)
"""What ends later than this after its slot has `ended_late`, as the database sees it."""
_WEEKS_MAX: Final = 100
"""So many weeks are looked through without asking first in which of them anything ended late."""
_NARROW: Final = frozenset({"task_id", "user_id"})
"""Filters that leave little, and have an index of what ended late."""


def _implied(asked: Asked) -> Sequence[Implied]:
    # What is in flight is in a part of the table by itself, and what has ended is not in it.
    statuses = asked.values.get("status")
    if statuses is None:
        return ()
    if ACTIVE.issuperset(statuses):
        return (("executions_in_flight", None),)
    return (("executions_ended", None),) if ACTIVE.isdisjoint(statuses) else ()


def _since(asked: Asked) -> datetime | None:
    """Nothing is recorded, started or ended before its slot: what is of slots after an instant need not be looked for
    before it."""
    after: datetime | None = asked.values.get("scheduled_after")
    return None if after is None or asked.order == "scheduled_for" else _moved(after, -_CLOCKS)


def _moved(at: datetime, by: timedelta) -> datetime | None:
    """None beyond the ends of time: no bound is always right."""
    try:
        return at + by
    except OverflowError:
        return None


def _week(at: datetime | None) -> int | None:
    """Number of the week of an instant, as the database counts them: towards 1970. It is counted here, since to
    Postgres the first and the last instant that Python knows are beyond all others, and are of no week."""
    return None if at is None else int((at.date() - EPOCH.date()).days / 7)


def _parts(asked: Asked) -> Sequence[Part]:
    """What ended soon, what ended late, and what is in flight: where the order is not that of an index that the filters
    have, too.

    All times of an execution that ended soon after its slot are near one another. What ended late is little, and has
    indexes of its own."""
    values, order = asked.values, asked.order
    after, before, statuses = (values.get(name) for name in ("scheduled_after", "scheduled_before", "status"))
    narrow = not _NARROW.isdisjoint(values) or (
        statuses is not None and ExecutionStatus.COMPLETED not in statuses
    )
    bounded = before is not None and order != "scheduled_for"
    if not bounded and (order == "recorded_at" or not narrow):
        return (Part(),)
    soon: list[Implied] = [("executions_ended_soon", None)]
    late: Sequence[Implied] = (("executions_ended_late", None),)
    if after is not None and (at := _moved(after, -_CLOCKS)) is not None:
        soon.append(("executions_recorded_after", at))
    until = None if before is None else _moved(before, _SOON + _CLOCKS)
    if until is not None:
        soon.append(("executions_recorded_before", until))
    first, last = _week(after), _week(before)
    few_weeks = first is not None and last is not None and last - first <= _WEEKS_MAX
    weeks = Buckets("weeks" if few_weeks else "late_weeks", (first, last), "executions_of_week")
    near = _SOON + 2 * _CLOCKS if narrow and order != "recorded_at" else None
    ended = (
        Part("executions_ended", soon, until=until if bounded else None, near=near),
        Part("executions_ended", late, few=True, merged=False)
        if narrow
        else Part("executions_ended", late, buckets=weeks),
    )
    in_flight = (Part("executions_active", merged=False),)
    if statuses is None:
        return (*ended, *in_flight)
    if ACTIVE.issuperset(statuses):
        return (Part(),)  # none of them has ended, which is implied
    return ended if ACTIVE.isdisjoint(statuses) else (*ended, *in_flight)


EXECUTION_LISTS: Final = Lists(
    columns="execution_columns",
    key="execution_id",
    filters={
        "task_id": text_filter("executions_with_task_id"),
        "status": text_filter("executions_with_status", ExecutionStatus),
        "user_id": text_filter("executions_with_user_id"),
        "task_type": text_filter("executions_with_task_type"),
        "trigger": text_filter("executions_with_trigger", Trigger),
        "executor": text_filter("executions_with_executor"),
        "scheduled_after": instant_filter("executions_with_scheduled_after"),
        "scheduled_before": instant_filter("executions_with_scheduled_before"),
    },
    sorts={
        "recorded_at": instant_sort("recorded_at", always=True),
        "scheduled_for": instant_sort("scheduled_for"),
        "started_at": Sort(
            "coalesce(started_at, recorded_at)",  # what never started is where it was recorded
            "timestamptz",
            lambda row: str((row["started_at"] or row["recorded_at"]).astimezone(UTC).isoformat()),
        ),
        "completed_at": instant_sort("completed_at"),
    },
    default_sort="-recorded_at",
    implied=_implied,
    parts=_parts,
    since=_since,
)
"""What lists of executions take."""


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time from when an execution was due to its end went, in milliseconds.

    By the clocks of three machines, the broker's and an executor's among them: a part that took next to nothing may
    come out below 0 by what they differ.
    """

    scheduler_ms: int | None
    """From `due_at` until the due of the first attempt was published: it waited for its scheduler, or for earlier
    runs, its pool or its key. Null: it was started by an executor that did not tell yet."""
    queue_ms: int | None
    """From then to its first start: it waited for an executor."""
    run_ms: int | None
    """From the first start to the end, further attempts and the delays between them included; null while it runs."""


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """An execution as everybody reads it. Durations in milliseconds."""

    execution_id: str
    task_id: str
    run: str
    user_id: str | None
    task_type: str | None
    status: ExecutionStatus
    reason: str | None
    """Why it waits, was not run, or ended as it did, where there is something to say."""
    trigger: Trigger
    trigger_data: msgspec.Raw
    scheduled_for: str | None
    due_at: str | None
    started_at: str | None
    """Start of the first attempt."""
    completed_at: str | None
    duration_ms: int | None
    """Of the last attempt."""
    lateness_ms: int | None
    """From `due_at` to the first start."""
    lateness: Lateness | None
    """The same in its parts; null: it has not started."""
    attempt: int
    attempts: tuple[Attempt, ...]
    progress: msgspec.Raw
    """The last progress it told, while it runs: `{"fraction", "message"}`."""
    result: msgspec.Raw
    result_truncated: bool
    error: msgspec.Raw
    credits_consumed: float
    tokens_used: int
    api_calls_made: int
    executor: str | None
    deliveries: tuple[Any, ...]
    """Notifications sent about it; none are sent yet."""
    retry_of: str | None
    dead_letter: str | None
    """Why it was given up for good."""
    into: str | None
    """Of a coalesced slot: the run that ran instead."""
    calendar_id: str | None
    """The calendar of blackouts that skipped the slot, put it off, or had another run stand for it."""
    revision: int | None
    trace_id: str | None
    recorded_at: str


_decode_attempts: Final = msgspec.json.Decoder(tuple[Attempt, ...]).decode


class ExecutionViews:
    """Reads executions. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, hub: EventHub) -> None:
        self._database = database
        self._hub = hub

    async def find(self, execution_id: str) -> Execution | None:
        """One execution, whoever's it is; None where there is none yet."""
        row = await self._database.fetchrow(
            f"{statement('execution_columns')} {statement('execution_by_id')}", execution_id
        )
        return None if row is None else self.shown(row)

    async def get(self, execution_id: str, caller: Caller) -> Execution:
        """One execution. Raises Refused `not_found` where there is none, or it is another user's."""
        found = await self.find(execution_id)
        if found is None or not (caller.admin or found.user_id == caller.user_id):
            raise Refused(Code.NOT_FOUND, f"there is no execution {execution_id!r}")
        return found

    async def list(
        self, given: list[tuple[str, str]], caller: Caller, *, task_id: str | None = None
    ) -> ItemList:
        """A page of the executions that a query string asks for; `task_id`: of one task. Raises Refused."""
        fixed: dict[str, Any] = {} if caller.admin else {"user_id": [caller.user_id]}
        if task_id is not None:
            fixed["task_id"] = [task_id]
        query = parse_list(EXECUTION_LISTS, given, fixed)
        page = query.page(await self._database.fetch_page(query.sql, *query.values))
        return ItemList(items=tuple(map(self.shown, page.rows)), next_cursor=page.next_cursor)

    def shown(self, row: Row) -> Execution:
        """A row as an execution."""
        progress = self._hub.progress_of(row["execution_id"]) if row["status"] in ACTIVE else None
        return _shown(row, _decode_attempts(row["attempts"]), progress)


def shown_row(row: ExecutionRow) -> Execution:
    """An execution straight from folded events, while the database has not got it."""
    fields = msgspec.structs.asdict(row)
    return _shown(fields, tuple(row.attempts), None)


def _shown(row: Row, attempts: tuple[Attempt, ...], progress: bytes | None) -> Execution:
    return Execution(
        execution_id=row["execution_id"],
        task_id=row["task_id"],
        run=row["run"],
        user_id=row["user_id"],
        task_type=row["task_type"],
        status=ExecutionStatus(row["status"]),
        reason=row["reason"],
        trigger=Trigger(row["trigger"]),
        trigger_data=_raw(row["trigger_data"]),
        scheduled_for=shown_instant(row["scheduled_for"]),
        due_at=shown_instant(row["due_at"]),
        started_at=shown_instant(row["started_at"]),
        completed_at=shown_instant(row["completed_at"]),
        duration_ms=row["duration_ms"],
        lateness_ms=_between(row["due_at"], row["started_at"]),
        lateness=_lateness(row),
        attempt=row["attempt"],
        attempts=attempts,
        progress=NULL if progress is None else msgspec.Raw(progress),
        result=_raw(row["result"]),
        result_truncated=row["result_truncated"],
        error=_raw(row["error"]),
        credits_consumed=row["credits_consumed"],
        tokens_used=row["tokens_used"],
        api_calls_made=row["api_calls_made"],
        executor=row["executor"],
        deliveries=(),
        retry_of=row["retry_of"],
        dead_letter=row["dead_letter"],
        into=row["into_run"],
        calendar_id=row["calendar_id"],
        revision=row["revision"],
        trace_id=row["trace_id"],
        recorded_at=shown_instant(row["recorded_at"]) or "",
    )


def _lateness(row: Row) -> Lateness | None:
    if row["started_at"] is None:
        return None
    return Lateness(
        scheduler_ms=_between(row["due_at"], row["due_published_at"]),
        queue_ms=_between(row["due_published_at"], row["started_at"]),
        run_ms=_between(row["started_at"], row["completed_at"]),
    )


def _between(begin: datetime | None, end: datetime | None) -> int | None:
    """Milliseconds from one instant to another; None where one of them is not known."""
    return None if begin is None or end is None else round((end - begin).total_seconds() * 1000)


def _raw(text: str | None) -> msgspec.Raw:
    return NULL if text is None else msgspec.Raw(text.encode())
