"""The forecast: what fires when, over all schedules there are, and some that there are not yet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from gnomon_api.calendar_views import CalendarViews
from gnomon_api.database import Database
from gnomon_api.readmodels.statements import statement
from gnomon_core.ledger.forecast import Forecast
from gnomon_core.timing import Blackouts, stretches
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.schedules import Schedule

__all__ = ["ForecastBucket", "ForecastReport", "Forecasting", "HotMinuteView", "Planned"]

_STATEMENT_SECONDS: Final = 60.0
_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode


class ForecastBucket(msgspec.Struct, frozen=True, kw_only=True):
    """One span of time: its begin, and how much fires in it."""

    at: str
    fires: int


class HotMinuteView(msgspec.Struct, frozen=True, kw_only=True):
    """A minute in which at least twice as much fires as in the average one."""

    at: str
    fires: int
    with_jitter: int
    """What would be left in it if every task were spread over its tolerance: its `lateness_slo_seconds`, else
    `tolerance` of the request."""


class ForecastReport(msgspec.Struct, frozen=True, kw_only=True):
    """Planned fires. Half-open spans; nominal times, without jitter; what calendars of blackouts skip or put off is
    reckoned in, but for the hot minutes."""

    from_: str = msgspec.field(name="from")
    to: str
    bucket: int
    """Seconds."""
    tasks: int
    """How many tasks were counted."""
    total: int
    skipped: int
    """Slots of the tasks that calendars of blackouts skip: they are in no bucket."""
    put_off: int
    """Slots that they put off, or let one run stand for: in the bucket in which the blackout ends, if any."""
    buckets: tuple[ForecastBucket, ...]
    hot: tuple[HotMinuteView, ...]
    """The hottest first, 20 of them at the most."""


class Planned(NamedTuple):
    """A schedule in stored form, and how many tasks have it or would have it."""

    schedule: Schedule
    tasks: int
    tolerance_seconds: float | None = None
    """So late each may be; None: what is asked for all."""


class _Touchable(NamedTuple):
    """Tasks that calendars of blackouts may touch."""

    schedule: str
    task_type: str
    user_id: str | None
    tags: str
    tasks: int


class Forecasting:
    """Forecasts from the read models."""

    def __init__(self, database: Database, calendars: CalendarViews) -> None:
        self._database, self._calendars = database, calendars

    async def forecast(
        self,
        start: int,
        step: int,
        buckets: int,
        *,
        tolerance_seconds: float,
        user_id: str | None,
        besides: Iterable[Planned] = (),
    ) -> ForecastReport:
        """What fires in `buckets` spans of `step` seconds from `start` (seconds since 1970, a whole minute) on.

        Of the tasks of a user, or of all. `tolerance_seconds`: how late a task may be that says nothing itself
        (`lateness_slo_seconds`). Raises DatabaseAway.
        """
        blackouts = (await self._calendars.blackouts()).between(start, start + step * buckets)
        async with self._database.connection() as connection:
            rows = await connection.fetch(statement("planned_schedules"), user_id, timeout=_STATEMENT_SECONDS)
            tags = blackouts.tags
            touchable = (
                await connection.fetch(
                    statement("touchable_schedules"),
                    user_id,
                    tags is None,
                    sorted(tags or ()),
                    timeout=_STATEMENT_SECONDS,
                )
                if blackouts
                else []
            )
        planned = [(row["schedule"], row["tasks"], row["tolerance"]) for row in rows]
        touched = [_Touchable(**row) for row in touchable]
        # Beside the event loop: a million schedules take seconds.
        return await asyncio.to_thread(
            _report,
            Forecast(start, step, buckets),
            planned,
            tuple(besides),
            tolerance_seconds,
            blackouts,
            touched,
        )


def _report(
    forecast: Forecast,
    planned: list[tuple[str, int, float | None]],
    besides: tuple[Planned, ...],
    tolerance_seconds: float,
    blackouts: Blackouts,
    touched: list[_Touchable],
) -> ForecastReport:
    for text, tasks, own in planned:
        forecast.add(_decode_schedule(text), tasks, tolerance_seconds if own is None else own)
    for schedule, tasks, own in besides:
        forecast.add(schedule, tasks, tolerance_seconds if own is None else own)
    for one in touched:
        mine = blackouts.of(msgspec.json.decode(one.tags), one.task_type, one.user_id)
        if mine:
            within = stretches(mine, forecast.start - 1, forecast.end - 1)
            forecast.touch(_decode_schedule(one.schedule), one.tasks, within)
    buckets = forecast.buckets()
    return ForecastReport(
        from_=format_instant(forecast.start * 1000),
        to=format_instant(forecast.end * 1000),
        bucket=forecast.step,
        tasks=forecast.tasks,
        total=sum(fires for _, fires in buckets),
        skipped=forecast.skipped,
        put_off=forecast.put_off,
        buckets=tuple(ForecastBucket(at=format_instant(at * 1000), fires=fires) for at, fires in buckets),
        hot=tuple(
            HotMinuteView(at=format_instant(one.at * 1000), fires=one.fires, with_jitter=one.with_jitter)
            for one in forecast.hot()
        ),
    )
