"""Making the due of an attempt: what the executor gets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET

from gnomon_core.rules.task_type import KnownType, resolve
from gnomon_scheduler.decisions.views import optional_instant
from gnomon_scheduler.emission import DueName, OutgoingDue
from gnomon_scheduler.memory import Flight, TaskState
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.dues import Due
from gnomon_schemas.headers import GATE, TRACEPARENT
from gnomon_schemas.tasks import Priority, Trigger

__all__ = ["due_of", "priority_of"]


def priority_of(task: TaskState, flight: Flight) -> Priority:
    """The priority of an execution: its task's, but the lowest for a backfill's."""
    return Priority.LOW if flight.trigger is Trigger.BACKFILL else task.reg.spec.priority


def due_of(
    task: TaskState,
    flight: Flight,
    *,
    partition: int,
    epoch: int,
    types: Mapping[str, KnownType],
    traceparent: str,
) -> OutgoingDue:
    """The due of the flight's present attempt. The config is the task's as it is now."""
    reg = task.reg
    spec, resolved = reg.spec, resolve(reg.spec, types)
    priority = priority_of(task, flight)
    # What it was counted in, should its type have another one since.
    pool = flight.pool or resolved.pool
    deadline_ms = None
    if spec.total_timeout_seconds is not None and flight.first_started_ms is not None:
        deadline_ms = flight.first_started_ms + int(spec.total_timeout_seconds * 1000)
    due = Due(
        execution_id=f"{reg.task_id}.{flight.run}",
        task_id=reg.task_id,
        run=flight.run,
        user_id=reg.user_id,
        task_type=spec.task_type,
        config=spec.config,
        trigger=flight.trigger,
        attempt=flight.attempt,
        scheduled_for=format_instant(flight.scheduled_ms),
        due_at=format_instant(flight.due_ms),
        expires_at=optional_instant(flight.expires_ms) if flight.attempt == 1 else None,
        timeout_seconds=resolved.timeout_seconds,
        deadline=optional_instant(deadline_ms),
        total_timeout_seconds=spec.total_timeout_seconds,
        priority=priority,
        pool=pool,
        credits_per_run=spec.credits_per_run,
        revision=flight.revision,
        epoch=epoch,
        cause_seq=flight.cause_seq,
        retry=resolved.retry,
        has_input=flight.has_input,
        retry_of=flight.retry_of,
        previous=reg.runtime.previous,
        metadata=msgspec.Raw(encode(spec.metadata)) if spec.metadata else UNSET,
    )
    return OutgoingDue(
        subject=subjects.due(pool, priority, partition, reg.task_id),
        data=encode(due),
        headers={TRACEPARENT: traceparent} | ({} if flight.key is None else {GATE: flight.key}),
        chain=subjects.chain(partition, reg.task_id, flight.run),
        cause_seq=flight.cause_seq,
        name=DueName(execution_id=due.execution_id, attempt=due.attempt),
    )
