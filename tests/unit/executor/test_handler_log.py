"""A handler's log, before it leaves the handler: cut, counted, and never a reason to fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_executor.handler_log import AttemptLog, LogLine
from gnomon_schemas.limits import LOG_BYTES_MAX, LOG_LINE_MAX, LOG_LINES_MAX


def made() -> tuple[AttemptLog, list[LogLine]]:
    lines: list[LogLine] = []
    return AttemptLog(lines.append, lambda: 1_790_000_000_500), lines


def details(line: LogLine) -> Any:
    return msgspec.json.decode(line.details)


class Unwilling:
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def test_a_line_has_its_time_level_message_and_details() -> None:
    log, lines = made()
    log.debug("looked")
    log.info("found", files=3, names=["a", "b"])
    log.warning("odd", when=object)
    log.error("broken", event="of the caller's", level=7)
    assert [(line.at_ms, line.level, line.message) for line in lines] == [
        (1_790_000_000_500, "debug", "looked"),
        (1_790_000_000_500, "info", "found"),
        (1_790_000_000_500, "warning", "odd"),
        (1_790_000_000_500, "error", "broken"),
    ]
    assert details(lines[0]) is None
    assert details(lines[1]) == {"files": 3, "names": ["a", "b"]}
    assert details(lines[2]) == {"when": "<class 'object'>"}
    assert details(lines[3]) == {"event": "of the caller's", "level": 7}


def test_what_is_given_may_change_afterwards() -> None:
    log, lines = made()
    names = ["a"]
    log.info("found", names=names)
    names.append("b")
    assert details(lines[0]) == {"names": ["a"]}


def test_no_more_lines_than_are_kept() -> None:
    log, lines = made()
    for number in range(2 * LOG_LINES_MAX):
        log.info("line", number=number)
    assert len(lines) == LOG_LINES_MAX
    assert lines[-1].message.startswith("further lines are dropped: 1000 lines and 256 KiB")
    assert lines[-1].level == "warning"
    assert details(lines[-2]) == {"number": LOG_LINES_MAX - 2}


def test_no_more_bytes_than_are_kept() -> None:
    log, lines = made()
    for _ in range(100):
        log.info("x" * LOG_LINE_MAX)
    assert sum(line.size for line in lines[:-1]) <= LOG_BYTES_MAX
    assert len(lines) == LOG_BYTES_MAX // LOG_LINE_MAX + 1
    assert "dropped" in lines[-1].message


def test_what_is_too_long_is_cut_and_says_so() -> None:
    log, lines = made()
    log.info("ü" * LOG_LINE_MAX, page="\u0000" * LOG_LINE_MAX)
    assert len(lines[0].message.encode()) <= LOG_LINE_MAX
    assert lines[0].message.endswith("[cut]")
    kept = details(lines[0])
    assert kept["truncated"] is True
    assert kept["bytes"] > LOG_LINE_MAX
    assert len(bytes(lines[0].details)) <= LOG_LINE_MAX


@pytest.mark.parametrize("value", [Unwilling(), {(1, 2): 3}, {"a": {frozenset(): 1}}])
def test_a_value_that_cannot_be_shown_fails_nothing(value: object) -> None:
    log, lines = made()
    log.info("look", value=value)
    assert lines[0].message == "look"
    assert details(lines[0]) is not None


def test_a_message_that_is_no_text_or_cannot_be_shown_fails_nothing() -> None:
    log, lines = made()
    log.info(7)  # type: ignore[arg-type]  # what a handler may do all the same
    log.info(Unwilling())  # type: ignore[arg-type]  # the same
    log.info("half a pair: \ud800")
    assert lines[0].message == "7"
    assert "Unwilling" in lines[1].message
    assert lines[2].message == "half a pair: ?"


def test_details_that_contain_themselves_or_nest_too_deep_fail_nothing() -> None:
    log, lines = made()
    knot: dict[str, Any] = {}
    knot["self"] = knot
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    log.info("knot", knot=knot)
    log.info("deep", deep=deep)
    assert "note" in details(lines[0])
    assert "note" in details(lines[1])
