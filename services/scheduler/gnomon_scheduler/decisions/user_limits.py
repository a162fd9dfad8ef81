"""What a user's account allows when a task is made, changed or run: tier, number of tasks, least interval."""

from __future__ import annotations

from gnomon_core.rules.user_limits import check_gap, check_number, check_open, least_interval
from gnomon_core.timing import least_gap
from gnomon_scheduler.decisions.command import Surroundings
from gnomon_scheduler.object_registers import KnownAccount
from gnomon_schemas.accounts import AccountLimits, Tier, account_id_of
from gnomon_schemas.schedules import Schedule

__all__ = ["account_of", "check_account", "check_new_task", "check_pace", "limits_of", "tier_of"]


def account_of(user: str, around: Surroundings) -> KnownAccount | None:
    """The account of a user, as far as this process has heard; None: there is none."""
    known = around.objects.get("account", {}).get(account_id_of(user))
    return known if isinstance(known, KnownAccount) else None


def tier_of(user: str | None, around: Surroundings) -> Tier | None:
    """The tier of a user; None: the system's own tasks, to which all is open."""
    if user is None:
        return None
    account = account_of(user, around)
    return Tier.FREE if account is None else account.tier


def limits_of(user: str, around: Surroundings) -> AccountLimits:
    """What holds for a user."""
    account = account_of(user, around)
    if account is None:
        return around.rules.limits(Tier.FREE)
    return around.rules.limits(account.tier, account.limits)


def check_account(user: str | None, around: Surroundings) -> None:
    """Make sure that a user may do anything at all: the account is open, and there is one where everybody needs one.
    Raises Refused."""
    if user is None:
        return
    account = account_of(user, around)
    closed = account is not None and account.closed
    check_open(user, there=account is not None, closed=closed, required=around.rules.required)


def check_new_task(user: str | None, schedule: Schedule | None, around: Surroundings) -> None:
    """Make sure that a user may have one more task, with this schedule. Raises Refused."""
    check_account(user, around)
    if user is None:
        return
    check_number(user, limits_of(user, around), around.tasks_of.get(user))
    check_pace(user, schedule, around)


def check_pace(user: str | None, schedule: Schedule | None, around: Surroundings) -> None:
    """Make sure that no two slots of a schedule are closer than the account of its user allows. Raises Refused."""
    if user is None or schedule is None:
        return
    least = least_interval(limits_of(user, around))
    if least is not None:
        check_gap(least_gap(schedule, around.now_ms // 1000, enough=least), least)
