"""What a user's tasks do, and what the platform does: sums over a span of days, from hourly rollups.

Pure: rows in, a report out. `analytics_queries` reads the rows and keeps reports for a while.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from gnomon_api.readmodels.rollups import MICRO, latency_bound_ms
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.tasks import TaskStatus

__all__ = [
    "BusyDay",
    "BusyHour",
    "DailyActive",
    "HourSums",
    "PlatformAnalytics",
    "StartLatency",
    "TaskAnalytics",
    "TaskCount",
    "TimePeriod",
    "TypeAnalytics",
    "percentile_ms",
    "period_of",
    "platform_analytics",
    "task_analytics",
]

_SHOWN: Final = 5
"""Busiest hours and days that are shown."""
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class TimePeriod(msgspec.Struct, frozen=True, kw_only=True):
    """The span that a report is about, half-open."""

    from_: str = msgspec.field(name="from")
    to: str
    days: int
    timezone: str
    """In which hours and days of the week are told."""


class BusyHour(msgspec.Struct, frozen=True, kw_only=True):
    """An hour of the day, 0 to 23, and how many runs completed in it."""

    hour: int
    executions: int


class BusyDay(msgspec.Struct, frozen=True, kw_only=True):
    """A day of the week, `mon` to `sun`, and how many runs completed on it."""

    day: str
    executions: int


class TaskAnalytics(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of one user: those that there are now, and what ran in the span."""

    user_id: str | None
    time_period: TimePeriod
    total_tasks: int
    """All that are not deleted."""
    active_tasks: int
    """Those with a schedule that goes on: `scheduled`, also while they run."""
    completed_tasks: int
    failed_tasks: int
    paused_tasks: int
    deleted_tasks: int
    """Those that were deleted and are still kept; in no other count."""
    total_executions: int
    """Runs that ended in the span."""
    successful_executions: int
    failed_executions: int
    """`failed` and `timed_out`."""
    cancelled_executions: int
    """Neither success nor failure."""
    success_rate: float | None
    """Successes among successes and failures, 0 to 1; null where there was neither."""
    average_execution_seconds: float | None
    total_credits_consumed: float
    total_tokens_used: int
    total_api_calls: int
    task_types_distribution: dict[str, int]
    """Tasks by type, those that are not deleted."""
    busiest_hours: tuple[BusyHour, ...]
    """At most five, the busiest first."""
    busiest_days: tuple[BusyDay, ...]


