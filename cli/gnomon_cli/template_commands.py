"""`gnomon template …`: templates, and tasks made from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from rich.text import Text

from gnomon_cli import task_tables
from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.plan_tables import show_plan
from gnomon_cli.target import find_target
from gnomon_cli.task_input import from_file, task_fields
from gnomon_cli.terminal import Terminal

__all__ = ["template_command"]

_COLUMNS = ("template", "name", "category", "does", "level", "credits", "asks for")


def template_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do one verb of `gnomon template`. Raises `CliError` for whatever goes wrong."""
    return _VERBS[options.verb](options, ApiClient(find_target(options.url, options.data)), terminal)


def _list(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    asked: dict[str, str | int | None] = {
        "subscription_level": options.level,
        "category": options.category,
        "task_type": options.type,
        "tag": options.tag,
        "q": options.query,
        "include_inactive": "true" if options.inactive else None,
        "sort": options.sort,
        "limit": options.limit,
        "cursor": options.cursor,
    }
    answer = api.get("/templates", **asked)
    if as_json(options, terminal, answer):
        return OK
    templates = answer.body["items"]
    if templates:
        terminal.table(_COLUMNS, [_row(one) for one in templates])
    else:
        terminal.line("no templates like this")
    if answer.body["next_cursor"]:
        terminal.line(f"there are more: --cursor {answer.body['next_cursor']}")
    return OK


def _show(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get(f"/templates/{path_part(options.id)}")
    if not as_json(options, terminal, answer):
        one = answer.body
        terminal.line((str(one["template_id"]), "bold"), f" {one['name']}, version {one['version']}")
        for field in (
            *("description", "category", "task_type", "required_subscription_level", "credits_per_run"),
            *("tags", "required_fields", "optional_fields", "default_config", "config_schema", "defaults"),
        ):
            value = one[field]
            shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            terminal.line(f"  {field}: {shown}")
        if not one["is_active"]:
            terminal.line(("  it is inactive: nothing can be made from it", "yellow"))
        elif not one["available"]:
            terminal.line(("  your subscription level is too low for it", "yellow"))
    return OK


def _use(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body, path = task_fields(options), f"/templates/{path_part(options.template)}/instantiate"
    answer = api.post(path, body, params={"dry_run": "true"} if options.dry_run else None)
    if as_json(options, terminal, answer):
        return OK
    if options.dry_run:
        show_plan(answer.body, terminal, new=True, named="task_id" in body)
        return OK
    task = answer.body if isinstance(answer.body, dict) else {}
    said = "created" if answer.status == 201 else "is there already, just like this"
    terminal.line((str(task.get("task_id")), "bold"), f" {said}: ", task_tables.next_run(task))
    return OK


def _create(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body = from_file(options.file)
    if options.id is not None:
        body["template_id"] = options.id
    answer = api.post("/templates", body)
    if not as_json(options, terminal, answer):
        one = answer.body if isinstance(answer.body, dict) else {}
        said = "made" if answer.status == 201 else "is there already, just like this"
        terminal.line((str(one.get("template_id")), "bold"), f" {said}")
    return OK


def _update(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body = from_file(options.file)
    if options.level is not None:
        body["required_subscription_level"] = options.level
    if options.credits is not None:
        body["credits_per_run"] = options.credits
    if options.activate or options.deactivate:
        body["is_active"] = options.activate
    if not body:
        raise UsageError(
            "nothing is to be changed", hint="gnomon template update ID --level pro, or --file FILE"
        )
    answer = api.patch(f"/templates/{path_part(options.id)}", body)
    if not as_json(options, terminal, answer):
        one = answer.body if isinstance(answer.body, dict) else {}
        terminal.line((options.id, "bold"), f" is at version {one.get('version')}")
    return OK


def _delete(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    for one in options.ids:
        answer = api.delete(f"/templates/{path_part(one)}")
        if not as_json(options, terminal, answer):
            terminal.line((one, "bold"), " deleted; tasks made from it stay as they are")
    return OK


def _history(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    path = f"/templates/{path_part(options.id)}/history"
    answer = api.get(path, limit=options.limit, cursor=options.cursor)
    if not as_json(options, terminal, answer):
        task_tables.show_history(answer.body, terminal)
    return OK


def _row(one: Mapping[str, Any]) -> tuple[str | Text, ...]:
    name = Text(str(one["name"]), style="" if one["available"] else "dim")
    return (
        str(one["template_id"]),
        name,
        str(one["category"]),
        str(one["task_type"]),
        str(one["required_subscription_level"]),
        f"{one['credits_per_run']:g}",
        ", ".join(one["required_fields"]) or "-",
    )


_VERBS: dict[str, Callable[[argparse.Namespace, ApiClient, Terminal], int]] = {
    "list": _list,
    "show": _show,
    "use": _use,
    "create": _create,
    "update": _update,
    "delete": _delete,
    "history": _history,
}
