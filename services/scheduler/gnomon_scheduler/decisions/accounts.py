"""What each verb of kind `account` does, and making an account when its user first spends."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from gnomon_core.rules.account_input import parse_create_account, parse_credit, parse_update_account
from gnomon_core.rules.versions import check_version
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import ObjectDecision, check_admin, check_verb
from gnomon_scheduler.decisions.telling import command_id
from gnomon_scheduler.decisions.user_limits import check_account
from gnomon_scheduler.object_registers import AccountRegister
from gnomon_schemas.accounts import (
    ACCOUNT_VERBS,
    CREDITED_MAX_MICROS,
    LIMIT_NAMES,
    Account,
    AccountCreated,
    AccountCredited,
    AccountLimits,
    AccountUpdated,
    UpdateAccount,
    account_id_of,
    credits_of,
    micros_of,
    user_of_account,
)
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange
from gnomon_schemas.limits import USER_ID_MAX_CHARS
from gnomon_schemas.problems import Code, Refused

__all__ = ["decide_account", "open_account", "view_account"]


def decide_account(reg: AccountRegister | None, command: Command, around: Surroundings) -> ObjectDecision:
    """Decide a command of kind `account`. Raises Refused."""
    check_verb(command, ACCOUNT_VERBS)
    user = _user(command)
    if command.verb == "create":
        check_admin(command)
        return _create(reg, user, command, around)
    if reg is not None:
        check_version(command.if_match, reg.version, "account")
    elif command.if_match is not None:
        raise Refused(Code.NOT_FOUND, f"user {user!r} has no account")
    if command.verb == "credit":
        check_admin(command)
        return _credit(reg, user, command, around)
    return _update(reg, user, command, around)


def view_account(reg: AccountRegister) -> Account:
    """The account as everybody reads it."""
    return Account(
        account_id=reg.object_id,
        user_id=reg.user_id,
        tier=reg.tier,
        limits=reg.limits,
        calendar_reminders=reg.calendar_reminders,
        credited=credits_of(reg.credited),
        closed=reg.closed,
        closed_note=reg.closed_note,
        version=reg.version,
        created_at=format_instant(reg.created_ms),
        updated_at=format_instant(reg.updated_ms),
    )


def open_account(user: str, around: Surroundings) -> tuple[AccountRegister, AccountCreated]:
    """The account of a user who spends for the first time, and the event that tells of it."""
    reg = _opened(user, around)
    event = AccountCreated(
        account_id=reg.object_id,
        user_id=user,
        partition=around.partition,
        occurred_at=format_instant(around.now_ms),
        opening=credits_of(reg.credited),
        account=view_account(reg),
        reason="first_use",
    )
    return reg, event


def _user(command: Command) -> str:
    try:
        user = user_of_account(command.object_id)
    except ValueError:
        user = ""
    if not user or len(user) > USER_ID_MAX_CHARS:
        raise Refused(
            Code.INVALID_ID,
            f"{command.object_id!r} is no account's id: it has to be a user id of up to {USER_ID_MAX_CHARS} "
            "characters, as base64url without padding",
        )
    return user


def _opened(user: str, around: Surroundings) -> AccountRegister:
    return AccountRegister(
        object_id=account_id_of(user),
        version=1,
        created_ms=around.now_ms,
        updated_ms=around.now_ms,
        user_id=user,
        credited=around.rules.opening,
    )


def _create(reg: AccountRegister | None, user: str, command: Command, around: Surroundings) -> ObjectDecision:
    """Make an account; of one that is there, make sure that it is the same."""
    payload = parse_create_account(command.data)
    given = {"tier": payload.tier, "limits": payload.limits, "calendar_reminders": payload.calendar_reminders}
    if reg is not None:
        differing = [name for name, value in given.items() if getattr(reg, name) != value]
        if differing:
            raise Refused(
                Code.ALREADY_EXISTS,
                f"user {user!r} has an account already, and it differs in {', '.join(differing)}",
            )
        return ObjectDecision(reg, AccountUpdated(**_about(reg, command, around)))
    made = msgspec.structs.replace(_opened(user, around), **given)
    return ObjectDecision(made, AccountCreated(**_about(made, command, around, made=True)), created=True)


def _update(
    before: AccountRegister | None, user: str, command: Command, around: Surroundings
) -> ObjectDecision:
    """Set what is given; a user may set what of the own account is nobody else's business."""
    payload = parse_update_account(command.data)
    own_business = all(value is UNSET for value in (payload.tier, payload.limits, payload.tier_limits))
    own_business = own_business and payload.closed is UNSET and payload.closed_note is UNSET
    if not (own_business and command.user == user):
        check_admin(command)
    elif before is None and not command.admin:
        # Who is let in where everybody needs an account is not the user's own business.
        check_account(user, around)
    reg = before or _opened(user, around)
    given: dict[str, Any] = {
        name: value
        for name in ("tier", "calendar_reminders", "closed", "closed_note")
        if (value := getattr(payload, name)) is not UNSET
    }
    if not given.get("closed", reg.closed):
        if given.get("closed_note") is not None:
            message = "says why an account is closed, and this one is not"
            raise Refused.at("#/closed_note", message)
        given["closed_note"] = None
    limits = _limits_after(reg.limits, payload)
    changes = [
        FieldChange(field=name, old=getattr(reg, name), new=value)
        for name, value in given.items()
        if getattr(reg, name) != value
    ]
    changes += [
        FieldChange(field=f"limits.{name}", old=_shown(old), new=_shown(new))
        for name in LIMIT_NAMES
        if (old := getattr(reg.limits, name)) != (new := getattr(limits, name))
    ]
    if changes:
        reg = msgspec.structs.replace(
            reg,
            **given,
            limits=limits,
            version=reg.version + (before is not None),
            updated_ms=around.now_ms,
            closed_ms=_closed_ms(reg, given.get("closed", reg.closed), around.now_ms),
        )
    event = AccountUpdated(**_about(reg, command, around, made=before is None), changes=tuple(changes))
    return ObjectDecision(reg, event, created=before is None)


