"""Accounts as their newest event tells them, and credits by double entry.

Each event that gives or takes credits makes two entries whose sum is zero: one in the user's book, one in the book of
where they come from or go. So the books always add up to zero, and a user's entries to the user's balance; the sums
are kept along in `credit_balances`. It counts what the shards count (`task.executed` with an amount, of a user), by the
same rule; ADR 0020 tells how both come to agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET
from typing_extensions import override

from gnomon_api.readmodels.column_values import as_instant, json_text, maybe_text, plain_text
from gnomon_api.readmodels.section import Change, Handler, Section
from gnomon_api.readmodels.table import Mode, TableWrite
from gnomon_core.runtime.messages import Stored
from gnomon_schemas.accounts import AccountCredited, AccountEvent, consumed_micros, micros_of
from gnomon_schemas.events import Executed

__all__ = ["AccountSection"]


class AccountRow(NamedTuple):
    """A row of `accounts`."""

    user_id: str
    account_id: str
    tier: str
    limits: str
    calendar_reminders: bool
    credited: int
    closed: bool
    closed_note: str | None
    version: int
    created_at: datetime
    updated_at: datetime
    seq: int


class EntryRow(NamedTuple):
    """A row of `credit_entries`."""

    seq: int
    leg: int
    at: datetime
    book: str
    user_id: str
    amount: int
    kind: str
    execution_id: str | None
    command_id: str | None
    note: str | None
    reference: str | None


class BalanceRow(NamedTuple):
    """What a batch adds to a row of `credit_balances`."""

    user_id: str
    balance: int
    consumed: int
    entries: int


class _Added(msgspec.Struct, gc=False):
    """The sums of a user's entries in a batch."""

    balance: int = 0
    consumed: int = 0
    entries: int = 0


_ACCOUNTS = TableWrite("accounts", AccountRow._fields, Mode.REPLACE, ("user_id",))
_ENTRIES = TableWrite("credit_entries", EntryRow._fields)
_BALANCES = TableWrite("credit_balances", BalanceRow._fields, Mode.ADD, ("user_id",))
_USER, _CONSUMPTION = "user", "consumption"


class AccountSection(Section):
    """The tables `accounts`, `credit_entries` and `credit_balances`."""

    writes = (_ACCOUNTS, _ENTRIES, _BALANCES)

    @override
    def listens(self) -> Iterable[tuple[type, Handler]]:
        return [(AccountEvent, self._changed), (Executed, self._executed)]

    @override
    def begin(self) -> None:
        self._accounts: dict[str, AccountRow] = {}
        self._entries: list[EntryRow] = []
        self._balances: dict[str, _Added] = {}

    @override
    def changes(self) -> Iterable[Change]:
        return [
            (_ACCOUNTS, list(self._accounts.values())),
            (_ENTRIES, self._entries),
            (
                _BALANCES,
                [
                    BalanceRow(user, one.balance, one.consumed, one.entries)
                    for user, one in self._balances.items()
                ],
            ),
        ]

    def _changed(self, stored: Stored, event: AccountEvent) -> None:
        account, user = event.account, plain_text(event.user_id)
        self._accounts[user] = AccountRow(
            user,
            event.account_id,
            account.tier.value,
            json_text(account.limits),
            account.calendar_reminders,
            micros_of(account.credited),
            account.closed,
            maybe_text(account.closed_note),
            account.version,
            as_instant(account.created_at),
            as_instant(account.updated_at),
            stored.seq,
        )
        at = as_instant(event.occurred_at)
        command = None if event.command_id is UNSET else maybe_text(event.command_id)
        opening = EntryRow(
            stored.seq, 0, at, _USER, user, micros_of(event.opening), "opening", None, command, None, None
        )
        self._enter(opening)
        if isinstance(event, AccountCredited):
            self._enter(
                opening._replace(
                    leg=2,
                    amount=micros_of(event.amount),
                    kind=event.kind,
                    note=maybe_text(event.note),
                    reference=maybe_text(event.reference),
                )
            )

    def _executed(self, stored: Stored, event: Executed) -> None:
        if event.user_id is None or not (consumed := consumed_micros(event.credits_consumed)):
            return
        self._enter(
            EntryRow(
                stored.seq,
                0,
                as_instant(event.executed_at),
                _USER,
                plain_text(event.user_id),
                -consumed,
                _CONSUMPTION,
                plain_text(event.execution_id),
                None,
                None,
                None,
            )
        )

    def _enter(self, entry: EntryRow) -> None:
        """Enter an amount in the user's book, and its opposite in the book of its kind. Nothing for no amount."""
        seq, leg, at, _, user_id, amount, kind, *said = entry
        if not amount:
            return
        self._entries += (entry, EntryRow(seq, leg + 1, at, kind, user_id, -amount, kind, *said))
        added = self._balances.get(user_id)
        if added is None:
            added = self._balances[user_id] = _Added()
        added.balance += amount
        added.entries += 1
        if kind == _CONSUMPTION:
            added.consumed -= amount
