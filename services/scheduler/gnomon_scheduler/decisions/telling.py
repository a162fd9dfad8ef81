"""What events of a decision have in common."""

from __future__ import annotations

from typing import Any

from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.views import resting_status
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import (
    StatusChanged,
    Unchanged,
)

__all__ = ["about", "command_id", "note_status", "unchanged"]


def about(reg: TaskRegister, around: Surroundings) -> dict[str, Any]:
    """The fields that every event about a task begins with."""
    return {
        "task_id": reg.task_id,
        "user_id": reg.user_id,
        "partition": around.partition,
        "occurred_at": format_instant(around.now_ms),
    }


def unchanged(reg: TaskRegister, command: Command, around: Surroundings) -> Unchanged:
    """The event that answers a command which changed nothing."""
    return Unchanged(
        **about(reg, around),
        command_id=command_id(command),
        verb=command.verb,
    )


def note_status(
    decision: Decision, old: TaskRegister, new: TaskRegister, reason: str, around: Surroundings
) -> None:
    """Tell of a status that is another one after the change."""
    before, after = resting_status(old), resting_status(new)
    if before is not after:
        decision.events.append(
            StatusChanged(
                **about(old, around),
                old_status=before,
                new_status=after,
                reason=reason,
                changed_at=format_instant(around.now_ms),
            )
        )


def command_id(command: Command) -> str:
    """The id of a command that was found to have one."""
    assert command.command_id is not None  # `check_identity` comes first
    return command.command_id
