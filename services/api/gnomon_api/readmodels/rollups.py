"""Hourly sums of what ran: what analytics are made of.

*Rollup*: one row for an hour (UTC), a task type and, in `run_rollups`, a user. `platform_rollups` has the same without
users, since a platform of many users would have to add up very many rows; `platform_hours` and `start_latency` have
what is only told of the platform as a whole.

A batch of events adds to the rows, in the transaction that moves the projector's position, so each event is counted
once whatever is delivered again. All numbers are whole: adding them up gives the same in any order and in batches of
any size, and a rebuild the same rows as live. Credits are therefore counted in millionths.

A run counts in the hour in which it completed, a start in that of the start, by the executor's clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from math import ceil, exp2, log2
from typing import Any, Final

import msgspec

from gnomon_schemas import events as ev
from gnomon_schemas.accounts import consumed_micros
from gnomon_schemas.tasks import Trigger

__all__ = [
    "CAUGHT_UP",
    "MICRO",
    "ON_TIME_MS",
    "PlatformHour",
    "Rollups",
    "RunSums",
    "latency_bound_ms",
    "latency_bucket",
]

MICRO: Final = 1_000_000
"""Credits are kept in millionths."""
ON_TIME_MS: Final = 5_000
"""A slot that starts at most so long after it was due has started on time."""
CAUGHT_UP: Final = "catch_up_"
"""How the reason begins of a slot that a later one stands for, since it was too late."""
_STEPS: Final = 4
"""Buckets of the latency by factors of two."""
_BUCKET_MAX: Final = 160
_ADDED_MAX: Final = (2**63 - 1) >> 20
"""What one event adds at most: a `bigint` holds a million of them."""
_MILLISECOND: Final = timedelta(milliseconds=1)
_NO_USER: Final = ""
"""Instead of a user id: the task is the system's. No user id is empty."""


def latency_bucket(late_ms: float) -> int:
    """The bucket of a start that was so late: bucket k has what is over 2^((k-1)/4) and up to 2^(k/4) ms; 0 what is
    up to one millisecond, or early by clocks that differ."""
    return 0 if late_ms <= 1 else min(_BUCKET_MAX, ceil(_STEPS * log2(late_ms) - 1e-9))


def latency_bound_ms(bucket: int) -> float:
    """The longest latency in a bucket, milliseconds."""
    return exp2(bucket / _STEPS)


class RunSums(msgspec.Struct, gc=False):
    """How runs ended, and what they used, in one row."""

    completed: int = 0
    failed: int = 0
    timed_out: int = 0
    cancelled: int = 0
    duration_ms: int = 0
    """Of all of them together."""
    micro_credits: int = 0
    tokens_used: int = 0
    api_calls_made: int = 0

    def add(self, event: ev.Executed) -> None:
        """One more run. What could not be added up in a column is cut to what it holds."""
        if event.status == "completed":
            self.completed += 1
        elif event.status == "failed":
            self.failed += 1
        elif event.status == "timed_out":
            self.timed_out += 1
        else:
            self.cancelled += 1
        self.duration_ms += _bounded(event.duration_ms)
        self.micro_credits += _bounded(consumed_micros(event.credits_consumed))
        self.tokens_used += _bounded(event.tokens_used)
        self.api_calls_made += _bounded(event.api_calls_made)


class PlatformHour(msgspec.Struct, gc=False):
    """What is told of the platform's hour alone."""

    starts: int = 0
    """First starts of slots."""
    on_time: int = 0
    """Those of them that came at most `ON_TIME_MS` after they were due."""
    created: int = 0
    created_from_template: int = 0
    create_refused: int = 0
    active_tasks: int = 0
    """Tasks whose first run of the UTC day completed in this hour."""
    missed: int = 0
    """Slots that were to start and did not, however late: in the hour in which that was recorded."""


class _Hour:
    """What one batch adds to the rows of an hour."""

    __slots__ = ("begin", "last", "latency", "platform", "runs")

    def __init__(self, begin: datetime) -> None:
        self.begin = begin
        self.last = begin.replace(minute=59, second=59, microsecond=999_999)
        """Its last instant."""
        self.runs: defaultdict[tuple[str, str], RunSums] = defaultdict(RunSums)
        """By user and task type."""
        self.latency: Counter[int] = Counter()
        self.platform: PlatformHour | None = None
        """None while nothing of the platform's hour has been told: then there is no row."""

    def told(self) -> PlatformHour:
        """What is told of the platform's hour."""
        if self.platform is None:
            self.platform = PlatformHour()
        return self.platform


