"""The fields of a Struct as callers send them, one by one: of tasks, templates and calendars alike.

A body or a merge patch is taken apart before it is decoded, so that everything wrong with it can be told at once, and
so that a patch touches nothing but the fields it names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from gnomon_core.rules.decoding import decode_field, read_object, unknown_field, wrong
from gnomon_core.rules.json_values import same_value
from gnomon_schemas.problems import FieldError

__all__ = ["StructFields"]

_Reader: TypeAlias = Callable[[msgspec.Raw], tuple[Any, list[FieldError]]]
_NO_READERS: Mapping[str, _Reader] = MappingProxyType({})


class StructFields:
    """The fields of one Struct, by name, in its order."""

    def __init__(
        self,
        kind: type[msgspec.Struct],
        *,
        system: Collection[str],
        readers: Mapping[str, _Reader] = _NO_READERS,
    ) -> None:
        """`system`: names that only the system sets, which are passed over when a caller sends them back. `readers`:
        how a field is read whose type alone does not say it."""
        self._fields = {field.name: field for field in msgspec.structs.fields(kind)}
        self._system, self._readers = system, readers

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def given(self, data: bytes) -> dict[str, msgspec.Raw]:
        """What a caller sets, as JSON. Raises Refused where the body is no object."""
        return self.callers(read_object(data))

    def callers(self, given: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
        """The same of a body that is taken apart already."""
        return {name: raw for name, raw in given.items() if name not in self._system}

    def decode(self, given: Mapping[str, msgspec.Raw]) -> tuple[dict[str, Any], list[FieldError]]:
        """The values that fit the types of their fields, and everything wrong with the others."""
        values: dict[str, Any] = {}
        errors = self.unknown(given)
        for name, raw in given.items():
            if name in self._fields:
                value, faults = self._read(name, raw)
                errors += faults
                if not faults:
                    values[name] = value
        return values, errors

    def _read(self, name: str, raw: msgspec.Raw) -> tuple[Any, list[FieldError]]:
        reader = self._readers.get(name)
        return decode_field(raw, self._fields[name].type, f"#/{name}") if reader is None else reader(raw)

    def unknown(self, given: Iterable[str]) -> list[FieldError]:
        """An error for each name that is no field."""
        return [unknown_field(name, self._fields) for name in given if name not in self._fields]

    def missing(self, given: Collection[str]) -> list[FieldError]:
        """An error for each required field that is not given."""
        return [
            error
            for name, field in self._fields.items()
            if field.required and name not in given
            for error in wrong(f"#/{name}", "this field is required")
        ]

    def split(
        self, patch: Mapping[str, msgspec.Raw]
    ) -> tuple[dict[str, msgspec.Raw], dict[str, Any], list[FieldError]]:
        """A merge patch (RFC 7396) in three: what it sets, as JSON; the defaults of the fields that it takes back by
        null; an error for each required field among these."""
        sets: dict[str, msgspec.Raw] = {}
        defaults: dict[str, Any] = {}
        errors: list[FieldError] = []
        for name, raw in patch.items():
            if name not in self._fields or bytes(raw) != b"null":
                sets[name] = raw
            elif self._fields[name].required:
                errors += wrong(f"#/{name}", "this field may not be null")
            else:
                defaults[name] = self._default(name)
        return sets, defaults, errors

    def _default(self, name: str) -> Any:
        field = self._fields[name]
        return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()

    def changed(self, old: msgspec.Struct, new: msgspec.Struct) -> tuple[str, ...]:
        """Names of the fields in which two Structs differ as JSON values."""
        return tuple(name for name in self._fields if not same_value(getattr(old, name), getattr(new, name)))
