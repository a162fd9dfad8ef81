"""Which slots of the past a backfill is about: all of a span, or its gaps.

A *gap* is a slot of the task's present schedule without a success: nothing has completed it and nothing is at work on
it. Only the read models know that, so gaps are found here and sent to the shard by name. All slots of a span need no
list: the shard makes them itself, from the schedule and the span.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal

import msgspec

from gnomon_api.database import Database
from gnomon_api.identity import Caller
from gnomon_api.projection import Projection
from gnomon_api.readmodels.statements import statement
from gnomon_api.task_views import TaskViews
from gnomon_api.user_limits import UserLimits
from gnomon_core.rules.backfill_input import check_can_backfill, check_concurrency, check_total, read_span
from gnomon_core.rules.decoding import refuse
from gnomon_core.timing import count_fires, fires
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.commands import BackfillTask
from gnomon_schemas.limits import BACKFILL_SLOTS_MAX
from gnomon_schemas.problems import Code, FieldError
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Task, TaskStatus

__all__ = ["BackfillAnswer", "BackfillInput", "Backfilling", "Selection"]

LISTED_MAX: Final = 50
"""Slots that an answer names; how many there are is told besides."""
_BEHIND_SECONDS: Final = 5.0
"""How long the read models may take to have what has ended just now."""


class BackfillInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span of the past, and which of its slots are to be run."""

    from_: str = msgspec.field(name="from")
    """RFC 3339: the span is half-open, [from, to)."""
    to: str | None = None
    """RFC 3339, not after now; left out: now."""
    only: Literal["gaps", "all"] = "gaps"
    """`gaps`: slots that have no success and are not being run; `all`: every slot of the span."""
    concurrency: int = 1
    """How many of its runs may be in flight at a time."""
    dry_run: bool = False
    """Run nothing, and tell which slots it would be."""


class BackfillAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a backfill runs, or would run."""

    dry_run: bool
    count: int
    """Slots that it is about."""
    slots: tuple[str, ...]
    """The first fifty of them."""
    from_: str = msgspec.field(name="from")
    to: str
    backfill_id: str | None = None
    """What it is cancelled by; null for a dry run, and where there is nothing to run."""
    task: Task
    """The task after it; what is under way is in its `backfills`."""


class Selection(msgspec.Struct, frozen=True):
    """The slots that a backfill is about."""

    task: Task
    span: tuple[int, int]
    """The first second of it, and the first one after it."""
    count: int
    slots: tuple[int, ...]
    """The first of them: enough for an answer, and for `gaps` enough for the command."""
    only: Literal["gaps", "all"]

    def answer(
        self, *, dry_run: bool, backfill_id: str | None = None, task: Task | None = None
    ) -> BackfillAnswer:
        """What a caller hears of it."""
        start, end = self.span
        return BackfillAnswer(
            dry_run=dry_run,
            count=self.count,
            slots=tuple(format_instant(slot * 1000) for slot in self.slots[:LISTED_MAX]),
            from_=format_instant(start * 1000),
            to=format_instant(end * 1000),
            backfill_id=backfill_id,
            task=task or self.task,
        )

    def payload(self, concurrency: int) -> bytes:
        """The body of the command. Raises Refused where it would list too many slots."""
        start, end = (format_instant(second * 1000) for second in self.span)
        listed = None
        if self.only == "gaps":
            if self.count > BACKFILL_SLOTS_MAX:
                until = format_instant((self.slots[BACKFILL_SLOTS_MAX - 1] + 1) * 1000)
                message = (
                    f"{self.count:,} slots of the span have no success, and one backfill takes {BACKFILL_SLOTS_MAX:,}; "
                    f"allowed: up to {until}"
                )
                refuse([FieldError(pointer="#/to", code=Code.INVALID, message=message)])
            listed = tuple(format_instant(slot * 1000) for slot in self.slots)
        return msgspec.json.encode(
            BackfillTask(from_=start, to=end, only=self.only, slots=listed, concurrency=concurrency)
        )


class Backfilling:
    """Finds the slots of backfills. Raises DatabaseAway while Postgres is away."""

    def __init__(
        self, tasks: TaskViews, limits: UserLimits, database: Database, projection: Projection
    ) -> None:
        self._tasks, self._limits = tasks, limits
        self._database = database
        self._projection = projection

    async def select(self, task_id: str, wanted: BackfillInput, caller: Caller, *, now_ms: int) -> Selection:
        """The slots that a backfill would run. Raises Refused, and BusError while NATS does not answer."""
        to = format_instant(now_ms // 1000 * 1000) if wanted.to is None else wanted.to
        span, errors = read_span(wanted.from_, to, now_ms)
        refuse(errors + check_concurrency(wanted.concurrency))
        assert span is not None, "a span that is none has been refused"
        task = await self._tasks.get(task_id, caller)
        check_can_backfill(
            task.task_type, scheduled=task.schedule is not None, cancelled=task.status is TaskStatus.CANCELLED
        )
        assert task.schedule is not None, "a task without a schedule has been refused"
        await self._limits.check_open(task.user_id)
        total = await asyncio.to_thread(_count, task.schedule, span)
        refuse(check_total(total))
        if wanted.only == "all":
            slots = tuple(islice(_slots(task.schedule, span), LISTED_MAX))
            return Selection(task, span, total, slots, "all")
        gaps = await self._gaps(task, task.schedule, span)
        return Selection(task, span, len(gaps), tuple(gaps[:BACKFILL_SLOTS_MAX]), "gaps")

    async def _gaps(self, task: Task, schedule: Schedule, span: tuple[int, int]) -> list[int]:
        # What ended a moment ago must not be taken for a gap.
        await self._projection.catch_up(within=_BEHIND_SECONDS)
        start, end = (datetime.fromtimestamp(second, UTC) for second in span)
        rows = await self._database.fetch(statement("slots_with_work"), task.task_id, start, end)
        done = {int(row["scheduled_for"].timestamp()) for row in rows}
        return await asyncio.to_thread(lambda: [slot for slot in _slots(schedule, span) if slot not in done])


def _slots(schedule: Schedule, span: tuple[int, int]) -> Iterable[int]:
    start, end = span
    return fires(schedule, start - 1, end - 1)


def _count(schedule: Schedule, span: tuple[int, int]) -> int:
    start, end = span
    return count_fires(schedule, start - 1, end - 1)