class TypeAnalytics(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs of one task type did and used."""

    task_type: str
    executions: int
    success_rate: float | None
    average_execution_seconds: float | None
    credits_consumed: float
    tokens_used: int
    api_calls_made: int


class StartLatency(msgspec.Struct, frozen=True, kw_only=True):
    """From when a slot was due to its first start, milliseconds. Kept in buckets: right within a fifth."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class DailyActive(msgspec.Struct, frozen=True, kw_only=True):
    """How many tasks ran on a UTC day."""

    day: str
    tasks: int


class PlatformAnalytics(msgspec.Struct, frozen=True, kw_only=True):
    """The whole platform: tasks and users that there are now, and what happened in the span."""

    time_period: TimePeriod
    total_tasks: int
    active_tasks: int
    users: int
    """Users with a task that is not deleted."""
    tasks_per_user: float | None
    """Tasks of users, not of the system, by users."""
    task_types_distribution: dict[str, int]
    total_executions: int
    execution_success_rate: float | None
    creation_success_rate: float | None
    """Of the commands to create a task, the share that was not refused. What the api refuses before it is a command, a
    body that could not be valid for one, is not among them."""
    template_usage: float | None
    """Of the tasks that were made, the share that was made from a template."""
    on_time_share: float | None
    """Of the slots that started or were missed, the share that started at most five seconds after it was due."""
    missed_slots: int
    """Slots that were to start and did not, however late: `missed`, or stood for by a later one that caught up. What
    a pause, a blackout, a limit or an earlier run held back is not among them."""
    start_latency: StartLatency
    types: tuple[TypeAnalytics, ...]
    """By task type, the most executions first."""
    total_credits_consumed: float
    total_tokens_used: int
    total_api_calls: int
    storage_bytes: int
    """Of the database: tables and indexes of the read models and of the archive."""
    storage_bytes_per_user: float | None
    daily_active_tasks: tuple[DailyActive, ...]
    retention_30_days: float | None
    """Of the users whose first task is 30 days old or older, the share that has a task which is neither deleted nor
    finished."""
    busiest_hours: tuple[BusyHour, ...]
    busiest_days: tuple[BusyDay, ...]


class TaskCount(NamedTuple):
    """How many tasks of a type are in a status."""

    base_status: str
    task_type: str
    deleted: bool
    tasks: int


class HourSums(NamedTuple):
    """The sums of one hour, of one task type or of all."""

    hour: datetime
    task_type: str
    completed: int
    failed: int
    timed_out: int
    cancelled: int
    duration_ms: int
    micro_credits: int
    tokens_used: int
    api_calls_made: int

    @property
    def runs(self) -> int:
        """Runs that ended in it."""
        return self.completed + self.failed + self.timed_out + self.cancelled


class _Total:
    """Sums of many hours."""

    def __init__(self, hours: Iterable[HourSums]) -> None:
        self.runs = self.completed = self.failed = self.cancelled = 0
        self.duration_ms = self.micro_credits = self.tokens_used = self.api_calls_made = 0
        for sums in hours:
            self.runs += sums.runs
            self.completed += sums.completed
            self.failed += sums.failed + sums.timed_out
            self.cancelled += sums.cancelled
            self.duration_ms += sums.duration_ms
            self.micro_credits += sums.micro_credits
            self.tokens_used += sums.tokens_used
            self.api_calls_made += sums.api_calls_made

    @property
    def success_rate(self) -> float | None:
        return _share(self.completed, self.completed + self.failed)

    @property
    def average_seconds(self) -> float | None:
        return round(self.duration_ms / self.runs / 1000, 3) if self.runs else None

    @property
    def credits(self) -> float:
        return self.micro_credits / MICRO


def task_analytics(
    user_id: str | None, period: TimePeriod, tasks: Sequence[TaskCount], hours: Sequence[HourSums]
) -> TaskAnalytics:
    """The report of one user (None: of the system's own tasks)."""
    total = _Total(hours)
    busiest_hours, busiest_days = _busiest(hours, ZoneInfo(period.timezone))
    return TaskAnalytics(
        user_id=user_id,
        time_period=period,
        total_tasks=sum(one.tasks for one in tasks if not one.deleted),
        active_tasks=_with_status(tasks, TaskStatus.SCHEDULED),
        completed_tasks=_with_status(tasks, TaskStatus.COMPLETED),
        failed_tasks=_with_status(tasks, TaskStatus.FAILED),
        paused_tasks=_with_status(tasks, TaskStatus.PAUSED),
        deleted_tasks=sum(one.tasks for one in tasks if one.deleted),
        total_executions=total.runs,
        successful_executions=total.completed,
        failed_executions=total.failed,
        cancelled_executions=total.cancelled,
        success_rate=total.success_rate,
        average_execution_seconds=total.average_seconds,
        total_credits_consumed=total.credits,
        total_tokens_used=total.tokens_used,
        total_api_calls=total.api_calls_made,
        task_types_distribution=_by_type(tasks),
        busiest_hours=busiest_hours,
        busiest_days=busiest_days,
    )


def platform_analytics(
    period: TimePeriod,
    tasks: Sequence[TaskCount],
    hours: Sequence[HourSums],
    platform: Mapping[str, Any],
    latency: Sequence[tuple[int, int]],
    active: Sequence[tuple[datetime, int]],
) -> PlatformAnalytics:
    """The report of the platform.

    `platform` has the sums of `platform_hours` and what is told of users; `latency` pairs of bucket and starts;
    `active` pairs of a day's begin and the tasks that ran on it.
    """
    total = _Total(hours)
    users = platform["users"]
    busiest_hours, busiest_days = _busiest(hours, ZoneInfo(period.timezone))
    ordered = sorted(latency)
    return PlatformAnalytics(
        time_period=period,
        total_tasks=sum(one.tasks for one in tasks if not one.deleted),
        active_tasks=_with_status(tasks, TaskStatus.SCHEDULED),
        users=users,
        tasks_per_user=round(platform["tasks_of_users"] / users, 3) if users else None,
        task_types_distribution=_by_type(tasks),
        total_executions=total.runs,
        execution_success_rate=total.success_rate,
        creation_success_rate=_share(platform["created"], platform["created"] + platform["create_refused"]),
        template_usage=_share(platform["created_from_template"], platform["created"]),
        on_time_share=_share(platform["on_time"], platform["starts"] + platform["missed"]),
        missed_slots=platform["missed"],
        start_latency=StartLatency(
            p50_ms=percentile_ms(ordered, 0.5),
            p95_ms=percentile_ms(ordered, 0.95),
            p99_ms=percentile_ms(ordered, 0.99),
        ),
        types=_types(hours),
        total_credits_consumed=total.credits,
        total_tokens_used=total.tokens_used,
        total_api_calls=total.api_calls_made,
        storage_bytes=platform["storage_bytes"],
        storage_bytes_per_user=round(platform["storage_bytes"] / users, 1) if users else None,
        daily_active_tasks=tuple(
            DailyActive(day=day.astimezone(UTC).date().isoformat(), tasks=count) for day, count in active
        ),
        retention_30_days=_share(platform["users_retained"], platform["users_old"]),
        busiest_hours=busiest_hours,
        busiest_days=busiest_days,
    )


def period_of(start: datetime, end: datetime, days: int, timezone: str) -> TimePeriod:
    """The span of a report, as it is shown."""
    return TimePeriod(
        from_=format_instant(_ms(start)), to=format_instant(_ms(end)), days=days, timezone=timezone
    )


def percentile_ms(buckets: Sequence[tuple[int, int]], share: float) -> float | None:
    """The latency that this share of the starts did not exceed, from pairs of bucket and starts in order; None
    without a start."""
    left = share * sum(starts for _, starts in buckets)
    for bucket, starts in buckets:
        left -= starts
        if left <= 0 and starts:
            return round(latency_bound_ms(bucket), 1)
    return None


def _busiest(hours: Iterable[HourSums], zone: ZoneInfo) -> tuple[tuple[BusyHour, ...], tuple[BusyDay, ...]]:
    """An hour counts where it begins: in zones that are not whole hours from UTC it lies across two."""
    by_hour: Counter[int] = Counter()
    by_day: Counter[int] = Counter()
    for sums in hours:
        local = sums.hour.astimezone(zone)
        by_hour[local.hour] += sums.runs
        by_day[local.weekday()] += sums.runs
    return (
        tuple(BusyHour(hour=hour, executions=runs) for hour, runs in _most(by_hour)[:_SHOWN]),
        tuple(BusyDay(day=_DAYS[day], executions=runs) for day, runs in _most(by_day)[:_SHOWN]),
    )


def _most(counts: Counter[int]) -> list[tuple[int, int]]:
    """Pairs, the greatest count first; of equal ones the smaller key."""
    return sorted(((key, runs) for key, runs in counts.items() if runs), key=lambda pair: (-pair[1], pair[0]))


def _types(hours: Iterable[HourSums]) -> tuple[TypeAnalytics, ...]:
    by_type: dict[str, list[HourSums]] = {}
    for sums in hours:
        by_type.setdefault(sums.task_type, []).append(sums)
    totals = {task_type: _Total(of_type) for task_type, of_type in by_type.items()}
    return tuple(
        TypeAnalytics(
            task_type=task_type,
            executions=total.runs,
            success_rate=total.success_rate,
            average_execution_seconds=total.average_seconds,
            credits_consumed=total.credits,
            tokens_used=total.tokens_used,
            api_calls_made=total.api_calls_made,
        )
        for task_type, total in sorted(totals.items(), key=lambda pair: (-pair[1].runs, pair[0]))
    )


def _by_type(tasks: Iterable[TaskCount]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in tasks:
        if not one.deleted:
            found[one.task_type] += one.tasks
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _with_status(tasks: Iterable[TaskCount], status: TaskStatus) -> int:
    return sum(one.tasks for one in tasks if not one.deleted and one.base_status == status)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
