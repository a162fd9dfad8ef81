"""`gnomon calendar …`: calendars of blackouts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from gnomon_cli import shown, task_tables
from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.target import find_target
from gnomon_cli.task_input import from_file, seconds
from gnomon_cli.terminal import Terminal

__all__ = ["calendar_command"]

_COLUMNS = ("calendar", "name", "action", "touches", "now", "next")


def calendar_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do one verb of `gnomon calendar`. Raises `CliError` for whatever goes wrong."""
    return _VERBS[options.verb](options, ApiClient(find_target(options.url, options.data)), terminal)


def _list(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get(
        "/calendars",
        action=options.action,
        tag=options.tag,
        enabled=options.enabled,
        q=options.query,
        sort=options.sort,
        limit=options.limit,
        cursor=options.cursor,
    )
    if as_json(options, terminal, answer):
        return OK
    if answer.body["items"]:
        terminal.table(_COLUMNS, [_row(one) for one in answer.body["items"]])
    else:
        terminal.line("no calendars like this")
    if answer.body["next_cursor"]:
        terminal.line(f"there are more: --cursor {answer.body['next_cursor']}")
    return OK


def _show(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get(f"/calendars/{path_part(options.id)}")
    if as_json(options, terminal, answer):
        return OK
    one = answer.body
    terminal.line((str(one["calendar_id"]), "bold"), f" {one['name']}, version {one['version']}")
    if one["description"]:
        terminal.line(f"  {one['description']}")
    terminal.line(f"  touches: {_touches(one['selector'])}")
    terminal.line(f"  action: {one['action']}")
    terminal.line(f"  now: {_now(one)}")
    if one["next_start"]:
        terminal.line(f"  next: {shown.instant(one['next_start'])}")
    for part in one["recurring"]:
        schedule = msgspec.json.encode(part["schedule"]).decode()
        terminal.line(f"  recurring: {part['duration_seconds']} s from {schedule}")
    rows = [
        (shown.instant(span["from"]), shown.instant(span["to"]), str(span.get("name") or ""))
        for span in one["spans"]
    ]
    if rows:
        terminal.table(("from", "to", "name"), rows)
    if one["expanded_until"]:
        terminal.line(f"  imported events that recur are written out until {one['expanded_until']}")
    return OK


def _create(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body = from_file(options.file)
    _put_fields(body, options)
    if options.id is not None:
        body["calendar_id"] = options.id
    if "selector" not in body:
        raise UsageError(
            "whose slots it touches is not said",
            hint="--tag TAG, --type TYPE or --user USER; --all-tasks for all",
        )
    return _said(options, api.post("/calendars", body), terminal)


def _update(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body = from_file(options.file)
    _put_fields(body, options)
    if options.enable or options.disable:
        body["enabled"] = options.enable
    if not body:
        raise UsageError(
            "nothing is to be changed", hint="gnomon calendar update ID --disable, or --file FILE"
        )
    answer = api.patch(f"/calendars/{path_part(options.id)}", body)
    if not as_json(options, terminal, answer):
        one = answer.body if isinstance(answer.body, dict) else {}
        terminal.line((options.id, "bold"), f" is at version {one.get('version')}")
    return OK


def _delete(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    for one in options.ids:
        answer = api.delete(f"/calendars/{path_part(one)}")
        if not as_json(options, terminal, answer):
            terminal.line((one, "bold"), " deleted; what it put off goes, unless another calendar holds it")
    return OK


def _import(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body: dict[str, Any] = {"ical": _text(options.file)}
    if options.until is not None:
        body["until"] = options.until
    if options.into is not None:
        answer = api.post(f"/calendars/{path_part(options.into)}/import", body)
        if not as_json(options, terminal, answer):
            one = answer.body if isinstance(answer.body, dict) else {}
            terminal.line(
                (options.into, "bold"), f" has {shown.counted(len(one.get('spans', [])), 'span')} now"
            )
        return OK
    selector = _selector(options)
    if selector is None:
        raise UsageError(
            "whose slots it touches is not said",
            hint="--tag TAG, --type TYPE or --user USER; --all-tasks for all",
        )
    body["selector"] = selector
    given = {"calendar_id": options.id, "name": options.name, "action": options.action}
    given["timezone"] = options.timezone
    body |= {name: value for name, value in given.items() if value is not None}
    return _said(options, api.post("/calendars/import", body), terminal)


def _history(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    path = f"/calendars/{path_part(options.id)}/history"
    answer = api.get(path, limit=options.limit, cursor=options.cursor)
    if not as_json(options, terminal, answer):
        task_tables.show_history(answer.body, terminal)
    return OK


def _said(options: argparse.Namespace, answer: Any, terminal: Terminal) -> int:
    if not as_json(options, terminal, answer):
        one = answer.body if isinstance(answer.body, dict) else {}
        said = "made" if answer.status == 201 else "is there already, just like this"
        spans = len(one.get("spans", ())) + len(one.get("recurring", ()))
        terminal.line(
            (str(one.get("calendar_id")), "bold"),
            f" {said}: {shown.counted(spans, 'span')}, {one.get('action')}",
        )
    return OK


def _put_fields(body: dict[str, Any], options: argparse.Namespace) -> None:
    for name in ("name", "description", "action", "timezone"):
        if (value := getattr(options, name)) is not None:
            body[name] = value
    selector = _selector(options)
    if selector is not None:
        body["selector"] = selector
    if options.span:
        body["spans"] = [_span(text) for text in options.span]
    if (options.cron is None) != (options.lasting is None):
        raise UsageError("--cron and --lasting go together", hint="--cron '0 2 * * 0' --lasting 2h")
    if options.cron is not None:
        schedule = {"kind": "cron", "expression": options.cron}
        body["recurring"] = [{"schedule": schedule, "duration_seconds": _duration(options.lasting)}]


def _selector(options: argparse.Namespace) -> dict[str, Any] | None:
    """Whose slots are touched; None: the flags do not say."""
    found: dict[str, Any] = {}
    for name, flag in (("tags", "tag"), ("task_types", "type"), ("user_ids", "user")):
        if (value := getattr(options, flag)) is not None:
            found[name] = value
    if options.all_tags:
        found["match"] = "all"
    if options.all_tasks and found:
        raise UsageError(
            "--all-tasks leaves nothing to select", hint="leave out the other flags, or this one"
        )
    return found if found or options.all_tasks else None


def _span(text: str) -> dict[str, str]:
    start, slash, end = text.partition("/")
    if not slash:
        raise UsageError(f"--span: {text!r} is not FROM/TO", hint="2026-12-24T00:00:00Z/2026-12-27T00:00:00Z")
    return {"from": start.strip(), "to": end.strip()}


def _duration(text: str) -> int:
    try:
        return int(seconds(text))
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--lasting: {error}") from None


def _text(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} cannot be read: it is not text in UTF-8") from None


def _row(one: Mapping[str, Any]) -> tuple[str | Text, ...]:
    style = "" if one["enabled"] else "dim"
    following = shown.instant(one["next_start"]) if one["next_start"] else "-"
    return (
        str(one["calendar_id"]),
        Text(str(one["name"]), style=style),
        str(one["action"]),
        _touches(one["selector"]),
        _now(one),
        following,
    )


def _touches(selector: Mapping[str, Any]) -> str:
    told = []
    if tags := selector.get("tags"):
        joined = ", ".join(tags)
        told.append(f"all tags of {joined}" if selector.get("match") == "all" else f"tag {joined}")
    if types := selector.get("task_types"):
        told.append(f"type {', '.join(types)}")
    if users := selector.get("user_ids"):
        told.append(f"user {', '.join(users)}")
    return "; ".join(told) or "every task"


def _now(one: Mapping[str, Any]) -> str:
    if not one["enabled"]:
        return "off"
    return f"in force until {shown.instant(one['until'])}" if one["in_force"] else "not in force"


_VERBS: dict[str, Callable[[argparse.Namespace, ApiClient, Terminal], int]] = {
    "list": _list,
    "show": _show,
    "create": _create,
    "update": _update,
    "delete": _delete,
    "import": _import,
    "history": _history,
}
