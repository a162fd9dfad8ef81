"""What can be wrong with a schedule, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

__all__ = ["ScheduleCode", "ScheduleError", "ScheduleFault", "words"]


class ScheduleCode(StrEnum):
    """What can be wrong with a schedule."""

    NOT_AN_OBJECT = "not_an_object"
    UNSUPPORTED_KIND = "unsupported_kind"
    UNKNOWN_FIELD = "unknown_field"
    MISSING_FIELD = "missing_field"
    INVALID_TYPE = "invalid_type"
    INVALID_CRON = "invalid_cron"
    INVALID_INTERVAL = "invalid_interval"
    INVALID_DAY = "invalid_day"
    INVALID_DST = "invalid_dst"
    INVALID_UNION = "invalid_union"
    INVALID_TIME = "invalid_time"
    INVALID_EXCLUDE = "invalid_exclude"
    INVALID_MAX_RUNS = "invalid_max_runs"
    UNKNOWN_HOLIDAYS = "unknown_holidays"
    UNKNOWN_TIMEZONE = "unknown_timezone"
    IN_THE_PAST = "in_the_past"
    INVALID_BOUNDS = "invalid_bounds"
    INVALID_JITTER = "invalid_jitter"


class ScheduleFault(NamedTuple):
    """One thing wrong with a schedule."""

    pointer: str
    """JSON pointer from the schedule: `/expression`; empty for the schedule as a whole."""
    code: ScheduleCode
    message: str
    """In words: the value, and what is allowed."""


class ScheduleError(ValueError):
    """The schedule is not valid; `faults` tells everything that is wrong with it, not only the first."""

    def __init__(self, *faults: ScheduleFault) -> None:
        super().__init__("; ".join(f"{fault.pointer or 'schedule'}: {fault.message}" for fault in faults))
        self.faults = faults


def words(names: Iterable[str]) -> str:
    """Names in a row, for messages."""
    return ", ".join(names)
