"""How a task looks from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gnomon_core.rules.status import status_of
from gnomon_core.rules.task_type import KnownType, resolve
from gnomon_core.timing import next_fire
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.tasks import Backfill, Task, TaskStatus

__all__ = ["backfill_views", "ended_status", "next_run_ms", "optional_instant", "resting_status", "view"]


def optional_instant(at_ms: int | None) -> str | None:
    """An instant as text, or None."""
    return None if at_ms is None else format_instant(at_ms)


def ended_status(reg: TaskRegister) -> TaskStatus | None:
    """How the task has ended: `completed`, `failed`, `cancelled`, or not."""
    return None if reg.ended is None else TaskStatus(reg.ended)


def resting_status(reg: TaskRegister) -> TaskStatus:
    """The task's status apart from runs in flight: what `status_changed` speaks of."""
    return status_of(
        ended=reg.ended, paused=reg.spec.paused, running=False, scheduled=reg.spec.schedule is not None
    )


def next_run_ms(reg: TaskRegister, now_ms: int) -> int | None:
    """Nominal time of the task's next slot after now, in milliseconds; None: there is none."""
    if not reg.active or reg.exhausted or reg.spec.schedule is None:
        return None
    nominal = next_fire(reg.spec.schedule, max(reg.cursor_s, now_ms // 1000))
    return None if nominal is None else nominal * 1000


def backfill_views(reg: TaskRegister, runs: Collection[str]) -> tuple[Backfill, ...]:
    """The task's backfills as everybody reads them. `runs`: what of the task is in flight."""
    return tuple(
        Backfill(
            backfill_id=record.backfill_id,
            from_=format_instant(record.from_s * 1000),
            to=format_instant(record.to_s * 1000),
            total=record.total,
            left=record.left,
            in_flight=record.in_flight(runs),
        )
        for record in reg.backfills
    )


def view(
    reg: TaskRegister,
    *,
    partition: int,
    running: bool,
    now_ms: int,
    types: Mapping[str, KnownType],
    runs: Collection[str] = (),
) -> Task:
    """The task as everybody reads it, at `now_ms`. `runs`: what of it is in flight."""
    spec, runtime = reg.spec, reg.runtime
    return Task(
        task_id=reg.task_id,
        user_id=reg.user_id,
        name=spec.name,
        description=spec.description,
        task_type=spec.task_type,
        config=spec.config,
        schedule=spec.schedule,
        template_id=spec.template_id,
        priority=spec.priority,
        pool=spec.pool,
        tags=spec.tags,
        metadata=spec.metadata,
        credits_per_run=spec.credits_per_run,
        due_date=spec.due_date,
        reminder_time=spec.reminder_time,
        timeout_seconds=spec.timeout_seconds,
        total_timeout_seconds=spec.total_timeout_seconds,
        retry=spec.retry,
        overlap=spec.overlap,
        catch_up=spec.catch_up,
        expires_seconds=spec.expires_seconds,
        concurrency_key=spec.concurrency_key,
        concurrency_limit=spec.concurrency_limit,
        rate_limit=spec.rate_limit,
        unique_for_seconds=spec.unique_for_seconds,
        max_consecutive_failures=spec.max_consecutive_failures,
        lateness_slo_seconds=spec.lateness_slo_seconds,
        heartbeat=spec.heartbeat,
        paused=spec.paused,
        notify=spec.notify,
        status=status_of(
            ended=reg.ended,
            paused=spec.paused,
            running=running,
            scheduled=spec.schedule is not None,
        ),
        runs_left=reg.runs_left,
        paused_until=optional_instant(reg.paused_until_ms),
        pause_note=reg.pause_note,
        next_run_time=optional_instant(next_run_ms(reg, now_ms)),
        last_run_time=optional_instant(runtime.last_run_ms),
        last_execution=runtime.last_execution,
        run_count=runtime.run_count,
        success_count=runtime.success_count,
        failure_count=runtime.failure_count,
        consecutive_failures=runtime.consecutive_failures,
        version=reg.version,
        revision=reg.revision,
        revision_from=format_instant(reg.revision_from_ms),
        partition=partition,
        resolved=resolve(spec, types),
        backfills=backfill_views(reg, runs),
        created_at=format_instant(reg.created_ms),
        updated_at=format_instant(reg.updated_ms),
        lateness_slo_broken_since=None if reg.slo_broken is None else format_instant(reg.slo_broken.since_ms),
        deleted_at=optional_instant(reg.deleted_ms),
    )
