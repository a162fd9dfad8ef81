"""What the events of every object besides tasks have in common.

Templates, calendars and accounts are *objects*: each has an id within its kind, a version that goes up with every
change, and events. An event tells all of the object after it, so a reader needs no other one.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_schemas.events import FieldChange

__all__ = ["ObjectEvent"]


class ObjectEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    """What every event of an object carries. `occurred_at` is the clock of the shard when it decided."""

    partition: int
    occurred_at: str
    command_id: str | UnsetType = UNSET
    """Set where a command caused the event."""
    changed_by: str | None = None
    """The acting user; None: a service, or Gnomon itself."""

    @property
    def object_id(self) -> str:
        """Id of the object within its kind."""
        raise NotImplementedError

    @property
    def object_version(self) -> int:
        """Version of the object after it."""
        version: int = getattr(self, "version")  # noqa: B009 - most kinds have such a field, the base has not
        return version

    @property
    def object_changes(self) -> tuple[FieldChange, ...]:
        """What is another than before, where the event tells."""
        changes: tuple[FieldChange, ...] = getattr(self, "changes", ())
        return changes
