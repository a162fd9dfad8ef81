"""Analytics from the read models, kept for a while: many pages ask for the same report again and again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from gnomon_api.analytics import (
    HourSums,
    PlatformAnalytics,
    TaskAnalytics,
    TaskCount,
    period_of,
    platform_analytics,
    task_analytics,
)
from gnomon_api.database import Database
from gnomon_api.readmodels.statements import statement
from gnomon_core.runtime.clock import Clock
from gnomon_schemas.clock_text import EPOCH

__all__ = ["ANALYTICS_KEPT_SECONDS", "Aged", "Analytics", "KeptReports"]

ANALYTICS_KEPT_SECONDS: Final = 300
"""So long a report is answered again before it is made anew."""
_REPORTS_KEPT: Final = 1000
_HOUR: Final = timedelta(hours=1)


class Aged(NamedTuple):
    """A report, and how many seconds ago it was made."""

    report: TaskAnalytics | PlatformAnalytics
    age: int


class _Kept:
    """The place of one report: who comes while it is made waits for it."""

    __slots__ = ("lock", "made_at", "report")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.made_at = 0.0
        self.report: TaskAnalytics | PlatformAnalytics | None = None


class KeptReports:
    """The newest reports of a process, by what was asked: a thousand, each for `ANALYTICS_KEPT_SECONDS`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[object, ...], _Kept] = OrderedDict()

    async def get(
        self,
        asked: tuple[object, ...],
        make: Callable[[], Awaitable[TaskAnalytics | PlatformAnalytics]],
        *,
        fresh: bool = False,
    ) -> Aged:
        """The report on `asked`: one that was made a short while ago, or, with `fresh` or without one, made now.

        Raises what `make` raises; then the next one tries again.
        """
        kept = self._kept.setdefault(asked, _Kept())
        self._kept.move_to_end(asked)
        while len(self._kept) > _REPORTS_KEPT:
            self._kept.popitem(last=False)
        async with kept.lock:
            age = self._clock.monotonic() - kept.made_at
            if kept.report is None or fresh or age >= ANALYTICS_KEPT_SECONDS:
                kept.report = await make()
                kept.made_at, age = self._clock.monotonic(), 0.0
            return Aged(kept.report, int(age))


class Analytics:
    """Makes reports."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._kept = KeptReports(clock)

    async def of_user(self, user_id: str | None, days: int, timezone: str, *, fresh: bool = False) -> Aged:
        """What a user's tasks did in the last `days` days; None: the system's. Raises DatabaseAway."""

        async def make() -> TaskAnalytics:
            start, end = self._span(days)
            async with self._database.connection() as connection:
                tasks = await connection.fetch(statement("tasks_counted_of_user"), user_id)
                hours = await connection.fetch(statement("runs_of_user_by_hour"), user_id or "", start, end)
            return task_analytics(
                user_id,
                period_of(start, end, days, timezone),
                [TaskCount(*row) for row in tasks],
                [HourSums(*row) for row in hours],
            )

        return await self._kept.get(("user", user_id, days, timezone), make, fresh=fresh)

    async def of_platform(self, days: int, timezone: str, *, fresh: bool = False) -> Aged:
        """What the platform did in the last `days` days. Raises DatabaseAway."""

        async def make() -> PlatformAnalytics:
            start, end = self._span(days)
            async with self._database.connection() as connection:
                tasks = await connection.fetch(statement("tasks_counted"))
                hours = await connection.fetch(statement("runs_by_hour"), start, end)
                platform = await connection.fetchrow(statement("platform_counted"), start, end)
                latency = await connection.fetch(statement("start_latency_counted"), start, end)
                active = await connection.fetch(statement("active_tasks_by_day"), start, end)
            assert platform is not None, "sums always answer"
            return platform_analytics(
                period_of(start, end, days, timezone),
                [TaskCount(*row) for row in tasks],
                [HourSums(*row) for row in hours],
                dict(platform),
                [(row["bucket"], row["starts"]) for row in latency],
                [(row["day"], row["tasks"]) for row in active],
            )

        return await self._kept.get(("platform", days, timezone), make, fresh=fresh)

    def _span(self, days: int) -> tuple[datetime, datetime]:
        """Whole hours: those of the days before now, and the one that goes on."""
        now = EPOCH + timedelta(milliseconds=self._clock.now_ms())
        end = now.replace(minute=0, second=0, microsecond=0) + _HOUR
        return end - timedelta(days=days), end
