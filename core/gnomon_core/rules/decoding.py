"""Reading a JSON body into a Struct, telling everything that is wrong with it.

msgspec decodes fast and stops at the first error. So a body is decoded field by field, and a field that
does not fit is validated once more against the JSON Schema of its type, which lists all errors. What is
well-formed pays nothing for it. Fields stay JSON text until their type is known, so what is only carried
(`config`, trigger data) stays as the caller wrote it.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Container
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from gnomon_core.rules.json_schema import Validator, compile_schema, field_errors, pointer
from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = [
    "DEPTH_MAX",
    "check_object_text",
    "decode_field",
    "overall_code",
    "parse_body",
    "read_object",
    "refuse",
    "unknown_field",
    "wrong",
]

DEPTH_MAX: Final = 128
"""So deep may JSON be nested. Decoders recurse: what one process still reads must not stop another one."""

T = TypeVar("T", bound=msgspec.Struct)

_objects: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OPENING = (b"{", b"[")
_COMPILED_FOR: tuple[str, ...] = ("type",)


def read_object(data: bytes) -> dict[str, msgspec.Raw]:
    """Take a JSON object apart. Raises Refused: `not_json`, or `invalid` if it is no object or too deep."""
    check_object_text(data)
    return _objects.decode(data)


def check_object_text(data: bytes) -> dict[str, Any]:
    """Make sure that a body is a JSON object, all of it readable; the object. Raises as `read_object`."""
    whole = _read(data)
    if not isinstance(whole, dict):
        raise Refused(Code.INVALID, f"the body is {_kind_of(whole)}: allowed is an object")
    if sum(data.count(mark) for mark in _OPENING) > DEPTH_MAX and _deeper_than(whole, DEPTH_MAX):
        raise Refused(Code.INVALID, f"the body is nested more than {DEPTH_MAX} levels deep")
    return whole


def parse_body(data: bytes, kind: type[T], *, ignored: Container[str] = ()) -> T:
    """Read a JSON object as a Struct; an empty body counts as `{}`. Raises Refused with every FieldError.

    `ignored`: fields that a read shows and only the system sets, so that a read can be sent back.
    """
    given = {name: raw for name, raw in read_object(data or b"{}").items() if name not in ignored}
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    errors = [unknown_field(name, fields) for name in given if name not in fields]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in given:
            value, faults = decode_field(given[name], field.type, f"#/{name}")
            errors += faults
            values[field.name] = value
        elif field.required:
            errors += wrong(f"#/{name}", "this field is required")
    refuse(errors)
    return kind(**values)


def decode_field(raw: msgspec.Raw, kind: Any, at: str) -> tuple[Any, list[FieldError]]:
    """Decode one value as a type: the value and no error, or None and everything wrong with it."""
    try:
        return _decoder(kind).decode(raw), []
    except msgspec.ValidationError as error:
        found = _all_errors(raw, kind, at)
        # The two may disagree in a corner (a number out of range): then msgspec's own words are told.
        return None, found or wrong(at, _words(error))


def wrong(at: str, message: str, code: str = Code.INVALID) -> list[FieldError]:
    """One error as a list, as checks return it."""
    return [FieldError(pointer=at, code=code, message=message)]


def unknown_field(name: str, known: typing.Iterable[str], at: str = "#") -> FieldError:
    """The error for a field that does not exist."""
    allowed = ", ".join(sorted(known))
    return FieldError(
        pointer=pointer(at, [name]),
        code=Code.UNKNOWN_FIELD,
        message=f"the field {name!r} is not known; allowed: {allowed}",
    )


def refuse(errors: list[FieldError]) -> None:
    """Raise Refused when there are errors; the code is the one they share, else `invalid`."""
    if errors:
        detail = f"{errors[0].pointer}: {errors[0].message}"
        if len(errors) > 1:
            detail += f" (and {len(errors) - 1} more)"
        raise Refused(overall_code(errors), detail, *errors)


def overall_code(errors: list[FieldError]) -> Code:
    """The code of a problem made of these errors. What is too large says so, whatever else is wrong."""
    codes = {_code_of(error) for error in errors}
    if Code.TOO_LARGE in codes:
        return Code.TOO_LARGE
    return codes.pop() if len(codes) == 1 else Code.INVALID


def _code_of(error: FieldError) -> Code:
    if error.code == Code.UNKNOWN_FIELD:
        return Code.UNKNOWN_FIELD
    if error.pointer == "#/schedule" or error.pointer.startswith("#/schedule/"):
        return Code.INVALID_SCHEDULE
    try:
        return Code(error.code)
    except ValueError:
        return Code.INVALID


def _read(data: bytes) -> Any:
    """Decode all of it: only that proves text to be UTF-8 and numbers to be readable at any depth."""
    try:
        return msgspec.json.decode(data)
    except msgspec.ValidationError as error:
        raise Refused(Code.INVALID, _words(error)) from error
    except RecursionError as error:
        raise Refused(Code.INVALID, f"the body is nested more than {DEPTH_MAX} levels deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(Code.NOT_JSON, _words(error)) from error


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [inner for outer in layer for inner in _inside(outer)]
        if not layer:
            return False
    return True


def _inside(value: Any) -> typing.Iterable[Any]:
    children = value.values() if isinstance(value, dict) else value
    return [child for child in children if isinstance(child, dict | list)]


def _kind_of(value: Any) -> str:
    names = {list: "an array", str: "a string", int: "a number", float: "a number", bool: "a boolean"}
    return names.get(type(value), "null")


def _words(error: Exception) -> str:
    return str(error).replace(" - at `$[...]`", "")


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _all_errors(raw: msgspec.Raw, kind: Any, at: str) -> list[FieldError]:
    value = msgspec.json.decode(raw)
    branches = _branches(kind)
    tagged = {branch.__struct_config__.tag: branch for branch in branches if _is_tagged(branch)}
    if tagged and isinstance(value, dict):
        tag_field = next(iter(tagged.values())).__struct_config__.tag_field
        chosen = tagged.get(value.get(tag_field))
        if chosen is None:
            allowed = ", ".join(repr(tag) for tag in sorted(tagged))
            given = repr(value[tag_field]) if tag_field in value else "missing"
            message = f"{tag_field} is {given}; allowed: {allowed}"
            return wrong(pointer(at, [tag_field]), message)
        return field_errors(_validator(chosen), value, at)
    return field_errors(_validator(kind), value, at)


def _branches(kind: Any) -> list[Any]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [branch for branch in typing.get_args(kind) if branch is not type(None)]
    return [kind]


def _is_tagged(kind: Any) -> bool:
    return (
        isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__struct_config__.tag is not None
    )


@cache
def _validator(kind: Any) -> Validator:
    branches = _branches(kind)
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    # "null or an object" would be told as one failed alternative; the object's own errors say more.
    if len(branches) == 1 and branches[0] is not kind and "$ref" in str(schema):
        (schema,), components = msgspec.json.schema_components(branches, ref_template="#/$defs/{name}")
    return compile_schema(msgspec.json.encode(_plain_types({**schema, "$defs": components})))


def _plain_types(schema: Any) -> Any:
    """Write alternatives of bare types as one list of types, whose error message names them all."""
    if isinstance(schema, list):
        return [_plain_types(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _plain_types(part) for name, part in schema.items()}
    options = schema.get("anyOf", [])
    if options and all(tuple(option) == _COMPILED_FOR for option in options):
        del schema["anyOf"]
        schema["type"] = [option["type"] for option in options]
    return schema
