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

from gnomon_core.rules.decoding import check_object_text, read_object, refuse, wrong
from gnomon_core.rules.json_values import plain_value, same_value
from gnomon_core.rules.merge_patch import merge_patch
from gnomon_core.rules.schedule_input import read_input, stored_form
from gnomon_core.rules.struct_fields import StructFields
from gnomon_core.rules.task_limits import CHECKS
from gnomon_schemas.clock_text import format_instant, instant_ms, parse_instant
from gnomon_schemas.problems import FieldError
from gnomon_schemas.tasks import SYSTEM_FIELDS, TaskSpec

__all__ = [
    "changed_fields",
    "check_given",
    "check_patch",
    "parse_create",
    "parse_update",
    "stored_fields",
]

_FIELDS: Final = StructFields(TaskSpec, system=SYSTEM_FIELDS, readers={"schedule": read_input})
_decode_spec: Final = msgspec.json.Decoder(TaskSpec).decode
_INSTANTS: Final = ("due_date", "reminder_time")
_KEPT_FOR_GOOD: Final = ("task_type", "template_id")
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
    values, faults = _settle(values, now_ms, created_at_ms, default_timezone)
    refuse(errors + faults)
    return TaskSpec(**values)


def _decode_each(data: bytes) -> tuple[dict[str, Any], list[FieldError]]:
    given = _FIELDS.given(data)
    values, errors = _FIELDS.decode(given)
    return values, errors + _FIELDS.missing(given)


def parse_update(
    data: bytes, current: TaskSpec, *, now_ms: int | None, created_at_ms: int, default_timezone: str
) -> TaskSpec:
    """The spec after a merge patch; `current` itself (the same object) when the patch changes nothing.

    Null takes a field back to its default. Times as in `parse_create`. Raises Refused with every error.
    """
    sets, defaults, nulls = _FIELDS.split(_FIELDS.given(data))
    merged = {name: _merged(raw, name, current) if name in _FIELDS else raw for name, raw in sets.items()}
    values, errors = _FIELDS.decode(merged)
    values = {name: value for name, value in values.items() if not same_value(value, getattr(current, name))}
    values, faults = _settle(values, now_ms, created_at_ms, default_timezone)
    for name in _KEPT_FOR_GOOD:
        if name in values or (name in defaults and getattr(current, name) is not None):
            message = f"cannot be changed after creation; it is {getattr(current, name) or 'null'!r}"
            faults += wrong(f"#/{name}", message)
    refuse(errors + faults + nulls)
    updated = msgspec.structs.replace(current, **values, **defaults)
    return updated if changed_fields(current, updated) else current


def check_patch(data: bytes) -> dict[str, msgspec.Raw]:
    """What can be said of a merge patch without the task: that it is an object with known fields.

    Returns the fields that a caller may set. Raises Refused with every error.
    """
    patch = _FIELDS.given(data)
    refuse(_FIELDS.unknown(patch))
    return patch


def changed_fields(old: TaskSpec, new: TaskSpec) -> tuple[str, ...]:
    """Names of the fields in which two specs differ as JSON values, in the order of the Struct."""
    return _FIELDS.changed(old, new)


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
    values, errors = _FIELDS.decode(_FIELDS.callers(given))
    values, faults = _settle(values, now_ms, created_at_ms, default_timezone)
    return values, errors + faults


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
        settled["schedule"], faults = stored_form(
            values["schedule"], now_ms=now_ms, created_at_ms=created_at_ms, default_timezone=default_timezone
        )
        errors += faults
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
    return wrong("#/reminder_time", message)


def _merged(raw: msgspec.Raw, name: str, current: TaskSpec) -> msgspec.Raw:
    """What a field holds after the patch, as JSON."""
    patch = msgspec.json.decode(raw)
    if not isinstance(patch, dict) or name == "config" or (name == "schedule" and "kind" in patch):
        return raw
    return msgspec.Raw(msgspec.json.encode(merge_patch(plain_value(getattr(current, name)), patch)))
