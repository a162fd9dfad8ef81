"""The lateness objective of a task: when it is broken, and when it is kept again.

`lateness_slo_seconds` says by how much a slot of the task's schedule may start late. Terms: a slot's *promise* is the
instant by which it has to have started: when it was due (with jitter; of a slot that was put off by its task's own
rules, when that ended) and so many seconds more. A slot is *late* when it starts after its promise, has not started by
then, or is missed. What is skipped by a rule, or coalesced into another run, is neither late nor in time; of an
execution only the first start counts; runs on demand and backfills have no promise.

The objective is *broken* by the first late slot, at once: a scheduler or an executor that is down would otherwise be
told of when it is up again. It is *kept again* when a slot starts in time and none was late for a while before
(`quiet_ms`); so a task of every second does not tell both a hundred times a minute.

**Exactly once.** Whether it is broken is a field of the task's register, and the event that tells of a change goes
into the batch that changes the field. So a crash before that batch leaves neither: whoever leads next finds the same
slot late, by its chain or because it still waits, and tells it. A crash after it leaves both, and a slot that is found
late again changes nothing. Events up to `runtime.folded` are never judged again, or an old late start would break what
was kept since.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gnomon_scheduler.memory import Flight, TaskState
from gnomon_scheduler.registers import BrokenObjective, TaskRegister
from gnomon_schemas.clock_text import format_instant, parse_slot_run
from gnomon_schemas.events import LatenessSloBroken, LatenessSloRecovered
from gnomon_schemas.tasks import Trigger

__all__ = ["LateSlot", "allowed_ms", "changed_objective", "kept_again", "late", "promise_ms", "waits_late"]


class LateSlot(NamedTuple):
    """A slot that is late, and how that was found."""

    run: str
    due_ms: int
    by_ms: int
    """How late it was."""
    at_ms: int
    """When that was found."""
    reason: str
    """`late_start`, `not_started` or `missed`."""


def allowed_ms(reg: TaskRegister) -> int | None:
    """How late a slot of the task may start, in milliseconds; None: nothing is asked."""
    seconds = reg.spec.lateness_slo_seconds
    return None if seconds is None else int(seconds * 1000)


def promise_ms(task: TaskState, flight: Flight) -> int | None:
    """By when an execution that has not started yet has to start; None: nothing is asked of it, or it was found late.

    What is being ended goes nowhere, and that by a rule.
    """
    allowed = allowed_ms(task.reg)
    if (
        allowed is None
        or flight.trigger is not Trigger.SCHEDULE
        or flight.started
        or flight.attempt > 1
        or flight.found_late
        or flight.run in task.cancelling
    ):
        return None
    return max(flight.due_ms, flight.emit_ms) + allowed


def waits_late(task: TaskState, at_ms: int) -> bool:
    """Whether a slot of the task has not started and is late at an instant."""
    allowed = allowed_ms(task.reg)
    return allowed is not None and any(
        flight.trigger is Trigger.SCHEDULE
        and not flight.started
        and flight.attempt == 1
        and max(flight.due_ms, flight.emit_ms) + allowed < at_ms
        for flight in task.flights.values()
    )


def late(reg: TaskRegister, slot: LateSlot, partition: int) -> tuple[TaskRegister, LatenessSloBroken | None]:
    """The register after a slot was found late, and the event where that breaks the objective."""
    broken = reg.slo_broken
    if broken is not None:
        until_ms = max(broken.late_ms, slot.at_ms)
        return msgspec.structs.replace(reg, slo_broken=broken._replace(late_ms=until_ms)), None
    nominal = parse_slot_run(slot.run)
    at, due_at = format_instant(slot.at_ms), format_instant(slot.due_ms)
    event = LatenessSloBroken(
        task_id=reg.task_id,
        user_id=reg.user_id,
        partition=partition,
        occurred_at=at,
        objective_seconds=reg.spec.lateness_slo_seconds or 0.0,
        lateness_seconds=slot.by_ms / 1000,
        execution_id=f"{reg.task_id}.{slot.run}",
        run=slot.run,
        scheduled_for=due_at if nominal is None else format_instant(nominal),
        due_at=due_at,
        broken_at=at,
        reason=slot.reason,
    )
    return msgspec.structs.replace(reg, slo_broken=BrokenObjective(slot.at_ms, slot.at_ms)), event


def kept_again(
    task: TaskState, run: str, started_ms: int, partition: int, quiet_ms: int
) -> tuple[TaskRegister, LatenessSloRecovered] | None:
    """The register after a slot started in time, and the event that tells; None where nothing changes by that."""
    reg = task.reg
    broken = reg.slo_broken
    if broken is None or started_ms - broken.late_ms < quiet_ms or waits_late(task, started_ms):
        return None
    event = _recovered(reg, broken, reg.spec.lateness_slo_seconds, started_ms, "on_time", partition)
    event = msgspec.structs.replace(event, execution_id=f"{reg.task_id}.{run}")
    return msgspec.structs.replace(reg, slo_broken=None), event


def changed_objective(
    old: TaskRegister, new: TaskRegister, now_ms: int, partition: int
) -> tuple[TaskRegister, LatenessSloRecovered | None]:
    """The register after its owner's change, and the event where another objective, or none, is asked for now.

    What is late by the new one is found so anew.
    """
    broken, objective = old.slo_broken, new.spec.lateness_slo_seconds
    if broken is None or objective == old.spec.lateness_slo_seconds:
        return new, None
    event = _recovered(new, broken, objective, now_ms, "objective_changed", partition)
    return msgspec.structs.replace(new, slo_broken=None), event


def _recovered(
    reg: TaskRegister,
    broken: BrokenObjective,
    objective: float | None,
    at_ms: int,
    reason: str,
    partition: int,
) -> LatenessSloRecovered:
    at = format_instant(at_ms)
    return LatenessSloRecovered(
        task_id=reg.task_id,
        user_id=reg.user_id,
        partition=partition,
        occurred_at=at,
        objective_seconds=objective,
        broken_at=format_instant(broken.since_ms),
        recovered_at=at,
        reason=reason,
    )
