"""Log lines: for people and for machines, with the process, without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gnomon_core.runtime.logs import configure_logging
from gnomon_core.runtime.telemetry import LogEvent


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Other tests log as they did before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_is_one_object_a_line_with_level_time_and_process() -> None:
    out = io.StringIO()
    configure_logging("info", "json", process="scheduler", stream=out)
    log = structlog.get_logger("test")
    log.info(LogEvent.NATS_BACK, generation=2)
    log.debug(LogEvent.NATS_ERROR)
    logging.getLogger("somebody").warning("careful")
    first, second = [json.loads(line) for line in out.getvalue().splitlines()]
    assert first["event"] == "nats.back"
    assert (first["level"], first["process"], first["generation"]) == ("info", "scheduler", 2)
    assert first["timestamp"].endswith("Z")
    assert (second["event"], second["level"]) == ("careful", "warning")


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_error_is_told_with_its_traceback_and_without_local_variables(style: str) -> None:
    """Among them are passwords, and printing them holds the loop up."""
    out = io.StringIO()
    configure_logging("info", style, process="api", stream=out)
    password = "correct horse"
    try:
        raise RuntimeError("it broke")
    except RuntimeError:
        structlog.get_logger().exception(LogEvent.TASK_CRASHED, task="x")
    text = out.getvalue()
    assert "it broke" in text
    assert "test_logs.py" in text
    assert password not in text


def test_every_event_has_a_name_of_its_own_and_a_meaning() -> None:
    names = [event.value for event in LogEvent]
    assert len(names) == len(set(names))
    assert all(name == name.lower() and "." in name for name in names)
