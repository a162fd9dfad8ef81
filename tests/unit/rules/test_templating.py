"""The body of a task that is made from a template: what is merged, what is missing, what is not open to callers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gnomon_core.rules.task_input import changed_fields, parse_create
from gnomon_core.rules.template_input import field_path, parse_template, parse_template_patch
from gnomon_core.rules.templating import check_price, completed_body, named_template, same_by_template
from gnomon_schemas.accounts import Tier
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import TaskSpec
from gnomon_schemas.templates import TemplateSpec

WEATHER: dict[str, Any] = {
    "name": "Daily weather",
    "task_type": "http_request",
    "default_config": {"url": "https://w.example.org", "params": {"units": "metric"}},
    "required_fields": ["params.location"],
    "config_schema": {
        "properties": {"params": {"properties": {"location": {"type": "string", "minLength": 2}}}}
    },
    "required_subscription_level": "basic",
    "credits_per_run": 2,
    "defaults": {"schedule": {"kind": "daily", "time": "07:00"}, "tags": ["weather"]},
}


def _template(**changes: Any) -> TemplateSpec:
    return parse_template(json.dumps({**WEATHER, **changes}).encode())


def _made(
    given: dict[str, Any], spec: TemplateSpec, *, tier: Tier | None = Tier.PRO, admin: bool = False
) -> dict[str, Any]:
    data = json.dumps({"template_id": "weather", **given}).encode()
    found = {"weather": spec}.get
    body: dict[str, Any] = json.loads(
        completed_body(data, found, tier=tier, may_set_price=admin, default_timezone="UTC")
    )
    return body


def _refused(given: dict[str, Any], spec: TemplateSpec, **options: Any) -> tuple[Code, list[str]]:
    with pytest.raises(Refused) as caught:
        _made(given, spec, **options)
    return caught.value.problem.code, [error.pointer for error in caught.value.problem.errors]


def test_what_the_caller_gives_goes_before_what_the_template_has() -> None:
    made = _made(
        {"config": {"params": {"location": "Berlin"}, "timeout": 5}, "priority": "high"}, _template()
    )
    assert made == {
        "template_id": "weather",
        "name": "Daily weather",
        "task_type": "http_request",
        "config": {
            "url": "https://w.example.org",
            "params": {"units": "metric", "location": "Berlin"},
            "timeout": 5,
        },
        "schedule": {"kind": "daily", "time": "07:00"},
        "tags": ["weather"],
        "priority": "high",
        "credits_per_run": 2,
    }


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"name": "Mine"}, "name", "Mine"),
        ({"schedule": None}, "schedule", None),
        ({"tags": []}, "tags", []),
        ({"task_type": "http_request"}, "task_type", "http_request"),
    ],
)
def test_a_field_that_is_given_is_not_the_templates(given: dict[str, Any], field: str, value: Any) -> None:
    config = {"params": {"location": "Berlin", "units": None}}
    made = _made({"config": config, **given}, _template())
    assert made[field] == value
    assert made["config"]["params"] == {"location": "Berlin"}, "null takes a default away"


@pytest.mark.parametrize(
    ("given", "template", "code", "pointers"),
    [
        ({}, {}, Code.INVALID, ["#/config/params/location"]),
        ({"config": {"params": {"location": None}}}, {}, Code.INVALID, ["#/config/params/location"]),
        (
            {"config": {"params": "Berlin"}},
            {"required_fields": ["params.location", "schedule", "name"]},
            Code.INVALID,
            ["#/config/params/location", "#/schedule", "#/name"],
        ),
        ({"config": {"params": {"location": "B"}}}, {}, Code.INVALID_CONFIG, ["#/config/params/location"]),
        (
            {"config": {"params": {"location": 7}}, "task_type": "echo"},
            {},
            Code.INVALID,
            ["#/task_type", "#/config/params/location"],
        ),
        (
            {"config": {"params": {"location": "Berlin"}, "url": "https://e.org"}},
            {"optional_fields": ["params.units"]},
            Code.INVALID,
            ["#/config/url"],
        ),
        (
            {"config": {"params": {"location": "Berlin"}}, "credits_per_run": 0},
            {},
            Code.INVALID,
            ["#/credits_per_run"],
        ),
        ({"nam": "x", "priority": "top"}, {}, Code.INVALID, ["#/nam", "#/priority"]),
    ],
)
def test_everything_that_is_wrong_is_named(
    given: dict[str, Any], template: dict[str, Any], code: Code, pointers: list[str]
) -> None:
    assert _refused(given, _template(**template)) == (code, pointers)


def test_br_tpl_002_the_required_subscription_level_is_enforced() -> None:
    given = {"config": {"params": {"location": "Berlin"}}}
    for level in Tier:
        spec = _template(required_subscription_level=level.value)
        for tier in Tier:
            if tier.rank >= level.rank:
                _made(given, spec, tier=tier)
            else:
                assert _refused(given, spec, tier=tier) == (Code.SUBSCRIPTION_REQUIRED, ["#/template_id"])
        _made(given, spec, tier=None)  # the system's own


def test_br_tpl_003_an_inactive_template_makes_nothing() -> None:
    given = {"config": {"params": {"location": "Berlin"}}}
    assert _refused(given, _template(is_active=False)) == (Code.TEMPLATE_INACTIVE, ["#/template_id"])
    assert _refused({"template_id": "gone"}, _template()) == (Code.TEMPLATE_NOT_FOUND, ["#/template_id"])


def test_br_tpl_005_a_required_field_is_the_callers_to_give_also_where_there_is_a_default() -> None:
    spec = _template(default_config={"params": {"location": "Berlin"}})
    assert _refused({}, spec) == (Code.INVALID, ["#/config/params/location"])


def test_an_admin_may_ask_for_another_price() -> None:
    given = {"config": {"params": {"location": "Berlin"}}, "credits_per_run": 0}
    assert _made(given, _template(), admin=True)["credits_per_run"] == 0


@pytest.mark.parametrize(
    ("template_id", "fields", "admin", "refused"),
    [
        ("weather", ("name", "credits_per_run"), False, True),
        ("weather", ("name", "credits_per_run"), True, False),
        ("weather", ("name",), False, False),
        (None, ("credits_per_run",), False, False),
    ],
)
def test_the_price_of_a_task_stays_the_templates(
    template_id: str | None, fields: tuple[str, ...], admin: bool, refused: bool
) -> None:
    spec = TaskSpec(name="n", task_type="http_request", template_id=template_id, credits_per_run=2)
    if not refused:
        check_price(spec, fields, may_set_price=admin)
        return
    with pytest.raises(Refused) as caught:
        check_price(spec, fields, may_set_price=admin)
    problem = caught.value.problem
    assert (problem.code, problem.errors[0].pointer) == (Code.FORBIDDEN, "#/credits_per_run")


def test_optional_fields_leave_what_is_below_them_open() -> None:
    spec = _template(optional_fields=["params"])
    made = _made({"config": {"params": {"location": "Berlin", "days": 3}}}, spec)
    assert made["config"]["params"]["days"] == 3


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'{"template_id": "a"}', "a"),
        (b'{"name": "template_id"}', None),
        (b'{"template_id": null}', None),
        (b'{"template_id": 7}', None),
        (b'{"template_id": "a"', None),
        (b'["template_id"]', None),
        (b'{"metadata": {"template_id": "a"}}', None),
        (b'{"template\\u005fid": "a"}', "a"),
    ],
)
def test_which_template_a_body_names(data: bytes, named: str | None) -> None:
    assert named_template(data) == named


def test_the_same_body_again_is_completed_from_the_task_and_not_from_the_template() -> None:
    def read(body: bytes) -> TaskSpec:
        return parse_create(body, now_ms=0, created_at_ms=0, default_timezone="UTC")

    task = read(json.dumps(_made({"config": {"params": {"location": "Berlin"}}}, _template())).encode())
    again = {"template_id": "weather", "config": {"params": {"location": "Berlin"}}}
    assert changed_fields(task, read(same_by_template(json.dumps(again).encode(), task))) == ()
    other = {"template_id": "weather", "config": {"params": {"location": "Paris"}}}
    assert changed_fields(task, read(same_by_template(json.dumps(other).encode(), task))) == ("config",)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("location", ("config", "location")),
        ("city.name", ("config", "city", "name")),
        ("config.name", ("config", "name")),
        ("schedule", ("schedule",)),
        ("metadata.room", ("metadata", "room")),
    ],
)
def test_where_a_field_of_a_template_is(field: str, path: tuple[str, ...]) -> None:
    assert field_path(field) == path


def test_a_patch_replaces_the_config_whole_and_null_takes_back_to_the_default() -> None:
    spec = _template()
    patched = parse_template_patch(
        b'{"default_config": {"a": 1}, "description": "x", "defaults": null}', spec
    )
    assert (json.loads(bytes(patched.default_config)), patched.description, patched.defaults) == (
        {"a": 1},
        "x",
        {},
    )
    read_back = json.dumps({**WEATHER, "template_id": "weather", "version": 3, "available": True}).encode()
    assert parse_template_patch(read_back, spec) is spec
