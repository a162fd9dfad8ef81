"""What the handler of an execution logs, as it goes to `TASK_LOGS` and to whoever follows it.

A line is named by `(claim, n)` within its execution: `claim` is the sequence of the `task.started` that its attempt
was claimed by, so it tells attempts apart, and also the tries of one attempt that was taken over; `n` counts the lines
of one claim. Whoever gets a line twice knows it by that.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["LEVELS", "LogLevel", "RunLogLine", "RunLogLines"]

LogLevel = Literal["debug", "info", "warning", "error"]
"""How much a line matters, rising."""
LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")


class RunLogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    n: int
    """1 for the first line of a claim."""
    at: str
    """When it was logged, by the executor's clock."""
    level: LogLevel
    message: str
    details: msgspec.Raw
    """An object with what the handler gave besides the message; null where that was nothing."""


class RunLogLines(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of one attempt, in order. A message carries what was logged within a tenth of a second or so."""

    execution_id: str
    task_id: str
    run: str
    user_id: str | None
    attempt: int
    claim: int
    """Sequence in `TASKS` of the `task.started` that this try of the attempt was claimed by."""
    executor: str
    lines: tuple[RunLogLine, ...]
    """By their numbers, rising."""
