"""What is kept in `TASKS` of what users may use and have used: ADR 0020. Amounts are micros, days UTC since 1970."""

from __future__ import annotations

import msgspec

__all__ = ["DAY_MS", "BudgetRegister", "Share", "UsageRegister"]

DAY_MS = 24 * 3600 * 1000


class Share(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The caps of one shard, and under which of its statements they were told to it."""

    shard: int
    epoch: int
    n: int
    used: int = 0
    """Micros consumed there so far, ever, as it said."""
    spend: int = 0
    """Cap of what is used and held there."""
    units: int = 0
    """Cap of its executions in flight."""
    using: int = 0
    """At least what may be in flight there."""
    day: int = 0
    starts: int = 0
    """Cap of its executions of that day."""


class BudgetRegister(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag="gnomon.state.budget.v1",
):
    """How much of a user's credits and limits every shard may use: `state.budget.<p>.<account>`."""

    account: str
    user: str
    shares: tuple[Share, ...] = ()


class UsageRegister(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    tag_field="type",
    tag="gnomon.state.usage.v1",
):
    """What a user has used in one shard: `state.usage.<q>.<account>`, made from `task.executed` alone."""

    account: str
    user: str
    folded: int = 0
    """Sequence of the newest event that is in here; older ones are never folded again."""
    used: int = 0
    """Micros consumed so far, ever."""
    day: int = 0
    """Of which `runs` are; the newest day on which an execution began that has ended."""
    runs: int = 0
    """Executions that began on that day and have ended."""
    told: int = 0
    """What the account's shard has confirmed to know of `used`."""
