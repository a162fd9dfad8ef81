"""`gnomon backfill`: running slots of the past."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gnomon_cli import shown
from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["backfill_command"]

_ROWS = 10
"""Slots that a dry run shows."""
_COLUMNS = ("backfill", "from (UTC)", "to (UTC)", "runs", "done", "in flight", "left")


def backfill_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Begin a backfill, show those under way, or cancel one. Raises `CliError` for whatever goes wrong."""
    api = ApiClient(find_target(options.url, options.data))
    first, *others = options.words
    if others:
        if first != "cancel" or len(others) > 2:
            words = " ".join(options.words)
            raise UsageError(
                f"{words!r} names more than a task",
                hint="gnomon backfill TASK, or gnomon backfill cancel TASK [ID]",
            )
        return _cancel(options, api, terminal, *others)
    if options.since is None:
        for name in ("until", "all", "dry_run", "concurrency"):
            if getattr(options, name):
                raise UsageError(
                    "--from is missing: a backfill needs a span", hint="as --from 2d, two days ago"
                )
        return _show_under_way(options, api, terminal, first)
    return _begin(options, api, terminal, first)


def _begin(options: argparse.Namespace, api: ApiClient, terminal: Terminal, task_id: str) -> int:
    now = datetime.now(UTC)
    body = {
        "from": shown.instant_given(options.since, now),
        "to": shown.instant_given(options.until, now),
        "only": "all" if options.all else "gaps",
        "concurrency": options.concurrency,
        "dry_run": options.dry_run,
    }
    path = f"/tasks/{path_part(task_id)}/backfill"
    answer = api.post(path, {name: value for name, value in body.items() if value is not None})
    if as_json(options, terminal, answer):
        return OK
    found = answer.body
    span = f"{shown.instant(found['from'])} to {shown.instant(found['to'])}"
    what = shown.counted(found["count"], "slot") + ("" if options.all else " without a success")
    if found["dry_run"]:
        terminal.line(("dry run: nothing was run", "yellow"))
    terminal.line((f"{task_id}: ", "bold"), f"{what} from {span}")
    if found["dry_run"]:
        _show_slots(found["count"], found["slots"], terminal)
    elif found["backfill_id"] is None:
        terminal.line("there is nothing to run")
    else:
        many = options.concurrency or 1
        pace = "one after another" if many == 1 else f"{many} at a time"
        terminal.line("backfill ", (str(found["backfill_id"]), "bold"), f" runs them, {pace}")
        terminal.line((f"see how far it is: gnomon backfill {task_id}", "dim"))
    return OK


def _show_slots(count: int, slots: Sequence[str], terminal: Terminal) -> None:
    if not slots:
        return
    terminal.table(
        ("slot (UTC)", ""), [(shown.instant(slot), shown.relative(slot)) for slot in slots[:_ROWS]]
    )
    if count > _ROWS:
        terminal.line((f"… and {count - min(_ROWS, len(slots)):,} more", "dim"))


def _show_under_way(options: argparse.Namespace, api: ApiClient, terminal: Terminal, task_id: str) -> int:
    answer = api.get(f"/tasks/{path_part(task_id)}")
    if as_json(options, terminal, answer):
        return OK
    backfills = answer.body["backfills"]
    if not backfills:
        terminal.line((task_id, "bold"), ": no backfill is under way")
        return OK
    terminal.table(_COLUMNS, [_row(one) for one in backfills])
    return OK


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    total, left, in_flight = one["total"], one["left"], one["in_flight"]
    counts = (total, total - left - in_flight, in_flight, left)
    span = (shown.instant(one["from"]), shown.instant(one["to"]))
    return str(one["backfill_id"]), *span, *(f"{count:,}" for count in counts)


def _cancel(
    options: argparse.Namespace,
    api: ApiClient,
    terminal: Terminal,
    task_id: str,
    backfill_id: str | None = None,
) -> int:
    path = f"/tasks/{path_part(task_id)}"
    if backfill_id is None:
        backfill_id = _only_one(api, path, task_id)
    api.delete(f"{path}/backfills/{path_part(backfill_id)}")
    if not options.json:
        terminal.line("backfill ", (backfill_id, "bold"), " is cancelled: what it had not begun does not run")
    return OK


def _only_one(api: ApiClient, path: str, task_id: str) -> str:
    """The backfill that is meant where none is named. Raises UsageError."""
    found = [str(one["backfill_id"]) for one in api.get(path).body["backfills"]]
    if len(found) != 1:
        words = "several backfills are" if found else "no backfill is"
        raise UsageError(f"{words} under way of {task_id}", hint=f"`gnomon backfill {task_id}` shows them")
    return found[0]
