"""Whether a stored event is as the contract's JSON Schema says: asked of every event that a test hears."""

from __future__ import annotations

from functools import cache

import jsonschema_rs
import msgspec

from gnomon_schemas.generate import JSON_SCHEMAS

__all__ = ["faults"]


@cache
def _validator(name: str) -> jsonschema_rs.Validator:
    schema = msgspec.json.decode((JSON_SCHEMAS / f"{name}.schema.json").read_bytes())
    return jsonschema_rs.validator_for(schema, validate_formats=True)


def faults(name: str, data: bytes) -> list[str]:
    """What is wrong with an event by its schema, in words. Raises FileNotFoundError for one that has none."""
    return [
        f"{name} {'/'.join(map(str, error.instance_path))}: {error.message}"
        for error in _validator(name).iter_errors(msgspec.json.decode(data))
    ]
