"""Logging set-up: structlog, to standard error, for people (`console`) or machines (`json`, one object a
line)."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.types import Processor

__all__ = ["configure_logging"]


def configure_logging(level: str, style: str, *, process: str, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging alike; once per process, before anything logs.

    `level` and `style` as in the settings `log_level` and `log_format`; every line carries `process`.
    """
    out = stream or sys.stderr
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
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
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)
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
