"""What callers send of a task, made into a `TaskSpec`: the one place where the input of a task is read.

The shard decides with it, and the api asks it before it publishes anything, so that both refuse the same
inputs with the same words. Nothing here knows other tasks, task types or the time: what needs state is the
shard's to check.

`parse_create` reads a whole body. `parse_update` applies a merge patch (RFC 7396) to a spec that is in force,
with two exceptions of the contract: a `schedule` that names its `kind`, and a `config`, replace the old one
whole. What a patch leaves as it was is not checked again: a `once` that has fired may be sent back, and a
rule that became stricter does not lock a task against every other change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from gnomon_core.rules.decoding import check_object_text, decode_field, read_object, refuse, unknown_field
from gnomon_core.rules.json_schema import Validator, check_config, compile_schema
from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.rules.schedule_input import read_input, stored_form
from gnomon_core.rules.task_limits import CHECKS
from gnomon_schemas.clock_text import format_instant, instant_ms, parse_instant
from gnomon_schemas.problems import Code, FieldError
from gnomon_schemas.tasks import SYSTEM_FIELDS, TaskSpec

__all__ = [
    "Validator",
    "changed_fields",
    "check_config",
    "check_given",
    "check_patch",
    "compile_schema",
    "parse_create",
    "parse_update",
    "same_value",
    "stored_fields",
]

_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(TaskSpec)}
_decode_spec: Final = msgspec.json.Decoder(TaskSpec).decode
_INSTANTS: Final = ("due_date", "reminder_time")
_NUMBER: Final = (int, float)
_FOR_GOOD: Final = ("task_type", "template_id")
"""What a task is made with and keeps."""


def parse_create(data: bytes, *, now_ms: int | None, created_at_ms: int, default_timezone: str) -> TaskSpec:
    """The spec of a new task, its schedule in the stored form.

    `now_ms` and `created_at_ms` are epoch milliseconds: a `once` in the past of the first is refused (None:
    that is not looked at), an interval without anchor counts from the second. Fields that only the system
    sets are ignored. Raises Refused with every error.
    """
    given: Iterable[str] = check_object_text(data)
    try:
        spec = _decode_spec(data)
    except msgspec.ValidationError:
        # Something does not fit, or is the system's: field by field tells which, and takes three times as long.
        values, errors = _decode_each(data)
    else:
        values, errors = {name: getattr(spec, name) for name in given}, []
    values, wrong = _settle(values, now_ms, created_at_ms, default_timezone)
    refuse(errors + wrong)
    return TaskSpec(**values)


def _decode_each(data: bytes) -> tuple[dict[str, Any], list[FieldError]]:
    given = _without_system_fields(read_object(data))
    values, errors = _decode(given)
    for name, field in _FIELDS.items():
        if field.required and name not in given:
            errors.append(
                FieldError(pointer=f"#/{name}", code=Code.INVALID, message="this field is required")
            )
    return values, errors


def parse_update(
    data: bytes, current: TaskSpec, *, now_ms: int | None, created_at_ms: int, default_timezone: str
) -> TaskSpec:
    """The spec after a merge patch; `current` itself (the same object) when the patch changes nothing.

    Null takes a field back to its default. Times as in `parse_create`. Raises Refused with every error.
    """
    patch = _without_system_fields(read_object(data))
    cleared = [name for name, raw in patch.items() if name in _FIELDS and bytes(raw) == b"null"]
    merged = {
        name: _merged(raw, name, current) if name in _FIELDS else raw
        for name, raw in patch.items()
        if name not in cleared
    }
    values, errors = _decode(merged)
    values = {name: value for name, value in values.items() if not same_value(value, getattr(current, name))}
    values, wrong = _settle(values, now_ms, created_at_ms, default_timezone)
    for name in _FOR_GOOD:
        goes = name in cleared and not _FIELDS[name].required and getattr(current, name) is not None
        if name in values or goes:
            message = f"cannot be changed after creation; it is {getattr(current, name) or 'null'!r}"
            wrong.append(FieldError(pointer=f"#/{name}", code=Code.INVALID, message=message))
    for name in cleared:
        if _FIELDS[name].required:
            wrong.append(
                FieldError(pointer=f"#/{name}", code=Code.INVALID, message="this field may not be null")
            )
        else:
            values[name] = _default(name)
    refuse(errors + wrong)
    updated = msgspec.structs.replace(current, **values)
    return updated if changed_fields(current, updated) else current


def check_patch(data: bytes) -> dict[str, msgspec.Raw]:
    """What can be said of a merge patch without the task: that it is an object with known fields.

    Returns the fields that a caller may set. Raises Refused with every error.
    """
    patch = _without_system_fields(read_object(data))
    refuse([unknown_field(name, _FIELDS) for name in patch if name not in _FIELDS])
    return patch


def changed_fields(old: TaskSpec, new: TaskSpec) -> tuple[str, ...]:
    """Names of the fields in which two specs differ as JSON values, in the order of the Struct."""
    return tuple(name for name in _FIELDS if not same_value(getattr(old, name), getattr(new, name)))


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: `1` and `1.0` are, `1` and `true` are not."""
    return _same(_plain(one), _plain(other))


