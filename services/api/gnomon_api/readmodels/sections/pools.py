"""What is set of pools. Each event tells all of it, so the newest is what holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar, NamedTuple

from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, maybe_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import Mode, TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.pools import PoolUpdated

__all__ = ["PoolSection"]


class PoolRow(NamedTuple):
    """A row of `pools`."""

    pool: str
    max_in_flight: int | None
    paused: bool
    version: int
    updated_at: datetime
    changed_by: str | None
    seq: int


_POOLS = TableWrite("pools", PoolRow._fields, Mode.REPLACE, ("pool",))


class PoolSection(Section):
    """The table `pools`."""

    writes = (_POOLS,)
    objects: ClassVar = {("pool", "updated"): PoolUpdated}

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [(PoolUpdated, self._updated)]

    @override
    def begin(self) -> None:
        self._rows: dict[str, PoolRow] = {}

    @override
    def changes(self) -> Iterable[Change]:
        return [(_POOLS, list(self._rows.values()))]

    def _updated(self, stored: Stored, event: PoolUpdated) -> None:
        self._rows[event.pool] = PoolRow(
            event.pool,
            event.max_in_flight,
            event.paused,
            event.version,
            as_instant(event.updated_at),
            maybe_text(event.changed_by),
            stored.seq,
        )
