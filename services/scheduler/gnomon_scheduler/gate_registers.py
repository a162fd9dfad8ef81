"""What a gate keeps in `TASKS`: one register per pool that was ever set, and per key that is in use. See ADR 0016."""

from __future__ import annotations

import msgspec

from gnomon_schemas.gates import GateKind
from gnomon_schemas.tasks import RateLimit

__all__ = ["GateRegister", "Holding"]


class Holding(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one shard may use of a gate, and under which of its statements it was told so."""

    shard: int
    epoch: int
    n: int
    held: int = 0
    """Units: the shard never uses more, until it has stated again."""
    begun: int = 0
    """Of these, units whose start is in the register's `starts`."""
    starts: int = 0
    """How many starts of this epoch were counted."""
    version: int = 0
    """Of the pool's settings, as the shard knew them when it stated."""
    limit: int | None = None
    rate: RateLimit | None = None


class GateRegister(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag="gnomon.state.gate.v1",
):
    """All that is known of one gate."""

    gate: str
    """The pool's name, or the key's digest."""
    kind: GateKind
    max_in_flight: int | None = None
    paused: bool = False
    version: int = 0
    """Of a pool's settings: goes up with every change."""
    opened: int = 0
    """The version since which the pool has a gate; 0: it has none. Only statements by this version or later count."""
    updated_ms: int = 0
    holdings: tuple[Holding, ...] = ()
    starts: tuple[int, ...] = ()
    """When the attempts started that the rate still counts: epoch milliseconds, oldest first."""

    @property
    def limited(self) -> bool:
        """Whether a pool bounds what is in flight now."""
        return self.paused or self.max_in_flight is not None
