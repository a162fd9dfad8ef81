"""Samples of the messages about accounts: see `samples`."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas import accounts
from gnomon_schemas.commands import Outcome
from gnomon_schemas.events import FieldChange

__all__ = ["account_samples"]

_AT = "2026-11-21T09:00:00.000Z"
_USER = "u1"
_ACCOUNT = accounts.account_id_of(_USER)


def _account(**changes: Any) -> accounts.Account:
    account = accounts.Account(
        account_id=_ACCOUNT,
        user_id=_USER,
        tier=accounts.Tier.PRO,
        limits=accounts.AccountLimits(max_concurrent=4),
        effective_limits=accounts.AccountLimits(
            max_tasks=500, runs_per_day=None, min_interval_seconds=60, max_concurrent=4
        ),
        calendar_reminders=False,
        credited=100.0,
        version=2,
        created_at=_AT,
        updated_at=_AT,
    )
    return msgspec.structs.replace(account, **changes)


def account_samples() -> dict[str, msgspec.Struct | dict[str, Any]]:
    """A sample of every message of kind `account`, by the name of its golden file."""
    event: dict[str, Any] = {
        "account_id": _ACCOUNT,
        "user_id": _USER,
        "partition": 3,
        "occurred_at": _AT,
    }
    return {
        "command.account.create": {"tier": "pro"},
        "command.account.update": accounts.UpdateAccount(
            tier=accounts.Tier.PRO, limits=accounts.AccountLimits(max_concurrent=4)
        ),
        "command.account.credit": accounts.CreditAccount(
            amount=50.0, kind="topup", reference="invoice 2026-114"
        ),
        "account.created": accounts.AccountCreated(
            **event, command_id="c20", changed_by="admin", opening=100.0, account=_account(version=1)
        ),
        "account.created.first_use": accounts.AccountCreated(
            **event, opening=100.0, account=_account(version=1), reason="first_use"
        ),
        "account.updated": accounts.AccountUpdated(
            **event,
            command_id="c21",
            changed_by="admin",
            changes=(FieldChange(field="limits.max_concurrent", old=None, new=4),),
            account=_account(),
        ),
        "account.credited": accounts.AccountCredited(
            **event,
            command_id="c22",
            changed_by="admin",
            amount=50.0,
            kind="topup",
            reference="invoice 2026-114",
            account=_account(credited=150.0),
        ),
        "outcome.account": Outcome(ok=True, command_id="c21", seq=45, account=_account()),
    }
