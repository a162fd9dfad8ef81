"""Dry runs: what a create or an update would do, asked with the shard's own rules and stored nowhere.

The same functions decide here as in the shard, in the same order, so a dry run is refused exactly where the real
request would be. What differs is where the present comes from: the shard knows a task from its register, a dry run from
the read models, which may be a moment behind. So an answer here promises nothing of a change that somebody else makes
at the same time; `If-Match` is for that.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from gnomon_api.cluster import Cluster
from gnomon_api.idempotency import new_id
from gnomon_api.identity import Caller
from gnomon_api.task_views import TaskViews
from gnomon_api.template_views import TemplateViews
from gnomon_api.user_limits import UserLimits
from gnomon_core.rules.status import status_of
from gnomon_core.rules.task_input import changed_fields, parse_create, parse_update
from gnomon_core.rules.task_type import check_type, resolve
from gnomon_core.rules.templating import check_price, completed_body, named_template, same_by_template
from gnomon_core.rules.transitions import Asked, asked, check_not_final
from gnomon_core.rules.versions import check_version
from gnomon_core.rules.workless import check_reminder
from gnomon_core.runtime.clock import Clock
from gnomon_core.timing import Course, Plan, check_fires, check_jitter, next_fire, plan
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.lifecycle import ENDED
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.subjects import partition_of
from gnomon_schemas.tasks import Task, TaskSpec, TaskStatus

__all__ = ["DryRun", "Planner"]

_SPEC_FIELDS: Final = TaskSpec.__struct_fields__
_FIRING: Final = (TaskStatus.SCHEDULED, TaskStatus.RUNNING)


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a request would do, had it been no dry run."""

    dry_run: bool = True
    changed_fields: tuple[str, ...]
    """Fields that an update would change; of a create, all that the body sets to something of its own."""
    task: Task
    """The task as it would be. An id that is not chosen by the caller is made afresh for the real request."""
    plan: Plan


