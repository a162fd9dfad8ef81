"""Task types without work: no executor runs them, their shard tells people of them.

A slot, or a run on demand, of such a task is one `task.reminder_triggered`, with `task.started` and `task.executed` on
the execution's chain in the same batch.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CALENDAR_EVENT", "REMINDER", "TODO", "WORKLESS"]

TODO: Final = "todo"
"""Something that somebody is to do: it has a due date, may have a reminder, and its owner calls it done."""
REMINDER: Final = "reminder"
"""Nothing but a reminder: at `reminder_time`, or at every slot of its schedule."""
CALENDAR_EVENT: Final = "calendar_event"
"""Linked to an entry of somebody's calendar, whose id is in its config."""

WORKLESS: Final = frozenset({TODO, REMINDER, CALENDAR_EVENT})
"""Their names. No executor may announce a type of one of them."""
