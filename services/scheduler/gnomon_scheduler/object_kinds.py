"""What the scheduler does for each kind of object besides tasks and pools: one line a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from gnomon_scheduler.decisions.accounts import decide_account, view_account
from gnomon_scheduler.decisions.calendars import decide_calendar, view_calendar
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import ObjectDecision
from gnomon_scheduler.decisions.templates import decide_template, view_template
from gnomon_scheduler.object_registers import (
    AccountRegister,
    CalendarObjectRegister,
    KnownAccount,
    KnownCalendar,
    KnownObject,
    KnownTemplate,
    ObjectRegister,
    TemplateRegister,
)

__all__ = ["KINDS", "ObjectKind"]


class ObjectKind(NamedTuple):
    """How objects of one kind are kept, decided and shown."""

    register: type[ObjectRegister]
    known: type[KnownObject]
    """The part of the register that every process has to know."""
    decide: Callable[[Any, Command, Surroundings], ObjectDecision]
    """(register or None, command, surroundings) -> the register afterwards and the event. Pure; raises Refused."""
    view: Callable[[Any], msgspec.Struct]
    """The object as everybody reads it, of its register: the field of the outcome that is called like the kind."""


KINDS: Final[Mapping[str, ObjectKind]] = {
    "calendar": ObjectKind(CalendarObjectRegister, KnownCalendar, decide_calendar, view_calendar),
    "template": ObjectKind(TemplateRegister, KnownTemplate, decide_template, view_template),
    "account": ObjectKind(AccountRegister, KnownAccount, decide_account, view_account),
}
"""By kind, as in the subjects; the kinds of `gnomon_schemas.object_kinds`."""