class Planner:
    """Answers dry runs. Raises DatabaseAway while Postgres is away."""

    def __init__(
        self,
        tasks: TaskViews,
        templates: TemplateViews,
        limits: UserLimits,
        cluster: Cluster,
        clock: Clock,
        *,
        timezone: str,
        finished_ttl: float,
    ) -> None:
        """`timezone` is the one that schedules without a zone get; `finished_ttl` is for how many seconds the id of a
        deleted task stays taken."""
        self._tasks, self._templates, self._limits = tasks, templates, limits
        self._cluster = cluster
        self._clock = clock
        self._timezone = timezone
        self._taken_ms = round(finished_ttl * 1000)

    async def create(self, body: bytes, task_id: str | None, caller: Caller) -> DryRun:
        """What creating a task would do. Raises Refused."""
        now_ms = self._clock.now_ms()
        present = None if task_id is None else await self._tasks.find(task_id)
        if present is not None and not self._is_free_again(present, now_ms):
            return await self._create_again(body, present, caller, now_ms)
        spec = self._parse_create(await self._completed(body, caller), now_ms)
        await self._limits.check_new_task(caller.user_id, spec.schedule, now_ms // 1000)
        check_type(spec, self._cluster.known_types)
        check_reminder(spec)
        check_jitter(spec.schedule, now_ms // 1000)
        check_fires(spec.schedule, now_ms // 1000)
        task = self._new_task(task_id or new_id(), spec, caller, now_ms)
        fields = tuple(msgspec.json.decode(msgspec.json.encode(spec)))
        return await self._planned(Course(None), task, fields, now_ms)

    async def change(self, task_id: str, body: bytes, if_match: str | None, caller: Caller) -> DryRun:
        """What a merge patch would do, with what its `status` asks for. Raises Refused."""
        now_ms = self._clock.now_ms()
        task = await self._tasks.get(task_id, caller)
        check_version(if_match, task.version)
        spec = _spec_of(task)
        new = parse_update(
            body,
            spec,
            now_ms=now_ms,
            created_at_ms=instant_ms(task.created_at),
            default_timezone=self._timezone,
        )
        ended = task.status if task.status in ENDED else None
        wanted = asked(
            body,
            spec,
            new,
            ended,
            lambda one: task.runs_left != 0 and _next_run_time(one, None, now_ms) is not None,
        )
        fields = changed_fields(spec, wanted.spec)
        if not fields and wanted.ended is ended:
            return await self._planned(_course(task), task, (), now_ms)
        await self._check_change(task, wanted, fields, caller, now_ms)
        changed = self._changed_task(task, wanted, fields, now_ms)
        if wanted.ended is not ended:
            fields = (*fields, "status")
        return await self._planned(_course(task), changed, fields, now_ms)

    async def _check_change(
        self, task: Task, wanted: Asked, fields: tuple[str, ...], caller: Caller, now_ms: int
    ) -> None:
        check_not_final(task.status)
        check_price(_spec_of(task), fields, may_set_price=caller.admin)
        if "config" in fields:
            check_type(wanted.spec, self._cluster.known_types)
        if {"schedule", "reminder_time"} & set(fields):
            check_reminder(wanted.spec)
        if "schedule" in fields:
            await self._limits.check_pace(task.user_id, wanted.spec.schedule, now_ms // 1000)
            check_jitter(wanted.spec.schedule, now_ms // 1000)
        if task.status in ENDED and wanted.ended is None:
            await self._limits.check_open(task.user_id)

    async def _create_again(self, body: bytes, task: Task, caller: Caller, now_ms: int) -> DryRun:
        """A create of an id that is there: fine when the body is the same, a conflict otherwise."""
        if task.deleted_at is not None:
            raise Refused(
                Code.DELETED,
                f"task {task.task_id!r} was deleted at {task.deleted_at}; its id is free again later",
            )
        if not (caller.admin or task.user_id == caller.user_id):
            raise Refused(Code.ALREADY_EXISTS, f"the id {task.task_id!r} is taken")
        spec = _spec_of(task)
        if spec.template_id is not None and named_template(body) == spec.template_id:
            body = same_by_template(body, spec)
        fields = changed_fields(spec, self._parse_create(body, instant_ms(task.created_at)))
        if fields:
            raise Refused(
                Code.ALREADY_EXISTS,
                f"there is a task {task.task_id!r} already, and it differs in {', '.join(fields)}",
            )
        return await self._planned(_course(task), task, (), now_ms)

    async def _completed(self, body: bytes, caller: Caller) -> bytes:
        """The body, completed from the template that it names. Raises Refused."""
        template_id = named_template(body)
        if template_id is None:
            return body
        found = {template_id: await self._templates.spec(template_id)}
        return completed_body(
            body,
            found.get,
            tier=await self._templates.tier_of(caller.user_id),
            may_set_price=caller.admin,
            default_timezone=self._timezone,
        )

    def _is_free_again(self, task: Task, now_ms: int) -> bool:
        return task.deleted_at is not None and now_ms - instant_ms(task.deleted_at) >= self._taken_ms

    def _parse_create(self, body: bytes, at_ms: int) -> TaskSpec:
        return parse_create(body, now_ms=at_ms, created_at_ms=at_ms, default_timezone=self._timezone)

    async def _planned(self, before: Course, task: Task, fields: tuple[str, ...], now_ms: int) -> DryRun:
        # Comparing slots may take a tenth of a second, which other requests must not wait for.
        found = await asyncio.to_thread(plan, before, _course(task), now=now_ms // 1000)
        return DryRun(changed_fields=fields, task=task, plan=found)

    def _new_task(self, task_id: str, spec: TaskSpec, caller: Caller, now_ms: int) -> Task:
        at = format_instant(now_ms)
        set_by_caller: dict[str, Any] = {name: getattr(spec, name) for name in _SPEC_FIELDS}
        return Task(
            **set_by_caller,
            task_id=task_id,
            user_id=caller.user_id,
            status=_status(spec, None),
            paused_until=None,
            pause_note=None,
            next_run_time=_next_run_time(spec, None, now_ms),
            last_run_time=None,
            last_execution=None,
            run_count=0,
            success_count=0,
            failure_count=0,
            consecutive_failures=0,
            version=1,
            revision=1,
            revision_from=at,
            runs_left=None if spec.schedule is None else spec.schedule.max_runs,
            partition=partition_of(task_id, self._cluster.partitions),
            resolved=resolve(spec, self._cluster.known_types),
            created_at=at,
            updated_at=at,
            deleted_at=None,
        )

    def _changed_task(self, task: Task, wanted: Asked, fields: tuple[str, ...], now_ms: int) -> Task:
        spec, ended = wanted.spec, wanted.ended
        rescheduled = "schedule" in fields
        moved = rescheduled or wanted.verb == "reopen"
        at = format_instant(now_ms)
        status = _status(spec, ended)
        if task.status is TaskStatus.RUNNING and status in (TaskStatus.SCHEDULED, TaskStatus.PENDING):
            status = TaskStatus.RUNNING
        goes_on = spec.paused and ended is None
        return msgspec.structs.replace(
            task,
            **{name: getattr(spec, name) for name in fields},
            status=status,
            paused_until=task.paused_until if goes_on else None,
            pause_note=task.pause_note if spec.paused else None,
            next_run_time=_next_run_time(spec, ended, now_ms),
            version=task.version + 1,
            revision=task.revision + moved,
            revision_from=at if moved else task.revision_from,
            runs_left=_runs_left(task, spec, moved=rescheduled),
            resolved=resolve(spec, self._cluster.known_types),
            updated_at=at,
        )


def _spec_of(task: Task) -> TaskSpec:
    values: dict[str, Any] = {name: getattr(task, name) for name in _SPEC_FIELDS}
    return TaskSpec(**values)


def _course(task: Task) -> Course:
    return Course(task.schedule, fires=task.status in _FIRING, runs_left=task.runs_left)


def _runs_left(task: Task, spec: TaskSpec, *, moved: bool) -> int | None:
    """A new schedule begins to count anew."""
    if not moved:
        return task.runs_left
    return None if spec.schedule is None else spec.schedule.max_runs


def _status(spec: TaskSpec, ended: TaskStatus | None) -> TaskStatus:
    return status_of(ended=ended, paused=spec.paused, running=False, scheduled=spec.schedule is not None)


def _next_run_time(spec: TaskSpec, ended: TaskStatus | None, now_ms: int) -> str | None:
    if spec.schedule is None or spec.paused or ended is not None:
        return None
    slot = next_fire(spec.schedule, now_ms // 1000)
    return None if slot is None else format_instant(slot * 1000)
