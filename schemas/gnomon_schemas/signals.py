"""What is said over core NATS and stored nowhere: a cancel to a handler, its progress, a task's sign of life."""

from __future__ import annotations

import msgspec

__all__ = ["CancelSignal", "Progress", "SignOfLife"]


class CancelSignal(msgspec.Struct, frozen=True, kw_only=True):
    """Tells the handler of an execution to stop. It may be lost, so its sender repeats it until the effect is seen."""

    reason: str | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a running handler is. Of one run at most one is told in 100 ms, the newest."""

    execution_id: str
    attempt: int
    fraction: float
    """0 to 1."""
    message: str
    at: str
    user_id: str | None = None
    """Whose task it is."""


class SignOfLife(msgspec.Struct, frozen=True, kw_only=True):
    """The heartbeat of a task: its ledger is in order and its slots succeed. Silence is the alarm."""

    task_id: str
    at: str
    last_success: str | None
    """Execution id of its last slot, which succeeded; None: no slot was expected yet."""
