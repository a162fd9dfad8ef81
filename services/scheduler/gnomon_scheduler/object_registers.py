"""What an object besides tasks keeps in `TASKS`: one register each (`subjects.object_register`).

A register is a snapshot: the newest one is the object. What equals its default is left out, so a version that changes
a default has to read registers of before with the old one; a new field needs a default.
"""

from __future__ import annotations

import msgspec

from gnomon_scheduler.registers import RING_SIZE, RingEntry
from gnomon_schemas.accounts import AccountLimits, Tier
from gnomon_schemas.blackouts import CalendarSpec
from gnomon_schemas.templates import TemplateSpec

__all__ = [
    "AccountRegister",
    "CalendarObjectRegister",
    "KnownAccount",
    "KnownCalendar",
    "KnownObject",
    "KnownTemplate",
    "ObjectRegister",
    "TemplateRegister",
    "with_ring",
]


class ObjectRegister(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False, tag_field="type"
):
    """What every kind keeps. A kind's own register has the rest, and a tag, `gnomon.state.<kind>.v1`."""

    object_id: str
    version: int
    """From 1; goes up with every change by a caller."""
    created_ms: int
    updated_ms: int
    deleted_ms: int | None = None
    """Set on a tombstone, which stays for a while so that the id is not given out anew too soon."""
    ring: tuple[RingEntry, ...] = ()
    """The newest commands, to answer their retries."""


class TemplateRegister(ObjectRegister, frozen=True, kw_only=True, tag="gnomon.state.template.v1"):
    """All that is known of one template."""

    spec: TemplateSpec


class CalendarObjectRegister(ObjectRegister, frozen=True, kw_only=True, tag="gnomon.state.blackout.v1"):
    """All that is known of one calendar of blackouts."""

    spec: CalendarSpec


class AccountRegister(ObjectRegister, frozen=True, kw_only=True, tag="gnomon.state.account.v1"):
    """All that is set of one account. What its user may use of it is in the budget (`budget_registers`)."""

    user_id: str
    tier: Tier = Tier.FREE
    limits: AccountLimits = AccountLimits()
    calendar_reminders: bool = False
    credited: int = 0
    """Micros given so far, ever."""
    closed: bool = False
    """Its user may make and run nothing."""
    closed_note: str | None = None
    closed_ms: int | None = None
    """When it was closed last, also where it is open again; None: never, or by a version that did not keep it."""


class KnownObject(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The part of a register that every process knows of every object: see `object_catalogue`."""

    object_id: str
    version: int
    deleted_ms: int | None = None


class KnownTemplate(KnownObject, frozen=True, kw_only=True):
    """What shards have to know of a template: all that tasks are made from."""

    spec: TemplateSpec


class KnownCalendar(KnownObject, frozen=True, kw_only=True):
    """What shards have to know of a calendar of blackouts: all of it."""

    spec: CalendarSpec


class KnownAccount(KnownObject, frozen=True, kw_only=True):
    """What shards have to know of an account, to decide and to hand out what its user asks for."""

    user_id: str
    tier: Tier = Tier.FREE
    limits: AccountLimits = AccountLimits()
    closed: bool = False
    closed_note: str | None = None
    closed_ms: int | None = None


def with_ring(reg: ObjectRegister, entry: RingEntry) -> ObjectRegister:
    """The register with one more command remembered."""
    return msgspec.structs.replace(reg, ring=(*reg.ring, entry)[-RING_SIZE:])
