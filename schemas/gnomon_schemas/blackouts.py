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

from gnomon_schemas.schedules import Schedule

__all__ = [
    "CALENDAR_SYSTEM_FIELDS",
    "BlackoutAction",
    "Calendar",
    "CalendarSpec",
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
    match: Literal["any", "all"] = "any"
    """Whether a task has to have one of the tags, or all of them."""
    task_types: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()


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
    timezone: str | None = None
    """IANA name: for schedules that name none. None on input is the default zone of the installation."""
    spans: tuple[Span, ...] = ()
    recurring: tuple[RecurringSpan, ...] = ()
    enabled: bool = True
    """A calendar that is not enabled touches nothing."""
    expanded_until: str | None = None
    """Where recurring events of an iCalendar were written out as spans: up to here. RFC 3339."""


class Calendar(msgspec.Struct, frozen=True, kw_only=True):
    """A calendar as everybody reads it. Fields as in `CalendarSpec`, then those that only the system sets."""

    calendar_id: str
    name: str
    selector: Selector
    description: str | None
    action: BlackoutAction
    timezone: str | None
    spans: tuple[Span, ...]
    recurring: tuple[RecurringSpan, ...]
    enabled: bool
    expanded_until: str | None
    version: int
    created_at: str
    updated_at: str


CALENDAR_SYSTEM_FIELDS: frozenset[str] = frozenset(
    {*Calendar.__struct_fields__} - {*CalendarSpec.__struct_fields__}
)
"""Fields that only the system sets: ignored on input, so that a read can be sent back."""
