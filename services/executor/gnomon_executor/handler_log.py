"""A handler's log, on the handler's side: lines are cut, counted and put into JSON where the handler runs.

So what a handler gives may change after the call, and hundreds of large lines cost its own thread or process and not
the loop that keeps the claims alive. What becomes of a line afterwards is its sink's: `run_logs` keeps it, and
`process_log` tells it in the process's own log too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gnomon_executor.handler_end import cut_text, json_fault, too_deep
from gnomon_schemas.limits import LOG_BYTES_MAX, LOG_LINE_MAX, LOG_LINES_MAX
from gnomon_schemas.run_logs import LogLevel
from gnomon_schemas.tasks import NULL

__all__ = ["AttemptLog", "LogLine", "LogSink", "to_both"]

_encode = msgspec.json.Encoder(enc_hook=repr).encode
_HEAD: Final = LOG_LINE_MAX // 4
"""Kept of details that are too long: as text inside of JSON every character may take several bytes."""


class LogLine(msgspec.Struct, frozen=True):
    """A line, as it leaves the handler's thread or process."""

    at_ms: int
    level: LogLevel
    message: str
    details: msgspec.Raw = NULL
    """An object; null where the handler gave none."""

    @property
    def size(self) -> int:
        """Bytes that count towards what is kept of an attempt: no details are none."""
        return len(self.message) + (0 if self.details == NULL else len(memoryview(self.details)))


LogSink = Callable[[LogLine], None]
"""Takes a line; called from wherever the handler runs, and must neither raise nor block."""


class AttemptLog:
    """See `gnomon.Log`. Each line goes to a sink, up to a number of lines and bytes; the last one says so."""

    def __init__(self, sink: LogSink, now_ms: Callable[[], int]) -> None:
        self._sink = sink
        self._now_ms = now_ms
        self._lines = 0
        self._bytes = 0
        self._full = False

    def debug(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self._line("debug", event, details)

    def info(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self._line("info", event, details)

    def warning(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self._line("warning", event, details)

    def error(self, event: str, /, **details: object) -> None:
        """See `gnomon.Log`."""
        self._line("error", event, details)

    def _line(self, level: LogLevel, event: str, details: dict[str, object]) -> None:
        if self._full:
            return
        line = LogLine(self._now_ms(), level, cut_text(_text(event), LOG_LINE_MAX), _encoded(details))
        self._lines += 1
        self._bytes += line.size
        if self._lines < LOG_LINES_MAX and self._bytes <= LOG_BYTES_MAX:
            self._sink(line)
            return
        self._full = True
        kept = f"{LOG_LINES_MAX} lines and {LOG_BYTES_MAX // 1024} KiB of one attempt are kept"
        self._sink(LogLine(line.at_ms, "warning", f"further lines are dropped: {kept}"))


def _text(event: object) -> str:
    try:
        return str(event)
    except Exception as error:  # noqa: BLE001 - a user's __str__ may raise anything, and a log line must not fail a run
        return f"(a {type(event).__qualname__} that cannot be shown: {type(error).__qualname__})"


def _encoded(details: dict[str, object]) -> msgspec.Raw:
    if not details:
        return NULL
    try:
        encoded = _encode(details)
    except Exception as error:  # noqa: BLE001 - a user's own values may raise anything, and a log line must not fail a run
        encoded = _encode({"note": f"the details cannot be written as JSON: {type(error).__qualname__}"})
    if too_deep(encoded):
        encoded = _encode({"note": "the details are nested too deep to be kept"})
    if len(encoded) > LOG_LINE_MAX:
        head = encoded[:_HEAD].decode("utf-8", "ignore")
        encoded = _encode({"truncated": True, "bytes": len(encoded), "head": head})
    elif (fault := json_fault(encoded)) is not None:
        encoded = _encode({"note": f"the details are no JSON within: {fault}"})
    return msgspec.Raw(encoded)


def to_both(one: LogSink, other: LogSink) -> LogSink:
    """A sink that hands each line to two."""

    def write(line: LogLine) -> None:
        one(line)
        other(line)

    return write