def check_given(data: bytes, *, default_timezone: str) -> None:
    """What can be said of the body of a new task that leaves some of it to a template: every field that is given, by
    itself. Raises Refused with every error."""
    _, errors = stored_fields(
        read_object(data), now_ms=None, created_at_ms=0, default_timezone=default_timezone
    )
    refuse(errors)


def stored_fields(
    given: dict[str, msgspec.Raw], *, now_ms: int | None, created_at_ms: int, default_timezone: str
) -> tuple[dict[str, Any], list[FieldError]]:
    """Some fields of a task, decoded and in the form in which they are kept, and everything wrong with them.

    Times as in `parse_create`.
    """
    values, errors = _decode(_without_system_fields(given))
    values, wrong = _settle(values, now_ms, created_at_ms, default_timezone)
    return values, errors + wrong


def _without_system_fields(given: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    return {name: raw for name, raw in given.items() if name not in SYSTEM_FIELDS}


def _decode(given: dict[str, msgspec.Raw]) -> tuple[dict[str, Any], list[FieldError]]:
    """Decode what is given by the types of the fields."""
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, raw in given.items():
        if name not in _FIELDS:
            errors.append(unknown_field(name, _FIELDS))
            continue
        value, wrong = (
            read_input(raw) if name == "schedule" else decode_field(raw, _FIELDS[name].type, f"#/{name}")
        )
        errors.extend(wrong)
        if not wrong:
            values[name] = value
    return values, errors


def _settle(
    values: dict[str, Any], now_ms: int | None, created_at_ms: int, default_timezone: str
) -> tuple[dict[str, Any], list[FieldError]]:
    """Check the values by their rules and bring them into the form in which they are kept."""
    errors = [error for name in values if name in CHECKS for error in CHECKS[name](values[name], f"#/{name}")]
    settled = dict(values)
    for name in _INSTANTS:
        if values.get(name) is not None and not any(error.pointer == f"#/{name}" for error in errors):
            settled[name] = format_instant(parse_instant(values[name]))
    errors += _past_reminder(settled.get("reminder_time"), now_ms)
    if "config" in values:
        # Decoding left a view into the caller's whole body, which must not stay in memory with it.
        settled["config"] = msgspec.Raw(bytes(values["config"]))
    if values.get("schedule") is not None:
        settled["schedule"], wrong = stored_form(
            values["schedule"], now_ms=now_ms, created_at_ms=created_at_ms, default_timezone=default_timezone
        )
        errors.extend(wrong)
    return settled, errors


def _past_reminder(text: str | None, now_ms: int | None) -> list[FieldError]:
    """A reminder that would be told late from the start is a mistake; one that is sent back unchanged is not asked."""
    try:
        past = text is not None and now_ms is not None and instant_ms(text) <= now_ms
    except ValueError:
        return []  # told of by its own check
    if not past:
        return []
    message = f"is {text}, which is past; allowed is a time after now"
    return [FieldError(pointer="#/reminder_time", code=Code.INVALID, message=message)]


def _default(name: str) -> Any:
    field = _FIELDS[name]
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _merged(raw: msgspec.Raw, name: str, current: TaskSpec) -> msgspec.Raw:
    """What a field holds after the patch, as JSON."""
    patch = msgspec.json.decode(raw)
    if not isinstance(patch, dict) or name == "config" or (name == "schedule" and "kind" in patch):
        return raw
    return msgspec.Raw(msgspec.json.encode(merge_patch(_plain(getattr(current, name)), patch)))


def _plain(value: Any) -> Any:
    """A field's value as plain JSON values."""
    return msgspec.json.decode(value if isinstance(value, msgspec.Raw) else msgspec.json.encode(value))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_same(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_same(first, second) for first, second in zip(one, other, strict=True))
        )
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, _NUMBER) and isinstance(other, _NUMBER):
        return one == other
    return type(one) is type(other) and bool(one == other)
