"""What callers send of a template, made into a `TemplateSpec`.

Shard and api ask the same functions, so both refuse the same inputs with the same words. `default_config`,
`config_schema` and `defaults` are replaced whole by a patch, as a task's `config` is; all other fields are merged
(RFC 7396). What `defaults` may hold is what a task's field of that name may hold.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gnomon_core.rules.decoding import refuse, wrong
from gnomon_core.rules.json_schema import compile_schema, pointer
from gnomon_core.rules.struct_fields import StructFields
from gnomon_core.rules.task_input import stored_fields
from gnomon_core.rules.task_limits import CHECKS, check_object, check_size, check_text
from gnomon_schemas.limits import (
    CATEGORY_MAX_CHARS,
    CONFIG_MAX,
    TEMPLATE_DEFAULTS_MAX,
    TEMPLATE_FIELDS_MAX,
    TEMPLATE_SCHEMA_MAX,
)
from gnomon_schemas.problems import Code, FieldError
from gnomon_schemas.tasks import TaskSpec
from gnomon_schemas.templates import TEMPLATE_SYSTEM_FIELDS, TemplateSpec

__all__ = [
    "DEFAULTS_ALLOWED",
    "changed_template_fields",
    "check_template_patch",
    "field_path",
    "parse_template",
    "parse_template_patch",
]

_FIELDS: Final = StructFields(TemplateSpec, system=TEMPLATE_SYSTEM_FIELDS)
_TASK_FIELDS: Final = frozenset(TaskSpec.__struct_fields__)
DEFAULTS_ALLOWED: Final = _TASK_FIELDS - {
    *("name", "task_type", "config", "template_id", "credits_per_run"),  # which the template has itself
    *("due_date", "reminder_time", "paused"),  # which say something of one task
}
"""Fields of a task that a template may set under `defaults`."""
_ALIKE: Final = ("name", "description", "task_type", "tags", "credits_per_run")
"""Fields that may hold what a task's of the same name may."""
_CARRIED: Final = ("default_config", "config_schema")
_PATH_MAX_CHARS: Final = 255


def parse_template(data: bytes) -> TemplateSpec:
    """The spec of a new template. Fields that only the system sets are ignored. Raises Refused with every error."""
    given = _FIELDS.given(data)
    values, errors = _FIELDS.decode(given)
    refuse(errors + _FIELDS.missing(given) + _check(values))
    return TemplateSpec(**_kept(values))


def parse_template_patch(data: bytes, current: TemplateSpec) -> TemplateSpec:
    """The spec after a merge patch; `current` itself when the patch changes nothing. Null takes a field back to its
    default. Raises Refused with every error."""
    values, defaults = check_template_patch(data)
    changed = msgspec.structs.replace(current, **_kept(values), **defaults)
    return changed if changed_template_fields(current, changed) else current


def check_template_patch(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """What can be said of a merge patch without the template: the fields that it sets, and those that it takes back,
    with their defaults. Raises Refused with every error."""
    sets, defaults, nulls = _FIELDS.split(_FIELDS.given(data))
    values, errors = _FIELDS.decode(sets)
    refuse(errors + nulls + _check(values))
    return values, defaults


def changed_template_fields(old: TemplateSpec, new: TemplateSpec) -> tuple[str, ...]:
    """Names of the fields in which two specs differ as JSON values, in the order of the Struct."""
    return _FIELDS.changed(old, new)


def field_path(field: str) -> tuple[str, ...]:
    """Where a field that a template requires, or leaves open, is in the body of a task.

    `schedule` is the task's own; `location` and `city.name` are in its config, as `config.location` is.
    """
    path = tuple(field.split("."))
    return path if path[0] in _TASK_FIELDS else ("config", *path)


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    """Values as they are kept: decoding left views into the caller's whole body."""
    return {name: msgspec.Raw(bytes(value)) if name in _CARRIED else value for name, value in values.items()}


def _check(values: dict[str, Any]) -> list[FieldError]:
    """Everything wrong with the fields that are given, beyond their types."""
    found: list[FieldError] = []
    for name, value in values.items():
        at = f"#/{name}"
        if name in _ALIKE:
            found += CHECKS[name](value, at)
        elif name == "category":
            found += check_text(value, at, shortest=1, longest=CATEGORY_MAX_CHARS)
        elif name == "default_config":
            found += check_object(value, at, largest=CONFIG_MAX)
        elif name == "config_schema":
            found += _check_schema(bytes(value), at)
        elif name in ("required_fields", "optional_fields"):
            found += _check_paths(name, value or (), at)
        elif name == "defaults":
            found += _check_defaults(value, at)
    return found


def _check_schema(raw: bytes, at: str) -> list[FieldError]:
    try:
        compile_schema(raw)
    except ValueError as error:
        return wrong(at, str(error))
    return check_size(len(raw), at, TEMPLATE_SCHEMA_MAX)


def _check_paths(name: str, paths: tuple[str, ...], at: str) -> list[FieldError]:
    if len(paths) > TEMPLATE_FIELDS_MAX:
        return wrong(at, f"has {len(paths)} fields; allowed: up to {TEMPLATE_FIELDS_MAX}")
    found: list[FieldError] = []
    for index, text in enumerate(paths):
        here = pointer(at, [index])
        found += check_text(text, here, shortest=1, longest=_PATH_MAX_CHARS)
        if "" in text.split("."):
            found += wrong(here, f"is {text!r}; allowed: names with single dots between them")
        elif field_path(text)[0] in ("template_id", "task_type"):
            found += wrong(here, f"is {text!r}, which the template says itself")
        elif name == "optional_fields" and field_path(text)[0] != "config":
            found += wrong(
                here, f"is {text!r}; every field of the task but its config is open to callers anyway"
            )
    return found


def _check_defaults(given: dict[str, Any], at: str) -> list[FieldError]:
    allowed = ", ".join(sorted(DEFAULTS_ALLOWED))
    found = [
        FieldError(
            pointer=pointer(at, [name]),
            code=Code.UNKNOWN_FIELD,
            message=f"the field {name!r} cannot have a default here; allowed: {allowed}",
        )
        for name in given
        if name not in DEFAULTS_ALLOWED
    ]
    encoded = {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name, value in given.items()
        if name in DEFAULTS_ALLOWED
    }
    _, faults = stored_fields(encoded, now_ms=None, created_at_ms=0, default_timezone="UTC")
    found += [
        msgspec.structs.replace(error, pointer=at + error.pointer.removeprefix("#")) for error in faults
    ]
    return found + check_size(len(msgspec.json.encode(given)), at, TEMPLATE_DEFAULTS_MAX)
