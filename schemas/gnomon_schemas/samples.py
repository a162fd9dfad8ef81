"""One sample of every message: what the golden files hold, and what documentation shows."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from gnomon_schemas import commands, devices, dues, events, gates, members, pools, run_logs, signals, tasks
from gnomon_schemas.account_samples import account_samples
from gnomon_schemas.blackout_samples import blackout_samples
from gnomon_schemas.problems import Code, FieldError, problem
from gnomon_schemas.schedules import Cron
from gnomon_schemas.template_samples import template_samples

__all__ = ["Sample", "samples"]

Sample: TypeAlias = msgspec.Struct | dict[str, Any]
"""A message; plain JSON where callers write less than the Struct holds."""

_AT = "2026-11-21T09:00:00.000Z"
_RUN = "20261121T090000Z"
_TASK_ID = "nightly-report"
_RETRY = tasks.RetryPolicy(max_attempts=3)
_ERROR = events.ErrorInfo(type="TimeoutError", message="no answer within 30 s", traceback="Traceback …")

_EVENT: dict[str, Any] = {"task_id": _TASK_ID, "user_id": "u1", "partition": 3, "occurred_at": _AT}
_EXECUTION: dict[str, Any] = {
    **_EVENT,
    "execution_id": f"{_TASK_ID}.{_RUN}",
    "run": _RUN,
    "task_type": "http_request",
    "attempt": 1,
    "trigger": tasks.Trigger.SCHEDULE,
    "scheduled_for": _AT,
    "due_at": _AT,
    "revision": 1,
}


def _task() -> tasks.Task:
    return tasks.Task(
        task_id=_TASK_ID,
        user_id="u1",
        name="Nightly report",
        description=None,
        task_type="http_request",
        config=msgspec.Raw(b'{"method":"GET","url":"https://example.org/report"}'),
        schedule=Cron(timezone="Europe/Berlin", expression="0 9 * * 1-5"),
        template_id=None,
        priority=tasks.Priority.MEDIUM,
        pool=None,
        tags=("reports",),
        metadata={"team": "finance"},
        credits_per_run=0,
        due_date=None,
        reminder_time=None,
        timeout_seconds=None,
        total_timeout_seconds=None,
        retry=None,
        overlap=tasks.Overlap.SKIP,
        catch_up=tasks.CatchUp(),
        expires_seconds=None,
        concurrency_key=None,
        concurrency_limit=1,
        rate_limit=None,
        unique_for_seconds=None,
        max_consecutive_failures=None,
        lateness_slo_seconds=None,
        paused=False,
        notify=(),
        status=tasks.TaskStatus.SCHEDULED,
        paused_until=None,
        pause_note=None,
        next_run_time="2026-11-23T08:00:00.000Z",
        last_run_time=None,
        last_execution=None,
        run_count=0,
        success_count=0,
        failure_count=0,
        consecutive_failures=0,
        version=1,
        revision=1,
        revision_from=_AT,
        partition=3,
        resolved=tasks.Resolved(pool="default", timeout_seconds=300.0, retry=_RETRY),
        created_at=_AT,
        updated_at=_AT,
        deleted_at=None,
    )


def _task_events() -> dict[str, msgspec.Struct]:
    refused = problem(
        Code.INVALID_SCHEDULE,
        "'61 * * * *' is not a cron expression",
        FieldError(pointer="#/schedule/expression", code="invalid_cron", message="minute 61 is not 0 to 59"),
    )
    return {
        "task.created": events.Created(
            **_EVENT,
            command_id="c1",
            name="Nightly report",
            task_type="http_request",
            schedule=_task().schedule,
            created_at=_AT,
            task=_task(),
        ),
        "task.updated": events.Updated(
            **_EVENT,
            command_id="c2",
            updated_fields=("priority",),
            updated_at=_AT,
            changed_by="u1",
            changes=(events.FieldChange(field="priority", old="medium", new="high"),),
            task=_task(),
        ),
        "task.unchanged": events.Unchanged(**_EVENT, command_id="c3", verb="update"),
        "task.status_changed": events.StatusChanged(
            **_EVENT,
            old_status=tasks.TaskStatus.SCHEDULED,
            new_status=tasks.TaskStatus.PAUSED,
            reason="pause",
            changed_at=_AT,
        ),
        "task.status_changed.own": events.StatusChanged(
            **_EVENT,
            old_status=tasks.TaskStatus.PAUSED,
            new_status=tasks.TaskStatus.SCHEDULED,
            reason="pause_over",
            changed_at=_AT,
            task=_task(),
            changes=(events.FieldChange(field="paused", old=True, new=False),),
        ),
        "task.replanned": events.Replanned(
            **_EVENT,
            replanned_at=_AT,
            revision=2,
            old_calendar=events.CalendarName(
                fingerprint="5b1e0f6a7c2d4e90", versions={"tzdata": "2025.1", "croniter": "6.0.0"}
            ),
            new_calendar=events.CalendarName(
                fingerprint="c07d22f19a3b8e41", versions={"tzdata": "2025.2", "croniter": "6.0.0"}
            ),
            changed=("zone-Asia/Manila",),
            first_difference="2027-03-28T01:00:00.000Z",
            old_next="2026-11-22T01:00:00.000Z",
            new_next="2026-11-22T01:00:00.000Z",
            appeared=217,
            disappeared=217,
            task=_task(),
        ),
        "task.reminder_triggered": events.ReminderTriggered(
            **_EVENT,
            reminder_type="reminder_time",
            triggered_at=_AT,
            scheduled_for=_AT,
            name="Buy groceries",
            task_type="todo",
            due_date="2026-11-22T18:00:00.000Z",
        ),
        "task.deleted": events.Deleted(**_EVENT, command_id="c4", deleted_at=_AT, version=4, deleted_by="u1"),
        "task.rejected": events.Rejected(**_EVENT, command_id="c5", verb="create", error=refused),
    }


def _execution_events() -> dict[str, msgspec.Struct]:
    slot: dict[str, Any] = {
        "execution_id": f"{_TASK_ID}.{_RUN}",
        "run": _RUN,
        "task_type": "http_request",
        "attempt": 1,
        "scheduled_for": _AT,
        "due_at": _AT,
    }
    span: dict[str, Any] = {"from_": _AT, "to": "2026-11-22T09:00:00.000Z", "count": 1}
    return {
        "task.queued": events.Queued(
            **_EXECUTION
            | {"trigger": tasks.Trigger.MANUAL, "run": "r-c6", "execution_id": f"{_TASK_ID}.r-c6"},
            command_id="c6",
            reason="manual",
            trigger_data=msgspec.Raw(b'{"order":17}'),
        ),
        "task.started": events.Started(
            **_EXECUTION,
            executor="e-1",
            due_seq=7,
            nonce="n1",
            takeovers=0,
            started_at=_AT,
            pool="default",
            priority="medium",
        ),
        "task.started.timed": events.Started(
            **_EXECUTION,
            executor="e-1",
            due_seq=7,
            nonce="n1",
            takeovers=0,
            started_at=_AT,
            pool="default",
            priority="medium",
            epoch=4,
            due_published_at="2026-11-21T09:00:00.004Z",
        ),
        "task.retrying": events.Retrying(
            **_EXECUTION,
            retry_at="2026-11-21T09:00:05.000Z",
            error=_ERROR,
            executor="e-1",
            started_at=_AT,
            first_started_at=_AT,
            duration_ms=30000,
        ),
        "task.executed": events.Executed(
            **_EXECUTION,
            status="completed",
            result=msgspec.Raw(b'{"status":200}'),
            error=None,
            started_at=_AT,
            completed_at=_AT,
            executed_at=_AT,
            duration_ms=12,
            credits_consumed=0,
            tokens_used=0,
            api_calls_made=1,
            executor="e-1",
        ),
        "task.failed": events.Failed(
            **_EXECUTION, status="failed", error=_ERROR, failure_count=1, consecutive_failures=1
        ),
        "task.dead_lettered": events.DeadLettered(**_EXECUTION, reason="crash_loop", error=_ERROR),
        "task.skipped": events.Skipped(**_EVENT, reason="overlap", revision=1, **slot),
        "task.skipped.detail": events.Skipped(
            **_EVENT,
            reason="overlap",
            revision=1,
            **slot,
            epoch=4,
            detail="run 20261121T085500Z was in flight; overlap is skip",
        ),
        "task.skipped.span": events.Skipped(**_EVENT, reason="paused", revision=1, **span),
        "task.missed.span": events.Missed(**_EVENT, reason="grace_exceeded", revision=1, **span),
        "task.coalesced.span": events.Coalesced(
            **_EVENT, reason="catch_up_latest", revision=1, into=_RUN, **span
        ),
        "task.lateness_slo_broken": events.LatenessSloBroken(
            **_EVENT,
            objective_seconds=30,
            lateness_seconds=30.0,
            execution_id=f"{_TASK_ID}.{_RUN}",
            run=_RUN,
            scheduled_for=_AT,
            due_at=_AT,
            broken_at="2026-11-21T09:00:30.000Z",
            reason="not_started",
        ),
        "task.lateness_slo_recovered": events.LatenessSloRecovered(
            **_EVENT,
            objective_seconds=30,
            broken_at="2026-11-21T09:00:30.000Z",
            recovered_at="2026-11-21T10:00:00.012Z",
            reason="on_time",
            execution_id=f"{_TASK_ID}.{_RUN}",
        ),
    }


def _pool_updated() -> pools.PoolUpdated:
    return pools.PoolUpdated(
        pool="mail",
        partition=3,
        occurred_at=_AT,
        command_id="c7",
        changed_by="u1",
        changes=(events.FieldChange(field="max_in_flight", old=None, new=5),),
        max_in_flight=5,
        paused=False,
        version=1,
        updated_at=_AT,
    )


def _commands() -> dict[str, Sample]:
    return {
        "command.create": {
            "name": "Nightly report",
            "task_type": "http_request",
            "config": {"method": "GET", "url": "https://example.org/report"},
            "schedule": {"kind": "cron", "expression": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
            "retry": {"max_attempts": 3},
            "tags": ["reports"],
        },
        "command.update": {"priority": "high", "description": None, "schedule": {"jitter_seconds": 30}},
        "command.pause": commands.PauseTask(
            note="until the migration is done", until="2026-11-23T06:00:00+01:00"
        ),
        "command.resume": commands.ResumeTask(),
        "command.cancel": commands.CancelTask(reason="the customer has left"),
        "command.complete": commands.CompleteTask(note="the project is over"),
        "command.delete": commands.DeleteTask(),
        "command.run": commands.RunTask(
            trigger_data=msgspec.Raw(b'{"order":17}'), overlap=tasks.Overlap.ALLOW
        ),
        "command.cancel_execution": commands.CancelExecution(run=_RUN),
        "command.shard.approve_catch_up": commands.ApproveCatchUp(),
        "command.shard.discard_catch_up": commands.DiscardCatchUp(),
        "command.pool.update": commands.UpdatePool(max_in_flight=5, paused=False),
        "command.retry_execution": commands.RetryExecution(run=_RUN),
        "command.repair": commands.RepairTask(slots=("2026-11-21T09:00:00Z", "2026-11-21T09:05:00Z")),
        "command.backfill": commands.BackfillTask(
            from_="2026-11-01T00:00:00Z",
            to="2026-11-08T00:00:00Z",
            slots=("2026-11-02T08:00:00Z", "2026-11-05T08:00:00Z"),
            concurrency=2,
        ),
        "command.backfill.all": {"from": "2026-11-01T00:00:00Z", "to": "2026-11-08T00:00:00Z", "only": "all"},
        "command.backfill.cancel": {"cancel": "c12"},
    }


def _of_processes() -> dict[str, Sample]:
    return {
        "lease": members.Lease(owner="s-1", epoch=4),
        "member": members.Member(
            id="e-1",
            kind="executor",
            host="node-7",
            pid=4711,
            version="0.1.0",
            started_at=_AT,
            pools=("default",),
            task_types=("echo", "http_request"),
            capacity=20,
            running=3,
        ),
        "type_announcement": members.TypeAnnouncement(
            name="sleep",
            description="Sleeps.",
            pool="default",
            timeout_seconds=300.0,
            retry=_RETRY,
            config_schema=msgspec.Raw(b'{"type":"object","properties":{"seconds":{"type":"number"}}}'),
            isolation="loop",
            version="0.1.0",
        ),
        "projector_position": members.ProjectorPosition(created=_AT, sequence=42, time=_AT),
        "purge_floor": members.PurgeFloor(created=_AT, sequence=7),
        "scheduler_status": members.SchedulerStatus(
            id="s-1",
            host="node-7",
            pid=4710,
            started_at=_AT,
            shards=(
                members.ShardStatus(
                    partition=3,
                    leader="s-1",
                    epoch=4,
                    watermark=_AT,
                    lag_seconds=0.0,
                    tasks=1,
                    in_flight=0,
                    next_fire="2026-11-23T08:00:00.000Z",
                ),
            ),
        ),
        "claim_question": members.ClaimQuestion(execution_id=f"{_TASK_ID}.{_RUN}", attempt=1, nonce="n1"),
        "claim_answer": members.ClaimAnswer(running=True),
        "gate_statements": gates.Statements(
            shard=3,
            epoch=4,
            statements=(
                gates.Statement(
                    gate="mail",
                    kind="pool",
                    n=17,
                    using=2,
                    wanting=1,
                    first=(gates.Waiter(rank=2, load=1, since_ms=1_795_000_000_000),),
                    oldest_ms=1_795_000_000_000,
                    version=1,
                ),
            ),
        ),
        "gate_grants": gates.Grants(
            partition=5,
            grants=(gates.Grant(gate="mail", kind="pool", epoch=4, n=17, units=3, contended=True),),
        ),
        "due_fence": dues.DueFence(epoch=4, owner="s-1", nonce="n2"),
    }


def samples() -> dict[str, Sample]:
    """A sample of every message, by the name of its golden file."""
    refused = problem(Code.NOT_FOUND, "there is no task 'x'")
    return {
        **_commands(),
        **_task_events(),
        **_execution_events(),
        "pool.updated": _pool_updated(),
        **account_samples(),
        **template_samples(),
        **blackout_samples(),
        **_of_processes(),
        "task.due": dues.Due(
            execution_id=f"{_TASK_ID}.{_RUN}",
            task_id=_TASK_ID,
            run=_RUN,
            user_id="u1",
            task_type="http_request",
            config=_task().config,
            trigger=tasks.Trigger.SCHEDULE,
            attempt=1,
            scheduled_for=_AT,
            due_at=_AT,
            expires_at="2026-11-21T10:00:00.000Z",
            timeout_seconds=300.0,
            deadline=None,
            total_timeout_seconds=None,
            priority=tasks.Priority.MEDIUM,
            pool="default",
            credits_per_run=0,
            revision=1,
            epoch=4,
            cause_seq=0,
            retry=_RETRY,
            metadata=msgspec.Raw(b'{"team":"billing"}'),
        ),
        "outcome.ok": commands.Outcome(ok=True, command_id="c1", task=_task(), seq=42, created=True),
        "outcome.refused": commands.Outcome(ok=False, command_id="c9", seq=43, error=refused),
        "outcome.pool": commands.Outcome(
            ok=True,
            command_id="c7",
            seq=44,
            pool=pools.Pool(pool="mail", max_in_flight=5, paused=False, version=1, updated_at=_AT),
        ),
        "problem": refused,
        "heartbeat": signals.SignOfLife(
            task_id="nightly-report",
            at="2026-11-21T09:01:00.000Z",
            last_success="nightly-report.20261121T090000Z",
        ),
        "progress": signals.Progress(
            execution_id=f"{_TASK_ID}.{_RUN}", attempt=1, fraction=0.4, message="2 of 5 files", at=_AT
        ),
        "run_log_lines": run_logs.RunLogLines(
            execution_id=f"{_TASK_ID}.{_RUN}",
            task_id=_TASK_ID,
            run=_RUN,
            user_id="u1",
            attempt=1,
            claim=40,
            executor="e-1",
            lines=(
                run_logs.RunLogLine(n=1, at=_AT, level="info", message="begun", details=tasks.NULL),
                run_logs.RunLogLine(
                    n=2,
                    at=_AT,
                    level="warning",
                    message="file is empty",
                    details=msgspec.Raw(b'{"file":"a.csv"}'),
                ),
            ),
        ),
        "device_note": devices.DeviceNote(
            event="task.executed",
            seq=42,
            task_id=_TASK_ID,
            at=_AT,
            execution_id=f"{_TASK_ID}.{_RUN}",
            status="completed",
            result=msgspec.Raw(b'{"pages":3}'),
            scheduled_for=_AT,
        ),
        "device_note.reminder": devices.DeviceNote(
            event="task.reminder_triggered",
            seq=43,
            task_id=_TASK_ID,
            at=_AT,
            name="Call the dentist",
            reminder_type="reminder_time",
            scheduled_for=_AT,
        ),
        "cancel_signal": signals.CancelSignal(reason="cancelled"),
    }
