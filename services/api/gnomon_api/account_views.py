"""Accounts and their credits, as callers read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from gnomon_api.database import Database, DatabaseAway, Row
from gnomon_api.object_history import ObjectChanges, ObjectHistory
from gnomon_api.parameters import Parameters, two_numbers
from gnomon_api.queries import LIMIT_DEFAULT, LIMIT_MAX, shown_instant
from gnomon_api.readmodels.statements import statement
from gnomon_core.rules.account_rules import AccountRules
from gnomon_schemas.accounts import Account, AccountLimits, Tier, account_id_of, credits_of

__all__ = ["AccountPage", "AccountView", "AccountViews", "CreditEntry", "CreditEntryPage"]


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """A user's account, or what holds for a user who has none."""

    user_id: str
    account_id: str
    """The user id in base64url without padding: stands in subjects."""
    tier: Tier
    limits: AccountLimits
    """Set for this account; what is left out is the tier's."""
    effective_limits: AccountLimits
    """What holds: the account's own limits, else its tier's. null: no limit."""
    calendar_reminders: bool
    """Calendar events of the user become reminders."""
    balance: float | None
    """Credits left: those given less those consumed. null after a write while Postgres is away."""
    credited: float
    """Credits given so far."""
    closed: bool
    """The user may make and run nothing, and all tasks of the user were cancelled."""
    closed_note: str | None
    """Why it is closed, in words."""
    consumed: float | None
    """Credits consumed so far. null where `balance` is."""
    version: int
    """Goes up with every change; 0: the user has no account yet."""
    created_at: str | None
    updated_at: str | None


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of accounts."""

    items: tuple[AccountView, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


class CreditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry in the book of a user."""

    at: str
    amount: float
    """Credits; less than 0 where they were consumed or taken back."""
    kind: str
    """`opening`, `topup`, `grant`, `adjustment` or `consumption`."""
    execution_id: str | None
    """What consumed them."""
    command_id: str | None
    """What gave or took them."""
    note: str | None
    reference: str | None
    seq: int
    """Of the event in `TASKS`."""


class CreditEntryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of entries, the newest first."""

    items: tuple[CreditEntry, ...]
    next_cursor: str | None
    """`cursor` of the next page; null: this is the last."""


_decode_limits: Final = msgspec.json.Decoder(AccountLimits).decode
_END: Final = (1 << 62, 0)


class AccountViews:
    """Reads accounts. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, rules: AccountRules) -> None:
        self._database, self._rules = database, rules
        self._history = ObjectHistory(database)

    async def get(self, user_id: str) -> AccountView:
        """What holds for a user, with or without an account."""
        row = await self._database.fetchrow(statement("account_of_user"), user_id)
        return self._shown(row) if row is not None else self._none(user_id)

    async def tier_of(self, user_id: str) -> Tier:
        """A user's subscription level."""
        return (await self.get(user_id)).tier

    async def page(self, given: Sequence[tuple[str, str]]) -> AccountPage:
        """A page of accounts, by user. Raises Refused."""
        params = Parameters(given, "cursor", "limit")
        limit = params.number("limit", 1, LIMIT_MAX) or LIMIT_DEFAULT
        params.refuse()
        after = params.text("cursor") or ""
        rows = await self._database.fetch(statement("accounts_after"), after, limit + 1)
        items = tuple(map(self._shown, rows[:limit]))
        return AccountPage(items=items, next_cursor=items[-1].user_id if len(rows) > limit else None)

    async def entries(self, user_id: str, given: Sequence[tuple[str, str]]) -> CreditEntryPage:
        """A page of the entries in a user's book. Raises Refused."""
        params = Parameters(given, "cursor", "limit")
        limit = params.number("limit", 1, LIMIT_MAX) or LIMIT_DEFAULT
        seq, leg = _place(params)
        params.refuse()
        rows = await self._database.fetch(statement("credit_entries_of_user"), user_id, seq, leg, limit + 1)
        last = rows[limit - 1] if len(rows) > limit else None
        return CreditEntryPage(
            items=tuple(map(_entry, rows[:limit])),
            next_cursor=None if last is None else f"{last['seq']}-{last['leg']}",
        )

    async def history(self, user_id: str, given: Sequence[tuple[str, str]]) -> ObjectChanges:
        """The changes of an account, the newest first. Raises Refused."""
        return await self._history.page("account", account_id_of(user_id), given)

    async def with_balance(self, account: Account) -> AccountView:
        """An account as a command left it, with its balance where that can be read."""
        try:
            row = await self._database.fetchrow(statement("account_of_user"), account.user_id)
        except DatabaseAway:
            row = None
        return AccountView(
            user_id=account.user_id,
            account_id=account.account_id,
            tier=account.tier,
            limits=account.limits,
            effective_limits=self._rules.limits(account.tier, account.limits),
            calendar_reminders=account.calendar_reminders,
            balance=None if row is None else credits_of(row["balance"]),
            credited=account.credited,
            closed=account.closed,
            closed_note=account.closed_note,
            consumed=None if row is None else credits_of(row["consumed"]),
            version=account.version,
            created_at=account.created_at,
            updated_at=account.updated_at,
        )

    def _shown(self, row: Row) -> AccountView:
        tier, limits = Tier(row["tier"]), _decode_limits(row["limits"])
        return AccountView(
            user_id=row["user_id"],
            account_id=row["account_id"],
            tier=tier,
            limits=limits,
            effective_limits=self._rules.limits(tier, limits),
            calendar_reminders=row["calendar_reminders"],
            balance=credits_of(row["balance"]),
            credited=credits_of(row["credited"]),
            closed=row["closed"],
            closed_note=row["closed_note"],
            consumed=credits_of(row["consumed"]),
            version=row["version"],
            created_at=shown_instant(row["created_at"]),
            updated_at=shown_instant(row["updated_at"]),
        )

    def _none(self, user_id: str) -> AccountView:
        opening = 0 if self._rules.required else self._rules.opening
        return AccountView(
            user_id=user_id,
            account_id=account_id_of(user_id),
            tier=Tier.FREE,
            limits=AccountLimits(),
            effective_limits=self._rules.limits(Tier.FREE),
            calendar_reminders=False,
            balance=credits_of(opening),
            credited=credits_of(opening),
            closed=False,
            closed_note=None,
            consumed=0.0,
            version=0,
            created_at=None,
            updated_at=None,
        )


def _entry(row: Row) -> CreditEntry:
    at = shown_instant(row["at"])
    assert at is not None  # the column is not null
    return CreditEntry(
        at=at,
        amount=credits_of(row["amount"]),
        kind=row["kind"],
        execution_id=row["execution_id"],
        command_id=row["command_id"],
        note=row["note"],
        reference=row["reference"],
        seq=row["seq"],
    )


def _place(params: Parameters) -> tuple[int, int]:
    text = params.text("cursor")
    if text is None:
        return _END
    place = two_numbers(text)
    if place is None:
        params.wrong("cursor", f"is {text[:80]!r}; allowed: what next_cursor said")
    return place or _END
