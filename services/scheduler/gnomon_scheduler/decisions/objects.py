"""What deciding a command to an object besides tasks has in common, whatever its kind.

A kind's own `decide` takes the register (None: there is none), the command and the surroundings, and returns the
register afterwards with the event that answers. It does no I/O and keeps nothing.

Kinds that are everybody's, and are made, changed and deleted as a whole, differ in what a `SpecKind` says of them. An
account is its user's, and is opened and given to besides (`accounts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from gnomon_core.rules.decoding import parse_body
from gnomon_core.rules.versions import check_version
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.telling import command_id, shown
from gnomon_scheduler.object_registers import ObjectRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import FieldChange
from gnomon_schemas.object_kinds import OBJECT_KINDS
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.problems import Code, Refused

__all__ = [
    "ObjectDecision",
    "SpecKind",
    "check_admin",
    "check_free",
    "check_there",
    "check_verb",
    "decide_object",
    "view_object",
]


class ObjectDecision(NamedTuple):
    """What a command does to an object. Nothing of it holds until its batch is stored."""

    reg: ObjectRegister
    event: ObjectEvent
    """The one that answers the command."""
    created: bool = False


def check_verb(command: Command, verbs: Iterable[str]) -> None:
    """Make sure that the kind has the verb. Raises Refused."""
    allowed = tuple(verbs)
    if command.verb not in allowed:
        raise Refused(
            Code.UNKNOWN_VERB,
            f"{command.verb!r} is not a verb of {command.kind}; allowed are {', '.join(allowed)}",
        )


def check_admin(command: Command) -> None:
    """Make sure that the caller may change what is everybody's: a service, or an admin. Raises Refused."""
    if not command.privileged:
        raise Refused(Code.FORBIDDEN, f"{command.kind}s are everybody's: only the role admin may change one")


class SpecKind(NamedTuple):
    """What one kind of object differs in. Its register has a `spec`."""

    kind: str
    register: type[Any]
    entity: Callable[..., msgspec.Struct]
    """The object as everybody reads it: of `<kind>_id`, the fields of the spec, and what every object has."""
    parse: Callable[[bytes, Surroundings, int], Any]
    """(body of a create, surroundings, instant at which the object is or was made) -> spec. Raises Refused."""
    parse_patch: Callable[[bytes, Any, Surroundings], Any]
    """(body of an update, spec as it is, surroundings) -> spec. Raises Refused."""
    changed: Callable[[Any, Any], tuple[str, ...]]
    """The fields in which two specs differ."""
    tombstone: Callable[[Any], Any]
    """As little of a spec as a tombstone keeps."""
    delete: type[msgspec.Struct]
    """The body of a delete."""
    created: Callable[..., ObjectEvent]
    updated: Callable[..., ObjectEvent]
    deleted: Callable[..., ObjectEvent]


def view_object(kind: SpecKind, reg: Any) -> Any:
    """An object as everybody reads it."""
    fields = {name: getattr(reg.spec, name) for name in reg.spec.__struct_fields__}
    return kind.entity(
        **{f"{kind.kind}_id": reg.object_id},
        **fields,
        version=reg.version,
        created_at=format_instant(reg.created_ms),
        updated_at=format_instant(reg.updated_ms),
    )


def decide_object(kind: SpecKind, reg: Any, command: Command, around: Surroundings) -> ObjectDecision:
    """Decide a command to an object that is made, changed and deleted as a whole. Raises Refused."""
    check_verb(command, OBJECT_KINDS[kind.kind].verbs)
    check_admin(command)
    if command.verb == "create":
        return _create(kind, reg, command, around)
    check_there(reg, command)
    return (_delete if command.verb == "delete" else _update)(kind, reg, command, around)


def _create(kind: SpecKind, reg: Any, command: Command, around: Surroundings) -> ObjectDecision:
    """Make an object; of one that is there, make sure that it is the same."""
    check_free(reg, command)
    spec = kind.parse(command.data, around, around.now_ms if reg is None else reg.created_ms)
    if reg is not None:
        differing = kind.changed(reg.spec, spec)
        if differing:
            raise Refused(
                Code.ALREADY_EXISTS,
                f"there is a {kind.kind} {reg.object_id!r} already, and it differs in {', '.join(differing)}",
            )
        return ObjectDecision(reg, kind.updated(**_about(kind, reg, reg, command, around), changes=()))
    made = kind.register(
        object_id=command.object_id,
        version=1,
        created_ms=around.now_ms,
        updated_ms=around.now_ms,
        spec=spec,
    )
    return ObjectDecision(made, kind.created(**_about(kind, made, made, command, around)), created=True)


def _update(kind: SpecKind, reg: Any, command: Command, around: Surroundings) -> ObjectDecision:
    spec = kind.parse_patch(command.data, reg.spec, around)
    changes = tuple(
        FieldChange(field=name, old=shown(getattr(reg.spec, name)), new=shown(getattr(spec, name)))
        for name in kind.changed(reg.spec, spec)
    )
    if changes:
        reg = msgspec.structs.replace(reg, spec=spec, version=reg.version + 1, updated_ms=around.now_ms)
    return ObjectDecision(reg, kind.updated(**_about(kind, reg, reg, command, around), changes=changes))


def _delete(kind: SpecKind, reg: Any, command: Command, around: Surroundings) -> ObjectDecision:
    parse_body(command.data, kind.delete)
    gone = msgspec.structs.replace(
        reg,
        spec=kind.tombstone(reg.spec),
        version=reg.version + 1,
        updated_ms=around.now_ms,
        deleted_ms=around.now_ms,
    )
    about = _about(kind, gone, reg, command, around)
    return ObjectDecision(gone, kind.deleted(**about, deleted_at=format_instant(around.now_ms)))


def _about(kind: SpecKind, reg: Any, seen: Any, command: Command, around: Surroundings) -> dict[str, Any]:
    """What every event says of its object; `seen` is the register that it shows."""
    return {
        f"{kind.kind}_id": reg.object_id,
        "partition": around.partition,
        "occurred_at": format_instant(around.now_ms),
        "command_id": command_id(command),
        "changed_by": command.user,
        "version": reg.version,
        kind.kind: view_object(kind, seen),
    }


def check_there(reg: ObjectRegister | None, command: Command) -> None:
    """Make sure that the object is there, at the version that the caller names. Raises Refused."""
    if reg is None or reg.deleted_ms is not None:
        raise Refused(Code.NOT_FOUND, f"there is no {command.kind} {command.object_id!r}")
    check_version(command.if_match, reg.version, command.kind)


def check_free(reg: ObjectRegister | None, command: Command) -> None:
    """Make sure that the id is not that of an object which was deleted a short while ago. Raises Refused."""
    if reg is not None and reg.deleted_ms is not None:
        raise Refused(
            Code.DELETED,
            f"{command.kind} {command.object_id!r} was deleted at {format_instant(reg.deleted_ms)}; its id is free "
            "again later",
        )
