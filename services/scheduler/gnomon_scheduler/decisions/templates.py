"""What each verb of kind `template` does."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.template_input import changed_template_fields, parse_template, parse_template_patch
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import (
    ObjectDecision,
    check_admin,
    check_free,
    check_there,
    check_verb,
)
from gnomon_scheduler.decisions.telling import command_id, shown
from gnomon_scheduler.object_registers import TemplateRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange
from gnomon_schemas.object_kinds import OBJECT_KINDS
from gnomon_schemas.problems import Code, Refused
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
    check_verb(command, OBJECT_KINDS["template"].verbs)
    check_admin(command)
    if command.verb == "create":
        return _create(reg, command, around)
    check_there(reg, command)
    assert reg is not None  # `check_there` says so
    return _delete(reg, command, around) if command.verb == "delete" else _update(reg, command, around)


def view_template(reg: TemplateRegister) -> Template:
    """The template as everybody reads it."""
    spec = {name: getattr(reg.spec, name) for name in TemplateSpec.__struct_fields__}
    return Template(
        template_id=reg.object_id,
        **spec,
        version=reg.version,
        created_at=format_instant(reg.created_ms),
        updated_at=format_instant(reg.updated_ms),
    )


def _create(reg: TemplateRegister | None, command: Command, around: Surroundings) -> ObjectDecision:
    """Make a template; of one that is there, make sure that it is the same."""
    check_free(reg, command)
    spec = parse_template(command.data)
    if reg is not None:
        differing = changed_template_fields(reg.spec, spec)
        if differing:
            raise Refused(
                Code.ALREADY_EXISTS,
                f"there is a template {reg.object_id!r} already, and it differs in {', '.join(differing)}",
            )
        return ObjectDecision(reg, _updated(reg, (), command, around))
    made = TemplateRegister(
        object_id=command.object_id,
        version=1,
        created_ms=around.now_ms,
        updated_ms=around.now_ms,
        spec=spec,
    )
    event = TemplateCreated(**_about(made, command, around), template=view_template(made))
    return ObjectDecision(made, event, created=True)


def _update(reg: TemplateRegister, command: Command, around: Surroundings) -> ObjectDecision:
    spec = parse_template_patch(command.data, reg.spec)
    changes = tuple(
        FieldChange(field=name, old=shown(getattr(reg.spec, name)), new=shown(getattr(spec, name)))
        for name in changed_template_fields(reg.spec, spec)
    )
    if changes:
        reg = msgspec.structs.replace(reg, spec=spec, version=reg.version + 1, updated_ms=around.now_ms)
    return ObjectDecision(reg, _updated(reg, changes, command, around))


def _delete(reg: TemplateRegister, command: Command, around: Surroundings) -> ObjectDecision:
    parse_body(command.data, DeleteTemplate)
    gone = msgspec.structs.replace(
        reg,
        # A tombstone keeps no more than its name.
        spec=TemplateSpec(name=reg.spec.name, task_type=reg.spec.task_type),
        version=reg.version + 1,
        updated_ms=around.now_ms,
        deleted_ms=around.now_ms,
    )
    event = TemplateDeleted(
        **_about(gone, command, around), deleted_at=format_instant(around.now_ms), template=view_template(reg)
    )
    return ObjectDecision(gone, event)


def _updated(
    reg: TemplateRegister, changes: tuple[FieldChange, ...], command: Command, around: Surroundings
) -> TemplateUpdated:
    return TemplateUpdated(**_about(reg, command, around), changes=changes, template=view_template(reg))


def _about(reg: TemplateRegister, command: Command, around: Surroundings) -> dict[str, Any]:
    return {
        "template_id": reg.object_id,
        "partition": around.partition,
        "occurred_at": format_instant(around.now_ms),
        "command_id": command_id(command),
        "changed_by": command.user,
        "version": reg.version,
    }
