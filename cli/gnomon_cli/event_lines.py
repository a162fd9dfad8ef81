"""One event as a line for people: time, event, task, run, and what matters about this kind of event.

An error has a line of its own below, as it is what one wants to read whole.

Events are read as plain JSON objects and not as Structs: a terminal shows what an older or newer Gnomon says
too, and leaves out what is not there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from gnomon_cli import shown
from gnomon_schemas.clock_text import instant_ms

__all__ = ["Line", "TaskNames", "event_lines", "one_line"]

Line = list[str | tuple[str, str]]
"""Parts of a line, each a text or (text, style)."""

Event = Mapping[str, Any]

_NAME_WIDTH = 22
_EVENT_WIDTH = 11
_SHORTER = {
    "dead_lettered": "dead letter",
    "status_changed": "status",
    "reminder_triggered": "reminder",
    "lateness_slo_broken": "late",
    "lateness_slo_recovered": "in time",
}
_ERROR_INDENT = 27
_KEPT_NAMES = 10_000

_STYLES = {
    "executed": "green",
    "started": "cyan",
    "retrying": "yellow",
    "skipped": "yellow",
    "missed": "magenta",
    "coalesced": "yellow",
    "replanned": "yellow",
    "failed": "red",
    "dead_lettered": "bold red",
    "rejected": "red",
    "lateness_slo_broken": "bold red",
    "lateness_slo_recovered": "green",
}


class TaskNames:
    """Names of tasks by id, as far as they have been heard; the oldest are forgotten beyond 10,000."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, str] = OrderedDict()

    def learn(self, event: Event) -> None:
        """Take the name out of an event that carries the task."""
        task = event.get("task")
        if isinstance(task, dict) and isinstance(name := task.get("name"), str):
            self.remember(str(event.get("task_id")), name)

    def remember(self, task_id: str, name: str) -> None:
        """Keep a name."""
        self._names[task_id] = name
        self._names.move_to_end(task_id)
        if len(self._names) > _KEPT_NAMES:
            self._names.popitem(last=False)

    def find(self, task_id: str) -> str | None:
        """The name, or None where it was never heard."""
        return self._names.get(task_id)


def event_lines(name: str, event: Event, names: TaskNames) -> list[Line]:
    """The lines of an event. `name` is the event's name in its subject, as `executed`."""
    task_id = str(event.get("task_id", "?"))
    task = names.find(task_id) or task_id
    style = (
        "red"
        if name == "executed" and event.get("status") in ("failed", "timed_out")
        else _STYLES.get(name, "blue")
    )
    line: Line = [
        (shown.clock(str(event["occurred_at"])) if "occurred_at" in event else "--:--:--.---", "dim"),
        "  ",
        (_SHORTER.get(name, name).ljust(_EVENT_WIDTH), style),
        "  ",
        _fit(task).ljust(_NAME_WIDTH),
        "  ",
    ]
    if isinstance(run := event.get("run"), str) and run != "_":
        line += [(run, "dim"), "  "]
    details = _DETAILS.get(name, _no_details)(event)
    line.append("  ".join(one_line(part) for part in details if part))
    # The result before a dead letter has told its error already.
    error = _error(event) if name != "dead_lettered" else ""
    return [line, [(f"{'':{_ERROR_INDENT}}{one_line(error)}", "red")]] if error else [line]


def one_line(text: str) -> str:
    """The text without line breaks and control characters, which would spoil the terminal."""
    flat = " ".join(text.split())
    return "".join(character if character.isprintable() else "?" for character in flat)


def _fit(text: str) -> str:
    text = one_line(text)
    return text if len(text) <= _NAME_WIDTH else text[: _NAME_WIDTH - 1] + "…"


def _no_details(event: Event) -> list[str]:
    return []


def _executed(event: Event) -> list[str]:
    status = str(event.get("status", ""))
    took = event.get("duration_ms")
    return [
        "" if status == "completed" else status,
        _late(event),
        f"took {shown.duration(took / 1000)}" if isinstance(took, int | float) else "",
        _attempt(event),
    ]


def _started(event: Event) -> list[str]:
    return [_late(event), _attempt(event), f"on {event.get('executor')}"]


def _retrying(event: Event) -> list[str]:
    wait = _between(event, "occurred_at", "retry_at")
    again = f"again in {shown.duration(max(0.0, wait))}" if wait is not None else ""
    return [f"attempt {event.get('attempt')} {event.get('status', 'failed')}", again]


