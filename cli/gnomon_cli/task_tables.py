"""Tasks, executions and fires as rows of tables and as lists of facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from rich.text import Text

from gnomon_cli import shown
from gnomon_cli.event_lines import one_line
from gnomon_cli.terminal import Terminal
from gnomon_schemas import subjects
from gnomon_schemas.workless import WORKLESS

__all__ = [
    "EXECUTION_COLUMNS",
    "FIRE_COLUMNS",
    "MISFIT_COLUMNS",
    "STEP_COLUMNS",
    "TASK_COLUMNS",
    "execution_line",
    "execution_row",
    "fire_row",
    "misfit_rows",
    "next_run",
    "show_history",
    "step_row",
    "task_facts",
    "task_row",
    "verdict_line",
]

Json = Mapping[str, Any]

TASK_COLUMNS = ("id", "name", "type", "schedule", "status", "next run", "last run")
EXECUTION_COLUMNS = ("run", "trigger", "status", "due", "late", "scheduler + queue", "took", "error")
FIRE_COLUMNS = ("at (UTC)", "local", "in", "note")
HISTORY_COLUMNS = ("at (UTC)", "version", "who", "field", "old", "new", "command")
MISFIT_COLUMNS = ("task", "name", "status", "field", "what is wrong")
STEP_COLUMNS = ("at (UTC)", "what", "sequence", "")

_VALUE_CHARS = 60
_RESULT_SHOWN = 200
_ENDED = ("completed", "cancelled", "failed")

_STATUS_STYLES = {
    "scheduled": "green",
    "completed": "green",
    "running": "cyan",
    "queued": "cyan",
    "retrying": "yellow",
    "paused": "yellow",
    "skipped": "yellow",
    "coalesced": "yellow",
    "missed": "magenta",
    "failed": "red",
    "timed_out": "red",
    "cancelled": "dim",
}


def task_row(task: Json) -> tuple[str | Text, ...]:
    """A row under `TASK_COLUMNS`."""
    last = task.get("last_execution")
    last_run = shown.relative(task.get("last_run_time"))
    if isinstance(last, dict) and last.get("status"):
        last_run = f"{last['status']} {last_run}"
    return (
        str(task["task_id"]),
        one_line(str(task["name"])),
        str(task["task_type"]),
        shown.schedule(task.get("schedule")),
        _status(task),
        _next_of(task),
        last_run,
    )


def _next_of(task: Json) -> str:
    """When a task runs next; of one that has no run to come, when it is due, else when people are reminded of it."""
    if task.get("next_run_time") is None and task.get("status") not in _ENDED:
        for word, name in (("due", "due_date"), ("reminder", "reminder_time")):
            if task.get(name) is not None:
                return f"{word} {shown.relative(task[name])}"
    return shown.relative(task.get("next_run_time"))


def execution_row(execution: Json) -> tuple[str | Text, ...]:
    """A row under `EXECUTION_COLUMNS`, of one task's executions."""
    error, progress = execution.get("error"), execution.get("progress")
    told = execution.get("reason")
    if isinstance(error, dict):
        told = f"{error.get('type')}: {error.get('message')}"
    elif isinstance(progress, dict):
        told = f"{progress.get('fraction', 0):.0%} {progress.get('message', '')}"
    return (
        str(execution["run"]),
        str(execution.get("trigger") or "-"),
        _status(execution),
        shown.instant(execution.get("due_at")),
        _milliseconds(execution.get("lateness_ms")),
        _parts(execution),
        _milliseconds(execution.get("duration_ms")),
        one_line(str(told or "")),
    )


def execution_line(execution: Json) -> tuple[str | tuple[str, str], ...]:
    """What became of one execution, in one line."""
    status = str(execution.get("status") or "accepted")
    line: list[str | tuple[str, str]] = [(str(execution["execution_id"]), "bold"), "  "]
    line.append((status, _STATUS_STYLES.get(status, "")))
    for name, value in (("late", execution.get("lateness_ms")), ("took", execution.get("duration_ms"))):
        if value is not None:
            parts = _parts(execution) if name == "late" else "-"
            line.append(f"  {name} {_milliseconds(value)}" + (f" ({parts})" if parts != "-" else ""))
    if isinstance(attempt := execution.get("attempt"), int) and attempt > 1:
        line.append(f"  attempt {attempt}")
    return tuple(line)


def _parts(execution: Json) -> str:
    """What of an execution's lateness was the scheduler's, and what the queue's."""
    lateness = execution.get("lateness")
    if not isinstance(lateness, dict) or lateness.get("scheduler_ms") is None:
        return "-"
    return f"{_milliseconds(lateness['scheduler_ms'])} + {_milliseconds(lateness.get('queue_ms'))}"


