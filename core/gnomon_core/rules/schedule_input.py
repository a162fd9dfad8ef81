"""Schedules as callers send them, into the stored form, with every fault told as a field error."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from gnomon_core.holiday_dates import what_is_wrong_with
from gnomon_schemas.exclusions import named_holidays
from gnomon_schemas.problems import FieldError
from gnomon_schemas.schedules import (
    AnyOf,
    Schedule,
    ScheduleCode,
    ScheduleError,
    ScheduleFault,
    normalise,
    read_schedule,
)

__all__ = ["read_input", "stored_form"]


def read_input(raw: bytes | msgspec.Raw, at: str = "#/schedule") -> tuple[Schedule | None, list[FieldError]]:
    """A schedule, or null, from JSON: in input form, or None and everything wrong with it."""
    value = msgspec.json.decode(raw)
    try:
        return None if value is None else read_schedule(value), []
    except ScheduleError as error:
        return None, _field_errors(error.faults, at)


def stored_form(
    schedule: Schedule,
    *,
    now_ms: int | None,
    created_at_ms: int,
    default_timezone: str,
    at: str = "#/schedule",
) -> tuple[Schedule | None, list[FieldError]]:
    """The stored form of a schedule, or None and everything wrong with it.

    `created_at_ms` anchors an interval without anchor; a `once` that is not after `now_ms` is refused, and
    with None is not. Both are epoch milliseconds.
    """
    try:
        stored = normalise(
            schedule,
            now=None if now_ms is None else _moment(now_ms),
            created_at=_moment(created_at_ms),
            default_timezone=default_timezone,
        )
    except ScheduleError as error:
        return None, _field_errors([*error.faults, *_unknown_holidays(schedule)], at)
    faults = _unknown_holidays(schedule)
    return (None, _field_errors(faults, at)) if faults else (stored, [])


def _unknown_holidays(schedule: Schedule) -> list[ScheduleFault]:
    """Places without known holidays that a schedule, or a part of it, names."""
    faults = [
        ScheduleFault(pointer, ScheduleCode.UNKNOWN_HOLIDAYS, message)
        for pointer, calendar in named_holidays(schedule.exclude)
        if (message := what_is_wrong_with(calendar)) is not None
    ]
    for index, part in enumerate(schedule.schedules if isinstance(schedule, AnyOf) else ()):
        faults += [
            fault._replace(pointer=f"/schedules/{index}{fault.pointer}") for fault in _unknown_holidays(part)
        ]
    return faults


def _field_errors(faults: Iterable[ScheduleFault], at: str) -> list[FieldError]:
    return [
        FieldError(pointer=at + fault.pointer, code=fault.code, message=fault.message) for fault in faults
    ]


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
