"""What each verb of kind `calendar` does: calendars of blackouts, not the rules of time zones."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_core.rules.calendar_input import changed_calendar_fields, parse_calendar, parse_calendar_patch
from gnomon_core.rules.decoding import parse_body
from gnomon_core.timing import check_recurring
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import (
    ObjectDecision,
    check_admin,
    check_free,
    check_there,
    check_verb,
)
from gnomon_scheduler.decisions.telling import command_id, shown
from gnomon_scheduler.object_registers import CalendarObjectRegister
from gnomon_schemas.blackouts import (
    Calendar,
    CalendarCreated,
    CalendarDeleted,
    CalendarSpec,
    CalendarUpdated,
    DeleteCalendar,
)
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange
from gnomon_schemas.object_kinds import OBJECT_KINDS
from gnomon_schemas.problems import Code, Refused

__all__ = ["decide_calendar", "view_calendar"]


def decide_calendar(
    reg: CalendarObjectRegister | None, command: Command, around: Surroundings
) -> ObjectDecision:
    """Decide a command of kind `calendar`. Raises Refused."""
    check_verb(command, OBJECT_KINDS["calendar"].verbs)
    check_admin(command)
    if command.verb == "create":
        return _create(reg, command, around)
    check_there(reg, command)
    assert reg is not None  # `check_there` says so
    return _delete(reg, command, around) if command.verb == "delete" else _update(reg, command, around)


def view_calendar(reg: CalendarObjectRegister) -> Calendar:
    """The calendar as everybody reads it."""
    spec = {name: getattr(reg.spec, name) for name in CalendarSpec.__struct_fields__}
    return Calendar(
        calendar_id=reg.object_id,
        **spec,
        version=reg.version,
        created_at=format_instant(reg.created_ms),
        updated_at=format_instant(reg.updated_ms),
    )


def _create(reg: CalendarObjectRegister | None, command: Command, around: Surroundings) -> ObjectDecision:
    """Make a calendar; of one that is there, make sure that it is the same."""
    check_free(reg, command)
    # An interval without an anchor of its own begins when its calendar was made: also where that is sent again.
    made_ms = around.now_ms if reg is None else reg.created_ms
    spec = parse_calendar(command.data, now_ms=made_ms, default_timezone=around.default_timezone)
    check_recurring(spec.recurring, made_ms // 1000)
    if reg is not None:
        differing = changed_calendar_fields(reg.spec, spec)
        if differing:
            raise Refused(
                Code.ALREADY_EXISTS,
                f"there is a calendar {reg.object_id!r} already, and it differs in {', '.join(differing)}",
            )
        return ObjectDecision(reg, _updated(reg, (), command, around))
    made = CalendarObjectRegister(
        object_id=command.object_id,
        version=1,
        created_ms=around.now_ms,
        updated_ms=around.now_ms,
        spec=spec,
    )
    event = CalendarCreated(**_about(made, command, around), calendar=view_calendar(made))
    return ObjectDecision(made, event, created=True)


def _update(reg: CalendarObjectRegister, command: Command, around: Surroundings) -> ObjectDecision:
    spec = parse_calendar_patch(
        command.data, reg.spec, now_ms=around.now_ms, default_timezone=around.default_timezone
    )
    check_recurring(spec.recurring, around.now_ms // 1000)
    changes = tuple(
        FieldChange(field=name, old=shown(getattr(reg.spec, name)), new=shown(getattr(spec, name)))
        for name in changed_calendar_fields(reg.spec, spec)
    )
    if changes:
        reg = msgspec.structs.replace(reg, spec=spec, version=reg.version + 1, updated_ms=around.now_ms)
    return ObjectDecision(reg, _updated(reg, changes, command, around))


def _delete(reg: CalendarObjectRegister, command: Command, around: Surroundings) -> ObjectDecision:
    parse_body(command.data, DeleteCalendar)
    gone = msgspec.structs.replace(
        reg,
        # A tombstone keeps no more than its name.
        spec=CalendarSpec(name=reg.spec.name, selector=reg.spec.selector, enabled=False),
        version=reg.version + 1,
        updated_ms=around.now_ms,
        deleted_ms=around.now_ms,
    )
    event = CalendarDeleted(
        **_about(gone, command, around),
        deleted_at=format_instant(around.now_ms),
        calendar=view_calendar(reg),
    )
    return ObjectDecision(gone, event)


def _updated(
    reg: CalendarObjectRegister, changes: tuple[FieldChange, ...], command: Command, around: Surroundings
) -> CalendarUpdated:
    return CalendarUpdated(**_about(reg, command, around), changes=changes, calendar=view_calendar(reg))


def _about(reg: CalendarObjectRegister, command: Command, around: Surroundings) -> dict[str, Any]:
    return {
        "calendar_id": reg.object_id,
        "partition": around.partition,
        "occurred_at": format_instant(around.now_ms),
        "command_id": command_id(command),
        "changed_by": command.user,
        "version": reg.version,
    }