def fire_row(fire: Json) -> tuple[str | Text, ...]:
    """A row under `FIRE_COLUMNS`."""
    notes = {"dst_gap": "the clock is put forward", "dst_overlap": "the clock is put back"}
    note = fire.get("note")
    return (
        shown.instant(fire["at"]),
        str(fire.get("local") or ""),
        shown.relative(fire["at"]).removeprefix("in "),
        "; ".join(part for part in (notes.get(note, str(note)) if note else "", _blackout(fire)) if part),
    )


def misfit_rows(misfit: Json) -> Iterator[tuple[str | Text, ...]]:
    """Rows under `MISFIT_COLUMNS`, one for each fault of a task's config."""
    head: tuple[str | Text, ...] = (
        str(misfit["task_id"]),
        one_line(str(misfit["name"])),
        str(misfit["status"]),
    )
    for error in misfit["errors"]:
        yield (*head, str(error["pointer"]).removeprefix("#/"), one_line(str(error["message"])))
        head = ("", "", "")


def _blackout(fire: Json) -> str:
    """What a calendar of blackouts does to a fire."""
    told = fire.get("blackout")
    if not isinstance(told, dict):
        return ""
    if told["action"] == "skip":
        return f"skipped by calendar {told['calendar_id']}"
    until = shown.instant(told["until"])
    if told["action"] == "defer":
        return f"put off to {until} by calendar {told['calendar_id']}"
    return f"one run at {until} for all, by calendar {told['calendar_id']}"


def show_history(page: Json, terminal: Terminal) -> None:
    """A page of changes, of a task or another object."""
    rows = [row for entry in page["items"] for row in history_rows(entry)]
    if rows:
        terminal.table(HISTORY_COLUMNS, rows)
    else:
        terminal.line("no changes")
    if cursor := page.get("next_cursor"):
        terminal.line((f"there are more: --cursor {cursor}", "dim"))


def history_rows(entry: Json) -> Iterator[tuple[str | Text, ...]]:
    """Rows under `HISTORY_COLUMNS`, one for each field of a change; of one without fields what it was."""
    itself = entry["what"] == "updated" and entry.get("command_id") is None
    who = str(entry.get("user_id") or ("by itself" if itself else "a service"))
    head = (str(entry["at"]).replace("T", " "), str(entry["version"]), one_line(who))
    command = str(entry.get("command_id") or "-")
    changes = entry.get("changes") or ()
    if not changes:
        yield (*head, str(entry["what"]), "-", "-", command)
    for change in changes:
        yield (*head, str(change["field"]), _value(change.get("old")), _value(change.get("new")), command)
        head, command = ("", "", ""), ""


def _value(value: Any) -> str:
    if value is None:
        return "-"
    text = one_line(value if isinstance(value, str) else msgspec.json.encode(value).decode())
    return text if len(text) <= _VALUE_CHARS else text[: _VALUE_CHARS - 1] + "…"


def verdict_line(name: str, explanation: Json) -> tuple[str | tuple[str, str], ...]:
    """What became of a slot or run, in one line."""
    verdict = str(explanation["verdict"])
    style = {"planned": "cyan", "pending": "yellow", "no_slot": "dim"}.get(verdict)
    slot = explanation.get("slot")
    where = f"  slot {shown.instant(slot)}" if slot else ""
    return (name, "bold"), where, "  ", (verdict.replace("_", " "), style or _STATUS_STYLES.get(verdict, ""))


def step_row(step: Json) -> tuple[str | Text, ...]:
    """A row under `STEP_COLUMNS`."""
    at, seq, what = step.get("at"), step.get("seq"), str(step["what"])
    return (
        "-" if at is None else str(at).replace("T", " "),
        what.replace("_", " "),
        "-" if seq is None else str(seq),
        one_line(str(step.get("detail") or "")),
    )


def next_run(task: Json) -> str:
    """What comes next for a task, in a few words."""
    at = task.get("next_run_time")
    if at is not None:
        return f"runs {shown.relative(at)} ({shown.instant(at)}), {shown.schedule(task.get('schedule'))}"
    if task.get("status") == "paused":
        until = task.get("paused_until")
        return (
            "no run is planned"
            if until is None
            else f"goes on {shown.relative(until)} ({shown.instant(until)})"
        )
    if task.get("status") in _ENDED:
        return "nothing is planned"
    if task.get("task_type") in WORKLESS:
        coming = ", ".join(f"{label} {text}" for label, text in _coming(task))
        return coming or f"done once you say so: gnomon task complete {task.get('task_id')}"
    if task.get("schedule") is None:
        return f"runs on demand: gnomon task run {task.get('task_id')}"
    return "no run is planned"


