"""Changes that a shard makes to a task of its own accord: no command asked for them.

Terms. An *own change* is a pure function `(task, waiting_for_jitter, around) -> Decision | None`: like the decision of
a verb, without a command; None where there is nothing to do (any more). Its events are told of the task, among them a
`StatusChanged` with the whole task where more than the status is another; the task's `version` stays, since that counts
what callers change.

What makes one due stands in the register: `paused_until_ms`, more failures than the task takes, a backfill that is
not through (`registers.owes_change`); or in that of its user's account, which is closed (`closed_users`). So a crash
between the cause and the change needs no care of its own: the next leader finds the cause in the register and decides
the same. An own change must leave nothing that asks for it again.

**How to add one.** Write the pure function here or in a module of its own. Have `ShardMemory.owing` find its tasks at
a take-over, or find them yourself, and hand each to `OwnDesk.propose(task, change)` inside a turn (or before the first
one). The desk decides it in the next turn after all slots up to T were handed out, at the same instant at which a
command to the task would be decided, and stores register and events in one batch. What moves slots gives the old
revision its end with `closing.close`, and sets `Decision.rescheduled`.

**When.** A pause that ends at a time is decided *before* the slots of a turn, as of that time, however late the turn
is: the slots after it are then live slots, or a backlog. They may be handed out before the register with the end of
the pause is stored. A crash in between changes nothing: the next leader ends the pause at the same instant, makes the
same slots, and finds those that were handed out (`takeover`). All others are decided after the slots of the turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from gnomon_scheduler.decisions.closing import close
from gnomon_scheduler.decisions.command import Decision, Surroundings
from gnomon_scheduler.decisions.folding import past_last_slot
from gnomon_scheduler.decisions.telling import about, field_changes
from gnomon_scheduler.decisions.user_limits import account_of
from gnomon_scheduler.decisions.views import resting_status, view
from gnomon_scheduler.decisions.wishes import is_stronger
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_scheduler.object_registers import KnownAccount
from gnomon_scheduler.registers import Cancelling, Runtime, TaskRegister, fails_too_often
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import StatusChanged
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.tasks import TaskStatus

__all__ = ["OwnChange", "cancel_of_closed", "end_pause", "pause_after_failures", "unfailed"]

OwnChange: TypeAlias = Callable[[TaskState, list[Slot], Surroundings], Decision | None]


def end_pause(
    task: TaskState,
    waiting_for_jitter: list[Slot],
    around: Surroundings,
    schedule: Schedule | None = None,
) -> Decision | None:
    """Let the slots of a task fire again from the end of its pause on.

    `around.now_ms` is the last instant of the pause: the slot of the very second that it lasts until is live again.
    The slots of the pause are those of `schedule`, where it is not the task's own as it is read now.
    """
    old = task.reg
    until_ms = old.paused_until_ms
    if until_ms is None:
        return None
    reg = msgspec.structs.replace(
        old,
        spec=msgspec.structs.replace(old.spec, paused=False),
        pause_note=None,
        paused_until_ms=None,
        runtime=unfailed(old.runtime),
    )
    decision = Decision(old, rescheduled=True)
    decision.reg = reg = close(task, reg, waiting_for_jitter, decision, None, around, schedule)
    decision.events.append(_told(task, old, reg, "pause_over", until_ms, around))
    return decision


def pause_after_failures(
    task: TaskState, waiting_for_jitter: list[Slot], around: Surroundings
) -> Decision | None:
    """Pause a task of which as many executions in a row have failed as it takes; a resume begins to count anew."""
    old = task.reg
    if not fails_too_often(old):
        return None
    schedule = old.spec.schedule
    if schedule is not None and past_last_slot(old, around.now_ms):
        # It is about to end: paused, it never would.
        return None
    reg = msgspec.structs.replace(
        old,
        spec=msgspec.structs.replace(old.spec, paused=True),
        pause_note=(
            f"{old.runtime.consecutive_failures} executions in a row failed; "
            f"max_consecutive_failures is {old.spec.max_consecutive_failures}"
        ),
        paused_until_ms=None,
    )
    decision = Decision(old, rescheduled=True)
    decision.reg = reg = close(task, reg, waiting_for_jitter, decision, None, around)
    told = _told(task, old, reg, "max_consecutive_failures", around.now_ms, around)
    decision.events.insert(0, told)
    return decision


def cancel_of_closed(
    task: TaskState, waiting_for_jitter: list[Slot], around: Surroundings
) -> Decision | None:
    """Cancel a task of a user whose account is closed; what runs may finish. Of an account that is open again: what was
    there when it was closed.

    One that has completed stays so: what waits of it, run on demand or of a backfill, is cancelled.
    """
    old = task.reg
    account = None if old.user_id is None else account_of(old.user_id, around)
    if account is None or old.ended == TaskStatus.CANCELLED.value:
        return None
    if not _concerns(account, max(old.created_ms, old.revision_from_ms)):
        return None
    if old.ended == TaskStatus.COMPLETED.value:
        return _cancel_what_waits(task, account, around)
    reg = msgspec.structs.replace(
        old,
        ended=TaskStatus.CANCELLED.value,
        ended_ms=around.now_ms,
        paused_until_ms=None,
        backfills=(),
        updated_ms=around.now_ms,
    )
    decision = Decision(old, rescheduled=True)
    decision.reg = reg = close(task, reg, waiting_for_jitter, decision, None, around, gentle=True)
    decision.events.insert(0, _told(task, old, reg, _words(account), around.now_ms, around))
    return decision


def _concerns(account: KnownAccount, since_ms: int) -> bool:
    """Whether the closing of an account is about what is there since an instant."""
    return account.closed or (account.closed_ms is not None and since_ms <= account.closed_ms)


def _words(account: KnownAccount) -> str:
    return account.closed_note or "account_closed"


def _cancel_what_waits(task: TaskState, account: KnownAccount, around: Surroundings) -> Decision | None:
    """Cancel what nobody has claimed of a task that has ended, and make no more of its backfills."""
    old, deadline_ms = task.reg, around.now_ms + around.cancel_grace_ms
    cancels = [
        Cancelling(run=run, reason="cancelled", deadline_ms=deadline_ms, gentle=True)
        for run, flight in task.flights.items()
        if flight.unclaimed
        and _concerns(account, flight.due_ms)
        and is_stronger("cancelled", task.cancelling.get(run))
    ]
    backfills = tuple(one for one in old.backfills if not _concerns(account, one.begun_ms))
    if not cancels and backfills == old.backfills:
        return None
    reg = msgspec.structs.replace(old, backfills=backfills)
    decision = Decision(reg, cancels=cancels)
    if backfills != old.backfills:
        # The status stays; what is told is that they are not under way any more.
        decision.events.append(_told(task, old, reg, _words(account), around.now_ms, around))
    return decision


def unfailed(runtime: Runtime) -> Runtime:
    """What was folded, with the failures in a row forgotten."""
    if not runtime.consecutive_failures:
        return runtime
    return msgspec.structs.replace(runtime, consecutive_failures=0)


def _told(
    task: TaskState, old: TaskRegister, new: TaskRegister, reason: str, at_ms: int, around: Surroundings
) -> StatusChanged:
    return StatusChanged(
        **about(old, around),
        old_status=resting_status(old),
        new_status=resting_status(new),
        reason=reason,
        changed_at=format_instant(at_ms),
        changes=field_changes(old, new),
        task=view(
            new,
            partition=around.partition,
            running=task.running,
            now_ms=max(at_ms, around.now_ms),
            types=around.types,
            runs=task.flights,
        ),
    )
