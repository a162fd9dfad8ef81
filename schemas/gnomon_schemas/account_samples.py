"""Samples of the messages about accounts: see `samples`."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas import accounts, budgets
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
        "budget_statements": budgets.BudgetStatements(
            shard=3,
            epoch=4,
            statements=(
                budgets.BudgetStatement(
                    account=_ACCOUNT,
                    user=_USER,
                    n=17,
                    used=12_000_000,
                    spend=14_000_000,
                    units=1,
                    using=1,
                    day=20_778,
                    starts=7,
                    units_wanted=2,
                    starts_wanted=2,
                    micros_wanted=4_000_000,
                    ahead=16,
                    ahead_micros=32_000_000,
                ),
            ),
        ),
        "budget_grants": budgets.BudgetGrants(
            partition=5,
            grants=(
                budgets.BudgetGrant(
                    account=_ACCOUNT,
                    user=_USER,
                    epoch=4,
                    n=17,
                    spend=18_000_000,
                    units=3,
                    day=20_778,
                    starts=9,
                ),
            ),
        ),
        "task_count_question": budgets.TaskCountQuestion(user=_USER, ticket=1763800000000),
        "task_count": budgets.TaskCount(partition=3, tasks=2, wanted=1, ticket=1763800000000),
        "outcome.account": Outcome(ok=True, command_id="c21", seq=45, account=_account()),
    }
