"""`gnomon account …`: tiers, limits and credits of users."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from gnomon_cli import task_tables
from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal
from gnomon_schemas.accounts import LIMIT_NAMES

__all__ = ["account_command"]


def account_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do one verb of `gnomon account`. Raises `CliError` for whatever goes wrong."""
    return _VERBS[options.verb](options, ApiClient(find_target(options.url, options.data)), terminal)


def _show(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get("/account" if options.user is None else f"/accounts/{path_part(options.user)}")
    if not as_json(options, terminal, answer):
        _tell(answer.body, terminal)
    return OK


def _list(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get("/accounts", limit=options.limit, cursor=options.cursor)
    if as_json(options, terminal, answer):
        return OK
    rows = [
        (one["user_id"], one["tier"], _number(one["balance"]), _number(one["consumed"]), _limits(one))
        for one in answer.body["items"]
    ]
    if rows:
        terminal.table(("user", "tier", "balance", "consumed", "limits"), rows)
    else:
        terminal.line("no accounts")
    _more(answer.body, terminal)
    return OK


def _set(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body: dict[str, Any] = {}
    given = {name: value for name in LIMIT_NAMES if (value := getattr(options, name)) is not None}
    if options.tier is not None:
        body["tier"] = options.tier
    if given:
        body["limits"] = {name: None if value == "none" else value for name, value in given.items()}
    if options.tier_limits:
        body["tier_limits"] = True
    if options.calendar_reminders is not None:
        body["calendar_reminders"] = options.calendar_reminders == "on"
    if options.closed is not None:
        body["closed"] = options.closed
    if options.closed_note is not None:
        body["closed_note"] = options.closed_note
    if not body:
        raise UsageError("nothing is to be set", hint="gnomon account set USER --tier pro")
    answer = api.patch(f"/accounts/{path_part(options.user)}", body)
    if not as_json(options, terminal, answer):
        _tell(answer.body, terminal)
    return OK


def _credit(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    body = {
        "amount": options.amount,
        "kind": options.kind,
        "note": options.note,
        "reference": options.reference,
    }
    answer = api.post(f"/accounts/{path_part(options.user)}/credits", body)
    if not as_json(options, terminal, answer):
        _tell(answer.body, terminal)
    return OK


def _entries(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    whose = "/account" if options.user is None else f"/accounts/{path_part(options.user)}"
    answer = api.get(f"{whose}/entries", limit=options.limit, cursor=options.cursor)
    if as_json(options, terminal, answer):
        return OK
    rows = [
        (
            one["at"],
            f"{one['amount']:+.12g}",
            one["kind"],
            one["execution_id"] or one["reference"] or one["note"] or "-",
        )
        for one in answer.body["items"]
    ]
    if rows:
        terminal.table(("at", "credits", "kind", "for"), rows)
    else:
        terminal.line("no entries")
    _more(answer.body, terminal)
    return OK


def _history(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    path = f"/accounts/{path_part(options.user)}/history"
    answer = api.get(path, limit=options.limit, cursor=options.cursor)
    if not as_json(options, terminal, answer):
        task_tables.show_history(answer.body, terminal)
    return OK


def _tell(account: Any, terminal: Terminal) -> None:
    """An account in a few lines."""
    if not isinstance(account, Mapping) or "tier" not in account:
        # Decided after the api's own wait: what it was then is not told any more.
        terminal.line("done; gnomon account show tells how it is now")
        return
    known = f"version {account['version']}" if account["version"] else "no account yet"
    terminal.line((str(account["user_id"]), "bold"), f" {account['tier']}, {known}")
    terminal.line(
        f"  credits: {_number(account['balance'])} left of {_number(account['credited'])} given, "
        f"{_number(account['consumed'])} consumed"
    )
    terminal.line(f"  limits: {_limits(account)}")
    if account["closed"]:
        terminal.line(f"  closed: {account['closed_note'] or 'no note'}")


def _limits(account: Mapping[str, Any]) -> str:
    held = {name: value for name, value in account["effective_limits"].items() if value is not None}
    return ", ".join(f"{name} {value}" for name, value in held.items()) or "none"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.12g}"


def _more(page: Mapping[str, Any], terminal: Terminal) -> None:
    if page["next_cursor"]:
        terminal.line(f"there are more: --cursor {page['next_cursor']}")


_VERBS: dict[str, Callable[[argparse.Namespace, ApiClient, Terminal], int]] = {
    "show": _show,
    "list": _list,
    "set": _set,
    "credit": _credit,
    "entries": _entries,
    "history": _history,
}
