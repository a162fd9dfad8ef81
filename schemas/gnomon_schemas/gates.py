"""What shards and gates say to each other about units: leave to have one attempt handed out.

A gate bounds how much may be in flight at a time: of a pool, or of a concurrency key. It lives in the shard of its id.
The messages go over core NATS and may be lost, late or repeated; they speak of counts, never of single executions.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from gnomon_schemas.tasks import RateLimit

__all__ = ["FIRST_MAX", "GateKind", "Grant", "Grants", "Statement", "Statements", "Waiter"]

GateKind: TypeAlias = Literal["pool", "key"]
FIRST_MAX = 16
"""How many of those that wait a statement names at the most."""


class Waiter(msgspec.Struct, frozen=True, gc=False):
    """One that waits. In each field the lesser goes first."""

    rank: int
    """Of its priority; 0 is urgent."""
    load: int
    """What its user has in flight there, as far as the shard knows."""
    since_ms: int
    """Since when it waits, in epoch milliseconds."""


class Statement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A shard's word to a gate: it uses `using` units and uses no more until it hears a grant for this very `n`."""

    gate: str
    """The pool's name, or the digest of the key."""
    kind: GateKind
    """What the gate bounds."""
    n: int
    """Rises with every statement of the shard's epoch."""
    using: int = 0
    """Units of attempts that were handed out and have not ended, as far as the shard knows."""
    wanting: int = 0
    """How many units it could use besides."""
    first: tuple[Waiter, ...] = ()
    """The first of those that wait, in the order in which the shard would let them go."""
    oldest_ms: int = 0
    """Since when the one that has waited longest does."""
    version: int = 0
    """Of the pool's settings, as the shard knows them."""
    limit: int | None = None
    """Of a key: the least that the tasks in flight or waiting say."""
    rate: RateLimit | None = None
    """Of a key: the strictest that they say."""
    unstarted: int = 0
    """Of the units in use, those whose attempt has not started as far as is known."""
    starts: int = 0
    """How many attempts under this gate were seen to start in this epoch."""
    started: tuple[int, ...] = ()
    """When the latest of them started, in epoch milliseconds, oldest first."""


class Statements(msgspec.Struct, frozen=True, kw_only=True):
    """Statements of one shard, under one epoch, to the gates of another (or its own)."""

    shard: int
    """Partition of the shard that states."""
    epoch: int
    """Of its leader."""
    statements: tuple[Statement, ...]
    """One for each gate that it has something to say to."""


class Grant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A gate's word to a shard: under statement `n` of `epoch` it may use `units`, those in use included.

    To a shard that has led since by another epoch, or never stated, it says that the gate waits for its statement.
    """

    gate: str
    """The pool's name, or the digest of the key."""
    kind: GateKind
    """What the gate bounds."""
    epoch: int
    """Of the statement that it answers."""
    n: int
    """Of the statement that it answers."""
    units: int = 0
    """How many may be in use, those included that are."""
    contended: bool = False
    """Somebody waits: what comes free is to be given back."""
    busy: bool = False
    """Of a key: what the statement wanted was not given, because as many are in flight as may be."""


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """What the gates of one shard say to another (or to their own)."""

    partition: int
    """Where the gates live."""
    grants: tuple[Grant, ...]
    """One for each gate that has something to say."""
