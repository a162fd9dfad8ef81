"""Accounts: who a user is to Gnomon, what the user may do, and how many credits were given.

An account is an object of kind `account`; its id is the user's id in base64url without padding, so that any user id can
stand in a subject. A user without an account is on the free tier, and gets one with the first credits that are given or
spent. A task without a user is the system's own: no account, no limits, nothing charged.

Credits are kept in whole millionths (*micros*), so that sums are exact in whatever order they are made; messages carry
them as numbers of credits.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from gnomon_schemas.events import FieldChange
from gnomon_schemas.objects import ObjectEvent

__all__ = [
    "ACCOUNT_EVENT_TYPES",
    "ACCOUNT_ID_PATTERN",
    "ACCOUNT_SYSTEM_FIELDS",
    "ACCOUNT_VERBS",
    "AMOUNT_MAX",
    "CREDITED_MAX_MICROS",
    "LIMIT_MAX",
    "LIMIT_NAMES",
    "MICROS",
    "NOTE_MAX_CHARS",
    "PRICE_MAX",
    "UNLIMITED",
    "Account",
    "AccountCreated",
    "AccountCredited",
    "AccountEvent",
    "AccountLimits",
    "AccountUpdated",
    "CreateAccount",
    "CreditAccount",
    "CreditKind",
    "Tier",
    "UpdateAccount",
    "account_id_of",
    "consumed_micros",
    "credits_of",
    "effective_limits",
    "micros_of",
    "user_of_account",
]

ACCOUNT_ID_PATTERN: Final = r"^[A-Za-z0-9-][A-Za-z0-9_-]*$"
"""Base64url without padding. At most 1,360 characters: a user id has up to 255, of up to four bytes each."""
MICROS: Final = 1_000_000
"""Micros in one credit."""
AMOUNT_MAX: Final = 1_000_000_000.0
"""Most credits that one command may give or take."""
PRICE_MAX: Final = 1_000_000.0
"""Most credits that one execution costs. Millions of these may be added up in the 64 bits of a column."""
CREDITED_MAX_MICROS: Final = 9_000_000_000 * MICROS
"""Most micros that an account may have been given in all: what messages can still tell to a millionth."""
NOTE_MAX_CHARS: Final = 1024
"""Longest note or reference of a credit."""


class Tier(StrEnum):
    """Subscription level of an account: `free` < `basic` < `pro` < `enterprise`."""

    FREE = "free"
    BASIC = "basic"
    PRO = "pro"
    ENTERPRISE = "enterprise"

    @property
    def rank(self) -> int:
        """Place in the order of levels; 0 is free."""
        return _RANKS[self]

    def includes(self, other: Tier) -> bool:
        """Whether what is open to `other` is open to this one."""
        return self.rank >= other.rank


_RANKS: Final = {tier: rank for rank, tier in enumerate(Tier)}


class AccountLimits(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What a user may do at the most; None: as much as they like. In an account's own limits a field that is left out
    is the tier's."""

    max_tasks: int | UnsetType | None = UNSET
    """Tasks that have neither ended nor been deleted."""
    runs_per_day: int | UnsetType | None = UNSET
    """Executions that start within one UTC day."""
    min_interval_seconds: int | UnsetType | None = UNSET
    """Least time between two slots of one task's schedule, in seconds."""
    max_concurrent: int | UnsetType | None = UNSET
    """Executions in flight at a time, over all tasks."""


LIMIT_MAX: Final = 1_000_000_000
"""Largest limit of any kind."""
LIMIT_NAMES: Final = ("max_tasks", "runs_per_day", "min_interval_seconds", "max_concurrent")
"""The fields of `AccountLimits`."""
UNLIMITED: Final = AccountLimits(
    max_tasks=None, runs_per_day=None, min_interval_seconds=None, max_concurrent=None
)
"""No limits: what holds on every tier unless the operator sets `GNOMON_TIER_LIMITS`."""


def effective_limits(own: AccountLimits, of_tier: AccountLimits) -> AccountLimits:
    """What holds for an account: its own limits where they are set, else its tier's."""
    values = {}
    for name in LIMIT_NAMES:
        value = getattr(own, name)
        if value is UNSET:
            value = getattr(of_tier, name)
        values[name] = None if value is UNSET else value
    return AccountLimits(**values)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as everybody reads it: the answer to a command of kind `account`."""

    account_id: str
    """The user id in base64url without padding."""
    user_id: str
    tier: Tier
    limits: AccountLimits
    """Set for this account; what is left out is the tier's."""
    calendar_reminders: bool
    """Calendar events of the user (`calendar_service.event.created`) become reminders."""
    credited: float
    """Credits given so far: those it began with, top-ups and grants, less what adjustments took."""
    closed: bool = False
    """The user may make and run nothing; what tasks there were are cancelled."""
    closed_note: str | None = None
    """Why it is closed, in words."""
    version: int
    created_at: str
    updated_at: str


class CreateAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`account.create`: an account where there is none; refused where there is one that differs."""

    tier: Tier = Tier.FREE
    limits: AccountLimits = AccountLimits()
    calendar_reminders: bool = False


class UpdateAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`account.update`: what is left out stays as it is; makes the account where there is none."""

    tier: Tier | UnsetType = UNSET
    limits: AccountLimits | UnsetType = UNSET
    """Merged into the account's own: a number or null (no limit) sets a limit."""
    tier_limits: bool | UnsetType = UNSET
    """True: all limits of its own that `limits` does not name are dropped, so that the tier's hold again."""
    calendar_reminders: bool | UnsetType = UNSET
    closed: bool | UnsetType = UNSET
    """True: the user may make and run nothing any more, and all tasks of the user are cancelled; what runs finishes.
    False: the user may again; tasks that were cancelled stay so."""
    closed_note: str | UnsetType | None = UNSET
    """Why it is closed, in words: the reason that the tasks are cancelled for. Goes when it is open again."""


ACCOUNT_SYSTEM_FIELDS: frozenset[str] = frozenset(
    {*Account.__struct_fields__, "effective_limits", "balance", "consumed"}
    - {*UpdateAccount.__struct_fields__}
)
"""Fields that only the system sets: ignored on input, so that a read can be sent back."""

CreditKind: TypeAlias = Literal["topup", "grant", "adjustment"]
"""Where credits come from: the user paid for them, they were given, or a mistake is put right."""


class CreditAccount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`account.credit`: give credits, once per command id; makes the account where there is none."""

    amount: float
    """Credits, exact to a millionth. More than 0; an `adjustment` may be less and takes them back."""
    kind: CreditKind = "topup"
    note: str | None = None
    """In words, for people."""
    reference: str | None = None
    """The caller's own name of the matter: an invoice, a payment."""


ACCOUNT_VERBS: Final = ("create", "update", "credit")
"""Verbs of kind `account`, whose object is `account_id_of(user)`."""


class AccountEvent(ObjectEvent, frozen=True, kw_only=True):
    """What every event of an account carries."""

    account_id: str
    user_id: str
    opening: float = 0.0
    """Credits that the account began with by this very event; 0 where it was there before."""
    account: Account
    """The account after it."""

    @property
    def object_id(self) -> str:
        """See `ObjectEvent`."""
        return self.account_id

    @property
    def object_version(self) -> int:
        """See `ObjectEvent`."""
        return self.account.version


class AccountCreated(AccountEvent, frozen=True, kw_only=True, tag="gnomon.account.created.v1"):
    """An account exists: by a command, or because its user spent the first credits."""

    reason: Literal["command", "first_use"] = "command"


class AccountUpdated(AccountEvent, frozen=True, kw_only=True, tag="gnomon.account.updated.v1"):
    """What is set of an account, after a command that was accepted. `changes` is empty where it changed nothing."""

    changes: tuple[FieldChange, ...] = ()


class AccountCredited(AccountEvent, frozen=True, kw_only=True, tag="gnomon.account.credited.v1"):
    """Credits were given, or taken back by an adjustment."""

    amount: float
    kind: CreditKind
    note: str | None = None
    reference: str | None = None


ACCOUNT_EVENT_TYPES: Final[dict[str, type[AccountEvent]]] = {
    "created": AccountCreated,
    "updated": AccountUpdated,
    "credited": AccountCredited,
}
"""Event name, as in the subject, to Struct."""


def account_id_of(user_id: str) -> str:
    """The id of a user's account. It never begins with `_`, since no UTF-8 text begins with the bits for that."""
    return urlsafe_b64encode(user_id.encode()).decode().rstrip("=")


def user_of_account(account_id: str) -> str:
    """The user whose account that is. Raises ValueError where `account_id` is no account's."""
    user = urlsafe_b64decode(account_id.encode("ascii") + b"=" * (-len(account_id) % 4)).decode()
    if not user or account_id_of(user) != account_id:
        raise ValueError(f"not an account id: {account_id!r}")
    return user


def micros_of(amount: float) -> int:
    """Credits in whole micros, rounded to the nearest; what no account may be given is cut to the most that one may."""
    most = CREDITED_MAX_MICROS / MICROS
    return round(max(-most, min(amount, most)) * MICROS)


@lru_cache(maxsize=1024)
def consumed_micros(amount: float) -> int:
    """The micros that an execution costs, of what its task or its result says: at most `PRICE_MAX` credits.

    Tasks and results of before that bound may say more. Shards and the books count them alike.
    """
    return micros_of(min(amount, PRICE_MAX))


def credits_of(micros: int) -> float:
    """Micros as credits."""
    return micros / MICROS
