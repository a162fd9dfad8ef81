"""Validation of JSON against a JSON Schema, with every error told as a `FieldError`.

Schemas come from executors, for the config of their task types, and from our own Structs. A schema may
refer to its own parts only: a reference to somewhere else is refused when it is compiled, so nothing is ever
fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import jsonschema_rs
import msgspec

from gnomon_schemas.problems import Code, FieldError

__all__ = ["ERRORS_MAX", "Validator", "check_config", "compile_schema", "field_errors", "pointer"]

Validator: TypeAlias = jsonschema_rs.Validator
"""A compiled schema. Made by `compile_schema`; may be used from any thread."""

ERRORS_MAX: Final = 100
"""So many errors of one input are told at the most."""

_MESSAGE_MAX_CHARS = 300
_UNKNOWN_FIELD = "additionalProperties"


class _RemoteReferenceError(Exception):
    """Raised by the retriever: a schema points outside of itself."""


def _refuse_remote(uri: str) -> Any:
    raise _RemoteReferenceError(
        f"the schema refers to {uri!r}: only references into the schema itself (#/…) are allowed"
    )


def compile_schema(raw_schema: bytes) -> Validator:
    """Compile a JSON Schema (draft 2020-12 where it names no other).

    Raises ValueError, in words, when it is not JSON, not a schema, or refers to anything outside of itself.
    """
    try:
        schema = msgspec.json.decode(raw_schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the schema is not JSON: {error}") from error
    if not isinstance(schema, dict | bool):
        raise ValueError(f"the schema is a {type(schema).__name__}: allowed is an object, true or false")
    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse_remote, validate_formats=False)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        raise ValueError(f"the schema cannot be used: {_shorten(str(error).splitlines()[0])}") from error


def check_config(config: bytes, validator: Validator) -> list[FieldError]:
    """Everything wrong with a task's config, valid JSON, under its type's schema; empty when it fits."""
    return [
        FieldError(pointer=error.pointer, code=Code.INVALID_CONFIG, message=error.message)
        for error in field_errors(validator, msgspec.json.decode(config), "#/config")
    ]


def field_errors(validator: Validator, value: Any, at: str) -> list[FieldError]:
    """Everything wrong with a decoded JSON value; `at` is the pointer to the value itself."""
    found: list[FieldError] = []
    for error in validator.iter_errors(value):
        found.extend(_told(error, at))
        if len(found) >= ERRORS_MAX:
            break
    return found[:ERRORS_MAX]


def pointer(at: str, path: Iterable[str | int]) -> str:
    """Go on from a JSON pointer (`#/config`) along keys and indexes."""
    return at + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _told(error: jsonschema_rs.ValidationError, at: str) -> Sequence[FieldError]:
    here = pointer(at, error.instance_path)
    if error.kind.name == _UNKNOWN_FIELD:
        names = error.kind.as_dict()["unexpected"]
        return [
            FieldError(
                pointer=pointer(here, [name]),
                code=Code.UNKNOWN_FIELD,
                message=f"the field {name!r} is not known",
            )
            for name in names
        ]
    if error.kind.name == "required":
        name = error.kind.as_dict()["property"]
        return [
            FieldError(pointer=pointer(here, [name]), code=Code.INVALID, message="this field is required")
        ]
    if error.kind.name == "enum":
        # The library names two of the values that are allowed; a caller wants them all.
        allowed = ", ".join(
            msgspec.json.encode(option).decode() for option in error.kind.as_dict()["options"]
        )
        given = msgspec.json.encode(error.instance).decode()
        message = f"is {_shorten(given)}; allowed: {allowed}"
        return [FieldError(pointer=here, code=Code.INVALID, message=message)]
    return [FieldError(pointer=here, code=Code.INVALID, message=_shorten(error.message))]


def _shorten(text: str) -> str:
    """Messages quote the value at fault, which may be long."""
    return text if len(text) <= _MESSAGE_MAX_CHARS else text[: _MESSAGE_MAX_CHARS - 1] + "…"
