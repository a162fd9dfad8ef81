"""What each verb does to a task: `decide(task, command, surroundings) -> Decision`, or `Refused`.

What is asked of every command is asked here: that the verb exists, the task too, and that the caller may. The verbs are
in `creating`, `changing` (which rests on `closing`), `running` and `backfilling`.
"""

from __future__ import annotations

from collections.abc import Callable

from gnomon_core.rules.versions import check_version
from gnomon_scheduler.decisions.backfilling import backfill
from gnomon_scheduler.decisions.changing import cancel, complete, delete, pause, resume, update
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.creating import create
from gnomon_scheduler.decisions.repairing import repair
from gnomon_scheduler.decisions.running import cancel_execution, retry_execution, run_now
from gnomon_scheduler.memory import Slot, TaskState
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.problems import Code, Refused

__all__ = ["VERBS", "decide"]


def decide(
    task: TaskState | None, waiting_for_jitter: list[Slot], command: Command, around: Surroundings
) -> Decision:
    """Decide a command of kind `task`.

    `task` is the task it names, or None; `waiting_for_jitter` are its slots between nominal and emission time at
    `around.now_ms`. Raises Refused with the problem to answer.
    """
    if command.verb == "create":
        return create(task, command, around)
    if command.verb not in VERBS:
        raise Refused(
            Code.UNKNOWN_VERB,
            f"{command.verb!r} is not a verb of task; allowed are create, {', '.join(VERBS)}",
        )
    if task is None:
        raise _not_found(command)
    _check_owner(task.reg, command)
    if task.reg.deleted_ms is not None and command.verb != "repair":
        raise _not_found(command)
    check_version(command.if_match, task.reg.version)
    return VERBS[command.verb](task, waiting_for_jitter, command, around)


def _not_found(command: Command) -> Refused:
    return Refused(Code.NOT_FOUND, f"there is no task {command.object_id!r}")


def _check_owner(reg: TaskRegister, command: Command) -> None:
    if not command.privileged and reg.user_id != command.user:
        raise _not_found(command)


VERBS: dict[str, Callable[[TaskState, list[Slot], Command, Surroundings], Decision]] = {
    "update": update,
    "pause": pause,
    "resume": resume,
    "cancel": cancel,
    "complete": complete,
    "delete": delete,
    "run": run_now,
    "backfill": backfill,
    "cancel_execution": cancel_execution,
    "retry_execution": retry_execution,
    "repair": repair,
}
"""Every verb but `create`, which is the only one that needs no task."""
