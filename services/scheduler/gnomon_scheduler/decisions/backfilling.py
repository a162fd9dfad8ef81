"""Backfills: running slots of the past, a few at a time.

A backfill is a record in its task's register: the span, a cursor, how many slots are left. Its executions have runs
of their own (`b-<id of the command>-<slot>`), the trigger `backfill` and the lowest priority, and wait for nobody of
their task; nor does anybody wait for them. Of one backfill at most `concurrency` are in flight.

**Safety.** The cursor moves over a slot in the same register write that holds the slot's execution as an entry, and in
the batch that begins its chain. So a slot is behind the cursor if and only if its execution is in flight or has ended,
whatever dies in between. What is in flight is counted by the flights themselves, never by a number that a crash could
leave behind. When one ends the next follows: an own change (`go_on`), proposed whenever something of the task
ends, and by every new leader for every task whose register has a backfill.

It is about the slots of the schedule at the time of the command, also where that changes later. Neither a pause nor the
end of the task holds it up; cancelling and deleting the task end it.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gnomon_core.rules.backfill_input import check_can_backfill, check_total, parse_backfill, read_span
from gnomon_core.rules.decoding import refuse, wrong
from gnomon_core.rules.json_schema import pointer
from gnomon_core.timing import count_fires, next_fire
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.overlapping import room_for
from gnomon_scheduler.decisions.telling import about, command_id, unchanged, updated
from gnomon_scheduler.decisions.user_limits import check_account
from gnomon_scheduler.decisions.wishes import is_stronger
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_scheduler.registers import Backfilling, Cancelling, TaskRegister
from gnomon_schemas.clock_text import format_instant, instant_ms, slot_run
from gnomon_schemas.commands import BackfillTask
from gnomon_schemas.events import Queued
from gnomon_schemas.limits import BACKFILLS_PER_TASK, ENTRIES_PER_TASK
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import Trigger

__all__ = ["backfill", "go_on"]

_BEGUN_AT_ONCE = 400
"""Executions that one decision puts in flight: they have to fit into one batch, each with an event."""

_IN_FLIGHT_MAX = ENTRIES_PER_TASK // 2
"""Of all backfills of a task together: what else it runs has to find room in its register."""


def backfill(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Begin to run slots of the past, or stop it. Raises Refused."""
    asked = parse_backfill(command.data, now_ms=around.now_ms)
    if asked.cancel is not None:
        return _stop(task, asked.cancel, command, around)
    old = task.reg
    check_can_backfill(
        old.spec.task_type, scheduled=old.spec.schedule is not None, cancelled=old.ended == "cancelled"
    )
    check_account(old.user_id, around)
    record = _record(command_id(command), asked, old, around)
    if len(old.backfills) >= BACKFILLS_PER_TASK:
        raise Refused(
            Code.LIMIT, f"{len(old.backfills)} backfills of the task are under way; at most that many may be"
        )
    begun = msgspec.structs.replace(
        old,
        version=old.version + 1,
        updated_ms=around.now_ms,
        backfills=(*old.backfills, record),
    )
    decision = Decision(begun)
    decision.reg, decision.queued = _filled(begun, task, around)
    runs = [*task.flights, *(flight.run for flight, _ in decision.queued)]
    decision.events.append(updated(old, decision.reg, command, around, running=task.running, runs=runs))
    return decision


def go_on(task: TaskState, waiting_for_jitter: list[Slot], around: Surroundings) -> Decision | None:
    """Hand out the next slots of the task's backfills, as many as may be in flight; forget those that are through."""
    old = task.reg
    if not old.backfills:
        return None
    reg, queued = _filled(old, task, around)
    return None if reg is old else Decision(reg, queued=queued)


def _record(backfill_id: str, asked: BackfillTask, reg: TaskRegister, around: Surroundings) -> Backfilling:
    """What the register keeps of a backfill that begins. Raises Refused where there is no slot, or too many."""
    schedule = reg.spec.schedule
    span, errors = read_span(asked.from_, asked.to, around.now_ms)
    refuse(errors)
    assert span is not None  # or there were errors
    assert schedule is not None  # `check_can_backfill`
    from_s, to_s = span
    slots = None if asked.slots is None else _listed(schedule, asked.slots)
    total = count_fires(schedule, from_s - 1, to_s - 1) if slots is None else len(slots)
    refuse(check_total(total))
    return Backfilling(
        backfill_id=backfill_id,
        from_s=from_s,
        to_s=to_s,
        cursor_s=from_s - 1,
        total=total,
        left=total,
        concurrency=asked.concurrency,
        slots=slots,
        schedule=schedule if slots is None else None,
        begun_ms=around.now_ms,
    )