def _closed_ms(reg: AccountRegister, closed: bool, now_ms: int) -> int | None:
    """When the account was closed last: what its user had then is cancelled, though it be opened again at once."""
    if closed and not reg.closed:
        return now_ms
    if reg.closed and reg.closed_ms is None:
        return reg.updated_ms  # by a version that did not keep it: not after its newest change
    return reg.closed_ms


def _limits_after(own: AccountLimits, payload: UpdateAccount) -> AccountLimits:
    base = AccountLimits() if payload.tier_limits is True else own
    if not isinstance(payload.limits, AccountLimits):
        return base
    named = {name: value for name in LIMIT_NAMES if (value := getattr(payload.limits, name)) is not UNSET}
    return msgspec.structs.replace(base, **named)


def _shown(limit: Any) -> Any:
    """A limit as a change shows it: one of the tier's is no limit of the account's own."""
    return "tier" if limit is UNSET else limit


def _credit(
    before: AccountRegister | None, user: str, command: Command, around: Surroundings
) -> ObjectDecision:
    """Give credits. Once: the command's id is in the ring with them."""
    payload = parse_credit(command.data)
    reg = before or _opened(user, around)
    micros = micros_of(payload.amount)
    if not -CREDITED_MAX_MICROS <= reg.credited + micros <= CREDITED_MAX_MICROS:
        in_all, most = credits_of(reg.credited + micros), credits_of(CREDITED_MAX_MICROS)
        message = (
            f"makes {in_all:,.0f} with those of before; allowed are up to {most:,.0f} in all, either way"
        )
        raise Refused.at("#/amount", message)
    reg = msgspec.structs.replace(
        reg,
        credited=reg.credited + micros,
        version=reg.version + (before is not None),
        updated_ms=around.now_ms,
    )
    event = AccountCredited(
        **_about(reg, command, around, made=before is None),
        amount=credits_of(micros),
        kind=payload.kind,
        note=payload.note,
        reference=payload.reference,
    )
    return ObjectDecision(reg, event, created=before is None)


def _about(
    reg: AccountRegister, command: Command, around: Surroundings, *, made: bool = False
) -> dict[str, Any]:
    return {
        "account_id": reg.object_id,
        "user_id": reg.user_id,
        "partition": around.partition,
        "occurred_at": format_instant(around.now_ms),
        "command_id": command_id(command),
        "changed_by": command.user,
        "opening": credits_of(around.rules.opening) if made else 0.0,
        "account": view_account(reg),
    }
