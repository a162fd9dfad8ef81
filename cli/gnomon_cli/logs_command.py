"""`gnomon logs`: what the handler of an execution logged, or is logging."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from gnomon_cli.answers import path_part
from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, CliError
from gnomon_cli.server_sent import followed
from gnomon_cli.shown import clock
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal
from gnomon_schemas.run_logs import LEVELS

__all__ = ["logs_command"]

_PAGE: Final = 500
_STYLES: Final = {"debug": "dim", "info": "", "warning": "yellow", "error": "red"}


def logs_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show lines. Raises `CliError` when they cannot be read."""
    api = ApiClient(find_target(options.url, options.data))
    execution_id = _execution_of(options.id, api)
    params = {
        name: str(value)
        for name, value in (
            ("attempt", options.attempt),
            ("level", None if options.level is None else ",".join(LEVELS[LEVELS.index(options.level) :])),
        )
        if value is not None
    }
    path = f"/executions/{path_part(execution_id)}/logs"
    show = _Show(terminal, as_json=options.json)
    lines = _followed(api, path, params) if options.follow else _pages(api, path, params)
    try:
        for line in lines:
            show(line)
    except KeyboardInterrupt:
        return OK
    if not show.any and not options.json:
        Terminal(sys.stderr).line((f"{execution_id} has logged nothing", "dim"))
    return OK


def _execution_of(given: str, api: ApiClient) -> str:
    """An execution's id as it is; of a task, its latest execution. Raises `CliError` where it has none."""
    if "." in given:
        return given
    found = api.get(f"/tasks/{path_part(given)}/executions", limit=1).body["items"]
    if not found:
        api.get(f"/tasks/{path_part(given)}")  # says so where there is no such task
        raise CliError(f"task {given} has not run yet")
    return str(found[0]["execution_id"])


def _pages(api: ApiClient, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        page = api.get(path, limit=_PAGE, cursor=cursor, **params).body
        yield from page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


def _followed(api: ApiClient, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Lines until the execution has ended."""
    aside = Terminal(sys.stderr)
    for received in followed(api, path, {**params, "follow": "true"}, lambda text: aside.line((text, "dim"))):
        if received.event == "end":
            return
        yield msgspec.json.decode(received.data, type=dict[str, Any])


class _Show:
    """Shows lines, each as a line for people or as one JSON object a line."""

    def __init__(self, terminal: Terminal, *, as_json: bool) -> None:
        self._terminal = terminal
        self._as_json = as_json
        self._try: tuple[int, str] | None = None
        self.any = False
        """Whether there was a line."""

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Show one."""
        self.any = True
        if self._as_json:
            self._terminal.raw(msgspec.json.encode(line))
            return
        this_try = (line["attempt"], str(line["id"]).partition("-")[0])
        if self._try is not None and this_try != self._try:
            self._terminal.line((f"-- attempt {line['attempt']}, on {line['executor']}", "dim"))
        self._try = this_try
        details = line["details"] or {}
        # A message of several lines stays one entry: what follows is set in.
        first, *rest = map(_shown, str(line["message"]).splitlines() or [""])
        self._terminal.line(
            (clock(line["at"]), "dim"),
            "  ",
            (f"{line['level']:<7}", _STYLES[line["level"]]),
            "  ",
            first,
            *((f"  {name}={_value(value)}", "cyan") for name, value in details.items()),
        )
        for more in rest:
            self._terminal.line(" " * 23, more)


def _value(value: Any) -> str:
    return _shown(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _shown(text: str) -> str:
    """Text without what would change the terminal's own state."""
    return "".join(sign if sign.isprintable() or sign == "\t" else "\ufffd" for sign in text)
