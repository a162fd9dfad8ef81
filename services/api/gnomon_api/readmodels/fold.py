"""Events into rows: each event goes to the sections that listen to it, in stream order.

What the sections make depends on the events and their order alone: not on where a batch ends, and not on the
time at which it runs. So rows made live and rows made again from the archive are the same, byte for byte; a
test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gnomon_api.readmodels.section import Change, Fetch, Handler, Read, Section
from gnomon_api.readmodels.sections import all_sections
from gnomon_api.readmodels.sections.executions import ExecutionRow, ExecutionSection
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.codec import decode, decode_event
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.subjects import parse_event

__all__ = ["Fold", "fold_chain"]


class Fold:
    """The sections, and what a batch of events changes in them.

    Before a batch the rows it touches are loaded (`load`). After `begin`, `apply` is called for each event in order,
    then `finish` once; `changes` are the batch's until the next `begin`.
    """

    def __init__(self, sections: Sequence[Section] | None = None) -> None:
        self._sections = all_sections() if sections is None else sections
        self._objects: dict[tuple[str, str], type] = {}
        self._listening: list[tuple[type, Handler]] = []
        self._handlers: dict[type, tuple[Handler, ...]] = {}
        for section in self._sections:
            self._objects |= section.objects
            self._listening += section.listens()
            section.tell = self._dispatch

    def read(self, stored: Stored) -> Any:
        """What an event says; None for one that no section reads.

        Raises ValueError when its subject is not an event's; msgspec.DecodeError, UnicodeDecodeError and
        RecursionError when it does not decode.
        """
        kind, name, _, _, _ = parse_event(stored.subject)
        if kind == "task":
            return decode_event(stored.data) if name in EVENT_TYPES else None
        struct = self._objects.get((kind, name))
        return None if struct is None else decode(stored.data, struct)

    async def load(self, fetch: Fetch, batch: Sequence[Read]) -> None:
        """Bring the rows that a batch touches into memory. Raises asyncpg's errors and OSError."""
        for section in self._sections:
            await section.load(fetch, batch)

    def begin(self) -> None:
        """Start a new batch on the rows as they are."""
        for section in self._sections:
            section.begin()

    def apply(self, read: Read) -> None:
        """Fold one event. Raises ValueError or OverflowError for a value that no row can hold; then `forget`."""
        self._dispatch(*read)

    def finish(self) -> None:
        """After the batch's last event."""
        for section in self._sections:
            section.finish()

    def changes(self) -> list[Change]:
        """The batch's changes that have rows, in the order of the sections."""
        return [(write, rows) for section in self._sections for write, rows in section.changes() if rows]

    def forget(self) -> None:
        """Drop every row: they may not be what the database holds."""
        for section in self._sections:
            section.forget()
            section.begin()

    def trim(self, committed: int, kept: int) -> None:
        """Keep memory bounded: drop rows of which the database has everything."""
        for section in self._sections:
            section.trim(committed, kept)

    def _dispatch(self, stored: Stored, what: Any) -> None:
        kind = type(what)
        handlers = self._handlers.get(kind)
        if handlers is None:
            handlers = tuple(handler for listened, handler in self._listening if issubclass(kind, listened))
            self._handlers[kind] = handlers
        for handler in handlers:
            handler(stored, what)


def fold_chain(chain: Sequence[Stored]) -> ExecutionRow | None:
    """The execution that a chain's events tell, in any order; None for no event. What does not decode is
    passed over."""
    executions = ExecutionSection()
    fold = Fold([executions])
    for stored in sorted(chain, key=lambda one: one.seq):
        try:
            event = decode_event(stored.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        fold.apply(Read(stored, event))
    return next(iter(executions.rows.values()), None)