def _listed(schedule: Schedule, texts: tuple[str, ...]) -> tuple[int, ...]:
    """The nominal times that a command lists, in order and once each. Raises Refused for one that is no slot."""
    slots = [instant_ms(text) // 1000 for text in texts]
    refuse(
        [
            error
            for index, slot in enumerate(slots)
            if next_fire(schedule, slot - 1) != slot
            for error in wrong(
                pointer("#/slots", [index]), f"is {texts[index]}, which is no slot of the task's schedule"
            )
        ]
    )
    return tuple(sorted(set(slots)))


def _filled(
    reg: TaskRegister, task: TaskState, around: Surroundings
) -> tuple[TaskRegister, list[tuple[Flight, Queued]]]:
    """The register after its backfills have handed out what they may, and the executions that begin.

    The very same register where nothing changes.
    """
    runs = task.flights
    own = sum(record.in_flight(runs) for record in reg.backfills)
    room = min(_BEGUN_AT_ONCE, _IN_FLIGHT_MAX - own, ENTRIES_PER_TASK - len(runs), room_for(task))
    queued: list[tuple[Flight, Queued]] = []
    kept: list[Backfilling] = []
    for record in reg.backfills:
        in_flight = record.in_flight(runs)
        begun: list[int] = []
        for slot in _slots_left(record):
            if in_flight + len(begun) >= record.concurrency or len(queued) + len(begun) >= room:
                break
            begun.append(slot)
        queued += [_execution(reg, record.prefix, slot, around) for slot in begun]
        after = _behind(record, begun)
        # Not by what was counted: another calendar's rules may give the span other slots than it had then.
        if in_flight or begun or next(_slots_left(after), None) is not None:
            kept.append(after)
    if not queued and len(kept) == len(reg.backfills):
        return reg, []
    return msgspec.structs.replace(reg, backfills=tuple(kept)), queued


def _slots_left(record: Backfilling) -> Iterator[int]:
    if record.schedule is None:
        yield from record.slots or ()
        return
    slot = next_fire(record.schedule, record.cursor_s)
    while slot is not None and slot < record.to_s:
        yield slot
        slot = next_fire(record.schedule, slot)


def _behind(record: Backfilling, begun: list[int]) -> Backfilling:
    """The record with its cursor behind these slots."""
    if not begun:
        return record
    return msgspec.structs.replace(
        record,
        cursor_s=begun[-1],
        left=max(0, record.left - len(begun)),
        slots=None if record.slots is None else record.slots[len(begun) :],
    )


def _execution(reg: TaskRegister, prefix: str, slot: int, around: Surroundings) -> tuple[Flight, Queued]:
    run = f"{prefix}{slot_run(slot)}"
    flight = Flight(
        run=run,
        trigger=Trigger.BACKFILL,
        scheduled_ms=slot * 1000,
        due_ms=around.now_ms,
        emit_ms=around.now_ms,
        revision=reg.revision,
        written=True,
        queued=True,
    )
    # It never expires: nobody waits for it at a certain time, and its lane is the last to be served.
    event = Queued(
        **about(reg, around),
        execution_id=f"{reg.task_id}.{run}",
        run=run,
        task_type=reg.spec.task_type,
        attempt=1,
        trigger=Trigger.BACKFILL,
        scheduled_for=format_instant(slot * 1000),
        due_at=format_instant(around.now_ms),
        revision=reg.revision,
        reason="backfill",
    )
    return flight, event


def _stop(task: TaskState, backfill_id: str, command: Command, around: Surroundings) -> Decision:
    old = task.reg
    record = next((each for each in old.backfills if each.backfill_id == backfill_id), None)
    if record is None:
        message = f"{backfill_id!r} is no backfill of the task that is under way"
        raise Refused(
            Code.NOT_FOUND,
            message,
            FieldError(pointer="#/cancel", code=Code.NOT_FOUND, message=message),
        )
    runs = [run for run in task.flights if record.owns(run)]
    cancels = [
        Cancelling(
            run=run,
            reason="cancelled",
            deadline_ms=around.now_ms + around.cancel_grace_ms,
            command_id=command.command_id,
        )
        for run in runs
        if is_stronger("cancelled", task.cancelling.get(run))
    ]
    if not record.left and not cancels:
        return Decision(old, [unchanged(old, command, around)])
    stopped = msgspec.structs.replace(
        record, total=record.total - record.left, left=0, slots=None, schedule=None
    )
    others = tuple(each for each in old.backfills if each is not record)
    reg = msgspec.structs.replace(
        old,
        version=old.version + 1,
        updated_ms=around.now_ms,
        backfills=(*others, stopped) if runs else others,
    )
    told = updated(old, reg, command, around, running=task.running, runs=task.flights)
    return Decision(reg, [told], cancels=cancels)
