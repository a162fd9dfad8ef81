"""`gnomon pool …`: how much of a pool may be in flight, and whether anything of it is handed out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from rich.text import Text

from gnomon_cli.answers import as_json, path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal

__all__ = ["pool_command"]

_COLUMNS = ("pool", "at most", "state", "in flight", "waiting", "executors", "room")


def pool_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Do one verb of `gnomon pool`. Raises `CliError` for whatever goes wrong."""
    return _VERBS[options.verb](options, ApiClient(find_target(options.url, options.data)), terminal)


def _list(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    answer = api.get("/pools")
    if not as_json(options, terminal, answer):
        pools = answer.body["items"]
        if pools:
            terminal.table(_COLUMNS, [_row(pool) for pool in pools])
        else:
            terminal.line("no pools: no executor has started yet")
    return OK


def _set(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    if options.max_in_flight is None and not options.no_limit:
        raise UsageError(
            "nothing is to be set", hint="gnomon pool set POOL --max-in-flight 20, or --no-limit"
        )
    return _change(options, api, terminal, {"max_in_flight": options.max_in_flight})


def _pause(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    return _change(options, api, terminal, {"paused": True})


def _resume(options: argparse.Namespace, api: ApiClient, terminal: Terminal) -> int:
    return _change(options, api, terminal, {"paused": False})


def _change(options: argparse.Namespace, api: ApiClient, terminal: Terminal, body: Mapping[str, Any]) -> int:
    answer = api.patch(f"/pools/{path_part(options.pool)}", body)
    if not as_json(options, terminal, answer):
        pool = answer.body if isinstance(answer.body, dict) else {}
        limit = pool.get("max_in_flight")
        many = "as many as its executors take" if limit is None else f"at most {limit:,} in flight"
        paused = "paused: nothing is handed out, what runs goes on" if pool.get("paused") else "open"
        terminal.line((options.pool, "bold"), f" is {paused}; {many}")
    return OK


def _row(pool: Mapping[str, Any]) -> tuple[str | Text, ...]:
    limit = pool["max_in_flight"]
    return (
        str(pool["pool"]),
        "-" if limit is None else f"{limit:,}",
        Text("paused", style="yellow") if pool["paused"] else Text("open", style="green"),
        *(f"{pool[name]:,}" for name in ("in_flight", "waiting", "executors", "capacity")),
    )


_VERBS: dict[str, Callable[[argparse.Namespace, ApiClient, Terminal], int]] = {
    "list": _list,
    "set": _set,
    "pause": _pause,
    "resume": _resume,
}
