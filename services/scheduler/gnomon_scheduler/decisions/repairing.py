"""Repair: slots of which an audit found nothing recorded get their one outcome after all.

An audit says which slots are missing; it reads the read models, and is no judge. The shard looks for itself, in the log
and in its memory, and touches a slot only where all of this holds:

* it was a slot: the task's own events say which schedule was in force then (`past.marks`), and it names that time;
* the log is whole from then on: nothing of it was purged, so an outcome, had there been one, would be there;
* nothing is there: its chain is empty, no span of its revision covers it, and it is not in flight;
* it is not to come: it was due before the watermark of the turns before this one.

What becomes of it is what the task's catch-up policy says of slots that are so late: it runs as a late one, is
coalesced into a newer one of those that were lost, or is missed. Slots of a pause, and of a task that is paused,
cancelled or deleted by now, are skipped for that. So are those that a calendar of blackouts skips; one that a calendar
puts off waits while that blackout lasts, and is a late one after it. That is asked of the calendars as they are now:
what they were then nobody has kept.

**Exactly one outcome.** Each slot's outcome, or the `queued` at the head of its execution, is the first event of its
chain and expects that chain to be empty, in the fenced batch that also moves the position of the last command decided.
So a leader that dies before the batch has changed nothing, the redelivered command is decided once, a deposed leader's
batch is refused, and a slot that is recorded meanwhile keeps what it has. Asked again, the shard finds the chain and
leaves the slot as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import UNSET

from gnomon_core.ledger import Mark, State, Stretch, stretches
from gnomon_core.rules.decoding import refuse, wrong
from gnomon_core.rules.json_schema import pointer
from gnomon_core.rules.repair_input import parse_repair
from gnomon_core.rules.workless import is_workless
from gnomon_core.timing import Touch, emission_ms
from gnomon_scheduler.decisions.blackouts import put_off, room_to_put_off, touch_of, touch_words
from gnomon_scheduler.decisions.catching_up import late_flight, most_late
from gnomon_scheduler.decisions.command import Command, Decision, PastSlots, Surroundings
from gnomon_scheduler.decisions.counting import counted
from gnomon_scheduler.decisions.telling import about, unchanged
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Coalesced, Missed, Queued, Skipped
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import CatchUpPolicy, Trigger

__all__ = ["repair"]

_DETAIL: Final = "an audit found nothing recorded of this slot"


class _Lost(NamedTuple):
    """A slot of which nothing is recorded."""

    nominal_s: int
    emit_ms: int
    piece: Stretch


def repair(
    task: TaskState, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Give slots that were lost their outcome, or their execution. Raises Refused."""
    if not command.privileged:
        raise Refused(Code.FORBIDDEN, "the ledger is everybody's: only the role admin may repair it")
    slots = parse_repair(command.data)
    past = command.slots
    assert past is not None  # `read_slots` gives it to every repair that can be read
    lost = _lost(task, slots, past)
    decision = Decision(task.reg, [unchanged(task.reg, command, around)], repaired=len(lost))
    runnable: list[_Lost] = []
    waiting: list[tuple[_Lost, Touch]] = []
    for one in lost:
        touch = touch_of(around.blackouts, task, one.nominal_s)
        ending = _ending(task.reg, one, touch, around.now_ms)
        if ending is not None:
            decision.refused.append(ending[0](**_of_slot(task.reg, one, around, touch), reason=ending[1]))
        elif touch is not None and touch.until_s * 1000 > around.now_ms:
            waiting.append((one, touch))
        else:
            runnable.append(one)
    _put_off(task, waiting, decision, around)
    _catch_up(task, runnable, decision, around)
    return decision


def _lost(task: TaskState, slots: Sequence[int], past: PastSlots) -> list[_Lost]:
    """Those of some slots that are lost, in order. Raises Refused for one of which that cannot be told."""
    pieces = stretches(past.marks or [_standing(task.reg)])
    found: dict[int, _Lost] = {}
    errors: list[FieldError] = []
    for index, nominal_s in enumerate(slots):
        if nominal_s in past.recorded or slot_run(nominal_s) in task.flights:
            continue
        trouble, piece = _piece_of(nominal_s, pieces, past)
        if piece is None:
            errors += wrong(pointer("#/slots", [index]), f"is {format_instant(nominal_s * 1000)}, {trouble}")
            continue
        emit_ms = emission_ms(task.task_id, nominal_s, piece.schedule)
        covered = any(
            from_s <= nominal_s < to_s and revision == piece.revision for from_s, to_s, revision in past.spans
        )
        if not (covered or emit_ms > past.watermark_ms or (piece.state is State.PAUSED and piece.lasts)):
            found[nominal_s] = _Lost(nominal_s, emit_ms, piece)
    refuse(errors)
    return [found[nominal_s] for nominal_s in sorted(found)]


