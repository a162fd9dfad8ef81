"""What deciding a command to an object besides tasks has in common, whatever its kind.

A kind's own `decide` takes the register (None: there is none), the command and the surroundings, and returns the
register afterwards with the event that answers. It does no I/O and keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gnomon_core.rules.versions import check_version
from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.object_registers import ObjectRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.objects import ObjectEvent
from gnomon_schemas.problems import Code, Refused

__all__ = ["ObjectDecision", "check_admin", "check_free", "check_there", "check_verb"]


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
    if command.user is not None and not command.admin:
        raise Refused(Code.FORBIDDEN, f"{command.kind}s are everybody's: only the role admin may change one")


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
