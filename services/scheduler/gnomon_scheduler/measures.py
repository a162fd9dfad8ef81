"""What a shard tells its process's metrics."""

from __future__ import annotations

from collections.abc import Iterable

from gnomon_schemas.events import Event
from gnomon_schemas.tasks import Trigger

__all__ = ["ShardMeasures"]


class ShardMeasures:
    """Counts of one process's shards."""

    def fired(self, dues: Iterable[tuple[int, int, Trigger]]) -> None: ...
    def outcome(self, event: Event) -> None: ...
    def command(self, verb: str, result: str) -> None: ...
    def stored(self, seconds: float, messages: int) -> None: ...
    def took_over(self, seconds: float) -> None: ...
    def deposed(self) -> None: ...
