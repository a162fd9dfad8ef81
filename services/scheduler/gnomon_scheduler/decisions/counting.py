"""`max_runs`: counting the slots that are handed out, exactly, whoever leads.

A slot of a schedule with `max_runs` is never plain: it is written ahead, and its entry and the count are in one
register. So the two are stored together or not at all, and a successor that finds the entry finds it counted. Without
jitter the cursor moves to the slot in the same register, so that none is looked at twice; with jitter, where slots do
not come due in the order of their nominal times, the watermark and the entries themselves tell (see `takeover`).

What counts is that a slot was to run: also when it was late, or is withdrawn or expires later. What was skipped, missed
or coalesced in the first place does not count, nor do runs on demand and backfills. A change of the schedule makes a
new revision, which begins at nothing. When none is left, what comes after is no slot: it has no outcome, and the task
is completed as soon as nothing of it is in flight. Slots that were past their nominal time by then and waited for their
jitter are `skipped(limit)`, so that up to the last one every slot has an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gnomon_scheduler.memory import Slot
from gnomon_scheduler.registers import Cancelling, TaskRegister
from gnomon_schemas.clock_text import slot_run

__all__ = ["allowed", "beyond", "counted"]


def allowed(reg: TaskRegister, slots: Sequence[Slot]) -> list[Slot]:
    """Those of some slots of a task that may still run, in the order in which they come due."""
    in_order = sorted(slots, key=lambda slot: (slot.emit_ms, slot.nominal_s))
    return in_order if reg.runs_left is None else in_order[: reg.runs_left]


def beyond(
    reg: TaskRegister, slots: Sequence[Slot], now_ms: int, command_id: str | None = None
) -> list[Cancelling]:
    """The others, written ahead with those that may run: they are to be ended as `skipped(limit)`."""
    may_run = allowed(reg, slots)
    return [
        Cancelling(run=slot_run(slot.nominal_s), reason="limit", deadline_ms=now_ms, command_id=command_id)
        for slot in slots
        if slot not in may_run
    ]


def counted(reg: TaskRegister, slots: Sequence[Slot]) -> TaskRegister:
    """The register of a task after these slots of it are written ahead; itself where it counts none."""
    schedule = reg.spec.schedule
    if schedule is None or schedule.max_runs is None or not slots:
        return reg
    cursor_s = reg.cursor_s
    if not schedule.jitter_seconds:
        cursor_s = max(cursor_s, *(slot.nominal_s for slot in slots))
    return msgspec.structs.replace(reg, fired=reg.fired + len(slots), cursor_s=cursor_s)
