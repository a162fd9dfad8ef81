"""`gnomon events`: the event stream of the api, one line an event.

Without --follow it shows the last events that are stored, then ends. The api has no list of events, only a stream that
can be resumed after a given event; so the command begins a good way before the newest, and further back as long as it
has not found enough. With --follow it goes on, also over a restart of the api: it resumes after what it has shown.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from gnomon_cli.api_client import ApiClient
from gnomon_cli.errors import OK, CliError, UsageError
from gnomon_cli.event_lines import TaskNames, event_lines
from gnomon_cli.server_sent import ServerSentEvent, followed, read_stream, stream_headers
from gnomon_cli.target import find_target
from gnomon_cli.terminal import Terminal
from gnomon_schemas.events import EVENT_TYPES

__all__ = ["events_command", "filters"]

_FIELDS = ("task_id", "user_id")
_NAMES = frozenset(EVENT_TYPES) | {"progress"}
"""`progress` is not stored: it is shown with --follow alone."""
_FIRST_LOOK_BACK = 1_000
_LONGEST_LOOK_BACK = 1_000_000


def events_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show events. Raises `CliError` when they cannot be read."""
    params = filters(options.filter)
    if options.last < 1:
        raise UsageError(f"--last is {options.last}: allowed is a whole number, from 1")
    target = find_target(options.url, options.data)
    api = ApiClient(target)
    show = _Show(terminal, api, as_json=options.json)
    if options.follow:
        told = Terminal(sys.stderr)
        welcome = f"events of {target.url}, until Ctrl-C"
        _follow(api, params, show, lambda text: told.line((text, "dim")), welcome)
    else:
        for event in _last(api, params, options.last):
            show(event)
    return OK


def filters(words: Iterable[str]) -> dict[str, str]:
    """Turn the filter words of the command line into parameters. Raises `UsageError` for a word that is none."""
    params: dict[str, str] = {}
    names: list[str] = []
    for word in words:
        field, equals, value = word.partition("=")
        if not equals:
            names += [name.strip().removeprefix("task.") for name in word.split(",") if name.strip()]
        elif field in _FIELDS:
            params[field] = value
        else:
            raise UsageError(
                f"there is no filter {field!r}: allowed are {', '.join(_FIELDS)}, and names of events"
            )
    for name in names:
        if name not in _NAMES:
            raise UsageError(
                f"there is no event {name!r}: allowed are {', '.join(sorted(_NAMES))}",
                hint="a field is given with its value, as task_id=ID",
            )
    if names:
        params["event"] = ",".join(names)
    return params


class _Show:
    """Shows events, each as lines for people or as one JSON object a line."""

    def __init__(self, terminal: Terminal, api: ApiClient, *, as_json: bool) -> None:
        self._terminal = terminal
        self._api = api
        self._as_json = as_json
        self._names = TaskNames()

    def __call__(self, received: ServerSentEvent) -> None:
        if received.event == "gap":
            self._terminal.line(("some events are missing here: they are gone from the stream", "yellow"))
            return
        if self._as_json:
            self._terminal.raw(received.data.encode())
            return
        event = msgspec.json.decode(received.data, type=dict[str, Any])
        if received.event == "task.progress":
            event |= _of_progress(event)
        self._names.learn(event)
        task_id = str(event.get("task_id"))
        if self._names.find(task_id) is None:
            self._names.remember(task_id, self._look_up(task_id))
        for line in event_lines(received.event.removeprefix("task."), event, self._names):
            self._terminal.line(*line)

    def _look_up(self, task_id: str) -> str:
        """The name of a task, asked once; its id where nobody can tell."""
        try:
            return str(self._api.get(f"/tasks/{quote(task_id, safe='')}").body["name"])
        except (CliError, KeyError):
            return task_id


def _of_progress(event: dict[str, Any]) -> dict[str, Any]:
    """What stored events say of themselves, for one that is not stored."""
    task_id, _, run = str(event.get("execution_id", "?")).partition(".")
    return {"task_id": task_id, "run": run} | ({"occurred_at": event["at"]} if event.get("at") else {})


def _follow(
    api: ApiClient, params: dict[str, str], show: _Show, tell: Callable[[str], None], welcome: str
) -> None:
    """Show what happens from now on, until Ctrl-C. What is not an event is told on the side, so that the output can be
    read by a program."""
    try:
        for event in followed(api, "/events", params, tell, connected=lambda: tell(welcome)):
            show(event)
    except KeyboardInterrupt:
        return


def _last(api: ApiClient, params: dict[str, str], count: int) -> Iterable[ServerSentEvent]:
    """The last `count` events that the read models have seen."""
    newest = _newest(api)
    if newest == 0:
        return ()
    look_back = max(_FIRST_LOOK_BACK, 10 * count)
    while True:
        begin = max(0, newest - look_back)
        found: deque[ServerSentEvent] = deque(maxlen=count)
        # Unfiltered, since only so it is sure that the newest comes by, at which to end.
        with api.stream("/events", {}, stream_headers(str(begin))) as lines:
            for event in read_stream(_until_idle(lines)):
                number = int(event.id) if event.id else 0
                if number > newest:
                    break
                if number and _wanted(event, params):
                    found.append(event)
                if number == newest:
                    break
        if len(found) == count or begin == 0 or look_back >= _LONGEST_LOOK_BACK:
            return found
        look_back *= 10


def _until_idle(lines: Iterable[str]) -> Iterator[str]:
    """The lines until the server has nothing to send for a while: then what is stored has been read.

    It says so by a comment. The first one is its greeting.
    """
    greeted = False
    for line in lines:
        if line.startswith(":"):
            if greeted:
                return
            greeted = True
        yield line


def _newest(api: ApiClient) -> int:
    """The number of the newest event that the read models have seen; 0 where there is none."""
    read_models = api.get_outside("/health").body.get("read_models") or {}
    sequence = read_models.get("sequence")
    if not isinstance(sequence, int):
        raise CliError(
            "this Gnomon does not say how far its events go", hint="`gnomon events --follow` shows new ones"
        )
    return sequence


def _wanted(event: ServerSentEvent, params: dict[str, str]) -> bool:
    names = params.get("event")
    if names is not None and event.event.removeprefix("task.") not in names.split(","):
        return False
    if not (fields := [field for field in _FIELDS if field in params]):
        return True
    content = msgspec.json.decode(event.data, type=dict[str, Any])
    return all(content.get(field) in params[field].split(",") for field in fields)
