"""What each verb of kind `calendar` does: calendars of blackouts, not the rules of time zones."""

from __future__ import annotations

from typing import Final

from gnomon_core.rules.calendar_input import changed_calendar_fields, parse_calendar, parse_calendar_patch
from gnomon_core.timing import check_recurring
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import ObjectDecision, SpecKind, decide_object, view_object
from gnomon_scheduler.object_registers import CalendarObjectRegister
from gnomon_schemas.blackouts import (
    Calendar,
    CalendarCreated,
    CalendarDeleted,
    CalendarSpec,
    CalendarUpdated,
    DeleteCalendar,
)

__all__ = ["decide_calendar", "view_calendar"]


def decide_calendar(
    reg: CalendarObjectRegister | None, command: Command, around: Surroundings
) -> ObjectDecision:
    """Decide a command of kind `calendar`. Raises Refused."""
    return decide_object(_KIND, reg, command, around)


def view_calendar(reg: CalendarObjectRegister) -> Calendar:
    """The calendar as everybody reads it."""
    shown: Calendar = view_object(_KIND, reg)
    return shown


def _parse(data: bytes, around: Surroundings, made_ms: int) -> CalendarSpec:
    # An interval without an anchor of its own begins when its calendar was made: also where that is sent again.
    spec = parse_calendar(data, now_ms=made_ms, default_timezone=around.default_timezone)
    check_recurring(spec.recurring, made_ms // 1000)
    return spec


def _parse_patch(data: bytes, before: CalendarSpec, around: Surroundings) -> CalendarSpec:
    spec = parse_calendar_patch(data, before, now_ms=around.now_ms, default_timezone=around.default_timezone)
    check_recurring(spec.recurring, around.now_ms // 1000)
    return spec


_KIND: Final = SpecKind(
    kind="calendar",
    register=CalendarObjectRegister,
    entity=Calendar,
    parse=_parse,
    parse_patch=_parse_patch,
    changed=changed_calendar_fields,
    tombstone=lambda spec: CalendarSpec(name=spec.name, selector=spec.selector, enabled=False),
    delete=DeleteCalendar,
    created=CalendarCreated,
    updated=CalendarUpdated,
    deleted=CalendarDeleted,
)
