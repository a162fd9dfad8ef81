"""The templates of the starting set: each can be made, and a task from it with what it asks for."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gnomon_api.starting_templates import STARTING_TEMPLATES
from gnomon_core.rules.json_schema import check_config, compile_schema
from gnomon_core.rules.task_input import parse_create
from gnomon_core.rules.template_input import field_path, parse_template
from gnomon_core.rules.templating import completed_body
from gnomon_core.rules.workless import WORKLESS_TYPES, check_reminder
from gnomon_executor.builtin.http_request import HttpRequestConfig
from gnomon_schemas.accounts import Tier
from gnomon_schemas.limits import is_id
from gnomon_schemas.problems import Refused

GIVEN: dict[str, Any] = {
    "url": "https://service.example.org/",
    "topics": ["science"],
    "name": "Mine",
    "due_date": "2030-01-01T00:00:00Z",
    "reminder_time": "2030-01-01T00:00:00Z",
    "schedule": {"kind": "daily", "time": "09:00"},
}
NOW_MS = 1_795_000_000_000


def _body(template_id: str) -> dict[str, Any]:
    """A body with just what the template requires."""
    body: dict[str, Any] = {"template_id": template_id}
    for field in STARTING_TEMPLATES[template_id].get("required_fields", ()):
        *above, last = field_path(field)
        inner = body
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = GIVEN.get(last, "something")
    return body


@pytest.mark.parametrize("template_id", STARTING_TEMPLATES)
def test_a_task_can_be_made_of_what_the_template_asks_for(template_id: str) -> None:
    assert is_id(template_id)
    spec = parse_template(msgspec.json.encode(STARTING_TEMPLATES[template_id]))
    data = completed_body(
        json.dumps(_body(template_id)).encode(),
        {template_id: spec}.get,
        tier=Tier.ENTERPRISE,
        may_set_price=False,
        default_timezone="UTC",
    )
    task = parse_create(data, now_ms=NOW_MS, created_at_ms=NOW_MS, default_timezone="UTC")
    check_reminder(task)
    if task.task_type in WORKLESS_TYPES:
        assert WORKLESS_TYPES[task.task_type].check(bytes(task.config)) == []
    elif task.task_type == "http_request":
        schema = msgspec.json.encode(msgspec.json.schema(HttpRequestConfig))
        assert check_config(bytes(task.config), compile_schema(schema)) == []
    else:
        assert task.task_type == "echo"


@pytest.mark.parametrize(
    "template_id", [one for one, spec in STARTING_TEMPLATES.items() if spec.get("required_fields")]
)
def test_without_what_it_asks_for_none_can_be_made(template_id: str) -> None:
    spec = parse_template(msgspec.json.encode(STARTING_TEMPLATES[template_id]))
    with pytest.raises(Refused) as caught:
        completed_body(
            json.dumps({"template_id": template_id}).encode(),
            {template_id: spec}.get,
            tier=Tier.ENTERPRISE,
            may_set_price=False,
            default_timezone="UTC",
        )
    assert len(caught.value.problem.errors) >= len(spec.required_fields)
