"""Events as shards and executors write them, for tests of the read side."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_core.runtime.messages import Stored
from gnomon_schemas import events as ev
from gnomon_schemas.clock_text import format_instant, parse_slot_run, slot_run
from gnomon_schemas.codec import cloud_event_headers, encode
from gnomon_schemas.object_kinds import OBJECT_KINDS, object_event_name
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.pools import PoolUpdated
from gnomon_schemas.problems import Code, problem
from gnomon_schemas.samples import samples
from gnomon_schemas.schedules import Interval, Schedule
from gnomon_schemas.subjects import TASK_RUN, event, partition_of
from gnomon_schemas.tasks import (
    NULL,
    CatchUp,
    Overlap,
    Priority,
    Resolved,
    RetryPolicy,
    Task,
    TaskStatus,
    Trigger,
)

__all__ = ["START_MS", "Story", "a_task", "subject_of"]

START_MS = 1_790_000_000_000  # 2026-09-21T13:33:20Z
PARTITIONS = 8
EVERY_MINUTE = Interval(every_seconds=60, anchor="2026-09-21T00:00:00.000Z", timezone="UTC")


def a_task(task_id: str, *, at_ms: int = START_MS, **changes: Any) -> Task:
    """A task as a shard tells it just after its creation."""
    at = format_instant(at_ms)
    schedule: Schedule | None = changes.pop("schedule", EVERY_MINUTE)
    fields: dict[str, Any] = {
        "task_id": task_id,
        "user_id": "u1",
        "name": f"Task {task_id}",
        "description": None,
        "task_type": "echo",
        "config": msgspec.Raw(b'{"a": 1}'),
        "schedule": schedule,
        "template_id": None,
        "priority": Priority.MEDIUM,
        "pool": None,
        "tags": ("reports",),
        "metadata": {"team": "blue"},
        "credits_per_run": 0,
        "due_date": None,
        "reminder_time": None,
        "timeout_seconds": None,
        "total_timeout_seconds": None,
        "retry": None,
        "overlap": Overlap.SKIP,
        "catch_up": CatchUp(),
        "expires_seconds": None,
        "concurrency_key": None,
        "concurrency_limit": 1,
        "rate_limit": None,
        "unique_for_seconds": None,
        "max_consecutive_failures": None,
        "lateness_slo_seconds": None,
        "paused": False,
        "notify": (),
        "status": TaskStatus.SCHEDULED if schedule else TaskStatus.PENDING,
        "paused_until": None,
        "pause_note": None,
        "next_run_time": None,
        "last_run_time": None,
        "last_execution": None,
        "run_count": 0,
        "success_count": 0,
        "failure_count": 0,
        "consecutive_failures": 0,
        "version": 1,
        "revision": 1,
        "revision_from": at,
        "partition": partition_of(task_id, PARTITIONS),
        "resolved": Resolved(pool="default", timeout_seconds=60, retry=RetryPolicy()),
        "created_at": at,
        "updated_at": at,
        "deleted_at": None,
    }
    return Task(**{**fields, **changes})


def subject_of(told: ev.Event | PoolUpdated | ObjectEvent) -> str:
    """The stored subject of an event."""
    if isinstance(told, ObjectEvent):
        kind = str(told.__struct_config__.tag).split(".")[1]
        return event(kind, object_event_name(told), told.partition, told.object_id, TASK_RUN)
    if isinstance(told, PoolUpdated):
        return event("pool", "updated", told.partition, told.pool, TASK_RUN)
    run = getattr(told, "run", None) or TASK_RUN
    return event("task", ev.event_name(told), told.partition, told.task_id, run)


class Story:
    """Tells events one after another, a second apart, and keeps them as the stream would hold them."""

    def __init__(self, *, first_seq: int = 1, at_ms: int = START_MS) -> None:
        self.stored: list[Stored] = []
        self.now_ms = at_ms
        self._seq = first_seq

    def tell(self, told: ev.Event | PoolUpdated | ObjectEvent, *, traceparent: str | None = None) -> Stored:
        """Keep one event; returns it as stored."""
        headers = cloud_event_headers(
            told, ce_id=f"e{self._seq}", source="gnomon/test", traceparent=traceparent
        )
        one = Stored(subject_of(told), self._seq, self.now_ms, headers, encode(told))
        self.stored.append(one)
        self._seq += 1
        self.now_ms += 1000
        return one

    @property
    def now(self) -> str:
        """The story's time as text."""
        return format_instant(self.now_ms)

    def pool_updated(self, pool: str, **fields: Any) -> Stored:
        """What is set of a pool."""
        told = {"max_in_flight": None, "paused": False, "version": 1, "changed_by": "u1", **fields}
        return self.tell(
            PoolUpdated(pool=pool, partition=0, occurred_at=self.now, updated_at=self.now, **told)
        )

    def objects_changed(self, name: str) -> None:
        """Every event of every kind of object, as the samples have it, by commands that are called after `name`."""
        for kind, messages in OBJECT_KINDS.items():
            for event_name in messages.events:
                told = samples()[f"{kind}.{event_name}"]
                assert isinstance(told, ObjectEvent)
                command_id = f"{kind}-{event_name}-{name}"
                self.tell(msgspec.structs.replace(told, occurred_at=self.now, command_id=command_id))

    def common(self, task: Task, command_id: str | None = None) -> dict[str, Any]:
        """What every event carries."""
        return {
            "task_id": task.task_id,
            "user_id": task.user_id,
            "partition": task.partition,
            "occurred_at": self.now,
            "command_id": msgspec.UNSET if command_id is None else command_id,
        }

    def created(self, task: Task, *, command_id: str | None = "c-create") -> Stored:
        return self.tell(
            ev.Created(
                **self.common(task, command_id),
                name=task.name,
                task_type=task.task_type,
                schedule=task.schedule,
                created_at=task.created_at,
                task=task,
            )
        )

    def updated(
        self, task: Task, *changes: ev.FieldChange, command_id: str | None = None, by: str | None = "u1"
    ) -> Stored:
        return self.tell(
            ev.Updated(
                **self.common(task, command_id),
                updated_fields=tuple(change.field for change in changes),
                updated_at=self.now,
                changed_by=by,
                changes=changes,
                task=task,
            )
        )

    def status_changed(self, task: Task, old: str, new: str, reason: str = "test") -> Stored:
        return self.tell(
            ev.StatusChanged(
                **self.common(task),
                old_status=TaskStatus(old),
                new_status=TaskStatus(new),
                reason=reason,
                changed_at=self.now,
            )
        )

    def slo_broken(self, task: Task) -> Stored:
        """The task's lateness objective is broken from now on."""
        return self.tell(
            ev.LatenessSloBroken(
                **self.common(task),
                objective_seconds=30.0,
                lateness_seconds=31.0,
                execution_id=f"{task.task_id}.x",
                run="x",
                scheduled_for=self.now,
                due_at=self.now,
                broken_at=self.now,
                reason="not_started",
            )
        )

    def slo_recovered(self, task: Task, broken_at: str) -> Stored:
        """It is kept again."""
        return self.tell(
            ev.LatenessSloRecovered(
                **self.common(task),
                objective_seconds=30.0,
                broken_at=broken_at,
                recovered_at=self.now,
                reason="on_time",
            )
        )

    def replanned(self, task: Task, at_ms: int) -> Stored:
        """`task` as it is after it; its revision began at an instant before now."""
        return self.tell(
            ev.Replanned(
                **self.common(task),
                replanned_at=format_instant(at_ms),
                revision=task.revision,
                old_calendar=ev.CalendarName(fingerprint="old", versions={"tzdata": "2025.1"}),
                new_calendar=ev.CalendarName(fingerprint="new", versions={"tzdata": "2025.2"}),
                changed=("zone-Asia/Beirut",),
                first_difference=format_instant(at_ms + 60_000),
                old_next=format_instant(at_ms + 60_000),
                new_next=None,
                appeared=0,
                disappeared=1,
                task=task,
            )
        )

    def deleted(
        self, task: Task, *, command_id: str | None = None, by: str | UnsetType | None = UNSET
    ) -> Stored:
        return self.tell(
            ev.Deleted(
                **self.common(task, command_id),
                deleted_at=self.now,
                version=task.version + 1,
                deleted_by=by,
            )
        )

    def rejected(
        self, task: Task, *, command_id: str, code: Code = Code.INVALID_STATE, verb: str = "pause"
    ) -> Stored:
        refusal = problem(code, "refused for the test")
        return self.tell(ev.Rejected(**self.common(task, command_id), verb=verb, error=refusal))

    def run_of(self, nominal_ms: int) -> str:
        return slot_run(nominal_ms // 1000)

    def execution(self, task: Task, run: str, attempt: int, command_id: str | None = None) -> dict[str, Any]:
        """What every event of an execution carries."""
        manual = run.startswith("r-")
        slot = parse_slot_run(run)
        nominal = format_instant(START_MS if slot is None else slot)
        return {
            **self.common(task, command_id),
            "execution_id": f"{task.task_id}.{run}",
            "run": run,
            "task_type": task.task_type,
            "attempt": attempt,
            "trigger": Trigger.MANUAL if manual else Trigger.SCHEDULE,
            "scheduled_for": nominal,
            "due_at": nominal,
            "revision": task.revision,
        }

    def queued(self, task: Task, run: str, *, data: bytes = b"null", command_id: str | None = None) -> Stored:
        reason = "manual" if run.startswith("r-") else "overlap"
        return self.tell(
            ev.Queued(
                **self.execution(task, run, 0, command_id), reason=reason, trigger_data=msgspec.Raw(data)
            )
        )

    def started(
        self,
        task: Task,
        run: str,
        attempt: int = 1,
        *,
        executor: str = "x1",
        takeovers: int = 0,
        published_ms: int | None = None,
    ) -> Stored:
        return self.tell(
            ev.Started(
                **self.execution(task, run, attempt),
                executor=executor,
                due_seq=1,
                nonce=f"n{self._seq}",
                takeovers=takeovers,
                started_at=self.now,
                pool="default",
                priority="medium",
                epoch=3,
                due_published_at=msgspec.UNSET if published_ms is None else format_instant(published_ms),
            ),
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )

    def retrying(self, task: Task, run: str, attempt: int = 1) -> Stored:
        return self.tell(
            ev.Retrying(
                **self.execution(task, run, attempt),
                retry_at=format_instant(self.now_ms + 5000),
                error=ev.ErrorInfo(type="Boom", message="it broke"),
                executor="x1",
                started_at=format_instant(self.now_ms - 1000),
                first_started_at=format_instant(self.now_ms - 1000),
                duration_ms=1000,
            )
        )

    def executed(
        self,
        task: Task,
        run: str,
        attempt: int = 1,
        *,
        status: Any = "completed",
        result: msgspec.Raw = NULL,
        duration_ms: int = 1000,
    ) -> Stored:
        failed = status in ("failed", "timed_out")
        return self.tell(
            ev.Executed(
                **self.execution(task, run, attempt),
                status=status,
                result=result,
                error=ev.ErrorInfo(type="Boom", message="it broke") if failed else None,
                started_at=format_instant(self.now_ms - 1000),
                completed_at=self.now,
                executed_at=self.now,
                duration_ms=duration_ms,
                credits_consumed=0.5,
                tokens_used=7,
                api_calls_made=2,
                executor="x1",
            )
        )

    def skipped(self, task: Task, run: str, reason: str = "overlap") -> Stored:
        slot = parse_slot_run(run)
        nominal = format_instant(START_MS if slot is None else slot)
        return self.tell(
            ev.Skipped(
                **self.common(task),
                reason=reason,
                revision=1,
                execution_id=f"{task.task_id}.{run}",
                run=run,
                task_type=task.task_type,
                attempt=1,
                scheduled_for=nominal,
                due_at=nominal,
            )
        )

    def missed_span(self, task: Task, count: int) -> Stored:
        return self.tell(
            ev.Missed(
                **self.common(task),
                reason="grace_exceeded",
                revision=1,
                count=count,
                from_=format_instant(START_MS),
                to=format_instant(START_MS + count * 60_000),
            )
        )
