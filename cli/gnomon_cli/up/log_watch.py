"""Shows warnings and errors of the services' logs in the terminal, with the service's name before them.

The services write straight into their files, not into pipes of this process: a terminal that stands still
(Ctrl-Z, a frozen ssh connection) must never fill a pipe and so stop a service. The price is that the files
are looked at a few times a second, as there is no portable signal for a file that grew.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

__all__ = ["LogWarning", "LogWatch", "begin_log", "last_words", "read_warning"]

POLL_SECONDS = 0.25
LINES_PER_POLL = 4
_CHUNK_BYTES = 1024 * 1024

_SHOWN_LEVELS = ("warning", "error", "critical")
# As structlog's console renderer writes it: the level in brackets, padded.
_CONSOLE = re.compile(r"\[(warning|error|critical)\s*\]\s*(.*)")
_INFO = re.compile(r"\[(info|debug)\s*\]")
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_NOT_SHOWN = frozenset({"event", "level", "timestamp", "logger", "exception", "service", "process", "pid"})
_LONGEST_VALUE = 200
_LAST_WORDS = 10


class LogWarning(NamedTuple):
    """A line worth a person's attention: its level, and its text in one line."""

    level: str
    text: str


class LogWatch:
    """Follows logs from where they are when they are added. `tell(text, style)` gets what to show."""

    def __init__(self, tell: Callable[[str, str], None]) -> None:
        self._logs: list[_Log] = []
        self._tell = tell
        self._loop: asyncio.Task[None] | None = None

    def add(self, name: str, path: Path) -> None:
        """Watch this log too, under this name."""
        self._logs.append(_Log(name, path))

    def start(self) -> None:
        """Begin to watch."""
        self._loop = asyncio.create_task(self._watch(), name="log-watch")

    async def stop(self) -> None:
        """Show what is there, then end. May be called again, and when it was never started."""
        if self._loop is None:
            return
        self._loop.cancel()
        await asyncio.gather(self._loop, return_exceptions=True)
        self._loop = None
        self._look()

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(POLL_SECONDS)

    def _look(self) -> None:
        for log in self._logs:
            found = [warning for line in log.new_lines() if (warning := read_warning(line))]
            for warning in found[:LINES_PER_POLL]:
                self._tell(f"{log.name} {warning.level}: {warning.text}", _style(warning.level))
            if (more := len(found) - LINES_PER_POLL) > 0:
                self._tell(f"{log.name}: {more} more warnings and errors in {log.path}", "yellow")


class _Log:
    """One file that grows, and how far it has been read."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._position = _size(path)
        self._rest = b""

    def new_lines(self) -> list[str]:
        """The whole lines that came since the last call; a line still being written waits for its end."""
        if _size(self.path) <= self._position:
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            content = file.read(_CHUNK_BYTES)
        self._position += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def last_words(path: Path, since: int) -> list[str]:
    """What a process that did not come up has left in its log from byte `since` on, for people.

    Warnings, errors and all that is no log line at all, as a traceback or a message of the interpreter.
    """
    with path.open("rb") as file:
        file.seek(max(since, _size(path) - _CHUNK_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    words: list[str] = []
    for line in lines:
        if warning := read_warning(line):
            words.append(f"{warning.level}: {warning.text}")
        elif line.strip() and not line.startswith("{") and not _INFO.search(line):
            words.append(line)
    return words[-_LAST_WORDS:]


def begin_log(path: Path) -> None:
    """Start an empty log; that of the run before is kept as `<name>.1`."""
    if _size(path) > 0:
        os.replace(path, path.with_name(path.name + ".1"))
    path.touch(mode=0o600)


def read_warning(line: str) -> LogWarning | None:
    """The warning or error that a log line tells, in JSON or in structlog's console form; None for all
    others.
    """
    if line.startswith("{"):
        return _read_json(line)
    found = _CONSOLE.search(_ESCAPES.sub("", line))
    return None if found is None else LogWarning(found[1], " ".join(found[2].split()))


def _read_json(line: str) -> LogWarning | None:
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None
    level = str(fields.get("level", "")).lower()
    if level not in _SHOWN_LEVELS:
        return None
    told = [str(fields.get("event", ""))]
    told += [f"{key}={_short(value)}" for key, value in fields.items() if key not in _NOT_SHOWN]
    told.append(_exception(fields.get("exception")))
    return LogWarning(level, " ".join(" ".join(told).split()))


def _exception(value: Any) -> str:
    """The exception itself out of a traceback, which is a text or structlog's list of dictionaries."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f"{value[0].get('exc_type')}: {value[0].get('exc_value')}"
    return value.strip().rpartition("\n")[2] if isinstance(value, str) else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def _style(level: str) -> str:
    return "yellow" if level == "warning" else "red"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
