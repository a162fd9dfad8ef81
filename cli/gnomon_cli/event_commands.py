"""`gnomon events`: the event stream of the api, one line an event."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, UsageError
from gnomon_cli.event_lines import TaskNames, event_lines
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal
from gnomon_schemas.events import EVENT_TYPES

__all__ = ["ServerSentEvent", "events_command", "filters", "read_stream"]


class ServerSentEvent(NamedTuple):
    """One message of the stream: its id (empty where it has none), event name, and data."""

    id: str
    event: str
    data: str


def read_stream(lines: Iterable[str]) -> Iterator[ServerSentEvent]:
    """Put the lines of an event stream together, as the HTML standard has it. Comments are dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        if not line:
            if "data" in fields:
                yield ServerSentEvent(fields.get("id", ""), fields.get("event", "message"), fields["data"])
            fields = {}
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data" and "data" in fields:
            fields["data"] += "\n" + value
        elif name:
            fields[name] = value


def filters(words: Iterable[str]) -> dict[str, str]:
    """Turn the filter words of the command line into parameters.

    Raises `UsageError` for a word that is none.
    """
    params: dict[str, str] = {}
    names: list[str] = []
    for word in words:
        field, equals, value = word.partition("=")
        if equals:
            params[field] = value
            continue
        names += [name.strip().removeprefix("task.") for name in word.split(",") if name.strip()]
    for name in names:
        if name not in EVENT_TYPES:
            raise UsageError(
                f"there is no event {name!r}: allowed are {', '.join(sorted(EVENT_TYPES))}",
                hint="a field is given with its value, as task_id=ID",
            )
    if names:
        params["event"] = ",".join(names)
    return params


def events_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the event stream. Raises `CliError` when it cannot be read."""
    params = filters(options.filter)
    names = TaskNames()
    with ApiClient(find_target(options.url, options.data)) as api:
        with api.stream("/events", params, {"Accept": "text/event-stream"}) as lines:
            for event in read_stream(lines):
                _show(event, names, terminal, as_json=options.json)
    return OK


def _show(received: ServerSentEvent, names: TaskNames, terminal: Terminal, *, as_json: bool) -> None:
    if as_json:
        terminal.raw(received.data.encode())
        return
    if received.event == "gap":
        terminal.line(("some events are missing here: they are gone from the stream", "yellow"))
        return
    event = msgspec.json.decode(received.data, type=dict[str, Any])
    names.learn(event)
    for line in event_lines(received.event.removeprefix("task."), event, names):
        terminal.line(*line)
