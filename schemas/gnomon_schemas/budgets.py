"""What shards and the shard of an account say to each other about what a user may use: ADR 0020.

The messages go over core NATS and may be lost, late or repeated. They speak of totals, never of single executions.
Amounts are in micros, millionths of a credit.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "BudgetGrant",
    "BudgetGrants",
    "BudgetStatement",
    "BudgetStatements",
    "Shortage",
    "TaskCount",
    "TaskCountQuestion",
]

Shortage: TypeAlias = Literal["credits", "limit", "busy"]
"""What there is no more of: credits; runs of the day; room for executions in flight, of which some will end."""


class BudgetStatement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A shard's word about one user: it goes above none of the caps until it hears a grant for this very `n`."""

    account: str
    """Id of the account."""
    user: str
    """The account's user."""
    n: int
    """Rises with every statement of the shard's epoch."""
    used: int = 0
    """Micros consumed in the shard so far, ever."""
    spend: int = 0
    """Cap of what is used and held, in micros."""
    units: int = 0
    """Cap of the executions in flight."""
    using: int = 0
    """So many executions may be in flight at the most, under the caps."""
    day: int = 0
    """The UTC day, in days since 1970, of which the shard counts the runs."""
    starts: int = 0
    """Cap of the executions of that day, those included that have ended."""
    idle: bool = False
    """Some cap is above what is used and held."""
    units_wanted: int = 0
    """How much higher the cap of executions in flight would have to be for those that wait."""
    starts_wanted: int = 0
    """And that of the day's."""
    micros_wanted: int = 0
    """And `spend`."""
    ahead: int = 0
    """Executions that the shard would like to be able to let go besides."""
    ahead_micros: int = 0
    """By how much `spend` would have to be higher for these."""


class BudgetStatements(msgspec.Struct, frozen=True, kw_only=True):
    """Statements of one shard, under one epoch, to the shard of these accounts."""

    shard: int
    """Partition of the shard that states."""
    epoch: int
    """Of its leader."""
    statements: tuple[BudgetStatement, ...]
    """One for each user that it has something to say of."""


class BudgetGrant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The caps of one shard for one user, under statement `n` of `epoch`.

    To a shard that has led since by another epoch, or never stated, it says that a statement is waited for.
    """

    account: str
    """Id of the account."""
    user: str
    """The account's user."""
    epoch: int
    """Of the statement that it answers."""
    n: int
    """Of the statement that it answers."""
    spend: int = 0
    """What is used and held may go up to this, in micros."""
    units: int | None = None
    """So many executions may be in flight; None: any number."""
    day: int = 0
    """The UTC day that `starts` is about."""
    starts: int | None = None
    """So many executions of the day there may be, those included that have ended; None: any number."""
    shortage: Shortage | None = None
    """Why less was given than is wanted; None: it was given, or may be in a moment."""
    contended: bool = False
    """Another shard lacks something: what is idle is to be given back."""
    overdrawn: bool = False
    """The user has used more credits than were given: nothing is to be let go, whatever it costs."""


class BudgetGrants(msgspec.Struct, frozen=True, kw_only=True):
    """What the shard of some accounts says to another shard, or to itself."""

    partition: int
    """Where the accounts live."""
    grants: tuple[BudgetGrant, ...]
    """One for each account of which there is something to say."""


class TaskCountQuestion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many tasks a user has in the shard that is asked. The asker is about to make some."""

    user: str
    """Id of the user."""
    ticket: int = 0
    """Whose turn it is, where several shards are about to make tasks: the lower one is first."""


class TaskCount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A shard's answer to how many tasks a user has there."""

    partition: int
    """The shard that answers."""
    tasks: int
    """Those that have neither ended nor been deleted."""
    wanted: int = 0
    """How many more it is about to make, where they are allowed."""
    ticket: int = 0
    """The ticket by which it wants them; of no meaning where it wants none."""
