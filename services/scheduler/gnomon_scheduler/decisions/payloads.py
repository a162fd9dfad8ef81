"""Reading the payload of a command, with an error that names the field."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from gnomon_schemas.problems import Code, FieldError, Refused

__all__ = ["read_payload"]

T = TypeVar("T", bound=msgspec.Struct)


def read_payload(data: bytes, kind: type[T]) -> T:
    """Decode a payload; an empty one is `{}`. Raises Refused."""
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except msgspec.ValidationError as error:
        raise _refused(str(error), kind) from error
    except msgspec.DecodeError as error:
        raise Refused(Code.NOT_JSON, f"the payload is not JSON: {error}") from error


def _refused(words: str, kind: type[msgspec.Struct]) -> Refused:
    """msgspec's words end with the path, ` - at `$.a.b``; unknown fields are named in the words themselves."""
    message, _, path = words.partition(" - at `$")
    pointer = "#" + path.rstrip("`").replace(".", "/")
    code = Code.INVALID
    if "unknown field" in message:
        code = Code.UNKNOWN_FIELD
        name = message.rsplit("`", 2)[-2]
        pointer = f"{pointer}/{name}" if pointer != "#" else f"#/{name}"
    allowed = ", ".join(kind.__struct_fields__) or "none"
    return Refused(
        code, message, FieldError(pointer=pointer, code=code, message=f"{message}; fields allowed: {allowed}")
    )
