"""Accounts: tiers, limits, ids and amounts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon_schemas import accounts
from gnomon_schemas.accounts import AccountLimits, Tier


def test_levels_are_in_order() -> None:
    assert sorted(Tier, key=lambda tier: tier.rank) == [Tier.FREE, Tier.BASIC, Tier.PRO, Tier.ENTERPRISE]
    assert Tier.PRO.includes(Tier.PRO)
    assert Tier.PRO.includes(Tier.BASIC)
    assert not Tier.PRO.includes(Tier.ENTERPRISE)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255))
def test_an_account_id_stands_in_a_subject_and_leads_back_to_the_user(user: str) -> None:
    account = accounts.account_id_of(user)
    assert accounts.user_of_account(account) == user
    assert set(account) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
    assert not account.startswith("_")


@pytest.mark.parametrize("text", ["", "dTE=", "dTF", "a", "a.b", "ä", "_w"])
def test_what_is_no_account_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        accounts.user_of_account(text)


@given(st.integers(-(10**15), 10**15))
def test_amounts_are_exact_to_a_millionth(micros: int) -> None:
    assert accounts.micros_of(accounts.credits_of(micros)) == micros


def test_limits_of_its_own_go_before_those_of_the_tier() -> None:
    own = AccountLimits(max_tasks=None, runs_per_day=5)
    tier = AccountLimits(max_tasks=3, max_concurrent=2)
    assert accounts.effective_limits(own, tier) == AccountLimits(
        max_tasks=None, runs_per_day=5, min_interval_seconds=None, max_concurrent=2
    )
