"""What accounts allow, as dry runs ask: by the shard's own rules, with the account and the tasks that Postgres has.

A dry run is refused where the real request would be. What is counted here may be a moment behind.
"""

from __future__ import annotations

import asyncio

from gnomon_api.account_views import AccountViews
from gnomon_api.database import Database
from gnomon_api.readmodels.statements import statement
from gnomon_core.rules.user_limits import check_gap, check_number, check_open, least_interval
from gnomon_core.timing import least_gap
from gnomon_schemas.accounts import AccountLimits
from gnomon_schemas.schedules import Schedule

__all__ = ["UserLimits"]


class UserLimits:
    """Checks users against their accounts. Raises DatabaseAway while Postgres is away."""

    def __init__(self, database: Database, accounts: AccountViews, *, required: bool) -> None:
        """`required`: everybody needs an account."""
        self._database, self._accounts, self._required = database, accounts, required

    async def check_open(self, user: str | None) -> None:
        """Make sure that a user may do anything at all. Raises Refused."""
        if user is not None:
            _ = await self._checked(user)

    async def check_new_task(self, user: str | None, schedule: Schedule | None, now_s: int) -> None:
        """Make sure that a user may have one more task, with this schedule. Raises Refused."""
        if user is None:
            return
        limits = await self._checked(user)
        if isinstance(limits.max_tasks, int):
            row = await self._database.fetchrow(statement("number_of_unended_tasks"), user)
            assert row is not None  # it counts, and a count has one row
            check_number(user, limits, row["number"])
        await self._check_pace(limits, schedule, now_s)

    async def check_pace(self, user: str | None, schedule: Schedule | None, now_s: int) -> None:
        """Make sure that no two slots of a schedule are closer than the account allows. Raises Refused."""
        if user is not None:
            await self._check_pace((await self._accounts.get(user)).effective_limits, schedule, now_s)

    async def _checked(self, user: str) -> AccountLimits:
        account = await self._accounts.get(user)
        check_open(user, there=account.version > 0, closed=account.closed, required=self._required)
        return account.effective_limits

    @staticmethod
    async def _check_pace(limits: AccountLimits, schedule: Schedule | None, now_s: int) -> None:
        least = least_interval(limits)
        if schedule is not None and least is not None:
            # It looks at hundreds of slots, which other requests must not wait for.
            check_gap(await asyncio.to_thread(least_gap, schedule, now_s, enough=least), least)
