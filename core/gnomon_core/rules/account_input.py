"""What callers send of an account."""

from __future__ import annotations

import math

from gnomon_core.rules.account_rules import limits_fault
from gnomon_core.rules.decoding import parse_body, refuse, wrong
from gnomon_schemas.accounts import (
    ACCOUNT_SYSTEM_FIELDS,
    AMOUNT_MAX,
    LIMIT_NAMES,
    NOTE_MAX_CHARS,
    AccountLimits,
    CreateAccount,
    CreditAccount,
    UpdateAccount,
    micros_of,
)
from gnomon_schemas.problems import FieldError

__all__ = ["parse_create_account", "parse_credit", "parse_update_account"]


def parse_create_account(data: bytes) -> CreateAccount:
    """The body of `account.create`. Raises Refused with every error."""
    payload = parse_body(data, CreateAccount)
    _check_limits(payload.limits)
    return payload


def parse_update_account(data: bytes) -> UpdateAccount:
    """The body of `account.update`. Fields that only the system sets are ignored. Raises Refused with every error."""
    payload = parse_body(data, UpdateAccount, ignored=ACCOUNT_SYSTEM_FIELDS)
    if isinstance(payload.limits, AccountLimits):
        _check_limits(payload.limits)
    if isinstance(payload.closed_note, str):
        refuse(_too_long("closed_note", payload.closed_note))
    return payload


def parse_credit(data: bytes) -> CreditAccount:
    """The body of `account.credit`. Raises Refused with every error."""
    payload = parse_body(data, CreditAccount)
    errors: list[FieldError] = []
    amount = payload.amount
    least = -AMOUNT_MAX if payload.kind == "adjustment" else 0.0
    if not math.isfinite(amount) or not least <= amount <= AMOUNT_MAX or micros_of(amount) == 0:
        allowed = f"more than 0, up to {AMOUNT_MAX:,.0f}; an adjustment may be less than 0"
        errors += wrong("#/amount", f"is {amount:g}; allowed: {allowed}, and at least a millionth")
    for name in ("note", "reference"):
        text = getattr(payload, name)
        if text is not None:
            errors += _too_long(name, text)
    refuse(errors)
    return payload


def _too_long(name: str, text: str) -> list[FieldError]:
    if len(text) <= NOTE_MAX_CHARS:
        return []
    return wrong(f"#/{name}", f"has {len(text)} characters; at most {NOTE_MAX_CHARS} are allowed")


def _check_limits(limits: AccountLimits) -> None:
    faults = {name: limits_fault(name, getattr(limits, name)) for name in LIMIT_NAMES}
    found = [wrong(f"#/limits/{name}", fault) for name, fault in faults.items() if fault is not None]
    refuse([error for errors in found for error in errors])