def _slot_outcome(event: Event) -> list[str]:
    into = f"into {event['into']}" if event.get("into") else ""
    if event.get("from") is None:
        return [str(event.get("reason")), into]
    span = (
        f"{shown.counted(event.get('count') or 0, 'slot')} from {shown.instant(event['from'])} "
        f"to {shown.instant(event.get('to'))}"
    )
    return [str(event.get("reason")), span, into]


def _created(event: Event) -> list[str]:
    return [str(event.get("task_type", "")), shown.schedule(event.get("schedule"))]


def _updated(event: Event) -> list[str]:
    return [", ".join(event.get("updated_fields") or ())]


def _status_changed(event: Event) -> list[str]:
    return [f"{event.get('old_status')} -> {event.get('new_status')}", str(event.get("reason") or "")]


def _replanned(event: Event) -> list[str]:
    parts = ", ".join(str(name) for name in event.get("changed") or ())
    moved = f"{shown.counted(event.get('disappeared') or 0, 'slot')} gone, {event.get('appeared')} new"
    first = event.get("first_difference")
    return [f"{parts} changed", moved, f"from {shown.instant(first)} on" if first is not None else ""]


def _reminder_triggered(event: Event) -> list[str]:
    due = f"due {shown.instant(event['due_date'])}" if event.get("due_date") else ""
    return [str(event.get("name") or ""), due]


def _rejected(event: Event) -> list[str]:
    return [str(event.get("verb"))]


def _failed(event: Event) -> list[str]:
    return [f"{event.get('consecutive_failures')} in a row"]


def _slo_broken(event: Event) -> list[str]:
    late, allowed = event.get("lateness_seconds"), event.get("objective_seconds")
    if not isinstance(late, int | float) or not isinstance(allowed, int | float):
        return [str(event.get("reason"))]
    return [str(event.get("reason")), f"late {shown.duration(late)}, allowed {shown.duration(allowed)}"]


def _slo_recovered(event: Event) -> list[str]:
    lasted = _between(event, "broken_at", "recovered_at")
    return [str(event.get("reason")), "" if lasted is None else f"after {shown.duration(max(0.0, lasted))}"]


def _dead_lettered(event: Event) -> list[str]:
    return [str(event.get("reason"))]


def _progress(event: Event) -> list[str]:
    return [f"{event.get('fraction', 0):.0%}", str(event.get("message") or "")]


def _due(event: Event) -> list[str]:
    return [f"{event.get('pool')}/{event.get('priority')}", _attempt(event)]


_DETAILS: dict[str, Callable[[Event], list[str]]] = {
    "executed": _executed,
    "started": _started,
    "retrying": _retrying,
    "queued": lambda event: [str(event.get("reason"))],
    "skipped": _slot_outcome,
    "missed": _slot_outcome,
    "coalesced": _slot_outcome,
    "created": _created,
    "updated": _updated,
    "unchanged": lambda event: [str(event.get("verb"))],
    "status_changed": _status_changed,
    "replanned": _replanned,
    "reminder_triggered": _reminder_triggered,
    "rejected": _rejected,
    "failed": _failed,
    "dead_lettered": _dead_lettered,
    "due": _due,
    "progress": _progress,
    "lateness_slo_broken": _slo_broken,
    "lateness_slo_recovered": _slo_recovered,
}


def _late(event: Event) -> str:
    """How long after it was due the first attempt started."""
    late = _between(event, "due_at", "started_at")
    if late is None or event.get("attempt", 1) != 1:
        return ""
    return f"late {shown.duration(max(0.0, late))}"


def _attempt(event: Event) -> str:
    attempt = event.get("attempt", 1)
    return f"attempt {attempt}" if attempt != 1 else ""


def _error(event: Event) -> str:
    """What went wrong, of an execution or of a refused command; empty where nothing did."""
    error = event.get("error")
    if not isinstance(error, dict):
        return ""
    if "message" in error:
        return f"{error.get('type')}: {error['message']}"
    faults = [f"{fault.get('pointer')} {fault.get('message')}" for fault in error.get("errors") or ()]
    # The detail says in other words what the faults say.
    return "; ".join(faults) or str(error.get("detail") or error.get("title") or "")


def _between(event: Event, begin: str, end: str) -> float | None:
    """Seconds from one instant of the event to another, if it has both."""
    first, last = event.get(begin), event.get(end)
    if not isinstance(first, str) or not isinstance(last, str):
        return None
    return (instant_ms(last) - instant_ms(first)) / 1000
