"""What an account allows when a task is made, changed or run. Shards decide by it, and dry runs answer by it.

The pace of a schedule comes from `gnomon_core.timing.least_gap`; here is only what is said about it.
"""

from __future__ import annotations

from gnomon_schemas.accounts import AccountLimits
from gnomon_schemas.problems import Code, Refused

__all__ = ["check_gap", "check_number", "check_open", "least_interval"]


def check_open(user: str, *, there: bool, closed: bool, required: bool) -> None:
    """Make sure that a user may do anything at all. Raises Refused.

    `there`: the user has an account; `required`: everybody needs one.
    """
    if closed:
        raise Refused(Code.ACCOUNT_CLOSED, f"the account of user {user!r} is closed")
    if required and not there:
        raise Refused(
            Code.ACCOUNT_REQUIRED, f"user {user!r} has no account, and GNOMON_REQUIRE_ACCOUNTS is set"
        )


def check_number(user: str, limits: AccountLimits, there: int | None) -> None:
    """Make sure that a user who has so many tasks may have one more; None: nobody has counted. Raises Refused."""
    most = limits.max_tasks
    if isinstance(most, int) and there is not None and there >= most:
        raise Refused(
            Code.ACCOUNT_LIMIT,
            f"user {user!r} has {there} tasks that have not ended; max_tasks of the account is {most}",
        )


def least_interval(limits: AccountLimits) -> int | None:
    """The least time between two slots of a schedule, in seconds; None: any."""
    least = limits.min_interval_seconds
    return least if isinstance(least, int) else None


def check_gap(gap: int | None, least: int) -> None:
    """Make sure that the least time between slots of a schedule is what the account allows; None: it has not two.
    Raises Refused."""
    if gap is not None and gap < least:
        message = f"has slots {gap} s apart; min_interval_seconds of the account is {least}"
        raise Refused.at("#/schedule", message, Code.ACCOUNT_LIMIT)
