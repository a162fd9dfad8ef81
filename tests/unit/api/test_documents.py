"""The OpenAPI document and its page, from the routes."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest

from gnomon_api.app import API_ROUTES, OUTER_ROUTES
from gnomon_api.docs_page import render_docs
from gnomon_api.http_io import API
from gnomon_api.openapi import OPERATIONS, openapi
from tests.integration.api.stories import a_task


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    routes = [*((API, one) for one in API_ROUTES), *(("", one) for one in OUTER_ROUTES)]
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(openapi(routes, "1.2.3")))
    return made


def test_every_route_is_in_it_and_nothing_else(document: dict[str, Any]) -> None:
    told = {one["operationId"] for methods in document["paths"].values() for one in methods.values()}
    assert told == set(OPERATIONS)
    assert {path for path in document["paths"] if "{" in path} >= {
        "/api/v1/tasks/{task_id}",
        "/api/v1/executions/{execution_id}",
        "/api/v1/commands/{command_id}",
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = msgspec.json.encode(document).decode()
    names = set(re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text))
    assert names <= set(document["components"]["schemas"])
    assert "Problem" in names


def test_what_is_strict_on_input_is_strict_in_the_document(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    assert schemas["TaskSpec"]["additionalProperties"] is False
    assert set(schemas["TaskSpec"]["required"]) == {"name", "task_type"}
    assert schemas["Cron"]["properties"]["kind"] == {"const": "cron"}


def test_a_task_as_it_is_answered_fits_its_schema(document: dict[str, Any]) -> None:
    answer = document["paths"]["/api/v1/tasks/{task_id}"]["get"]["responses"]["200"]
    schema = {
        **answer["content"]["application/json"]["schema"],
        "components": document["components"],
    }
    validator = jsonschema_rs.validator_for(schema)
    task = msgspec.json.decode(msgspec.json.encode(a_task("T")))
    assert [error.message for error in validator.iter_errors(task)] == []
    assert not validator.is_valid({**task, "priority": "soon"})


def test_the_page_needs_nothing_from_elsewhere(document: dict[str, Any]) -> None:
    page = render_docs(document).decode()
    assert "Gnomon API 1.2.3" in page
    assert "Create a task" in page
    assert re.findall(r'(?:src|href)="(?!#|/)[^"]*"', page) == []
    assert "<script" not in page
