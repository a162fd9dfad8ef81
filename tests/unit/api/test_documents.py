"""The OpenAPI document and its page, from the routes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gnomon_api.docs_page import render_docs
from gnomon_api.execution_views import EXECUTION_LISTS
from gnomon_api.openapi import OPERATIONS
from gnomon_api.openapi_examples import ANSWERS, BODIES
from gnomon_api.queries import Lists, parse_list
from gnomon_api.task_details import OF_RUNS, past_detail
from gnomon_api.task_views import TASK_LISTS
from gnomon_schemas.problems import CATALOGUE, Refused
from tests.harness.documented import document as made_document
from tests.harness.documented import validator
from tests.integration.api.stories import a_task

WRITES = {"post", "put", "patch"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return made_document()


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]


def test_it_is_openapi(document: dict[str, Any]) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_a_document_that_is_none_is_refused(document: dict[str, Any]) -> None:
    """So that the silence above means something."""
    path = document["paths"]["/api/v1/tasks/{task_id}"]
    broken = {**path, "get": {**path["get"], "parameters": [], "responses": {}}}
    wrong = {**document, "paths": {**document["paths"], "/api/v1/tasks/{task_id}": broken}}
    assert list(OpenAPIV31SpecValidator(wrong).iter_errors())


def test_every_route_is_in_it_and_nothing_else(document: dict[str, Any]) -> None:
    assert {told["operationId"] for _, _, told in operations(document)} == set(OPERATIONS)
    assert {path for path in document["paths"] if "{" in path} >= {
        "/api/v1/tasks/{task_id}",
        "/api/v1/executions/{execution_id}",
        "/api/v1/commands/{command_id}",
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names <= set(document["components"]["schemas"])
    assert "Problem" in names


def test_what_is_strict_on_input_is_strict_in_the_document(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["TaskSpec"]["additionalProperties"] is False
    plain, from_template = schemas["TaskSpec"]["anyOf"]
    assert (set(plain["required"]), from_template["required"]) == ({"name", "task_type"}, ["template_id"])
    assert schemas["Cron"]["properties"]["kind"]["const"] == "cron"
    assert schemas["TaskSpec"]["properties"]["schedule"]["discriminator"]["propertyName"] == "kind"


def test_every_body_has_examples_that_fit(document: dict[str, Any]) -> None:
    with_body = {told["operationId"]: told for _, _, told in operations(document) if "requestBody" in told}
    assert set(with_body) == set(BODIES)
    for name, told in with_body.items():
        content = told["requestBody"]["content"]["application/json"]
        assert content["examples"], name
        for title, example in content["examples"].items():
            errors = [error.message for error in validator(content["schema"]).iter_errors(example["value"])]
            assert errors == [], f"{name}: {title}"


def test_a_body_with_an_unknown_field_does_not_fit(document: dict[str, Any]) -> None:
    for _, _, told in operations(document):
        if "requestBody" in told:
            content = told["requestBody"]["content"]["application/json"]
            example = next(iter(content["examples"].values()))["value"]
            assert not validator(content["schema"]).is_valid({**example, "of_no_version": 1}), told[
                "operationId"
            ]


def test_every_answer_with_a_body_under_the_prefix_has_an_example_that_fits(document: dict[str, Any]) -> None:
    shown = set()
    for _, path, told in operations(document):
        for status, answer in told["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                if media_type == "application/problem+json":
                    examples = [example["value"] for example in content["examples"].values()]
                elif "example" in content or "examples" in content:
                    several = content.get("examples", {"": {"value": content.get("example")}})
                    examples = [example["value"] for example in several.values()]
                    shown.add((told["operationId"], int(status)))
                else:
                    assert not path.startswith("/api/v1"), f"{told['operationId']} {status} shows nothing"
                    continue
                for example in examples:
                    errors = [error.message for error in validator(content["schema"]).iter_errors(example)]
                    assert errors == [], f"{told['operationId']} {status}"
    assert shown == set(ANSWERS)


def test_problems_are_told_by_code_and_status(document: dict[str, Any]) -> None:
    told = document["paths"]["/api/v1/tasks"]["post"]["responses"]
    assert set(told) == {"200", "201", "202", "400", "403", "404", "409", "413", "422", "500", "503"}
    for status, answer in told.items():
        content = answer["content"].get("application/problem+json")
        if content is not None:
            for code, example in content["examples"].items():
                assert f"`{code}`" in answer["description"]
                assert str(example["value"]["status"]) == status
    codes = {code for code, entry in CATALOGUE.items() if entry.status == 422}
    assert {"invalid_schedule", "unknown_task_type", "invalid_config"} <= set(
        told["422"]["content"]["application/problem+json"]["examples"]
    )
    assert codes >= set(told["422"]["content"]["application/problem+json"]["examples"])


SAMPLES = {
    "overdue": "true",
    "limit": "7",
    "status": "completed",
    "priority": "urgent,low",
    "trigger": "manual",
    "metadata.<key>": "x",
}


@pytest.mark.parametrize(
    ("path", "lists"),
    [("/api/v1/tasks", TASK_LISTS), ("/api/v1/executions", EXECUTION_LISTS)],
    ids=["tasks", "executions"],
)
def test_every_filter_is_documented_and_every_documented_one_is_taken(
    document: dict[str, Any], path: str, lists: Lists
) -> None:
    params = [one for one in document["paths"][path]["get"]["parameters"] if one["in"] == "query"]
    named = {one["name"] for one in params}
    assert named == {"limit", "cursor", "sort"} | {
        "metadata.<key>" if name == "metadata" else name for name in lists.filters
    }
    for one in params:
        if one["name"] == "cursor":
            continue
        instant = one["schema"].get("format") == "date-time"
        default = one["schema"].get("default", "2026-11-21T09:00:00Z" if instant else "x")
        value = SAMPLES.get(one["name"], str(default))
        parse_list(lists, [(one["name"].replace("<key>", "team"), value)])
        for allowed in one["schema"].get("items", one["schema"]).get("enum", ()):
            parse_list(lists, [(one["name"], allowed)])
    with pytest.raises(Refused):
        parse_list(lists, [("statsu", "completed")])


def test_a_task_as_it_is_answered_fits_its_schema(document: dict[str, Any]) -> None:
    answer = document["paths"]["/api/v1/tasks/{task_id}"]["get"]["responses"]["200"]
    fits = validator(answer["content"]["application/json"]["schema"])
    for runs_from in (None, datetime(2026, 11, 1, tzinfo=UTC)):
        task = msgspec.json.decode(msgspec.json.encode(past_detail(a_task("T"), runs_from, OF_RUNS)))
        assert [error.message for error in fits.iter_errors(task)] == []
        assert not fits.is_valid({**task, "priority": "soon"})


def test_the_page_needs_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    page = render_docs(document).decode()
    assert "Gnomon API 1.2.3" in page
    assert "Create a task" in page
    assert "on demand" in page
    assert re.findall(r'(?:src|href)="(?!#|/)[^"]*"', page) == []
    assert "<script" not in page
