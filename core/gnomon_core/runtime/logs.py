"""Logging set-up: structlog, to standard error, for people (`console`) or machines (`json`, one object a
line).

**What is being handled.** A line that is logged while a command, a due or a request is handled carries which: its
`trace_id`, `task_id`, `execution_id`, ... The hot paths handle thousands a second and hardly ever log, so they only say
where these fields can be had (`handling`), for a tenth of a microsecond; they are fetched when a line is written. Like
every context variable it follows the handling into the tasks and callbacks that it starts.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Protocol, TextIO

import structlog
from structlog.types import Processor

from gnomon_core.runtime.tracing import span_id_of, trace_id_of

__all__ = ["Handled", "configure_logging", "handle", "handling"]


class Handled(Protocol):
    """Something that is being handled, and knows the fields that its log lines carry."""

    def log_fields(self) -> Mapping[str, str | None]:
        """Fields for a line that is logged now; None leaves one out. A `traceparent` among them is told as
        `trace_id` and `span_id`."""


_handled: ContextVar[Handled | None] = ContextVar("gnomon_handled", default=None)


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
    if handled is None:
        return event
    for name, value in handled.log_fields().items():
        if value is None:
            continue
        if name == "traceparent":
            event.setdefault("trace_id", trace_id_of(value))
            event.setdefault("span_id", span_id_of(value))
        else:
            event.setdefault(name, value)
    return event


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
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor
    if style == "json":
        # Without the values of local variables: among them are passwords, and they fill pages.
        without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared += [structlog.processors.ExceptionRenderer(without_locals)]
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
