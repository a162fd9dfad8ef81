"""JSON Schema of Structs: msgspec's, with the words under the fields and the rules that types alone do not say.

What comes out is valid under draft 2020-12 and under draft 07, whose readers ignore whatever stands beside a `$ref`: so
a reference with words or a default beside it is wrapped in `allOf`. `x-maxBytes` is the one keyword of ours: the
largest size of a value as JSON, which JSON Schema cannot say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Final

import msgspec

from gnomon_schemas.accounts import ACCOUNT_SYSTEM_FIELDS, UpdateAccount
from gnomon_schemas.blackouts import CALENDAR_SYSTEM_FIELDS, CalendarSpec
from gnomon_schemas.commands import UpdatePool
from gnomon_schemas.documents.docstrings import doc_of, field_docs
from gnomon_schemas.documents.field_rules import rule_of, set_by_system
from gnomon_schemas.documents.field_words import FIELD_WORDS
from gnomon_schemas.documents.messages import Message
from gnomon_schemas.limits import ID_PATTERN
from gnomon_schemas.pools import POOL_SYSTEM_FIELDS
from gnomon_schemas.tasks import SYSTEM_FIELDS, CatchUp, RetryPolicy, Task, TaskSpec, TaskStatus
from gnomon_schemas.templates import TEMPLATE_SYSTEM_FIELDS, TemplateSpec

__all__ = [
    "DIALECT",
    "PATCHED",
    "READ_BACK",
    "Schema",
    "components",
    "input_of",
    "message_schema",
    "patch_name",
    "patch_of",
    "task_input",
]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_FOR_TYPES: Final = (
    ({"integer", "number"}, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    ({"string"}, {"pattern", "format", "minLength", "maxLength"}),
    ({"array"}, {"items", "minItems", "maxItems"}),
)
"""Types, and the keywords that speak of them alone."""
_PARTIAL: Final = {"retry": RetryPolicy, "catch_up": CatchUp}
"""Objects of a task into which a patch merges."""
READ_BACK: Final[Mapping[type[msgspec.Struct], frozenset[str]]] = {
    TaskSpec: SYSTEM_FIELDS,
    TemplateSpec: TEMPLATE_SYSTEM_FIELDS,
    CalendarSpec: CALENDAR_SYSTEM_FIELDS,
    UpdateAccount: ACCOUNT_SYSTEM_FIELDS,
    UpdatePool: POOL_SYSTEM_FIELDS,
}
"""Structs that callers send, and the fields that only the system sets: ignored, so that a read can be sent back."""
PATCHED: Final = (TaskSpec, TemplateSpec, CalendarSpec)
"""Those of them that are made whole and then changed by a merge patch; the others are patches already."""


def components(
    kinds: Iterable[type[msgspec.Struct]], ref_template: str, *, discriminators: bool = False
) -> tuple[dict[type[msgspec.Struct], Schema], dict[str, Schema]]:
    """(Struct to the reference to it, name to schema of everything below them). `{name}` in the template is the name.

    `discriminators`: keep OpenAPI's keyword, which means nothing elsewhere.
    """
    ordered = sorted(set(kinds), key=lambda kind: kind.__name__)
    found, raw = msgspec.json.schema_components([_plain(kind) for kind in ordered], ref_template=ref_template)
    below = _types_below(ordered)
    finished = {name: _finished(schema, below.get(name)) for name, schema in sorted(raw.items())}
    for schema in finished.values():
        _tidy(schema, discriminators)
    return dict(zip(ordered, found, strict=True)), finished


def message_schema(message: Message) -> Schema:
    """The schema of one message as a document of its own, with all that it refers to under `$defs`."""
    _, below = components([message.struct], "#/$defs/{name}")
    root = below.pop(message.struct.__name__)
    if message.struct in READ_BACK:
        given = input_of(root, message.struct)
        root = patch_of(below, root, message.struct) if message.patch else given
    head = {"$schema": DIALECT, "$id": f"urn:gnomon:schema:{message.name}", "title": message.name}
    whole = {**head, **{key: value for key, value in root.items() if key != "title"}}
    used = _used(root, below)
    return {**whole, "$defs": {name: below[name] for name in sorted(used)}} if used else whole


def task_input(spec: Schema, *, with_id: bool = False) -> Schema:
    """The schema of a task as callers send it: what only the system sets may be there. `with_id`: an id is heard."""
    whole = input_of(spec, TaskSpec)
    properties = whole["properties"]
    if with_id:
        words = "An id of your choice, which makes creation idempotent; left out, one is made."
        properties = {
            "task_id": {"type": ["string", "null"], "pattern": ID_PATTERN, "description": words}
        } | {name: schema for name, schema in properties.items() if name != "task_id"}
    return {**whole, "properties": properties}


_STATUS_WORDS: Final = (
    "Asks for the change to this status: `completed`, `cancelled`, `paused`, `scheduled` (resume, or open again). The "
    "status that the task has asks for nothing. See `docs/reference/lifecycle.md`."
)


def input_of(spec: Schema, kind: type[msgspec.Struct]) -> Schema:
    """The schema of what callers send of a task or another object: what only the system sets may be there."""
    ignored = {name: dict(set_by_system(name)) for name in sorted(READ_BACK[kind])}
    whole = {**spec, "properties": {**spec["properties"], **ignored}}
    return _or_from_template(whole) if kind is TaskSpec else whole


def _or_from_template(task: Schema) -> Schema:
    """A task that names a template may leave out what others have to say."""
    named = {"required": ["template_id"], "properties": {"template_id": {"type": "string"}}}
    # Strict readers of schemas want what is required to be named beside, though its meaning is told above.
    whole = {"required": task["required"], "properties": {name: {} for name in task["required"]}}
    alternatives = [whole, named]
    return {**{key: value for key, value in task.items() if key != "required"}, "anyOf": alternatives}


def patch_of(below: Mapping[str, Schema], spec: Schema, kind: type[msgspec.Struct] = TaskSpec) -> Schema:
    """The schema of a merge patch of a task or another object. Null takes a field back to its default."""
    whole = input_of(spec, kind)
    properties: dict[str, Schema] = {}
    for name, schema in whole["properties"].items():
        if kind is TaskSpec and name == "status":
            properties[name] = {"type": "string", "enum": [*TaskStatus], "description": _STATUS_WORDS}
        elif name in READ_BACK[kind] or name in spec.get("required", ()):
            properties[name] = schema
        elif name in _PARTIAL:
            struct = below[_PARTIAL[name].__name__]
            inner = {key: _or_null(value) for key, value in struct["properties"].items()}
            properties[name] = {**struct, "type": ["object", "null"], "properties": inner}
        elif name == "schedule":
            partial = {
                "type": "object",
                "properties": {"kind": False},
                "description": "Without `kind`: merged into the schedule in force.",
            }
            properties[name] = {**schema, "anyOf": [*schema["anyOf"], partial]}
        else:
            properties[name] = _or_null(schema)
    optional = {key: value for key, value in whole.items() if key not in ("required", "anyOf")}
    return {**optional, "properties": properties} | {
        "description": "What is given replaces what is in force (RFC 7396); null takes a field back to its default."
    }


def patch_name(kind: type[msgspec.Struct]) -> str:
    """What the schema of a merge patch is called in documents: `TaskPatch` for `TaskSpec`."""
    return f"{kind.__name__.removesuffix('Spec')}Patch"


def _or_null(schema: Schema) -> Schema:
    if "const" in schema:
        return {"enum": [schema["const"]] if schema["const"] is None else [schema["const"], None]} | {
            key: value for key, value in schema.items() if key in ("description", "default")
        }
    kind = schema.get("type")
    if kind is None and ("allOf" in schema or "$ref" in schema):
        beside = {key: value for key, value in schema.items() if key in ("description", "default")}
        inner = {key: value for key, value in schema.items() if key not in beside}
        return {"anyOf": [inner, {"type": "null"}], **beside}
    if kind is None or kind == "null" or "null" in kind:
        return schema
    return {**schema, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}


def _plain(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """The same Struct for schemas: a default that is JSON text (`Raw`) cannot be written into one."""
    fields = msgspec.structs.fields(kind)
    if not any(isinstance(field.default, msgspec.Raw) for field in fields):
        return kind
    plain: list[Any] = []
    for field in fields:
        default: Any = ()
        if isinstance(field.default, msgspec.Raw):
            default = (msgspec.field(default=None, name=field.encode_name),)
            if msgspec.json.decode(field.default) == {}:
                default = (msgspec.field(default_factory=dict, name=field.encode_name),)
        elif field.default_factory is not msgspec.NODEFAULT:
            default = (msgspec.field(default_factory=field.default_factory, name=field.encode_name),)
        elif field.default is not msgspec.NODEFAULT:
            default = (msgspec.field(default=field.default, name=field.encode_name),)
        plain.append((field.name, Any if field.type is msgspec.Raw else field.type, *default))
    config = kind.__struct_config__
    made: type[msgspec.Struct] = msgspec.defstruct(
        kind.__name__,
        plain,
        kw_only=True,
        forbid_unknown_fields=config.forbid_unknown_fields,
        tag_field=config.tag_field,
        tag=config.tag,
        namespace={"__doc__": kind.__doc__},
    )
    return made


def _types_below(kinds: Iterable[type]) -> dict[str, type]:
    """Every Struct and Enum that these refer to, themselves included, by name."""
    found: dict[str, type] = {}
    waiting: list[msgspec.inspect.Type] = list(msgspec.inspect.multi_type_info(list(kinds)))
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType | msgspec.inspect.EnumType):
            if info.cls.__name__ in found:
                continue
            found[info.cls.__name__] = info.cls
        if isinstance(info, msgspec.inspect.StructType):
            waiting += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.UnionType):
            waiting += info.types
        elif isinstance(info, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
            waiting.append(info.item_type)
        elif isinstance(info, msgspec.inspect.DictType):
            waiting.append(info.value_type)
    return found


def _finished(schema: Schema, kind: type | None) -> Schema:
    """A component with its docs and rules."""
    if kind is None:
        return schema
    docs = field_docs(kind) if kind is not Task else {**field_docs(TaskSpec), **field_docs(Task)}
    if issubclass(kind, Enum):
        members = [f"`{each.value}`: {docs[each.name]}" for each in kind if each.name in docs]
        words = " ".join([doc_of(kind), *members]).strip()
        return {**schema, "type": "string", "enum": [each.value for each in kind], "description": words}
    if not issubclass(kind, msgspec.Struct):
        return schema
    names = {field.encode_name: field.name for field in msgspec.structs.fields(kind)}
    properties = {
        name: _property(
            told, dict(rule_of(kind, name)), docs.get(names.get(name, ""), FIELD_WORDS.get(name, ""))
        )
        for name, told in schema["properties"].items()
    }
    described = {**schema, "description": doc_of(kind), "properties": properties}
    if not described["required"]:
        del described["required"]
    return described


def _property(told: Schema, rule: Schema, words: str) -> Schema:
    schema = _tagged(_joined(told))
    for keyword, value in rule.items():
        if keyword == "const":
            schema = {"const": value}
            words = (words + " Nothing but this is supported yet.").strip()
            continue
        place = _place_of(keyword, value, schema)
        if place is not None:
            place[keyword] = _property(place["items"], value, "") if keyword == "items" else value
    if words:
        schema["description"] = words
    return schema


def _place_of(keyword: str, value: Any, schema: Schema) -> Schema | None:
    """Where a keyword means something: here, or in the branch whose type it speaks of; None: nowhere."""
    for kinds, keywords in _FOR_TYPES:
        if keyword in keywords:
            branches = schema.get("anyOf", (schema,))
            return next((each for each in branches if kinds & set(_kinds(each))), None)
    return None if keyword == "type" and _kinds(schema) and value != _kinds(schema)[0] else schema


def _kinds(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _joined(schema: Schema) -> Schema:
    """`anyOf` of plain types as one list of types; one `anyOf` inside of another as one."""
    branches = schema.get("anyOf")
    if branches is None:
        return dict(schema)
    flat: list[Schema] = []
    for branch in branches:
        flat += branch.get("anyOf", [branch])
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    for branch in branches:
        if "discriminator" in branch:
            rest["discriminator"] = branch["discriminator"]
    if all(set(branch) == {"type"} for branch in flat):
        kinds = list(dict.fromkeys(branch["type"] for branch in flat))
        if "number" in kinds and "integer" in kinds:
            kinds.remove("integer")
        return {"type": kinds, **rest}
    return {"anyOf": flat, **rest}


def _tagged(schema: Schema) -> Schema:
    """The tag of a Struct as a constant, with its type."""
    values = schema.get("enum")
    return {"type": "string", "const": values[0]} if values is not None and len(values) == 1 else schema


def _tidy(schema: Any, discriminators: bool) -> None:
    """In place, at any depth: a reference that has something beside it is wrapped, and a discriminator dropped."""
    if isinstance(schema, list):
        for each in schema:
            _tidy(each, discriminators)
    if not isinstance(schema, dict):
        return
    if not discriminators:
        schema.pop("discriminator", None)
    for key, value in schema.items():
        if key not in ("default", "const", "enum", "examples"):
            _tidy(value, discriminators)
    if "$ref" in schema and len(schema) > 1:
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]


def _used(schema: Any, below: Mapping[str, Schema]) -> set[str]:
    """The names of all definitions that a schema refers to, directly or not."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            name = str(each.get("$ref", "")).rpartition("/")[2]
            if name and name in below and name not in found:
                found.add(name)
                waiting.append(below[name])
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found
