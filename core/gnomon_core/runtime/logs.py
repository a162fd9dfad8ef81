"""Logging set-up: structlog, to standard error, for people (`console`) or machines (`json`, one object a
line).

**What is being handled.** A line that is logged while a command, a due or a request is handled carries which: its
`trace_id`, `task_id`, `execution_id`, ... The hot paths handle thousands a second and hardly ever log, so they only say
where these fields can be had (`handling`), for a tenth of a microsecond; they are fetched when a line is written. Like
every context variable it follows the handling into the tasks and callbacks that it starts.

**Told later.** A line costs a call of the system, which gives up the interpreter's lock: whoever writes many of them
from a busy thread waits for that lock at each. So they may be gathered, and written in one piece (`write_told`); each
has the instant and the fields that it was told with.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from contextvars import ContextVar, Token, copy_context
from types import TracebackType
from typing import Any, Final, NamedTuple, Protocol, TextIO

import msgspec
import structlog
from structlog.types import Processor

from gnomon_core.runtime.tracing import span_id_of, trace_id_of
from gnomon_schemas.clock_text import format_instant

__all__ = ["Handled", "ToldLine", "configure_logging", "handle", "handling", "write_told"]


class Handled(Protocol):
    """Something that is being handled, and knows the fields that its log lines carry."""

    def log_fields(self) -> Mapping[str, str | None]:
        """Fields for a line that is logged now; None leaves one out. A `traceparent` among them is told as
        `trace_id` and `span_id`."""


class ToldLine(NamedTuple):
    """A line that is written later than it was told."""

    at_ms: int
    level: str
    """As structlog's method: `info`."""
    handled: Handled
    fields: dict[str, Any]
    """With the message as `event`. What structlog does with an `exc_info` or a `stack_info` does not work later."""


_handled: ContextVar[Handled | None] = ContextVar("gnomon_handled", default=None)
_told_at: ContextVar[int | None] = ContextVar("gnomon_told_at", default=None)
"""Of the line that is being written: when it was told, where that is not now."""
_encode: Final = msgspec.json.Encoder().encode
_now_stamp: Final = structlog.processors.TimeStamper(fmt="iso", utc=True)


def handle(handled: Handled) -> None:
    """From here on the running task handles this, to its end. For tasks that handle one thing."""
    _handled.set(handled)


class handling:  # noqa: N801 - a context manager, used like a function
    """`with handling(x):` what is logged inside carries the fields of `x`."""

    __slots__ = ("_handled", "_token")

    def __init__(self, handled: Handled) -> None:
        self._handled = handled
        self._token: Token[Handled | None] | None = None

    def __enter__(self) -> None:
        self._token = _handled.set(self._handled)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._token is not None
        _handled.reset(self._token)


def _add_handled(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the fields of what is being handled. What the line says itself comes first."""
    handled = _handled.get()
    if handled is not None:
        _add_fields(event, handled)
    return event


def _add_fields(event: MutableMapping[str, Any], handled: Handled) -> None:
    for name, value in handled.log_fields().items():
        if value is None:
            continue
        if name == "traceparent":
            event.setdefault("trace_id", trace_id_of(value))
            event.setdefault("span_id", span_id_of(value))
        else:
            event.setdefault(name, value)


def _add_timestamp(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> Mapping[str, Any] | MutableMapping[str, Any]:
    told_at = _told_at.get()
    if told_at is None:
        return _now_stamp(logger, method, event)
    event["timestamp"] = format_instant(told_at)
    return event


def write_told(lines: Iterable[ToldLine]) -> None:
    """Write lines in one piece, of any level. Raises OSError, ValueError where they cannot be written."""
    config = structlog.get_config()
    processors, logger = config["processors"], config["logger_factory"]()
    as_json = next((one for one in processors if isinstance(one, _ToldAsJson)), None)
    if as_json is not None:
        logger.msg("\n".join(map(as_json.text, lines)))
        return
    # In a context of its own: whoever writes goes on handling what it handles, at the time that it is.
    logger.msg("\n".join(copy_context().run(_processed, line, processors, logger) for line in lines))


def _processed(line: ToldLine, processors: Iterable[Processor], logger: Any) -> str:
    """A line as the processors make it."""
    _handled.set(line.handled)
    _told_at.set(line.at_ms)
    event: Any = line.fields
    for process in processors:
        event = process(logger, line.level, event)
    return str(event)


class _ToldAsJson:
    """Stands among the processors of the style `json` and lets lines pass. Lines that are told later have plain values
    only, and become in a quarter of the time what the processors would make of them."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return event

    def text(self, line: ToldLine) -> str:
        """A line as JSON."""
        event = line.fields
        event.setdefault("process", self._process)
        _add_fields(event, line.handled)
        event["level"] = line.level
        event["timestamp"] = format_instant(line.at_ms)
        return msgspec.json.format(_encode(event), indent=0).decode()


def configure_logging(level: str, style: str, *, process: str, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging alike; once per process, before anything logs.

    `level` and `style` as in the settings `log_level` and `log_format`; every line carries `process`.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]

    def add_process(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process", process)
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_process,  # no context variable: the lines of other threads carry it too
        _add_handled,
        structlog.processors.add_log_level,
        _add_timestamp,
    ]
    renderer: Processor
    if style == "json":
        # Without the values of local variables: among them are passwords, and they fill pages.
        without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared += [_ToldAsJson(process), structlog.processors.ExceptionRenderer(without_locals)]
        renderer = structlog.processors.JSONRenderer()
    else:
        # Plain tracebacks too: the colourful ones take a quarter of a second each, during which nothing else
        # runs.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    # Libraries speak up only when something is wrong, unless everything is wanted.
    logging.basicConfig(
        handlers=[handler], level=number if level == "debug" else max(number, logging.WARNING), force=True
    )
    # Otherwise each push of metrics tells of itself, four lines each time.
    logging.getLogger("urllib3").setLevel(max(number, logging.INFO))
