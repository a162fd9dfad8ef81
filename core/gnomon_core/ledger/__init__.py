"""The ledger as arithmetic: which slots there should have been, and what is recorded of them. No I/O, no clock."""

from __future__ import annotations

from gnomon_core.ledger.audit import (
    ExpectedSlot,
    Recorded,
    RecordedSpan,
    SlotsOf,
    TaskAudit,
    audit_task,
    own_slots,
)
from gnomon_core.ledger.calendars import InForce, Pasts, schedule_at, under_calendars
from gnomon_core.ledger.counting import LimitedRuns, limited_runs, until_exhausted
from gnomon_core.ledger.marks import marks_of_events
from gnomon_core.ledger.stretches import ENDLESS_MS, Mark, State, Stretch, stretches

__all__ = [
    "ENDLESS_MS",
    "ExpectedSlot",
    "InForce",
    "LimitedRuns",
    "Mark",
    "Pasts",
    "Recorded",
    "RecordedSpan",
    "SlotsOf",
    "State",
    "Stretch",
    "TaskAudit",
    "audit_task",
    "limited_runs",
    "marks_of_events",
    "own_slots",
    "schedule_at",
    "stretches",
    "under_calendars",
    "until_exhausted",
]
