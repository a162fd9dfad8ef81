"""The AsyncAPI document names every message, event and subject of the contract, and leads nowhere that is not there.

Whether it is an AsyncAPI document by the specification is asked of the specification's own parser, in `make e2e`.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator, FormatChecker

from gnomon_schemas import commands, dues, events, members, problems, signals, subjects
from gnomon_schemas.codec import cloud_event_headers
from gnomon_schemas.commands import TASK_VERBS
from gnomon_schemas.documents.channels import CHANNELS, UNDOCUMENTED
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.generate import ASYNCAPI
from gnomon_schemas.samples import samples


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(ASYNCAPI.read_bytes())
    return found


def _at(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in _references(each)]
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for each in value.values() for found in _references(each)]
    return []


def _payload(document: dict[str, Any], name: str) -> Draft7Validator:
    """A validator as a reader of the document has it: schemas are draft 07 there, and refer into the document."""
    schema = {**document["components"]["messages"][name]["payload"]}
    target = {"allOf": [schema], "components": document["components"]}
    return Draft7Validator(target, format_checker=FormatChecker())


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = _references(document)
    assert len(references) > 200
    for reference in references:
        assert _at(document, reference), reference


def test_every_struct_of_the_contract_that_travels_is_in_it(document: dict[str, Any]) -> None:
    abstract = {events.Event, events.ExecutionEvent, events.SlotOutcome}
    structs = {
        struct.__name__
        for module in (commands, dues, events, members, problems, signals)
        for _, struct in inspect.getmembers(module, inspect.isclass)
        if issubclass(struct, msgspec.Struct)
        and struct.__module__ == module.__name__
        and struct not in abstract
    }
    assert structs <= set(document["components"]["schemas"])
    assert len(structs) > 35


def test_every_command_and_event_has_its_channels(document: dict[str, Any]) -> None:
    addresses = {channel["address"]: name for name, channel in document["channels"].items()}
    for verb in TASK_VERBS:
        name = addresses[subjects.command("task", verb, "{task_id}")]
        operation = document["operations"][f"receive_{name}"]
        assert operation["reply"]["channel"] == {"$ref": "#/channels/outcome"}
    for event in EVENT_TYPES:
        assert subjects.live("task", event) in addresses
        stored = document["channels"][addresses[f"task.{event}.{{partition}}.{{task_id}}.{{run}}"]]
        assert stored["x-stream"] == subjects.EVENTS_STREAM


def test_every_subject_of_the_contract_is_in_it_or_said_to_be_nobody_elses(document: dict[str, Any]) -> None:
    """Each function of `subjects` that makes a publishable subject makes one that a channel, or the list, has."""
    made = {
        subjects.command("task", "create", "T"),
        subjects.event("task", "created", 3, "T"),
        subjects.live("task", "executed"),
        subjects.due("p", "high", 3, "T"),
        subjects.due_fence(3),
        subjects.progress("T", "r-c"),
        subjects.cancel_signal("T", "r-c"),
        subjects.executor_claims("e"),
        subjects.SCHEDULER_STATUS,
        subjects.task_register(3, "T"),
        subjects.shard_register(3),
        subjects.leader_ping(3, 4),
        *(f"$KV.{bucket}." for bucket in (subjects.LEASES_BUCKET, subjects.MEMBERS_BUCKET)),
        *(f"$KV.{bucket}." for bucket in (subjects.TYPES_BUCKET, subjects.ACCOUNTS_BUCKET)),
    }
    addresses = [channel["address"] for channel in document["channels"].values()]
    known = [*addresses, *(name.replace("<", "{").replace(">", "}") for name in UNDOCUMENTED)]
    for subject in made:
        assert any(_fits(subject, address) for address in known), subject


def _fits(subject: str, address: str) -> bool:
    if subject.startswith("$KV."):
        return address.startswith(subject)
    parts, wanted = subject.split("."), address.split(".")
    return len(parts) == len(wanted) and all(
        part == each or each.startswith("{") for part, each in zip(parts, wanted, strict=True)
    )


def test_parameters_are_those_of_the_address(document: dict[str, Any]) -> None:
    for channel in document["channels"].values():
        named = {part[1:-1] for part in channel["address"].split(".") if part.startswith("{")}
        assert set(channel.get("parameters", {})) == named, channel["address"]


def test_every_message_has_examples_that_fit(document: dict[str, Any]) -> None:
    for name, message in document["components"]["messages"].items():
        assert message["examples"], name
        for example in message["examples"]:
            errors = [error.message for error in _payload(document, name).iter_errors(example["payload"])]
            assert errors == [], name


def test_an_example_that_is_wrong_does_not_fit(document: dict[str, Any]) -> None:
    assert not _payload(document, "task.executed").is_valid({"type": "gnomon.task.executed.v1"})
    assert not _payload(document, "command.run").is_valid({"trigger": 1})
    assert not _payload(document, "command.create").is_valid({"name": "N", "task_type": "a b"})


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_the_headers_that_processes_write_fit(document: dict[str, Any], name: str) -> None:
    event = samples()[next(sample for sample in samples() if sample.startswith(f"task.{name}"))]
    assert isinstance(event, events.Event)
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    headers = cloud_event_headers(event, ce_id="s-1.7", source="gnomon/scheduler/s-1", traceparent=trace)
    schema = document["components"]["messages"][f"task.{name}"]["headers"]
    assert [error.message for error in Draft7Validator(schema).iter_errors(headers)] == []
    assert set(headers) == set(schema["properties"])
    assert not Draft7Validator(schema).is_valid({**headers, "ce-type": "gnomon.task.other.v1"})


def test_a_command_needs_its_id(document: dict[str, Any]) -> None:
    schema = document["components"]["messages"]["command.run"]["headers"]
    assert Draft7Validator(schema).is_valid({"Nats-Msg-Id": "c1", "Gnomon-Reply-To": "_INBOX.x"})
    assert not Draft7Validator(schema).is_valid({"Gnomon-User": "u1"})
    assert not Draft7Validator(schema).is_valid({"Nats-Msg-Id": "c1", "Gnomon-Reply-To": "task.executed"})


def test_channels_are_named_once() -> None:
    assert len({channel.name for channel in CHANNELS}) == len(CHANNELS)
    assert len({channel.address for channel in CHANNELS}) == len(CHANNELS)
