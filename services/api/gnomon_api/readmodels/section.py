"""What a read model is: a section of the projector, which makes rows of one or a few tables from events.

A section listens to types of events, and to facts that other sections tell (`Began`, `Ended`); it keeps what a
batch changes in memory and hands it over as rows. It knows nothing of positions, transactions and batches: the
writer sees to it that each event is folded once, whatever is killed when.

What it makes must depend on the events and their order alone: not on where a batch ends, and not on the time at
which it runs. Then a rebuild makes the same rows, and `gnomon verify` compares them.

How to add one is told in `sections/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import asyncpg

from gnomon_api.readmodels.table import Records, TableWrite
from gnomon_core.runtime.messages import Stored

__all__ = ["Change", "Fetch", "Handler", "Read", "Section"]

Handler: TypeAlias = Callable[[Stored, Any], None]
"""(the stored event, what it says, or a fact told because of it) -> None. Raises ValueError or OverflowError for a
value that no row can hold."""
Fetch: TypeAlias = Callable[..., Awaitable[Sequence[asyncpg.Record]]]
"""(statement, parameters) -> rows. Raises asyncpg's errors and OSError."""
Change: TypeAlias = tuple[TableWrite, Records]
"""Rows, and how they are written."""


class Read(NamedTuple):
    """An event as it is stored, and what it says."""

    stored: Stored
    event: Any


class Section:
    """One read model. Each method has a default that does nothing, for sections that need none of it."""

    writes: ClassVar[tuple[TableWrite, ...]]
    """All that it writes; its tables are those."""
    objects: ClassVar[Mapping[tuple[str, str], type]] = {}
    """Events of kinds other than `task` that it reads: (kind, event name) -> Struct."""

    def __init__(self) -> None:
        self.tell: Handler = _to_nobody
        """Tells all sections a fact, which goes to who listens to its type; set by the fold."""
        self.begin()

    def listens(self) -> Iterable[tuple[type, Handler]]:
        """What it listens to, in the order in which it wants to hear. A type stands for those derived from it."""
        raise NotImplementedError

    async def load(self, fetch: Fetch, batch: Sequence[Read]) -> None:
        """Bring the rows that a batch touches into memory, where they are not.

        May be called twice for a batch. Rows may have been changed by earlier batches that are not committed yet:
        a row that is in memory is newer than the database's, so only what is not in memory may be read.
        """

    def begin(self) -> None:
        """Forget what changed in the batch before, not the rows."""

    def finish(self) -> None:
        """After the batch's last event."""

    def changes(self) -> Iterable[Change]:
        """What the batch changes, with or without rows."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop every row in memory: they may not be what the database holds. `begin` is called too."""

    def trim(self, committed: int, kept: int) -> None:
        """Where more than `kept` rows are in memory, drop those whose last event is at or before the sequence
        `committed`: the database has all of them."""


def _to_nobody(_stored: Stored, _fact: Any) -> None:
    """A section alone: nobody listens to what it tells."""
