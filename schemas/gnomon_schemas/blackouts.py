"""Blackouts: calendars of times in which slots do not fire, and what becomes of those slots.

A *calendar* is an object of its own. It says *when* (`spans`, and `recurring` ones by a schedule), *whose* slots it
touches (`selector`), and *what becomes of them* (`action`). It touches slots, not runs: what decides is whether the
nominal time of a slot lies inside. A run on demand, a backfill and the retry of an earlier run go on.

Times are text, as everywhere in payloads (see `clock_text`); spans are half-open, [from, to).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from gnomon_schemas.events import FieldChange
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.schedules import Schedule

__all__ = [
    "CALENDAR_SYSTEM_FIELDS",
    "BlackoutAction",
    "Calendar",
    "CalendarCreated",
    "CalendarDeleted",
    "CalendarSpec",
    "CalendarUpdated",
    "DeleteCalendar",
    "RecurringSpan",
    "Selector",
    "Span",
]


class BlackoutAction(StrEnum):
    """What becomes of a slot inside."""

    SKIP = "skip"
    """It is `skipped(blackout)`."""
    DEFER = "defer"
    """It keeps its nominal time and runs when the blackout ends."""
    FIRST_AFTER = "first_after"
    """One run when the blackout ends, that of the last slot inside, stands for all of them: the others are
    `coalesced(blackout)` into it."""


class Span(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """A time in which a calendar is in force, once."""

    from_: str = msgspec.field(name="from")
    """RFC 3339."""
    to: str
    """RFC 3339, after `from` and at most 366 days. Not part of the span."""
    name: str | None = None
    """What people call it."""


class RecurringSpan(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """Times in which a calendar is in force, by a schedule: each begins at a slot of it."""

    schedule: Schedule
    """Of any kind, without `jitter_seconds` and `max_runs`. Its zone is the calendar's where it names none."""
    duration_seconds: int
    """How long each lasts in real time: on the night of a change of the clock too, 1 second to 366 days."""
    name: str | None = None


class Selector(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """Whose slots a calendar touches: tasks that fit every list that is given. Empty: all tasks."""

    tags: tuple[str, ...] = ()
    """Tags that a task may have; empty: whatever it has."""
    match: Literal["any", "all"] = "any"
    """Whether a task has to have one of the tags, or all of them."""
    task_types: tuple[str, ...] = ()
    """Types that a task may have; empty: any."""
    user_ids: tuple[str, ...] = ()
    """Users that a task may belong to; empty: any, and none."""


class CalendarSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False
):
    """What is set of a calendar: the body of `calendar.create`, and what `calendar.update` merges into.

    The lists are replaced whole by an update.
    """

    name: str
    """What people call it."""
    selector: Selector
    """Named in any case, so that nobody stops everything by leaving something out: `{}` is all tasks."""
    description: str | None = None
    action: BlackoutAction = BlackoutAction.SKIP
    """What becomes of a slot inside: it is skipped, runs when the blackout ends, or one run then stands for all."""
    timezone: str | None = None
    """IANA name: for schedules that name none. None on input is the default zone of the installation."""
    spans: tuple[Span, ...] = ()
    """Times in which it is in force, once each."""
    recurring: tuple[RecurringSpan, ...] = ()
    """Times in which it is in force, by a schedule."""
    enabled: bool = True
    """A calendar that is not enabled touches nothing."""
    expanded_until: str | None = None
    """Where recurring events of an iCalendar were written out as spans: up to here. RFC 3339."""


class DeleteCalendar(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`calendar.delete`: it touches nothing any more; what it put off goes, unless another calendar holds it."""


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar as everybody reads it. Fields as in `CalendarSpec`, then those that only the system sets."""

    calendar_id: str
    name: str
    selector: Selector
    """Whose slots it touches; empty: those of all tasks."""
    description: str | None
    action: BlackoutAction
    """What becomes of a slot inside."""
    timezone: str | None
    spans: tuple[Span, ...]
    """Times in which it is in force, once each."""
    recurring: tuple[RecurringSpan, ...]
    """Times in which it is in force, by a schedule."""
    enabled: bool
    """Whether it touches anything."""
    expanded_until: str | None
    """Where recurring events of an iCalendar were written out as spans: up to here."""
    version: int
    created_at: str
    updated_at: str


CALENDAR_SYSTEM_FIELDS: frozenset[str] = frozenset(
    {*Calendar.__struct_fields__, "in_force", "until", "next_start"} - {*CalendarSpec.__struct_fields__}
)
"""Fields that only the system sets: ignored on input, so that a read can be sent back."""


class _CalendarEvent(ObjectEvent, frozen=True, kw_only=True):
    """What every event of a calendar carries."""

    calendar_id: str
    """Which calendar."""
    version: int
    """Of the calendar after it."""

    @property
    def object_id(self) -> str:
        """See `ObjectEvent`."""
        return self.calendar_id


class CalendarCreated(_CalendarEvent, frozen=True, kw_only=True, tag="gnomon.calendar.created.v1"):
    """A calendar exists."""

    calendar: Calendar
    """All of it."""


class CalendarUpdated(_CalendarEvent, frozen=True, kw_only=True, tag="gnomon.calendar.updated.v1"):
    """A command to a calendar was accepted."""

    changes: tuple[FieldChange, ...] = ()
    """What is another than before; empty where the command changed nothing."""
    calendar: Calendar
    """The calendar after it."""


class CalendarDeleted(_CalendarEvent, frozen=True, kw_only=True, tag="gnomon.calendar.deleted.v1"):
    """A calendar was deleted. Slots that it has touched keep their outcome."""

    deleted_at: str
    calendar: Calendar
    """The calendar as it was last."""
