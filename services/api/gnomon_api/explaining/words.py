"""Words that explanations share."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas import events as ev
from gnomon_schemas.tasks import Task

__all__ = ["duration", "error_words", "nth", "outcome_words"]


def outcome_words(
    outcome: str, told: ev.SlotOutcome | None, reason: str, into: str | None, task: Task
) -> str:
    """Why a slot ended without a run. `told`: the event, which knows what was in force then."""
    detail = told.detail if told is not None and isinstance(told.detail, str) else None
    if outcome == "coalesced":
        what = "It lay in a blackout" if reason == "blackout" else "It was late together with others"
        return f"{what}, and run {into} stood in for all of them{f': {detail}' if detail else ''}."
    words = _rule(reason, task, detail)
    calendar = told.calendar_id if told is not None and isinstance(told.calendar_id, str) else None
    if reason == "blackout" and calendar is not None:
        words = f"calendar {calendar!r} says that nothing runs at that time"
    return f"It was {outcome}: {words}{f' ({detail})' if detail else ''}."


def _rule(reason: str, task: Task, detail: str | None) -> str:
    """The rule behind a reason. Without a detail the settings are told as they are now."""
    now = detail is None
    expires = task.catch_up.grace_seconds if task.expires_seconds is None else task.expires_seconds
    grace = f" ({duration(task.catch_up.grace_seconds * 1000)} now)" if now else ""
    known = {
        "overlap": "an earlier execution of the task was still in flight"
        + (f", and its overlap is {task.overlap}" if now else ""),
        "paused": "the task was paused",
        "blackout": "a calendar said that nothing runs at that time",
        "credits": "its user had no credits left",
        "key": "others had all units of its key, or the rate was used up, and its overlap policy does not let it wait",
        "unique": "a run with the same input had been asked for shortly before",
        "cancelled": "it was cancelled before anybody had claimed it",
        "deleted": "the task was deleted before anybody had claimed it",
        "limit": "a limit was reached: of executions that wait, of runs of the schedule, or of the user's account",
        "grace_exceeded": f"no scheduler could hand it out within its grace{grace}",
        "catch_up_skip": "it was late, and what is late was not to run: so the task's catch-up policy or an "
        "operator said",
        "expired": "nobody had claimed it in time"
        + (f" ({duration(expires * 1000)} after its slot now)" if now else "")
        + ": no executor of its type and pool was there, or all were busy",
    }
    return known.get(reason, f"the rule {reason!r} said so")


def error_words(error: Any) -> str:
    """An error in one line; empty for none."""
    if isinstance(error, str):
        error = msgspec.json.decode(error, type=ev.ErrorInfo)
    if error is None:
        return ""
    first = error.message.strip().partition("\n")[0]
    return f"{error.type}: {first}" if first else str(error.type)


def duration(milliseconds: float) -> str:
    """A duration for people."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 120:
        return f"{seconds:.3g} s"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and (seconds % size == 0 or unit == "min"):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def nth(number: int) -> str:
    """A number as that of a thing in a row."""
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
