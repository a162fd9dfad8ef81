"""What a backfill may ask for, over every door."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_core.rules.backfill_input import check_can_backfill, parse_backfill, read_span
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.problems import Refused

NOW = "2026-11-22T12:00:00.500Z"
NOW_MS = instant_ms(NOW)
FROM, TO = "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z"


def parse(**fields: Any) -> Any:
    return parse_backfill(msgspec.json.encode(fields), now_ms=NOW_MS)


def test_a_span_a_list_and_a_cancel_are_taken() -> None:
    whole = parse(**{"from": FROM, "to": TO, "only": "all", "concurrency": 100})
    assert (whole.from_, whole.to, whole.concurrency, whole.slots) == (FROM, TO, 100, None)
    listed = parse(**{"from": FROM, "to": TO, "slots": [FROM, "2026-11-22T10:59:59+01:00"]})
    assert len(listed.slots) == 2
    assert parse(cancel="c-1").cancel == "c-1"
    assert parse(**{"from": FROM, "to": NOW, "only": "all"}).to == NOW


def test_a_span_is_the_seconds_that_lie_in_it() -> None:
    assert read_span("1970-01-01T00:00:09.001Z", "1970-01-01T00:00:12Z", NOW_MS) == ((10, 12), [])
    assert read_span("1970-01-01T00:00:09Z", "1970-01-01T00:00:12.5Z", NOW_MS) == ((9, 13), [])


@pytest.mark.parametrize(
    ("fields", "pointers", "words"),
    [
        ({}, ["#/from", "#/to", "#/slots"], "required"),
        ({"from": "yesterday", "to": TO, "only": "all"}, ["#/from"], "yesterday"),
        ({"from": FROM, "to": "2026-11-22T12:00:01Z", "only": "all"}, ["#/to"], "not in the past"),
        ({"from": TO, "to": FROM, "only": "all"}, ["#/to"], "empty"),
        ({"from": FROM, "to": FROM, "only": "all"}, ["#/to"], "empty"),
        ({"from": FROM, "to": TO, "only": "some"}, ["#/only"], "some"),
        ({"from": FROM, "to": TO, "only": "all", "concurrency": 0}, ["#/concurrency"], "1 to 100"),
        ({"from": FROM, "to": TO, "only": "all", "concurrency": 101}, ["#/concurrency"], "1 to 100"),
        ({"from": FROM, "to": TO}, ["#/slots"], "lists the slots"),
        ({"from": FROM, "to": TO, "slots": []}, ["#/slots"], "has 0 slots"),
        ({"from": FROM, "to": TO, "slots": [FROM] * 1001}, ["#/slots"], "has 1,001 slots"),
        ({"from": FROM, "to": TO, "slots": [FROM, TO, "x"]}, ["#/slots/1", "#/slots/2"], "not in the span"),
        ({"from": FROM, "to": TO, "slots": ["2026-11-22T09:00:00.5Z"]}, ["#/slots/0"], "whole second"),
        ({"cancel": "c", "from": FROM, "slots": [FROM]}, ["#/from", "#/slots"], "with cancel"),
        ({"cancel": "a.b"}, ["#/cancel"], "id of a backfill"),
        ({"form": FROM}, ["#/form", "#/from", "#/to", "#/slots"], "not known"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    fields: dict[str, Any], pointers: list[str], words: str
) -> None:
    with pytest.raises(Refused) as refusal:
        parse(**fields)
    errors = refusal.value.problem.errors
    assert [error.pointer for error in errors] == pointers[: len(errors)]
    assert any(words in error.message for error in errors)


def test_a_task_that_has_no_slots_is_not_backfilled() -> None:
    check_can_backfill("echo", scheduled=True, cancelled=False)
    with pytest.raises(Refused, match="no schedule"):
        check_can_backfill("echo", scheduled=False, cancelled=False)
    with pytest.raises(Refused, match="cancelled"):
        check_can_backfill("echo", scheduled=True, cancelled=True)
