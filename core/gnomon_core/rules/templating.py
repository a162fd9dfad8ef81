"""Making the body of a task from a template and what a caller gives: pure, so that shard and api agree.

What the caller gives goes before what the template has. The two configs are merged (RFC 7396): null in the caller's
takes a default away. A field that the template requires has to be in the caller's own body, also where the template
has a default for it, and every one that is missing is named. What comes out is an ordinary body of a task, to be read
as any other (`task_input`); it is checked against the template's own schema here, and against the type's as ever.

Once made, the task is on its own: neither a change of its config nor one of the template is checked against the other.
Only its price stays the template's to say (`check_price`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from gnomon_core.rules.decoding import check_object_text, refuse
from gnomon_core.rules.json_schema import check_config, compile_schema, pointer
from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.rules.task_input import check_given
from gnomon_core.rules.template_input import field_path
from gnomon_schemas.accounts import Tier
from gnomon_schemas.problems import Code, FieldError, Refused
from gnomon_schemas.tasks import TaskSpec
from gnomon_schemas.templates import TemplateSpec

__all__ = ["check_price", "completed_body", "merged_body", "named_template", "same_by_template"]

_MARK: Final = b'"template_id"'


class _Named(msgspec.Struct):
    template_id: Any = None


def named_template(data: bytes) -> str | None:
    """The template that the body of a new task names; None where it names none, or nothing that could be read."""
    if _MARK not in data and b"\\" not in data:
        # A name may be written with escapes.
        return None
    try:
        named = _decode_named(data).template_id
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return named if isinstance(named, str) else None


_decode_named: Final = msgspec.json.Decoder(_Named).decode


def completed_body(
    data: bytes,
    find: Callable[[str], TemplateSpec | None],
    *,
    tier: Tier | None,
    may_set_price: bool,
    default_timezone: str,
) -> bytes:
    """The body of a new task as it is to be read: completed from the template that it names, if it names one.

    `tier`: the owner's; None: the system's own tasks, which no tier holds back. `may_set_price`: whether the caller may
    choose other `credits_per_run` than the template's. Raises Refused with every error of what is given, else with the
    reason why the template cannot be used, else with every error that the template is the reason of.
    """
    template_id = named_template(data)
    if template_id is None:
        return data
    check_given(data, default_timezone=default_timezone)
    spec = find(template_id)
    if spec is None:
        raise _at_template(Code.TEMPLATE_NOT_FOUND, f"there is no template {template_id!r}")
    _check_usable(template_id, spec, tier)
    return merged_body(data, template_id, spec, may_set_price=may_set_price)


def _check_usable(template_id: str, spec: TemplateSpec, tier: Tier | None) -> None:
    if not spec.is_active:
        raise _at_template(Code.TEMPLATE_INACTIVE, f"the template {template_id!r} is not active")
    wanted = spec.required_subscription_level
    if tier is not None and not tier.includes(wanted):
        raise _at_template(
            Code.SUBSCRIPTION_REQUIRED,
            f"the template {template_id!r} asks for the subscription level {wanted.value!r}; the owner's is "
            f"{tier.value!r}",
        )


def merged_body(data: bytes, template_id: str, spec: TemplateSpec, *, may_set_price: bool) -> bytes:
    """The body of a task made from a template. Raises Refused with every error that the template is the reason of."""
    given = check_object_text(data)
    errors = _missing(given, spec, template_id)
    errors += _fixed(given, spec, template_id, may_set_price=may_set_price)
    body: dict[str, Any] = {
        "name": spec.name,
        **spec.defaults,
        "task_type": spec.task_type,
        "credits_per_run": spec.credits_per_run,
        **{name: value for name, value in given.items() if name != "config"},
    }
    config = _merged_config(given, spec)
    body["config"] = config
    if isinstance(config, dict):
        errors += check_config(msgspec.json.encode(config), compile_schema(bytes(spec.config_schema)))
    refuse(errors)
    return msgspec.json.encode(body)


def same_by_template(data: bytes, current: TaskSpec) -> bytes:
    """The body that a caller gives once more for a task that is there: completed from the task itself.

    The template may have changed since, or be gone; whether the caller asks for the same does not depend on it. So
    what is left out counts as what the task has. Raises Refused.
    """
    given = check_object_text(data)
    fields = {name: getattr(current, name) for name in TaskSpec.__struct_fields__}
    config = given.get("config", {})
    if isinstance(config, dict):
        config = merge_patch(msgspec.json.decode(current.config), config)
    return msgspec.json.encode({**fields, **given, "config": config})


def check_price(current: TaskSpec, fields: Iterable[str], *, may_set_price: bool) -> None:
    """Refuse a change of the credits of a task that was made from a template: they are the template's to say.

    `fields`: those that the change gives another value. Raises Refused.
    """
    if "credits_per_run" not in fields or current.template_id is None or may_set_price:
        return
    message = f"are those of the template {current.template_id!r}: only an admin may change them"
    raise Refused.at("#/credits_per_run", message, Code.FORBIDDEN)


def _at_template(code: Code, message: str) -> Refused:
    return Refused(code, message, FieldError(pointer="#/template_id", code=code, message=message))


def _merged_config(given: Mapping[str, Any], spec: TemplateSpec) -> Any:
    """The config of the task. What is no object is left as it is: whoever reads the body refuses it."""
    config = given.get("config", {})
    if not isinstance(config, dict):
        return config
    return merge_patch(msgspec.json.decode(spec.default_config), config)


def _missing(given: Mapping[str, Any], spec: TemplateSpec, template_id: str) -> list[FieldError]:
    return [
        FieldError(
            pointer=pointer("#", field_path(field)),
            code=Code.INVALID,
            message=f"this field is required by the template {template_id!r}",
        )
        for field in spec.required_fields
        if _value_at(given, field_path(field)) is None
    ]


def _value_at(given: Any, path: Iterable[str]) -> Any:
    for name in path:
        if not isinstance(given, dict) or name not in given:
            return None
        given = given[name]
    return given


def _fixed(
    given: Mapping[str, Any], spec: TemplateSpec, template_id: str, *, may_set_price: bool
) -> list[FieldError]:
    """What the caller gives although the template says it."""
    errors = []
    if given.get("task_type", spec.task_type) != spec.task_type:
        errors.append(_fixed_error(("task_type",), template_id, f"it is {spec.task_type!r}"))
    price = given.get("credits_per_run", spec.credits_per_run)
    if price != spec.credits_per_run and not may_set_price:
        errors.append(_fixed_error(("credits_per_run",), template_id, f"they are {spec.credits_per_run:g}"))
    config = given.get("config")
    if spec.optional_fields is not None and isinstance(config, dict):
        allowed = [
            path
            for field in (*spec.required_fields, *spec.optional_fields)
            if (path := field_path(field))[0] == "config"
        ]
        shown = ", ".join(sorted({".".join(path[1:]) for path in allowed})) or "none"
        errors += [
            _fixed_error(path, template_id, f"open to callers are of the config: {shown}")
            for path in _leaves(config, ("config",))
            if not any(path[: len(open_)] == open_ for open_ in allowed)
        ]
    return errors


def _fixed_error(path: tuple[str, ...], template_id: str, words: str) -> FieldError:
    return FieldError(
        pointer=pointer("#", path),
        code=Code.INVALID,
        message=f"this field is said by the template {template_id!r}: {words}",
    )


def _leaves(value: Any, at: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The paths of what is given: an object that holds something stands for what it holds."""
    if not isinstance(value, dict) or not value:
        return [at] if len(at) > 1 else []
    return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*at, name))]
