"""What an operator decides about accounts: limits of each tier, credits to begin with, whether everybody needs one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from gnomon_schemas.accounts import (
    LIMIT_MAX,
    LIMIT_NAMES,
    UNLIMITED,
    AccountLimits,
    Tier,
    effective_limits,
    micros_of,
)

__all__ = ["OPEN_TO_ALL", "AccountRules", "account_rules", "limits_fault", "parse_tier_limits"]


_NONE_OF_ITS_OWN: Final = AccountLimits()


class AccountRules(NamedTuple):
    """The rules in force. The same for every process, or limits differ with whoever decides."""

    tiers: Mapping[Tier, AccountLimits] = MappingProxyType({})
    """Limits by tier; what is left out is no limit."""
    opening: int = 0
    """Micros that an account begins with."""
    required: bool = False
    """A user without an account may do nothing."""

    def limits(self, tier: Tier, own: AccountLimits = _NONE_OF_ITS_OWN) -> AccountLimits:
        """What holds on a tier for an account with limits of its own."""
        return effective_limits(own, self.tiers.get(tier, UNLIMITED))


OPEN_TO_ALL: Final = AccountRules()
"""No limits, no credits, no account needed."""


def account_rules(tier_limits: str, initial_credits: float, *, required: bool) -> AccountRules:
    """The rules as settings tell them. Raises ValueError where `tier_limits` is not what `parse_tier_limits` takes."""
    return AccountRules(parse_tier_limits(tier_limits), micros_of(initial_credits), required)


def parse_tier_limits(text: str) -> Mapping[Tier, AccountLimits]:
    """Limits by tier, from JSON: `{"free": {"max_tasks": 20, "runs_per_day": 500}}`. Empty text: none at all.

    Raises ValueError saying what is wrong.
    """
    if not text.strip():
        return MappingProxyType({})
    found = msgspec.json.decode(text.encode(), type=dict[Tier, AccountLimits])
    for tier, limits in found.items():
        for name in LIMIT_NAMES:
            fault = limits_fault(name, getattr(limits, name))
            if fault is not None:
                raise ValueError(f"{tier}.{name} {fault}")
    return MappingProxyType(found)


def limits_fault(name: str, value: object) -> str | None:
    """What is wrong with a limit, in words; None: nothing."""
    least = 0 if name in {"max_tasks", "runs_per_day"} else 1
    if isinstance(value, int) and not least <= value <= LIMIT_MAX:
        return f"is {value}; allowed: {least} to {LIMIT_MAX:,}, or null for no limit"
    return None
