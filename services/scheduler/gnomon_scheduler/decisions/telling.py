"""What events of a decision have in common."""

from __future__ import annotations

from typing import Any

from gnomon_core.rules.task_input import changed_fields
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.views import optional_instant, resting_status
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.events import (
    FieldChange,
    StatusChanged,
    Unchanged,
)

__all__ = ["about", "command_id", "field_changes", "note_status", "unchanged"]

_SHOWN_MAX = 64 * 1024


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


def field_changes(old: TaskRegister, new: TaskRegister) -> tuple[FieldChange, ...]:
    """What a change is remembered by: every field in which the task is another, with both its values."""
    changes = [
        FieldChange(field=name, old=_shown(getattr(old.spec, name)), new=_shown(getattr(new.spec, name)))
        for name in changed_fields(old.spec, new.spec)
    ]
    if old.pause_note != new.pause_note:
        changes.append(FieldChange(field="pause_note", old=old.pause_note, new=new.pause_note))
    if old.paused_until_ms != new.paused_until_ms:
        before, after = optional_instant(old.paused_until_ms), optional_instant(new.paused_until_ms)
        changes.append(FieldChange(field="paused_until", old=before, new=after))
    return tuple(changes)


def _shown(value: object) -> object:
    """A value for the history. A large one by its size: old, new and the task itself have to fit in one message."""
    size = len(encode(value))
    return value if size <= _SHOWN_MAX else {"omitted_bytes": size}
