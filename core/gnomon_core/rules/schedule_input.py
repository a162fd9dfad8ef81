"""Schedules as callers send them, into the stored form, with every fault told as a field error."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from gnomon_schemas.problems import FieldError
from gnomon_schemas.schedules import Schedule, ScheduleError, normalise, read_schedule

__all__ = ["read_input", "stored_form"]


def read_input(raw: bytes | msgspec.Raw, at: str = "#/schedule") -> tuple[Schedule | None, list[FieldError]]:
    """A schedule, or null, from JSON: in input form, or None and everything wrong with it."""
    value = msgspec.json.decode(raw)
    try:
        return None if value is None else read_schedule(value), []
    except ScheduleError as error:
        return None, _field_errors(error, at)


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
        return None, _field_errors(error, at)
    return stored, []


def _field_errors(error: ScheduleError, at: str) -> list[FieldError]:
    return [
        FieldError(pointer=at + fault.pointer, code=fault.code, message=fault.message)
        for fault in error.faults
    ]


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