class Rollups:
    """What one batch adds to the rows."""

    def __init__(self) -> None:
        self._hours: dict[datetime, _Hour] = {}
        self._newest: _Hour | None = None
        """The one that was asked for last: nearly always the next one's too."""

    def executed(self, event: ev.Executed, user_id: str | None, completed_at: datetime) -> None:
        """A run has ended, for the first time."""
        self._hour(completed_at).runs[user_id or _NO_USER, event.task_type].add(event)

    def first_of_the_day(self, completed_at: datetime) -> None:
        """A task has run for the first time in a UTC day."""
        self._hour(completed_at).told().active_tasks += 1

    def started(self, trigger: str, due_at: datetime, started_at: datetime) -> None:
        """An execution has started for the first time. What was asked for by hand is not measured: it was due then."""
        if trigger != Trigger.SCHEDULE:
            return
        late_ms = (started_at - due_at) / _MILLISECOND
        hour = self._hour(started_at)
        hour.latency[latency_bucket(late_ms)] += 1
        told = hour.told()
        told.starts += 1
        told.on_time += late_ms <= ON_TIME_MS

    def passed_over(self, event: ev.SlotOutcome, at: datetime) -> None:
        """Slots have ended without a run. Those that nobody meant to pass over were missed: what a pause, a blackout, a
        limit or an earlier run held back was not to start."""
        late = isinstance(event, ev.Missed) or (
            isinstance(event, ev.Coalesced) and event.reason.startswith(CAUGHT_UP)
        )
        if late and event.trigger == Trigger.SCHEDULE:
            self._hour(at).told().missed += _bounded(event.count)

    def created(self, at: datetime, *, from_template: bool) -> None:
        """A task was made."""
        hour = self._hour(at).told()
        hour.created += 1
        hour.created_from_template += from_template

    def create_refused(self, at: datetime) -> None:
        """A command to make a task was refused."""
        self._hour(at).told().create_refused += 1

    def run_records(self) -> Iterator[tuple[Any, ...]]:
        """What to add to `run_rollups`: user, hour, task type, sums."""
        for hour in self._hours.values():
            for (user, task_type), sums in hour.runs.items():
                yield (user, hour.begin, task_type, *msgspec.structs.astuple(sums))

    def platform_records(self) -> Iterator[tuple[Any, ...]]:
        """What to add to `platform_rollups`: hour, task type, sums."""
        found: dict[tuple[datetime, str], list[int]] = {}
        for _, hour, task_type, *values in self.run_records():
            before = found.get((hour, task_type))
            found[hour, task_type] = (
                [a + b for a, b in zip(before, values, strict=True)] if before else values
            )
        for key, added in found.items():
            yield (*key, *added)

    def hour_records(self) -> Iterator[tuple[Any, ...]]:
        """What to add to `platform_hours`: hour, counts."""
        for hour in self._hours.values():
            if hour.platform is not None:
                yield (hour.begin, *msgspec.structs.astuple(hour.platform))

    def latency_records(self) -> Iterator[tuple[Any, ...]]:
        """What to add to `start_latency`: hour, bucket, starts."""
        for hour in self._hours.values():
            for bucket, starts in hour.latency.items():
                yield (hour.begin, bucket, starts)

    def _hour(self, at: datetime) -> _Hour:
        """The UTC hour of an instant in UTC."""
        newest = self._newest
        if newest is not None and newest.begin <= at <= newest.last:
            return newest
        begin = at.replace(minute=0, second=0, microsecond=0)
        found = self._hours.get(begin)
        if found is None:
            found = self._hours[begin] = _Hour(begin)
        self._newest = found
        return found


def _bounded(number: int) -> int:
    """A number that thousands of which may be added up in a `bigint`."""
    return number if 0 <= number <= _ADDED_MAX else max(0, min(number, _ADDED_MAX))
