"""Schedules as pure arithmetic: the instants a schedule names, and its words. No I/O, no clock.

Where to read on: `timetable` (what can be asked), `timeline` (daylight saving), `excluding` (days without slots),
`blackouts` (times in which slots do not fire), `zone_clock`, `calendar_slots` and `month_days` (what it stands on),
`calendars` (what the same question was under other rules), `gnomon_schemas.cron_grammar` (what a cron may say).

Importing the package pins the process's zone database to the `tzdata` wheel (see `zone_clock`).
"""

from __future__ import annotations

from gnomon_core.timing.accepting import check_fires, check_jitter, check_recurring, least_gap
from gnomon_core.timing.blackouts import Blackout, Blackouts, BlackoutStretch, Touch, stretches
from gnomon_core.timing.calendars import (
    Difference,
    KeptNames,
    as_of,
    difference,
    keep,
    names_of,
    own_rules,
    same_rules,
    text_of,
)
from gnomon_core.timing.fingerprint import calendar_fingerprint, calendar_versions
from gnomon_core.timing.jitter import emission_ms, jitter_ms
from gnomon_core.timing.plan import Course, Plan, PlanLoad, PlanWindow, TouchedSlot, plan, touched_slots
from gnomon_core.timing.preview import (
    FireBlackout,
    Note,
    Preview,
    PreviewFire,
    local_text,
    marked,
    note_of,
    preview,
)
from gnomon_core.timing.questions import Timetable
from gnomon_core.timing.timeline import FIRST_INSTANT, LAST_INSTANT
from gnomon_core.timing.timetable import (
    count_fires,
    fires,
    fires_between,
    last_fire,
    next_fire,
    next_fire_at,
    timetable,
)
from gnomon_core.timing.words import describe

__all__ = [
    "FIRST_INSTANT",
    "LAST_INSTANT",
    "Blackout",
    "BlackoutStretch",
    "Blackouts",
    "Course",
    "Difference",
    "FireBlackout",
    "KeptNames",
    "Note",
    "Plan",
    "PlanLoad",
    "PlanWindow",
    "Preview",
    "PreviewFire",
    "Timetable",
    "Touch",
    "TouchedSlot",
    "as_of",
    "calendar_fingerprint",
    "calendar_versions",
    "check_fires",
    "check_jitter",
    "check_recurring",
    "count_fires",
    "describe",
    "difference",
    "emission_ms",
    "fires",
    "fires_between",
    "jitter_ms",
    "keep",
    "last_fire",
    "least_gap",
    "local_text",
    "marked",
    "names_of",
    "next_fire",
    "next_fire_at",
    "note_of",
    "own_rules",
    "plan",
    "preview",
    "same_rules",
    "stretches",
    "text_of",
    "timetable",
    "touched_slots",
]