def _standing(reg: TaskRegister) -> Mark:
    """What holds of a task that has not changed since the log begins."""
    state = State.PAUSED if reg.spec.paused else State.ACTIVE
    if reg.ended is not None or reg.deleted_ms is not None:
        state = State.OVER
    return Mark(reg.revision_from_ms, state, reg.revision, reg.spec.schedule)


def _piece_of(nominal_s: int, pieces: Sequence[Stretch], past: PastSlots) -> tuple[str, Stretch | None]:
    """The stretch that a slot belongs to; or None, and why there is none."""
    if past.log_from_ms is None or past.log_from_ms > nominal_s * 1000:
        return "from before the log begins: whether it had an outcome is not known here any more", None
    if past.marks and nominal_s * 1000 < past.marks[0].at_ms:
        return "of which the log does not tell what schedule the task had then", None
    found = next((piece for piece in pieces if any(piece.slots(nominal_s, nominal_s + 1))), None)
    return "which was no slot of the task", found


def _ending(
    reg: TaskRegister, lost: _Lost, touch: Touch | None, now_ms: int
) -> tuple[type[Skipped] | type[Missed], str] | None:
    """The outcome of a slot that does not run; None: it may. `touch`: of the calendar of blackouts that it lies in."""
    spec = reg.spec
    # One that was to be put off was to run when that is over.
    late_ms = now_ms - (lost.emit_ms if touch is None else touch.until_s * 1000)
    if reg.deleted_ms is not None:
        return Skipped, "deleted"
    if reg.ended == "cancelled":
        return Skipped, "cancelled"
    if lost.piece.state is State.PAUSED or spec.paused:
        return Skipped, "paused"
    if touch is not None and touch.action is BlackoutAction.SKIP:
        return Skipped, "blackout"
    if late_ms >= spec.catch_up.grace_seconds * 1000:
        return Missed, "grace_exceeded"
    # A reminder of what is past helps nobody.
    skips = spec.catch_up.policy is CatchUpPolicy.SKIP and late_ms >= spec.catch_up.after_seconds * 1000
    return (Missed, "catch_up_skip") if skips or is_workless(spec.task_type) else None


def _put_off(
    task: TaskState, lost: Sequence[tuple[_Lost, Touch]], decision: Decision, around: Surroundings
) -> None:
    """Slots whose blackout lasts: the newest wait for its end, as many as may."""
    room = room_to_put_off(task)
    for index, (one, touch) in enumerate(lost):
        if len(lost) - index > room:
            decision.refused.append(Skipped(**_of_slot(task.reg, one, around, touch), reason="limit"))
            continue
        slot = Slot(task, one.nominal_s, one.emit_ms)
        flight = put_off(slot, touch)
        flight.revision = one.piece.revision
        queued = Queued(**_of_slot(task.reg, one, around, touch), reason="blackout")
        decision.queued.append((flight, queued))
        if one.piece.revision == decision.reg.revision:
            decision.reg = counted(decision.reg, [slot])


def _catch_up(task: TaskState, lost: Sequence[_Lost], decision: Decision, around: Surroundings) -> None:
    """The newest run, as many as the policy allows; those before are coalesced into the oldest that does."""
    most = most_late(task)
    runs = lost[-most:] if most else []
    for one in lost[: len(lost) - len(runs)]:
        if runs:
            into = slot_run(runs[0].nominal_s)
            reason = f"catch_up_{task.reg.spec.catch_up.policy}"
            decision.refused.append(Coalesced(**_of_slot(task.reg, one, around), reason=reason, into=into))
        else:
            decision.refused.append(Skipped(**_of_slot(task.reg, one, around), reason="limit"))
    for one in runs:
        slot = Slot(task, one.nominal_s, one.emit_ms)
        flight = late_flight(slot, around.now_ms)
        if flight is None:
            decision.refused.append(Skipped(**_of_slot(task.reg, one, around), reason="overlap"))
            continue
        flight.revision, flight.queued = one.piece.revision, True
        queued = Queued(**_of_slot(task.reg, one, around), reason="repair")
        decision.queued.append((flight, queued))
        if one.piece.revision == decision.reg.revision:
            decision.reg = counted(decision.reg, [slot])


def _of_slot(
    reg: TaskRegister, lost: _Lost, around: Surroundings, touch: Touch | None = None
) -> dict[str, Any]:
    """What every event on a slot's chain says of it."""
    run = slot_run(lost.nominal_s)
    return {
        **about(reg, around),
        "execution_id": f"{reg.task_id}.{run}",
        "run": run,
        "task_type": reg.spec.task_type,
        "attempt": 1,
        "trigger": Trigger.SCHEDULE,
        "scheduled_for": format_instant(lost.nominal_s * 1000),
        "due_at": format_instant(lost.emit_ms),
        "revision": lost.piece.revision,
        "detail": _DETAIL if touch is None else f"{_DETAIL}; {touch_words(touch)}",
        "calendar_id": UNSET if touch is None else touch.calendar_id,
    }
