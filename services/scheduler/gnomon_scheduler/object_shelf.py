"""The objects besides tasks that live in one partition, as memory holds them.

A standby fills it from registers as they come; a leader puts in what it decides, before that is stored: its memory is
thrown away when the batch fails.
"""

from __future__ import annotations

from typing import NamedTuple

from gnomon_scheduler.object_registers import ObjectRegister

__all__ = ["ObjectShelf", "StoredObject"]


class StoredObject(NamedTuple):
    """An object's register, and where it is stored; 0: it is not yet."""

    seq: int
    reg: ObjectRegister


class ObjectShelf:
    """Objects of all kinds, by kind and id."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], StoredObject] = {}
        self._unreadable: dict[tuple[str, str], int] = {}
        """Those whose register does not decode, with its sequence: set aside, loudly; the shard goes on."""
        self._deleted: dict[tuple[str, str], int] = {}
        """Tombstones, with the instant of the deletion in milliseconds."""

    def get(self, kind: str, object_id: str) -> ObjectRegister | None:
        """An object's register, tombstones too; None: there is none that can be read."""
        found = self._objects.get((kind, object_id))
        return None if found is None else found.reg

    def unreadable(self, kind: str, object_id: str) -> bool:
        """Whether the object has a register that this version cannot read."""
        return (kind, object_id) in self._unreadable

    def apply(self, kind: str, seq: int, reg: ObjectRegister) -> None:
        """Take over a register as it is stored; one older than what is known is ignored."""
        key = (kind, reg.object_id)
        known = self._objects.get(key)
        if known is None or known.seq < seq:
            self._set(key, StoredObject(seq, reg))

    def put(self, kind: str, reg: ObjectRegister) -> None:
        """Take in what the leader has decided: to be stored with this turn."""
        key = (kind, reg.object_id)
        known = self._objects.get(key)
        self._set(key, StoredObject(0 if known is None else known.seq, reg))

    def stored(self, kind: str, object_id: str, seq: int) -> None:
        """The newest register of an object is stored at `seq`."""
        found = self._objects.get((kind, object_id))
        if found is not None:
            self._objects[kind, object_id] = found._replace(seq=seq)

    def set_aside(self, kind: str, object_id: str, seq: int) -> None:
        """An object whose register cannot be read stops as it is, until a version comes that can."""
        self.drop(kind, object_id)
        self._unreadable[kind, object_id] = seq

    def drop(self, kind: str, object_id: str) -> None:
        """Forget an object whose register was removed."""
        for table in (self._objects, self._unreadable, self._deleted):
            table.pop((kind, object_id), None)

    def tombstones(self, before_ms: int) -> list[tuple[str, str, int]]:
        """Kind, id and sequence of the stored tombstones of objects that were deleted before an instant."""
        return [
            (*key, self._objects[key].seq)
            for key, deleted_ms in self._deleted.items()
            if deleted_ms < before_ms and self._objects[key].seq
        ]

    def forget(self, kind: str, object_id: str, seq: int) -> None:
        """The tombstone at `seq` was removed: drop it, unless the object was made anew meanwhile."""
        found = self._objects.get((kind, object_id))
        if found is not None and found.seq == seq and found.reg.deleted_ms is not None:
            self.drop(kind, object_id)

    def _set(self, key: tuple[str, str], stored: StoredObject) -> None:
        self._objects[key] = stored
        self._unreadable.pop(key, None)
        if stored.reg.deleted_ms is None:
            self._deleted.pop(key, None)
        else:
            self._deleted[key] = stored.reg.deleted_ms
