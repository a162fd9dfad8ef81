"""What may be said of a calendar, and in which form it is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_core.rules.calendar_input import changed_calendar_fields, parse_calendar, parse_calendar_patch
from gnomon_core.timing import check_recurring
from gnomon_schemas.blackouts import CalendarSpec
from gnomon_schemas.codec import encode
from gnomon_schemas.problems import Code, Refused

NOW_MS = 1_795_000_000_000
GOOD: dict[str, Any] = {
    "name": "Maintenance",
    "selector": {"tags": ["db"]},
    "action": "defer",
    "timezone": "Europe/Berlin",
    "spans": [{"from": "2026-12-24T00:00:00+01:00", "to": "2026-12-27T00:00:00+01:00", "name": "Christmas"}],
    "recurring": [
        {"schedule": {"kind": "weekly", "days": ["sun"], "time": "02:00"}, "duration_seconds": 7200}
    ],
}


def parse(**fields: Any) -> CalendarSpec:
    return parse_calendar(encode({**GOOD, **fields}), now_ms=NOW_MS, default_timezone="UTC")


def test_it_is_kept_in_utc_and_with_its_zone_in_every_schedule() -> None:
    spec = parse()
    assert (spec.spans[0].from_, spec.spans[0].to) == ("2026-12-23T23:00:00.000Z", "2026-12-26T23:00:00.000Z")
    assert spec.recurring[0].schedule.timezone == "Europe/Berlin"
    assert parse(timezone=None).timezone == "UTC"


def test_a_read_can_be_sent_back() -> None:
    spec = parse()
    shown = {
        **msgspec.to_builtins(spec),
        "calendar_id": "c",
        "version": 4,
        "created_at": "x",
        "updated_at": "y",
    }
    assert parse_calendar(encode(shown), now_ms=NOW_MS + 5000, default_timezone="UTC") == spec


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"selector": None}, "#/selector", "object"),
        ({"selector": {"tag": ["x"]}}, "#/selector/tag", "tag"),
        ({"selector": {"tags": [""]}}, "#/selector/tags/0", "0 characters"),
        ({"selector": {"task_types": ["a b"]}}, "#/selector/task_types/0", "no name of a task type"),
        ({"selector": {"user_ids": [""]}}, "#/selector/user_ids/0", "0 characters"),
        ({"selector": {"match": "some"}}, "#/selector/match", "any"),
        ({"action": "stop"}, "#/action", "first_after"),
        ({"timezone": "Europe/Berln"}, "#/timezone", "did you mean Europe/Berlin"),
        ({"spans": [{"from": "2026-12-24", "to": "2026-12-25T00:00:00Z"}]}, "#/spans/0/from", "offset"),
        (
            {"spans": [{"from": "2026-12-24T00:00:00Z", "to": "2026-12-24T00:00:00Z"}]},
            "#/spans/0/to",
            "0 seconds after from",
        ),
        (
            {"spans": [{"from": "2026-12-24T00:00:00Z", "to": "2028-12-24T00:00:00Z"}]},
            "#/spans/0/to",
            "31,622,400",
        ),
        (
            {"recurring": [{"schedule": {"kind": "daily", "time": "25:00"}, "duration_seconds": 60}]},
            "#/recurring/0/schedule/time",
            "25:00",
        ),
        (
            {"recurring": [{"schedule": {"kind": "daily", "time": "02:00"}, "duration_seconds": 0}]},
            "#/recurring/0/duration_seconds",
            "1 to",
        ),
        (
            {
                "recurring": [
                    {
                        "schedule": {"kind": "daily", "time": "02:00", "jitter_seconds": 5},
                        "duration_seconds": 60,
                    }
                ]
            },
            "#/recurring/0/schedule/jitter_seconds",
            "has none",
        ),
        ({"name": ""}, "#/name", "0 characters"),
        ({"colour": "red"}, "#/colour", "not known"),
    ],
)
def test_what_is_wrong_is_told_by_field_and_value(fields: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(**fields)
    told = {error.pointer: error.message for error in refused.value.problem.errors}
    assert words in told[pointer]


def test_the_selector_has_to_be_named_even_where_it_is_everything() -> None:
    body = {name: value for name, value in GOOD.items() if name != "selector"}
    with pytest.raises(Refused) as refused:
        parse_calendar(encode(body), now_ms=NOW_MS, default_timezone="UTC")
    assert [error.pointer for error in refused.value.problem.errors] == ["#/selector"]
    assert parse(selector={}).selector.tags == ()


def test_a_recurring_span_that_begins_too_often_is_refused() -> None:
    minutely = {"schedule": {"kind": "cron", "expression": "* * * * *"}, "duration_seconds": 5}
    spec = parse(recurring=[*GOOD["recurring"], minutely])
    with pytest.raises(Refused) as refused:
        check_recurring(spec.recurring, NOW_MS // 1000)
    (error,) = refused.value.problem.errors
    assert (error.pointer, error.message) == (
        "#/recurring/1/schedule",
        "begins 527,040 spans within a year; allowed: up to 36,600",
    )
    check_recurring(parse().recurring, NOW_MS // 1000)


def test_a_patch_changes_what_it_names_and_keeps_the_rest() -> None:
    spec = parse()
    changed = parse_calendar_patch(
        encode({"enabled": False, "spans": []}), spec, now_ms=NOW_MS, default_timezone="UTC"
    )
    assert changed_calendar_fields(spec, changed) == ("spans", "enabled")
    assert changed.recurring == spec.recurring
    same = parse_calendar_patch(encode({"name": "Maintenance"}), spec, now_ms=NOW_MS, default_timezone="UTC")
    assert same is spec
    cleared = parse_calendar_patch(encode({"action": None}), spec, now_ms=NOW_MS, default_timezone="UTC")
    assert cleared.action == "skip"
    with pytest.raises(Refused) as refused:
        parse_calendar_patch(encode({"selector": None}), spec, now_ms=NOW_MS, default_timezone="UTC")
    assert refused.value.problem.errors[0].pointer == "#/selector"


def test_one_that_is_too_large_says_so() -> None:
    long = "x" * 250
    spans = [{"from": "2026-12-24T00:00:00Z", "to": "2026-12-25T00:00:00Z", "name": long}] * 1000
    users = [f"{index}-{long[:240]}" for index in range(1000)]
    with pytest.raises(Refused) as refused:
        parse(spans=spans, selector={"user_ids": users})
    assert refused.value.problem.code is Code.TOO_LARGE
    with pytest.raises(Refused) as refused:
        parse(spans=[*spans, spans[0]])
    assert "1,001 items" in refused.value.problem.errors[0].message or "1001" in str(refused.value)
