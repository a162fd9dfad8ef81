"""`gnomon poison …`: messages of other services that were set aside, since they cannot be acted on."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK
from gnomon_cli.event_lines import one_line
from gnomon_cli.shown import instant
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["poison_command"]


def poison_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do one verb of `gnomon poison`. Raises `CliError` for whatever goes wrong."""
    return _VERBS[options.verb](options, ApiClient(find_target(options.url, options.data)), terminal)


def _list(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get("/ecosystem/poison")
    if as_json(options, terminal, answer):
        return OK
    rows = [
        (one["poison_id"], instant(one["set_aside_at"]), one["subject"], one_line(one["reason"]))
        for one in answer.body["items"]
    ]
    if rows:
        terminal.table(("id", "set aside (UTC)", "subject", "why"), rows)
    else:
        terminal.line("nothing is set aside")
    return OK


def _retry(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.post(f"/ecosystem/poison/{path_part(options.id)}/retry")
    if not as_json(options, terminal, answer):
        terminal.line((options.id, "bold"), f" is told again on {answer.body['subject']}")
    return OK


def _drop(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.delete(f"/ecosystem/poison/{path_part(options.id)}")
    if not as_json(options, terminal, answer):
        terminal.line((options.id, "bold"), " is forgotten")
    return OK


_VERBS: dict[str, Callable[[argparse.Namespace, ApiClient, Terminal], int]] = {
    "list": _list,
    "retry": _retry,
    "drop": _drop,
}
