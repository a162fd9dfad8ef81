"""Tasks, commands and events for the scheduler's decisions, made as they are in life: by its own reader of inputs."""

from __future__ import annotations

import json
from typing import Any

from gnomon_core.rules.task_input import parse_create
from gnomon_core.runtime.messages import Stored
from gnomon_scheduler.decisions.slots import flight_of
from gnomon_scheduler.memory import Flight, ShardMemory, Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.codec import encode
from gnomon_schemas.events import ErrorInfo, Event, Executed, Queued, Retrying, Started, event_name
from gnomon_schemas.tasks import NULL, Trigger

NOW_S = 1_795_000_000
"""When every task here is made."""


def register(task_id: str = "t", **spec: Any) -> TaskRegister:
    """A register with an interval of a second, unless told otherwise."""
    body = {"name": "t", "task_type": "echo", "schedule": {"kind": "interval", "every_seconds": 1}, **spec}
    now_ms = NOW_S * 1000
    return TaskRegister(
        task_id=task_id,
        user_id=None,
        spec=parse_create(
            json.dumps(body).encode(), now_ms=now_ms, created_at_ms=now_ms, default_timezone="UTC"
        ),
        version=1,
        revision=1,
        revision_from_ms=now_ms,
        cursor_s=NOW_S,
        created_ms=now_ms,
        updated_ms=now_ms,
        fingerprint="f",
    )


def task_state(task_id: str = "t", **spec: Any) -> TaskState:
    """The same in memory, stored at sequence 1."""
    return TaskState(register(task_id, **spec), 1)


def memory_of(*tasks: TaskState, watermark_ms: int = NOW_S * 1000) -> ShardMemory:
    """A memory with these tasks, their slots after the watermark on its heap."""
    memory = ShardMemory(0)
    for task in tasks:
        memory.tasks[task.task_id] = task
        memory.schedule(task, watermark_ms)
    return memory


def fly(task: TaskState, nominal_s: int, *, emitted: bool = True, gated: bool = False) -> Flight:
    """Put the execution of a slot in flight."""
    flight = flight_of(Slot(task, nominal_s, nominal_s * 1000), written=not emitted, gated=gated)
    flight.emitted = emitted
    task.take_off(flight)
    return flight


def _common(run: str, attempt: int, at_s: int, trigger: Trigger) -> dict[str, Any]:
    at = format_instant(at_s * 1000)
    return {
        "task_id": "t",
        "user_id": None,
        "partition": 0,
        "occurred_at": at,
        "execution_id": f"t.{run}",
        "run": run,
        "task_type": "echo",
        "attempt": attempt,
        "trigger": trigger,
        "scheduled_for": at,
        "due_at": at,
        "revision": 1,
    }


def queued(run: str, at_s: int = NOW_S) -> Queued:
    """A run on demand."""
    return Queued(**_common(run, 1, at_s, Trigger.MANUAL), reason="manual")


def started(run: str, attempt: int = 1, at_s: int = NOW_S, **fields: Any) -> Started:
    """A claim."""
    values = {"executor": "e", "due_seq": 1, "nonce": "n", "takeovers": 0, "pool": "default", **fields}
    at = format_instant(at_s * 1000)
    return Started(
        **_common(run, attempt, at_s, Trigger.SCHEDULE), started_at=at, priority="medium", **values
    )


def retrying(run: str, attempt: int = 1, at_s: int = NOW_S, *, after_s: int = 5) -> Retrying:
    """An attempt that failed, with another to come."""
    at = format_instant(at_s * 1000)
    return Retrying(
        **_common(run, attempt, at_s, Trigger.SCHEDULE),
        retry_at=format_instant((at_s + after_s) * 1000),
        error=ErrorInfo(type="E", message="m"),
        executor="e",
        started_at=at,
        first_started_at=at,
        duration_ms=1,
    )


def executed(
    run: str, status: Any = "completed", attempt: int = 1, at_s: int = NOW_S, *, reason: str | None = None
) -> Executed:
    """A result."""
    at = format_instant(at_s * 1000)
    return Executed(
        **_common(run, attempt, at_s, Trigger.SCHEDULE),
        status=status,
        result=NULL,
        error=None if status == "completed" else ErrorInfo(type="E", message="m"),
        started_at=at,
        completed_at=at,
        executed_at=at,
        duration_ms=1,
        credits_consumed=0,
        tokens_used=0,
        api_calls_made=0,
        executor="e",
        reason=reason,
    )


def stored(event: Event, seq: int) -> Stored:
    """An execution's event as its chain holds it."""
    run: str = getattr(event, "run", subjects.TASK_RUN)
    subject = subjects.event("task", event_name(event), 0, event.task_id, run)
    return Stored(subject, seq, NOW_S * 1000, {}, encode(event))


def run_at(offset_s: int) -> str:
    """The run of the slot so many seconds after `NOW_S`."""
    return slot_run(NOW_S + offset_s)
