"""The ledger as arithmetic: which slots there should have been, and what is recorded of them. No I/O, no clock."""

from __future__ import annotations

from gnomon_core.ledger.audit import ExpectedSlot, Recorded, RecordedSpan, TaskAudit, audit_task
from gnomon_core.ledger.counting import LimitedRuns, limited_runs, until_exhausted
from gnomon_core.ledger.stretches import Mark, State, Stretch, stretches

__all__ = [
    "ExpectedSlot",
    "LimitedRuns",
    "Mark",
    "Recorded",
    "RecordedSpan",
    "State",
    "Stretch",
    "TaskAudit",
    "audit_task",
    "limited_runs",
    "stretches",
    "until_exhausted",
]
