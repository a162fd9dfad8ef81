"""Samples of the messages about templates: see `samples`."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_schemas import templates
from gnomon_schemas.accounts import Tier
from gnomon_schemas.commands import Outcome
from gnomon_schemas.events import FieldChange

__all__ = ["template_samples"]

_AT = "2026-11-21T09:00:00.000Z"
_ID = "daily-weather"
_SPEC: dict[str, Any] = {
    "name": "Daily weather",
    "description": "Fetches the forecast every morning.",
    "category": "daily",
    "task_type": "http_request",
    "default_config": {"url": "https://weather.example.org/v1/forecast", "method": "GET"},
    "required_fields": ["params.location"],
    "optional_fields": ["params.units"],
    "config_schema": {
        "properties": {"params": {"properties": {"location": {"type": "string", "minLength": 1}}}}
    },
    "required_subscription_level": "basic",
    "credits_per_run": 1,
    "tags": ["weather"],
    "defaults": {"schedule": {"kind": "daily", "time": "07:00"}, "tags": ["weather"]},
}


def _template(version: int = 1) -> templates.Template:
    spec = msgspec.json.decode(msgspec.json.encode(_SPEC), type=templates.TemplateSpec)
    values = {name: getattr(spec, name) for name in templates.TemplateSpec.__struct_fields__}
    return templates.Template(template_id=_ID, **values, version=version, created_at=_AT, updated_at=_AT)


def template_samples() -> dict[str, msgspec.Struct | dict[str, Any]]:
    """A sample of every message of kind `template`, by the name of its golden file."""
    event: dict[str, Any] = {
        "template_id": _ID,
        "partition": 3,
        "occurred_at": _AT,
        "command_id": "c8",
        "changed_by": "u1",
    }
    return {
        "command.template.create": _SPEC,
        "command.template.update": {"required_subscription_level": "pro", "description": None},
        "command.template.delete": templates.DeleteTemplate(),
        "template.created": templates.TemplateCreated(**event, version=1, template=_template()),
        "template.updated": templates.TemplateUpdated(
            **event,
            version=2,
            changes=(FieldChange(field="required_subscription_level", old=Tier.FREE, new=Tier.BASIC),),
            template=_template(2),
        ),
        "template.deleted": templates.TemplateDeleted(
            **event, version=3, deleted_at=_AT, template=_template(2)
        ),
        "outcome.template": Outcome(ok=True, command_id="c8", seq=45, template=_template(), created=True),
    }
