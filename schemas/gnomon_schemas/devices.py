"""What a user's devices hear: one short note for each result and reminder of the user's tasks.

It is sent on `users.<base64url of the user id>.tasks`, which is the topic `users/<base64url of the user id>/tasks` to a
device that speaks MQTT to nats-server.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["RESULT_SHOWN_MAX", "DeviceNote"]

RESULT_SHOWN_MAX = 4 * 1024
"""Bytes of a result, as JSON, that a note carries; a larger one is left out."""


class DeviceNote(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result or a reminder, as a device hears it. It may come twice: `seq` tells."""

    event: Literal["task.executed", "task.reminder_triggered"]
    """What it tells: that an execution has ended, or that somebody is to be reminded."""
    seq: int
    """Sequence of the event in `TASKS`: the same note has the same."""
    task_id: str
    at: str
    """When it ended, or was told."""
    execution_id: str | None = None
    """Of a result, or of a reminder that a slot or run told."""
    status: str | None = None
    """Of a result: `completed`, `failed`, `cancelled` or `timed_out`."""
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Of a result: what the handler returned, unless that has more than 4 KiB."""
    error: str | None = None
    """Of a result: the error's message."""
    name: str | None = None
    """Of a reminder: the task's name."""
    reminder_type: str | None = None
    """Of a reminder: what asked for it."""
    scheduled_for: str | None = None
    """When it was to be."""
    due_date: str | None = None
    """Of a reminder: the task's due date."""
    description: str | None = None
    """Of a reminder: the task's description."""
