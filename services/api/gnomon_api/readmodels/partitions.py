"""Tables in parts by time: the archive a part for each day, executions that have ended one for each month.

A part is made when the first row for it is written. Names follow from the time, so several processes may make the
same one at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

import asyncpg

from gnomon_api.readmodels.statements import statement

__all__ = ["Connection", "PartitionKeeper", "month_after", "month_of"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
"""A connection, with asyncpg's own records as rows."""

_DAY: Final = timedelta(days=1)
_DAY_MS: Final = 86_400_000


class PartitionKeeper:
    """Makes the parts that are missing, through one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._days: set[int] = set()
        self._months: set[tuple[str, datetime]] = set()

    async def days(self, times_ms: Iterable[int]) -> None:
        """Parts of the archive for the days (UTC) of these instants, in milliseconds. Raises asyncpg's errors."""
        missing = {time_ms // _DAY_MS for time_ms in times_ms} - self._days
        for day in sorted(missing):
            start = datetime.fromtimestamp(day * _DAY_MS / 1000, UTC)
            await self._ensure(f"event_archive_{start:%Y%m%d}", "event_archive", start, start + _DAY)
        self._days |= missing

    async def months(self, table: str, instants: Iterable[datetime]) -> None:
        """Parts of a table for the months (UTC) of these instants.

        Raises OverflowError for an instant in the last month that there is; asyncpg's errors.
        """
        times = list(instants)
        if not times:
            return
        months = {month_of(min(times)), month_of(max(times))}
        if len(months) > 1:  # seldom: only then is each instant asked
            months = {month_of(at) for at in times}
        missing = {(table, month) for month in months} - self._months
        for _, start in sorted(missing):
            await self._ensure(f"{table}_{start.year:04}{start.month:02}", table, start, month_after(start))
        self._months |= missing

    def forget(self) -> None:
        """Look again whether parts are there: one that was made may have been rolled back, or dropped since."""
        self._days.clear()
        self._months.clear()

    async def _ensure(self, name: str, table: str, start: datetime, end: datetime) -> None:
        # In the first schema of the search path, where it would be made: a rebuild has the live tables behind its own.
        if await self._connection.fetchval(statement("has_part"), name):
            return
        try:
            # A name and two dates of our own making: a statement that defines a table takes no parameters.
            await self._connection.execute(
                f"create table if not exists {name} partition of {table} "
                f"for values from ('{start.isoformat()}') to ('{end.isoformat()}')"
            )
        except asyncpg.UniqueViolationError:
            return  # another process made it at this very moment


def month_of(at: datetime) -> datetime:
    """The beginning of an instant's month, UTC."""
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def month_after(month: datetime) -> datetime:
    """The beginning of the month after one. Raises OverflowError where there is none."""
    if (month.year, month.month) == (9999, 12):
        raise OverflowError("no month follows December 9999")
    return datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
