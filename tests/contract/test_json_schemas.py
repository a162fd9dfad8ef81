"""The JSON Schemas say what the contract says: samples fit, and what the shard refuses by a rule does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker

from gnomon_core.rules.run_input import parse_run
from gnomon_core.rules.task_input import parse_create, parse_update
from gnomon_core.rules.transitions import wanted_status
from gnomon_schemas.documents.messages import MESSAGES, message_of
from gnomon_schemas.generate import GOLDEN, JSON_SCHEMAS
from gnomon_schemas.limits import NOT_YET
from gnomon_schemas.problems import Refused
from gnomon_schemas.samples import samples
from gnomon_schemas.tasks import Task, TaskSpec

SAMPLES = sorted(path.name.removesuffix(".json") for path in GOLDEN.iterdir())
NOW_MS = 1_790_000_000_000
EXECUTION_FIELDS = ("execution_id", "run", "scheduled_for", "trigger")
TASK = {"name": "N", "task_type": "echo"}


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode((JSON_SCHEMAS / f"{name}.schema.json").read_bytes())
    return found


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name), format_checker=FormatChecker())


def golden(name: str) -> Any:
    return msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", [message.name for message in MESSAGES])
def test_each_is_a_schema_in_both_drafts_that_documents_use(name: str) -> None:
    """Draft 2020-12 for the files, draft 07 for AsyncAPI, whose readers ignore what stands beside a reference."""
    found = schema(name)
    Draft202012Validator.check_schema(found)
    Draft7Validator.check_schema(found)
    assert _lonely_references(found)


@pytest.mark.parametrize("name", [message.name for message in MESSAGES])
def test_what_is_required_is_named_beside(name: str) -> None:
    """Strict readers, such as Ajv in its strict mode, refuse a schema that requires a field which it does not name."""
    assert list(_unnamed(schema(name))) == []


def test_a_requirement_without_its_field_would_be_found() -> None:
    assert list(_unnamed({"anyOf": [{"required": ["a"], "properties": {"b": {}}}]})) == ["a"]


def _unnamed(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        required = found.get("required")
        # A field of a message may be called `required` itself; then this is its schema.
        if isinstance(required, list):
            yield from (name for name in required if name not in found.get("properties", ()))
        found = list(found.values())
    if isinstance(found, list):
        for part in found:
            yield from _unnamed(part)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_golden_sample_fits_its_schema(name: str) -> None:
    errors = [error.message for error in validator(message_of(name).name).iter_errors(golden(name))]
    assert errors == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_without_a_required_field_does_not_fit(name: str) -> None:
    message = message_of(name)
    for field in schema(message.name).get("required", ()):
        broken = {key: value for key, value in golden(name).items() if key != field}
        assert not validator(message.name).is_valid(broken), f"{name} without {field}"


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("task.")])
def test_a_sample_with_a_wrong_value_does_not_fit(name: str) -> None:
    wrong = {
        "task_id": "a b",
        "run": "20261121T0900Z",
        "execution_id": "no-run",
        "trigger": "moon",
        "occurred_at": "2026-11-21T09:00:00+01:00",
        "partition": 40,
        "attempt": 0,
        "type": "gnomon.task.other.v1",
        "priority": "soon",
        "status": "unknown",
    }
    sample = golden(name)
    tried = [field for field in wrong if sample.get(field) is not None]
    assert tried
    for field in tried:
        assert not validator(message_of(name).name).is_valid({**sample, field: wrong[field]}), field


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("task.")])
def test_readers_may_meet_fields_that_they_do_not_know(name: str) -> None:
    assert validator(message_of(name).name).is_valid({**golden(name), "of_a_later_version": 1})


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("command.")])
def test_commands_do_not_take_fields_that_are_not_known(name: str) -> None:
    assert not validator(message_of(name).name).is_valid({**golden(name), "of_a_later_version": 1})


def test_a_task_as_it_is_read_may_be_sent_back() -> None:
    """Fields that only the system sets are ignored, and the schemas allow them."""
    task = golden("task.created")["task"]
    assert set(task) == set(Task.__struct_fields__)
    assert validator("command.create").is_valid(task)
    assert validator("command.update").is_valid(task)


EXCLUDES_REFUSED: list[Any] = [
    *("sat", 6, ["someday"], [7], [2.5], [None], ["20260301"], [{"holiday": "DE"}], [{"holidays": 3}]),
    *([{"holidays": []}], [{"from": "soon", "to": "2026-12-24"}], {"days": ["sat"]}, {"dates": ["24.12."]}),
    *({"weekdays": ["saturday"]}, {"ranges": ["2026-12-24"]}, ["2026-12-24"] * 1001),
]
REFUSED: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "x" * 256},
    {"name": 7},
    {"nam": "N"},
    {"task_type": "a b"},
    {"task_type": "_internal"},
    {"description": "x" * 4097},
    {"config": [1]},
    {"config": "text"},
    {"pool": "x" * 65},
    {"tags": [""]},
    {"tags": ["x" * 101]},
    {"tags": ["t"] * 65},
    {"priority": "soon"},
    {"credits_per_run": -1},
    {"due_date": "tomorrow"},
    {"reminder_time": "2026-11-21T09:00:00"},
    {"timeout_seconds": 0},
    {"timeout_seconds": 86_401},
    {"total_timeout_seconds": -1},
    {"retry": {"max_attempts": 0}},
    {"retry": {"max_attempts": 101}},
    {"retry": {"jitter": 1.1}},
    {"retry": {"factor": 0.5}},
    {"retry": {"max_seconds": 86_401}},
    {"retry": {"backoff": "random"}},
    {"overlap": "queue_some"},
    {"catch_up": {"policy": "some"}},
    {"catch_up": {"limit": 0}},
    {"catch_up": {"grace_seconds": 366 * 86_400 + 1}},
    {"expires_seconds": 0},
    {"concurrency_key": ""},
    {"concurrency_key": "x" * 256},
    {"concurrency_limit": 0},
    {"rate_limit": {"count": 0, "per_seconds": 1}},
    {"rate_limit": {"count": 1001, "per_seconds": 1}},
    {"rate_limit": {"count": 1, "per_seconds": 0}},
    {"rate_limit": {"count": 1}},
    {"unique_for_seconds": 0},
    {"paused": "yes"},
    {"schedule": {"kind": "yearly"}},
    {"schedule": {"kind": "cron", "expresion": "* * * * *"}},
    {"schedule": {"kind": "interval", "every_seconds": 0}},
    {"schedule": {"kind": "interval", "every_seconds": 60, "jitter_seconds": -1}},
    {"schedule": {"kind": "interval", "every_seconds": 60, "start_at": "soon"}},
    {"schedule": {"kind": "once"}},
    *({"schedule": {"kind": "daily", "time": "09:00", "exclude": exclude}} for exclude in EXCLUDES_REFUSED),
    {"schedule": {"kind": "daily", "time": "09:00", "max_runs": 0}},
    *({name: "x" if default is None else 7} for name, default in NOT_YET.items()),
]


@pytest.mark.parametrize("wrong", REFUSED, ids=lambda wrong: msgspec.json.encode(wrong).decode()[:60])
def test_what_the_shard_refuses_the_schemas_of_create_and_update_refuse(wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        _create({**TASK, **wrong})
    assert not validator("command.create").is_valid({**TASK, **wrong})
    if "task_type" not in wrong and "kind" in wrong.get("schedule", {"kind": ""}):
        with pytest.raises(Refused):
            _update(wrong)
        assert not validator("command.update").is_valid(wrong)


TAKEN: list[dict[str, Any]] = [
    {"task_type": "http_request"},
    {"description": None, "pool": "mail-2", "tags": ["a", "b"], "metadata": {"x": {"y": [1]}}},
    {"timeout_seconds": 0.5, "total_timeout_seconds": 86_400, "expires_seconds": 1, "credits_per_run": 0.25},
    {"due_date": "2026-11-21T09:00:00+05:45", "reminder_time": "2026-11-21T09:00:00Z"},
    {"retry": {"max_attempts": 100, "backoff": "constant", "initial_seconds": 0, "jitter": 1}},
    {
        "overlap": "queue",
        "catch_up": {"policy": "skip", "after_seconds": 0},
        "priority": "urgent",
        "paused": True,
    },
    {"schedule": {"kind": "cron", "minute": "*/5", "day_of_week": 0, "timezone": "Asia/Kathmandu"}},
    {"schedule": {"kind": "interval", "minutes": 5, "hours": 1, "jitter_seconds": 12.5}},
    {"schedule": {"kind": "once", "at": "2029-11-21T09:00:00"}},
    {
        "schedule": {
            "kind": "daily",
            "time": "09:00",
            "exclude": [
                *("2026-12-24", "SAT", 6, {"holidays": "DE"}, {"holidays": ["DE-BY", "US"]}),
                {"from": "2026-12-24", "to": "2027-01-02"},
            ],
        }
    },
    {
        "schedule": {
            "kind": "interval",
            "days": 1,
            "exclude": {
                "dates": ["2026-12-24"],
                "weekdays": ["sat", 6],
                "holidays": "DE",
                "ranges": [{"from": "2026-12-24", "to": "2027-01-02"}],
            },
        }
    },
    {"schedule": {"kind": "daily", "time": "09:00", "exclude": None, "max_runs": None}},
    {"schedule": None, "status": "running", "version": 7},
    {"concurrency_key": "account 7", "concurrency_limit": 3, "unique_for_seconds": 0.5},
    {"rate_limit": {"count": 1000, "per_seconds": 0.1}},
    dict(NOT_YET.items()),
]


@pytest.mark.parametrize("given", TAKEN, ids=lambda given: msgspec.json.encode(given).decode()[:60])
def test_what_the_shard_takes_the_schemas_take(given: dict[str, Any]) -> None:
    body = msgspec.json.decode(msgspec.json.encode({**TASK, **given}))
    _create(body)
    assert [error.message for error in validator("command.create").iter_errors(body)] == []
    assert [error.message for error in validator("command.update").iter_errors(body)] == []


PATCHES: list[dict[str, Any]] = [
    {},
    {"description": None, "retry": None, "schedule": None, "config": None, "tags": None, "overlap": None},
    {"retry": {"max_attempts": 4, "jitter": None}},
    {"catch_up": {"after_seconds": None}},
    {"schedule": {"jitter_seconds": 3}},
    {"schedule": {"exclude": ["sun", {"holidays": "FR"}]}},
    {"schedule": {"kind": "interval", "every_seconds": 5}},
]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: msgspec.json.encode(patch).decode()[:60])
def test_a_patch_that_the_shard_takes_fits(patch: dict[str, Any]) -> None:
    _update(patch)
    assert [error.message for error in validator("command.update").iter_errors(patch)] == []


@pytest.mark.parametrize(
    "patch",
    [{"name": None}, {"task_type": None}, {"retry": {"attempts": 1}}, {"status": "asleep"}, {"status": None}],
)
def test_a_patch_that_the_shard_refuses_does_not_fit(patch: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        _update(patch)
    assert not validator("command.update").is_valid(patch)


@pytest.mark.parametrize(
    "body", [{"overlap": "queue_some"}, {"trigger": 1}, {"config": []}, {"overlap": "x"}]
)
def test_a_run_that_is_refused_does_not_fit(body: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        parse_run(msgspec.json.encode(body))
    assert not validator("command.run").is_valid(body)


def test_sizes_that_json_schema_cannot_say_stand_beside_it() -> None:
    properties = schema("command.create")["properties"]
    assert properties["config"]["x-maxBytes"] == 256 * 1024
    assert properties["metadata"]["x-maxBytes"] == 64 * 1024
    assert schema("command.run")["properties"]["trigger_data"]["x-maxBytes"] == 256 * 1024
    assert schema("task.executed")["properties"]["result"]["x-maxBytes"] == 256 * 1024


def test_every_field_says_what_it_means() -> None:
    silent = [
        f"{message.name}.{name}"
        for message in MESSAGES
        for name, told in schema(message.name).get("properties", {}).items()
        if not told.get("description") and "const" not in told
    ]
    assert silent == []


def _create(body: dict[str, Any]) -> TaskSpec:
    return parse_create(
        msgspec.json.encode(body), now_ms=NOW_MS, created_at_ms=NOW_MS, default_timezone="UTC"
    )


def _update(patch: dict[str, Any]) -> TaskSpec:
    current = _create({**TASK, "schedule": {"kind": "interval", "every_seconds": 60}})
    body = msgspec.json.encode(patch)
    wanted_status(body)
    return parse_update(body, current, now_ms=NOW_MS, created_at_ms=NOW_MS, default_timezone="UTC")


def _lonely_references(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(map(_lonely_references, schema))
    if not isinstance(schema, dict):
        return True
    return ("$ref" not in schema or len(schema) == 1) and all(map(_lonely_references, schema.values()))


def test_samples_of_commands_are_taken_by_the_shard() -> None:
    _create(samples()["command.create"])  # type: ignore[arg-type]  # plain JSON, as callers write it
    _update(samples()["command.update"])  # type: ignore[arg-type]  # the same
