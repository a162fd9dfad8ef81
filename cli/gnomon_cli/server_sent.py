"""Reading server-sent events: the lines put together, and a stream that is gone back to when its connection breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from gnomon_cli.api_client import ApiClient, ApiProblem, Foreign, Unreachable

__all__ = ["ServerSentEvent", "followed", "read_stream", "stream_headers"]

_AGAIN_SECONDS: Final = 1.0
_PASSING: Final = frozenset({429, 502, 503, 504})
"""What an api, or who stands in front of it, answers while it starts, stops or has too much to do."""


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


def stream_headers(after: str = "") -> dict[str, str]:
    """What a request for a stream says: that it is to begin after the event of an id, where one is given."""
    headers = {"Accept": "text/event-stream"}
    return {**headers, "Last-Event-ID": after} if after else headers


def followed(
    api: ApiClient,
    path: str,
    params: Mapping[str, str],
    tell: Callable[[str], None],
    *,
    connected: Callable[[], None] | None = None,
) -> Iterator[ServerSentEvent]:
    """What a stream sends, without end. A connection that was there once is made again for ever, and the stream goes on
    after the last event that had an id.

    `tell` is told why it is waited; `connected` is called once, when the first connection is there. Raises `CliError`
    when that cannot be had, and later for a refusal that does not pass by itself.
    """
    after, is_first = "", True
    while True:
        try:
            with api.stream(path, params, stream_headers(after)) as lines:
                if is_first and connected is not None:
                    connected()
                is_first = False
                for event in read_stream(lines):
                    after = event.id or after
                    yield event
        except (Unreachable, ApiProblem, Foreign) as error:
            if is_first or not (isinstance(error, Unreachable) or error.status in _PASSING):
                raise
            tell(f"{error.message}; trying again")
        time.sleep(_AGAIN_SECONDS)
