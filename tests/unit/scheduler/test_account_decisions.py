"""What each verb of kind `account` does to the register, and what it tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET

from gnomon_core.rules.account_rules import AccountRules, parse_tier_limits
from gnomon_scheduler.decisions.accounts import decide_account, open_account
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.object_registers import AccountRegister
from gnomon_schemas.accounts import (
    AccountCreated,
    AccountCredited,
    AccountEvent,
    AccountLimits,
    AccountUpdated,
    Tier,
    account_id_of,
    micros_of,
)
from gnomon_schemas.problems import Code, Refused

AROUND = Surroundings(1_000_000, 3, {}, "UTC", "f", 10_000, rules=AccountRules(opening=100_000_000))
LATER = AROUND._replace(now_ms=2_000_000)


def command(
    verb: str,
    body: Any,
    *,
    user: str | None = "root",
    admin: bool = True,
    of: str = "u1",
    if_match: str | None = None,
) -> Command:
    """A command to the account of a user."""
    return Command(
        "account", verb, account_id_of(of), "c1", user, admin, if_match, json.dumps(body).encode(), 1
    )  # fmt: skip


def decided(
    reg: AccountRegister | None, verb: str, body: Any, around: Surroundings = AROUND, **of: Any
) -> tuple[AccountRegister, AccountEvent]:
    """Register and event after a command."""
    decision = decide_account(reg, command(verb, body, **of), around)
    assert isinstance(decision.reg, AccountRegister)
    assert isinstance(decision.event, AccountEvent)
    return decision.reg, decision.event


def test_an_account_begins_with_credits_that_its_first_event_tells() -> None:
    reg, event = decided(None, "create", {"tier": "pro"})
    assert (reg.tier, reg.credited, reg.version) == (Tier.PRO, 100_000_000, 1)
    assert isinstance(event, AccountCreated)
    assert (event.opening, event.reason, event.account.credited) == (100.0, "command", 100.0)
    again, told = decided(reg, "create", {"tier": "pro"}, LATER)
    assert again is reg
    assert isinstance(told, AccountUpdated)
    assert (told.opening, told.changes) == (0.0, ())


@pytest.mark.parametrize(
    ("verb", "body", "event"),
    [("update", {"tier": "basic"}, AccountUpdated), ("credit", {"amount": 5}, AccountCredited)],
)
def test_an_account_is_made_by_whatever_is_said_of_it_first(
    verb: str, body: Any, event: type[AccountEvent]
) -> None:
    decision = decide_account(None, command(verb, body), AROUND)
    assert decision.created
    assert isinstance(decision.event, event)
    assert decision.event.opening == 100.0
    assert decision.reg.version == 1


def test_credits_add_up_exactly() -> None:
    reg, _ = decided(None, "create", {})
    for _ in range(10):
        reg, event = decided(reg, "credit", {"amount": 0.1, "kind": "grant", "note": "thanks"}, LATER)
    assert (reg.credited, reg.version) == (101_000_000, 11)
    assert isinstance(event, AccountCredited)
    assert (event.amount, event.kind, event.note, event.opening) == (0.1, "grant", "thanks", 0.0)
    reg, _ = decided(reg, "credit", {"amount": -101, "kind": "adjustment"})
    assert reg.credited == 0


def test_limits_are_set_one_by_one_and_dropped_together() -> None:
    reg, _ = decided(None, "update", {"limits": {"max_tasks": 3, "runs_per_day": None}})
    reg, event = decided(reg, "update", {"limits": {"max_tasks": 4}}, LATER)
    assert reg.limits == AccountLimits(max_tasks=4, runs_per_day=None)
    assert isinstance(event, AccountUpdated)
    assert [(one.field, one.old, one.new) for one in event.changes] == [("limits.max_tasks", 3, 4)]
    reg, event = decided(reg, "update", {"tier_limits": True, "limits": {"max_concurrent": 2}})
    assert reg.limits == AccountLimits(max_concurrent=2)
    assert isinstance(event, AccountUpdated)
    assert {one.field: one.new for one in event.changes} == {
        "limits.max_tasks": "tier", "limits.runs_per_day": "tier", "limits.max_concurrent": 2
    }  # fmt: skip


def test_what_changes_nothing_leaves_the_version() -> None:
    reg, _ = decided(None, "create", {"tier": "pro"})
    same, event = decided(reg, "update", {"tier": "pro", "calendar_reminders": False}, LATER)
    assert same is reg
    assert isinstance(event, AccountUpdated)
    assert event.changes == ()


def test_a_user_may_set_only_what_is_nobody_elses_business() -> None:
    reg, _ = decided(None, "create", {})
    mine, _ = decided(reg, "update", {"calendar_reminders": True}, user="u1", admin=False)
    assert mine.calendar_reminders
    service, _ = decided(reg, "update", {"tier": "pro"}, user=None, admin=False)
    assert service.tier is Tier.PRO
    for verb, body, user in (
        ("update", {"tier": "enterprise"}, "u1"),
        ("update", {"limits": {"max_tasks": None}}, "u1"),
        ("update", {"tier_limits": True}, "u1"),
        ("update", {"calendar_reminders": False}, "u2"),
        ("credit", {"amount": 5}, "u1"),
        ("create", {}, "u2"),
    ):
        assert (
            refusal(reg if verb != "create" else None, verb, body, user=user, admin=False) is Code.FORBIDDEN
        )


def refusal(reg: AccountRegister | None, verb: str, body: Any, **of: Any) -> Code:
    """The code by which a command is refused."""
    with pytest.raises(Refused) as refused:
        decided(reg, verb, body, **of)
    return refused.value.problem.code


@pytest.mark.parametrize(
    ("verb", "body", "code", "pointer"),
    [
        ("credit", {"amount": 0}, Code.INVALID, "#/amount"),
        ("credit", {"amount": -1}, Code.INVALID, "#/amount"),
        ("credit", {"amount": 1e-9}, Code.INVALID, "#/amount"),
        ("credit", {"amount": 1e12}, Code.INVALID, "#/amount"),
        ("credit", {"amount": 1, "kind": "gift"}, Code.INVALID, "#/kind"),
        ("credit", {"amount": 1, "note": "n" * 2000}, Code.INVALID, "#/note"),
        ("credit", {}, Code.INVALID, "#/amount"),
        ("update", {"tier": "gold"}, Code.INVALID, "#/tier"),
        ("update", {"limits": {"max_concurrent": 0}}, Code.INVALID, "#/limits/max_concurrent"),
        ("update", {"limits": {"runs_a_day": 5}}, Code.UNKNOWN_FIELD, "#/limits/runs_a_day"),
        ("create", {"balance": 5}, Code.UNKNOWN_FIELD, "#/balance"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_by_its_field(
    verb: str, body: Any, code: Code, pointer: str
) -> None:
    with pytest.raises(Refused) as refused:
        decided(None, verb, body)
    assert [error.pointer for error in refused.value.problem.errors] == [pointer]
    assert refused.value.problem.code is code


def test_other_refusals() -> None:
    reg, _ = decided(None, "create", {})
    assert refusal(reg, "create", {"tier": "pro"}) is Code.ALREADY_EXISTS
    assert refusal(reg, "update", {"tier": "pro"}, if_match='"7"') is Code.VERSION_MISMATCH
    assert refusal(None, "update", {"tier": "pro"}, if_match='"1"') is Code.NOT_FOUND
    assert refusal(reg, "delete", {}) is Code.UNKNOWN_VERB
    with pytest.raises(Refused) as refused:
        decide_account(None, command("create", {})._replace(object_id="dTF"), AROUND)
    assert refused.value.problem.code is Code.INVALID_ID


def test_an_account_is_opened_by_first_use() -> None:
    reg, event = open_account("u1", AROUND)
    assert (reg.credited, reg.tier, event.opening, event.reason) == (
        100_000_000,
        Tier.FREE,
        100.0,
        "first_use",
    )
    assert event.command_id is UNSET


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"gold": {}}',
        '{"free": {"max_task": 1}}',
        '{"free": {"max_concurrent": 0}}',
        '{"free": 5}',
        "x",
    ],
)
def test_tier_limits_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_tier_limits(text)


def test_tier_limits_hold_where_the_account_has_none_of_its_own() -> None:
    rules = AccountRules(tiers=parse_tier_limits('{"free": {"max_tasks": 3, "max_concurrent": 1}}'))
    assert rules.limits(Tier.FREE).max_tasks == 3
    assert rules.limits(Tier.FREE, AccountLimits(max_tasks=None)).max_tasks is None
    assert rules.limits(Tier.PRO).max_concurrent is None


def test_a_user_does_not_let_themselves_in_where_everybody_needs_an_account() -> None:
    required = AROUND._replace(rules=AccountRules(opening=100_000_000, required=True))
    with pytest.raises(Refused) as refused:
        decided(None, "update", {"calendar_reminders": True}, required, user="u1", admin=False)
    assert refused.value.problem.code == Code.ACCOUNT_REQUIRED
    reg, _ = decided(None, "update", {"calendar_reminders": True}, required, user="u1")
    assert reg.calendar_reminders
    again, _ = decided(reg, "update", {"calendar_reminders": False}, required, user="u1", admin=False)
    assert not again.calendar_reminders
    reg, _ = decided(None, "update", {"calendar_reminders": True}, user="u1", admin=False)
    assert reg.calendar_reminders


def test_credits_add_up_to_no_more_than_can_be_told_exactly() -> None:
    reg, _ = decided(None, "create", {})
    for _ in range(8):
        reg, event = decided(reg, "credit", {"amount": 1e9})
        assert micros_of(event.account.credited) == reg.credited
    with pytest.raises(Refused, match="9,000,000,000") as refused:
        decided(reg, "credit", {"amount": 1e9})
    assert refused.value.problem.errors[0].pointer == "#/amount"
