"""What a `status` in an update asks for, and which changes of status there are: `gnomon_schemas.lifecycle` at work.

A caller who reads a task and sends it back asks for nothing by the status in it. `running` is how a task looks while
something of it is in flight, so where the task is `scheduled` or `pending` it asks for nothing either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from gnomon_core.rules.decoding import read_object
from gnomon_core.rules.json_values import same_value
from gnomon_core.rules.status import status_of
from gnomon_schemas.lifecycle import ENDED, FINAL, WISHES, Transition, moves
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import TaskSpec, TaskStatus
from gnomon_schemas.workless import REMINDER

__all__ = ["Asked", "asked", "check_not_final", "transition", "verb_asked", "wanted_status"]

_AT_REST = (TaskStatus.PENDING, TaskStatus.SCHEDULED)
_WHY_NOT = {
    TaskStatus.SCHEDULED: "a schedule makes a task scheduled (BR-STS-001): send one",
    TaskStatus.PENDING: "a task with a schedule is scheduled, or paused: set `schedule` to null",
    TaskStatus.RUNNING: "a task is running while an execution of it is in flight (BR-STS-002): run it",
    TaskStatus.FAILED: "only its runs make a task failed (BR-STS-004)",
    TaskStatus.PAUSED: "only a task that has not ended is paused (BR-STS-005)",
}


def wanted_status(data: bytes) -> TaskStatus | None:
    """The `status` in a merge patch; None where there is none. Raises Refused where it is no status."""
    given = read_object(data).get("status")
    if given is None:
        return None
    try:
        return TaskStatus(msgspec.json.decode(given))
    except ValueError:
        shown = bytes(given)[:40].decode(errors="replace")
        raise Refused.at("#/status", f"is {shown}; allowed: {', '.join(TaskStatus)}") from None


def verb_asked(now: TaskStatus, wanted: TaskStatus) -> str | None:
    """The verb by which a task with the resting status `now` gets the one that is wanted: `pause`, `resume`, `cancel`,
    `complete` or `reopen`; None where there is nothing to do.

    Raises Refused, in words and with the number of the rule, where no verb leads there.
    """
    if wanted is now or (wanted is TaskStatus.RUNNING and now in _AT_REST):
        return None
    if wanted is TaskStatus.FAILED:
        raise Refused.at("#/status", f"is {wanted.value!r}: {_WHY_NOT[wanted]}; allowed: {', '.join(WISHES)}")
    if now is FINAL:
        raise Refused.at("#/status", f"is {wanted.value!r}; {_FINAL_WORDS}", Code.INVALID_STATE)
    verb = WISHES.get(wanted)
    if verb == "resume":
        verb = "reopen" if now in ENDED else verb if now is TaskStatus.PAUSED else None
    found = moves(now, wanted)
    if verb is None or found is None or verb not in found.causes:
        why = _WHY_NOT.get(wanted, f"a task that is {now.value} does not become {wanted.value}")
        raise Refused.at(
            "#/status", f"is {wanted.value!r} and the task is {now.value}: {why}", Code.INVALID_STATE
        )
    return verb


class Asked(NamedTuple):
    """What a task is to be after an update."""

    spec: TaskSpec
    ended: TaskStatus | None
    """`completed`, `failed` or `cancelled` where it has ended by then."""
    verb: str | None = None
    """What the update's `status` asks for, where it asks for something."""


def asked(
    patch: bytes,
    old: TaskSpec,
    spec: TaskSpec,
    ended: TaskStatus | None,
    has_slot: Callable[[TaskSpec], bool],
) -> Asked:
    """What an update makes of a task with the spec `old`: `spec` is what its fields alone make, `ended` how the task
    had ended before. `has_slot` tells whether a spec's schedule has a slot left. Raises Refused.

    A task that was through goes on with another schedule, and a `reminder` with another reminder, without being asked.
    """
    if ended is not None and ended is not FINAL and _revives(old, spec):
        ended = None
    wanted = wanted_status(patch)
    now = status_of(ended=ended, paused=spec.paused, running=False, scheduled=spec.schedule is not None)
    verb = None if wanted is None else verb_asked(now, wanted)
    match verb:
        case None:
            return Asked(spec, ended)
        case "cancel":
            return Asked(spec, TaskStatus.CANCELLED, verb)
        case "complete":
            return Asked(spec, TaskStatus.COMPLETED, verb)
        case "reopen" if spec.schedule is not None and not has_slot(spec):
            message = f"the task is {now.value} and its schedule has no slot left: send a new `schedule`"
            raise Refused.at("#/status", message, Code.INVALID_STATE)
    return Asked(msgspec.structs.replace(spec, paused=verb == "pause"), None, verb)


def _revives(old: TaskSpec, spec: TaskSpec) -> bool:
    if spec.schedule is not None and not same_value(old.schedule, spec.schedule):
        return True
    return (
        spec.task_type == REMINDER
        and spec.reminder_time is not None
        and spec.reminder_time != old.reminder_time
    )


def transition(old: TaskStatus, new: TaskStatus) -> Transition:
    """The change from one resting status to another. Raises Refused where the table has none."""
    found = moves(old, new)
    if found is None:
        check_not_final(old)
        raise Refused(Code.INVALID_STATE, f"a task that is {old.value} does not become {new.value}")
    return found


_FINAL_WORDS = "the task is cancelled, which is final (BR-STS-008)"


def check_not_final(status: TaskStatus) -> None:
    """Raises Refused where nothing leads out of a status."""
    if status is FINAL:
        raise Refused(Code.INVALID_STATE, _FINAL_WORDS)
