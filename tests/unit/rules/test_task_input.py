"""What callers may send of a task, and how everything wrong with it is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_core.rules.decoding import DEPTH_MAX, parse_body
from gnomon_core.rules.json_schema import check_config, compile_schema
from gnomon_core.rules.json_values import same_value
from gnomon_core.rules.run_input import parse_run
from gnomon_core.rules.task_input import changed_fields, parse_create, parse_update
from gnomon_schemas.commands import PauseTask, RunTask
from gnomon_schemas.limits import CONFIG_MAX
from gnomon_schemas.problems import Code, Problem, Refused
from gnomon_schemas.schedules import Interval, Once
from gnomon_schemas.tasks import NULL, CatchUp, Overlap, Priority, RetryPolicy, TaskSpec

NOW = 1_790_000_000_000  # 2026-09-21T13:33:20Z


def create(**fields: Any) -> TaskSpec:
    body = {"name": "n", "task_type": "echo", **fields}
    return parse_create(msgspec.json.encode(body), now_ms=NOW, created_at_ms=NOW, default_timezone="UTC")


def update(current: TaskSpec, **fields: Any) -> TaskSpec:
    return parse_update(
        msgspec.json.encode(fields), current, now_ms=NOW, created_at_ms=NOW, default_timezone="UTC"
    )


def refusal(data: bytes) -> Problem:
    with pytest.raises(Refused) as caught:
        parse_create(data, now_ms=NOW, created_at_ms=NOW, default_timezone="UTC")
    return caught.value.problem


def refused(**fields: Any) -> Problem:
    return refusal(msgspec.json.encode({"name": "n", "task_type": "echo", **fields}))


def pointers(problem: Problem) -> set[str]:
    return {error.pointer for error in problem.errors}


def test_a_minimal_task_gets_every_default() -> None:
    assert create() == TaskSpec(name="n", task_type="echo")


def test_config_stays_as_the_caller_wrote_it() -> None:
    data = b'{"name":"n","task_type":"echo","config":{"b": 1.0, "a": "\\u00e9"}}'
    spec = parse_create(data, now_ms=NOW, created_at_ms=NOW, default_timezone="UTC")
    assert bytes(spec.config) == b'{"b": 1.0, "a": "\\u00e9"}'


def test_an_interval_without_anchor_counts_from_creation() -> None:
    schedule = create(schedule={"kind": "interval", "minutes": 5}).schedule
    assert schedule == Interval(every_seconds=300, anchor="2026-09-21T14:13:20.000Z", timezone="UTC")


def test_instants_are_brought_to_utc() -> None:
    assert create(due_date="2027-01-01T00:00:00+02:00").due_date == "2026-12-31T22:00:00.000Z"


def test_what_only_the_system_sets_is_ignored_so_that_a_read_can_be_sent_back() -> None:
    assert create(task_id="x", version=7, status="running", run_count=3) == create()


def test_every_error_is_told_with_its_pointer() -> None:
    problem = refused(
        nmae="x",
        retry={"max_attempts": "x", "jitter": 2, "extra": 1},
        tags=["", 1],
        timeout_seconds=0,
        schedule={"kind": "cron", "expression": "* * *", "timezone": "Mars/Base"},
    )
    assert problem.code == Code.INVALID
    assert problem.status == 422
    assert pointers(problem) == {
        "#/nmae",
        "#/retry/max_attempts",
        "#/retry/extra",
        "#/tags/1",
        "#/timeout_seconds",
        "#/schedule/expression",
        "#/schedule/timezone",
    }


def test_an_unknown_field_is_named_with_what_is_allowed() -> None:
    problem = refused(nmae="x")
    assert problem.code == Code.UNKNOWN_FIELD
    assert problem.errors[0].pointer == "#/nmae"
    assert "task_type" in problem.errors[0].message


@pytest.mark.parametrize(
    ("fields", "code", "pointer"),
    [
        ({"name": ""}, Code.INVALID, "#/name"),
        ({"name": "x" * 256}, Code.INVALID, "#/name"),
        ({"name": "a\x00b"}, Code.INVALID, "#/name"),
        ({"name": None}, Code.INVALID, "#/name"),
        ({"task_type": "a.b"}, Code.INVALID_ID, "#/task_type"),
        ({"pool": "*"}, Code.INVALID_ID, "#/pool"),
        ({"priority": "soon"}, Code.INVALID, "#/priority"),
        ({"config": [1]}, Code.INVALID, "#/config"),
        ({"config": None}, Code.INVALID, "#/config"),
        ({"config": {"a": "x" * CONFIG_MAX}}, Code.TOO_LARGE, "#/config"),
        ({"metadata": {"a": "x" * 70_000}}, Code.TOO_LARGE, "#/metadata"),
        ({"tags": ["a", ""]}, Code.INVALID, "#/tags/1"),
        ({"credits_per_run": -1}, Code.INVALID, "#/credits_per_run"),
        ({"credits_per_run": 1e308}, Code.INVALID, "#/credits_per_run"),
        ({"timeout_seconds": 86_401}, Code.INVALID, "#/timeout_seconds"),
        ({"total_timeout_seconds": -5}, Code.INVALID, "#/total_timeout_seconds"),
        ({"due_date": "2027-01-01T00:00:00"}, Code.INVALID, "#/due_date"),
        ({"retry": {"max_attempts": 101}}, Code.INVALID, "#/retry/max_attempts"),
        ({"retry": {"max_seconds": 90_000}}, Code.INVALID, "#/retry/max_seconds"),
        (
            {"schedule": {"kind": "cron", "expression": "* * *"}},
            Code.INVALID_SCHEDULE,
            "#/schedule/expression",
        ),
        ({"schedule": {"kind": "fortnightly"}}, Code.INVALID_SCHEDULE, "#/schedule/kind"),
        (
            {"schedule": {"kind": "once", "at": "2020-01-01T00:00:00Z"}},
            Code.INVALID_SCHEDULE,
            "#/schedule/at",
        ),
        ({"schedule": "* * * * *"}, Code.INVALID_SCHEDULE, "#/schedule"),
        ({"overlap": "queue_some"}, Code.INVALID, "#/overlap"),
        ({"catch_up": {"policy": "some"}}, Code.INVALID, "#/catch_up/policy"),
        ({"catch_up": {"policy": "all", "limit": 1001}}, Code.INVALID, "#/catch_up/limit"),
        ({"concurrency_key": ""}, Code.INVALID, "#/concurrency_key"),
        ({"concurrency_limit": 0}, Code.INVALID, "#/concurrency_limit"),
        ({"rate_limit": {"count": 1001, "per_seconds": 1}}, Code.INVALID, "#/rate_limit/count"),
        ({"rate_limit": {"count": 1, "per_seconds": 0}}, Code.INVALID, "#/rate_limit/per_seconds"),
        ({"unique_for_seconds": 0}, Code.INVALID, "#/unique_for_seconds"),
        ({"max_consecutive_failures": 0}, Code.INVALID, "#/max_consecutive_failures"),
        ({"lateness_slo_seconds": 0}, Code.INVALID, "#/lateness_slo_seconds"),
        ({"heartbeat": {"url": "ftp://example.com/x"}}, Code.INVALID, "#/heartbeat/url"),
        ({"heartbeat": {"url": "https://"}}, Code.INVALID, "#/heartbeat/url"),
        ({"heartbeat": {"url": "https://h/a b"}}, Code.INVALID, "#/heartbeat/url"),
        ({"heartbeat": {"every_seconds": 9}}, Code.INVALID, "#/heartbeat/every_seconds"),
        ({"heartbeat": {"within_seconds": -1}}, Code.INVALID, "#/heartbeat/within_seconds"),
        ({"heartbeat": {"subject": "x"}}, Code.UNKNOWN_FIELD, "#/heartbeat/subject"),
        ({"notify": [{"type": "file"}]}, Code.UNSUPPORTED, "#/notify"),
        ({"template_id": "_t"}, Code.INVALID_ID, "#/template_id"),
    ],
)
def test_each_single_fault_is_refused_with_its_code(fields: dict[str, Any], code: Code, pointer: str) -> None:
    problem = refused(**fields)
    assert (problem.code, pointers(problem)) == (code, {pointer})


def test_fields_that_are_not_built_yet_may_be_sent_back_at_their_defaults() -> None:
    spec = create()
    assert (
        parse_create(msgspec.json.encode(spec), now_ms=NOW, created_at_ms=NOW, default_timezone="UTC") == spec
    )


@pytest.mark.parametrize("data", [b"", b"{", b'{"name": "\xff"}', b'{"name": "\\ud800"}', b"NaN"])
def test_what_is_not_json_says_so(data: bytes) -> None:
    assert refusal(data).code == Code.NOT_JSON


@pytest.mark.parametrize(
    "data",
    [
        b"[1]",
        b"null",
        b'{"metadata": {"n": 1e999}}',
        b'{"metadata":' + b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1) + b"}",
        b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_json_that_is_no_usable_object_is_invalid(data: bytes) -> None:
    assert refusal(data).code == Code.INVALID


def test_missing_fields_are_all_told() -> None:
    assert pointers(refusal(b"{}")) == {"#/name", "#/task_type"}


def test_a_patch_merges_and_null_goes_back_to_the_default() -> None:
    task = create(priority="high", metadata={"a": {"x": 1}, "b": 2}, retry={"max_attempts": 3})
    changed = update(task, priority=None, metadata={"a": {"y": 2}, "b": None}, retry={"jitter": 0})
    assert changed.priority is Priority.MEDIUM
    assert changed.metadata == {"a": {"x": 1, "y": 2}}
    assert changed.retry == RetryPolicy(max_attempts=3, jitter=0)
    assert changed_fields(task, changed) == ("priority", "metadata", "retry")


def test_config_and_a_schedule_with_its_kind_replace_the_old_one_whole() -> None:
    task = create(config={"a": 1}, schedule={"kind": "interval", "every_seconds": 60, "jitter_seconds": 5})
    changed = update(task, config={"b": 2}, schedule={"kind": "interval", "every_seconds": 90})
    assert bytes(changed.config) == b'{"b":2}'
    assert isinstance(changed.schedule, Interval)
    assert changed.schedule.jitter_seconds == 0


def test_a_schedule_without_kind_merges_into_the_old_one() -> None:
    task = create(schedule={"kind": "interval", "every_seconds": 60, "jitter_seconds": 5})
    changed = update(task, schedule={"every_seconds": 90})
    assert isinstance(changed.schedule, Interval)
    assert (changed.schedule.every_seconds, changed.schedule.jitter_seconds) == (90, 5)


def test_a_patch_that_changes_nothing_returns_the_very_same_spec() -> None:
    task = create(config={"a": 1}, schedule={"kind": "interval", "every_seconds": 60}, credits_per_run=1)
    assert update(task) is task
    assert update(task, config={"a": 1.0}, credits_per_run=1.0) is task
    sent_back = msgspec.json.decode(msgspec.json.encode(task))
    assert update(task, **sent_back, version=3, status="paused") is task


def test_a_once_that_has_fired_may_be_sent_back_and_does_not_lock_the_task() -> None:
    fired = msgspec.structs.replace(create(), schedule=Once(at="2020-01-01T00:00:00.000Z", timezone="UTC"))
    sent_back = msgspec.json.decode(msgspec.json.encode(fired))
    assert update(fired, **{**sent_back, "name": "new"}).name == "new"


def test_the_type_of_a_task_stays() -> None:
    with pytest.raises(Refused) as caught:
        update(create(), task_type="sleep")
    assert pointers(caught.value.problem) == {"#/task_type"}


def test_the_template_of_a_task_stays_also_against_null() -> None:
    made = create(template_id="weather")
    for template_id in ("other", None):
        with pytest.raises(Refused) as caught:
            update(made, template_id=template_id, name="x")
        (error,) = caught.value.problem.errors
        assert (error.pointer, "'weather'" in error.message) == ("#/template_id", True)
    assert update(create(), template_id=None, name="x").name == "x"


def test_null_is_refused_where_there_is_no_default() -> None:
    with pytest.raises(Refused) as caught:
        update(create(), name=None, task_type=None)
    assert [error.pointer for error in caught.value.problem.errors] == ["#/name", "#/task_type"]


def test_catch_up_goes_back_to_its_default() -> None:
    task = create(catch_up={"policy": "skip"}, overlap="allow")
    changed = update(task, catch_up=None, overlap=None)
    assert (changed.catch_up, changed.overlap) == (CatchUp(), Overlap.SKIP)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ({"a": 1, "b": [1, 2]}, {"b": [1.0, 2], "a": 1}, True),
        ([1, 2], [2, 1], False),
        (msgspec.Raw(b'{"a": 1}'), msgspec.Raw(b'{"a":1}'), True),
        (None, 0, False),
        ("1", 1, False),
    ],
)
def test_values_are_compared_as_json(one: Any, other: Any, same: bool) -> None:
    assert same_value(one, other) is same


def test_a_config_is_checked_against_its_schema_with_every_error() -> None:
    validator = compile_schema(
        b'{"type":"object","properties":{"url":{"type":"string"},"n":{"type":"integer","minimum":1}},'
        b'"required":["url"],"additionalProperties":false}'
    )
    assert check_config(b'{"url":"x","n":1}', validator) == []
    errors = check_config(b'{"n":0,"m":1}', validator)
    assert {error.pointer for error in errors} == {"#/config/url", "#/config/n", "#/config/m"}
    assert {error.code for error in errors} == {Code.INVALID_CONFIG}


@pytest.mark.parametrize(
    "schema",
    [
        b"{",
        b"1",
        b'{"type":"nonsense"}',
        b'{"$ref":"http://127.0.0.1:9/schema.json"}',
        b'{"properties":{"a":{"$ref":"file:///etc/hostname"}}}',
        b'{"$ref":"#/$defs/missing"}',
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_in_words(schema: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the schema "):
        compile_schema(schema)


def test_a_run_may_have_no_body_at_all() -> None:
    assert parse_run(b"") == RunTask()
    assert parse_run(b'{"trigger_data": null}').trigger_data == NULL


def test_trigger_data_stays_as_it_was_sent() -> None:
    assert bytes(parse_run(b'{"trigger_data": {"q": 1.50}}').trigger_data) == b'{"q": 1.50}'


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"trigger_data": "x" * 300_000}, Code.TOO_LARGE),
        ({"config": {"a": "x" * 300_000}}, Code.TOO_LARGE),
        ({"overlap": "never"}, Code.INVALID),
        ({"config": 3}, Code.INVALID),
        ({"when": "now"}, Code.UNKNOWN_FIELD),
    ],
)
def test_a_run_that_is_not_valid_is_refused(body: dict[str, Any], code: Code) -> None:
    with pytest.raises(Refused) as caught:
        parse_run(msgspec.json.encode(body))
    assert caught.value.problem.code == code


def test_other_bodies_are_read_the_same_way() -> None:
    assert parse_body(b'{"note": "x"}', PauseTask) == PauseTask(note="x")
    with pytest.raises(Refused) as caught:
        parse_body(b'{"note": 1, "when": "x"}', PauseTask)
    assert pointers(caught.value.problem) == {"#/note", "#/when"}