def _coming(task: Json) -> Iterator[tuple[str, str]]:
    """What of a task is at a time that is known."""
    for label, name in (("due", "due_date"), ("reminder", "reminder_time"), ("next run", "next_run_time")):
        if text := task.get(name):
            yield label, f"{shown.instant(text)} ({shown.relative(text)})"


def task_facts(task: Json) -> Iterator[tuple[str, str]]:
    """What a person wants to know of one task: label and value, what is not set left out."""
    yield "id", str(task["task_id"])
    yield "name", one_line(str(task["name"]))
    if task.get("description"):
        yield "description", one_line(str(task["description"]))
    until = task.get("paused_until")
    status = str(task["status"]) if until is None else f"{task['status']} until {shown.instant(until)}"
    yield "status", _with(status, task.get("pause_note"))
    yield "type", str(task["task_type"])
    yield "config", msgspec.json.encode(task.get("config")).decode()
    yield "schedule", shown.schedule(task.get("schedule"))
    yield from _coming(task)
    if task.get("runs_left") is not None:
        yield "runs left", f"{task['runs_left']:,}"
    if task.get("last_run_time"):
        yield "last run", f"{shown.instant(task['last_run_time'])} ({shown.relative(task['last_run_time'])})"
    yield from _runs_of(task)
    yield "runs", f"{task['run_count']}, {task['failure_count']} failed{_on_average(task)}"
    for one in task.get("backfills") or ():
        ended = one["total"] - one["left"] - one["in_flight"]
        yield (
            "backfill",
            f"{ended:,} of {one['total']:,} done, {one['in_flight']} in flight ({one['backfill_id']})",
        )
    resolved = task.get("resolved") or {}
    yield "overlap", str(task["overlap"])
    if objective := task.get("lateness_slo_seconds"):
        since = task.get("lateness_slo_broken_since")
        kept = "kept" if since is None else f"broken since {shown.instant(since)}"
        yield "lateness", f"at most {shown.duration(objective)}, {kept}"
    if heartbeat := task.get("heartbeat"):
        where = heartbeat.get("url") or subjects.heartbeat(task["task_id"])
        every, within = (shown.duration(heartbeat[name]) for name in ("every_seconds", "within_seconds"))
        yield "heartbeat", f"{where}, every {every} while slots succeed within {within}"
    yield "priority", f"{task['priority']} in pool {resolved.get('pool', task.get('pool'))}"
    if timeout := resolved.get("timeout_seconds"):
        yield "timeout", f"{shown.duration(timeout)} an attempt"
    if retry := resolved.get("retry"):
        yield "attempts", f"at most {retry.get('max_attempts')}"
    if task.get("tags"):
        yield "tags", ", ".join(task["tags"])
    if task.get("user_id"):
        yield "user", str(task["user_id"])
    yield "version", f"{task['version']}, created {shown.instant(task['created_at'])}"


def _runs_of(task: Json) -> Iterator[tuple[str, str]]:
    """What the last execution returned, and how far those are that run."""
    if (result := (task.get("last_execution") or {}).get("result")) is not None:
        yield "last result", _cut(msgspec.json.encode(result).decode())
    for one in task.get("running") or ():
        how_far = one.get("progress") or {}
        told = f", {how_far['fraction']:.0%} {how_far.get('message', '')}" if how_far else ""
        yield one["status"], f"{one['run']}, attempt {one['attempt']}{one_line(told)}"


def _cut(text: str) -> str:
    return text if len(text) <= _RESULT_SHOWN else text[:_RESULT_SHOWN] + " …"


def _on_average(task: Json) -> str:
    """The words for mean duration and share of successes; none where nothing has run."""
    mean, share = task.get("average_duration_ms"), task.get("success_rate")
    words = "" if share is None else f", {share:.0%} good"
    return words if mean is None else f"{words}, {shown.duration(mean / 1000)} on average"


def _with(text: str, note: Any) -> str:
    return f"{text} ({one_line(str(note))})" if note else text


def _status(thing: Json) -> Text:
    status = str(thing.get("status"))
    return Text(status, style=_STATUS_STYLES.get(status, ""))


def _milliseconds(value: Any) -> str:
    return shown.duration(value / 1000) if isinstance(value, int | float) else "-"
