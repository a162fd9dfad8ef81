"""What each verb of kind `template` does."""

from __future__ import annotations

from typing import Final

from gnomon_core.rules.template_input import changed_template_fields, parse_template, parse_template_patch
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import ObjectDecision, SpecKind, decide_object, view_object
from gnomon_scheduler.object_registers import TemplateRegister
from gnomon_schemas.templates import (
    DeleteTemplate,
    Template,
    TemplateCreated,
    TemplateDeleted,
    TemplateSpec,
    TemplateUpdated,
)

__all__ = ["decide_template", "view_template"]


def decide_template(reg: TemplateRegister | None, command: Command, around: Surroundings) -> ObjectDecision:
    """Decide a command of kind `template`. Raises Refused."""
    return decide_object(_KIND, reg, command, around)


def view_template(reg: TemplateRegister) -> Template:
    """The template as everybody reads it."""
    shown: Template = view_object(_KIND, reg)
    return shown


_KIND: Final = SpecKind(
    kind="template",
    register=TemplateRegister,
    entity=Template,
    parse=lambda data, around, made_ms: parse_template(data),
    parse_patch=lambda data, before, around: parse_template_patch(data, before),
    changed=changed_template_fields,
    tombstone=lambda spec: TemplateSpec(name=spec.name, task_type=spec.task_type),
    delete=DeleteTemplate,
    created=TemplateCreated,
    updated=TemplateUpdated,
    deleted=TemplateDeleted,
)
