"""What events of a decision have in common."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gnomon_core.rules.task_input import changed_fields
from gnomon_core.rules.transitions import transition
from gnomon_scheduler.decisions.command import Command, Decision, Surroundings
from gnomon_scheduler.decisions.views import optional_instant, resting_status, view
from gnomon_scheduler.registers import TaskRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.events import (
    FieldChange,
    StatusChanged,
    Unchanged,
    Updated,
)

__all__ = ["about", "command_id", "field_changes", "note_status", "shown", "unchanged", "updated"]

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
    decision: Decision,
    old: TaskRegister,
    new: TaskRegister,
    reason: str,
    command: Command,
    around: Surroundings,
) -> None:
    """Tell of a status that is another one after the change. Raises Refused where there is no such change."""
    before, after = resting_status(old), resting_status(new)
    if before is not after:
        transition(before, after)
        decision.events.append(
            StatusChanged(
                **about(old, around),
                command_id=command_id(command),
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


def updated(
    old: TaskRegister,
    new: TaskRegister,
    command: Command,
    around: Surroundings,
    *,
    running: bool,
    runs: Collection[str] = (),
) -> Updated:
    """The event of a caller's change. `running`, `runs`: whether, and what, of the task is in flight after it."""
    changes = field_changes(old, new)
    return Updated(
        **about(old, around),
        command_id=command_id(command),
        updated_fields=tuple(change.field for change in changes),
        updated_at=format_instant(around.now_ms),
        changed_by=command.user,
        changes=changes,
        task=view(
            new,
            partition=around.partition,
            running=running,
            now_ms=around.now_ms,
            types=around.types,
            runs=runs,
        ),
    )


def field_changes(old: TaskRegister, new: TaskRegister) -> tuple[FieldChange, ...]:
    """What a change is remembered by: every field in which the task is another, with both its values."""
    changes = [
        FieldChange(field=name, old=shown(getattr(old.spec, name)), new=shown(getattr(new.spec, name)))
        for name in changed_fields(old.spec, new.spec)
    ]
    if old.pause_note != new.pause_note:
        changes.append(FieldChange(field="pause_note", old=old.pause_note, new=new.pause_note))
    if old.paused_until_ms != new.paused_until_ms:
        before, after = optional_instant(old.paused_until_ms), optional_instant(new.paused_until_ms)
        changes.append(FieldChange(field="paused_until", old=before, new=after))
    if old.backfills != new.backfills:
        changes.append(FieldChange(field="backfills", old=_left(old), new=_left(new)))
    if old.ended != new.ended:
        changes.append(FieldChange(field="status", old=resting_status(old), new=resting_status(new)))
    return tuple(changes)


def _left(reg: TaskRegister) -> dict[str, int]:
    """By id, how many slots each backfill has still to hand out."""
    return {record.backfill_id: record.left for record in reg.backfills}


def shown(value: object) -> object:
    """A value for the history. A large one by its size: old, new and the object itself have to fit in one message."""
    size = len(encode(value))
    return value if size <= _SHOWN_MAX else {"omitted_bytes": size}
