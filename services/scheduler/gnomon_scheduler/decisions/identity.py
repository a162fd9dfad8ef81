"""Whether a command names itself and its object properly: checked before anything else."""

from __future__ import annotations

from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.object_kinds import KINDS as OBJECTS
from gnomon_schemas.limits import COMMAND_MAX, RESERVED_IDS, USER_ID_MAX_CHARS, is_id
from gnomon_schemas.object_kinds import OBJECT_KINDS, is_object_id
from gnomon_schemas.problems import Code, Refused

__all__ = ["KINDS", "check_identity"]

KINDS = ("task", "shard", "pool", *OBJECTS)
"""Kinds of objects that commands are taken for."""
_ALLOWED = "1 to 64 of A-Z a-z 0-9 _ -, not beginning with _"


def check_identity(command: Command) -> None:
    """Raises Refused for a command without a usable id, of an impossible object or user id, an unknown kind, or too
    large."""
    if command.command_id is None or not is_id(command.command_id):
        raise Refused(
            Code.MISSING_COMMAND_ID,
            f"the header Nats-Msg-Id is {command.command_id!r}; it has to be a command id: {_ALLOWED}",
        )
    if command.kind in OBJECT_KINDS:
        if not is_object_id(command.kind, command.object_id):
            allowed = OBJECT_KINDS[command.kind].id_pattern
            raise Refused(
                Code.INVALID_ID,
                f"{command.object_id!r} is no id of a {command.kind}: it has to match {allowed}",
            )
    elif not is_id(command.object_id):
        raise Refused(Code.INVALID_ID, f"{command.object_id!r} is no id: {_ALLOWED}")
    if command.object_id in RESERVED_IDS:
        raise Refused(
            Code.INVALID_ID,
            f"{command.object_id!r} is a reserved word; {', '.join(sorted(RESERVED_IDS))} are no ids",
        )
    user = command.user
    if user is not None and not (
        len(user) <= USER_ID_MAX_CHARS and user.isprintable() and user == user.strip()
    ):
        raise Refused(
            Code.INVALID_ID,
            f"the header Gnomon-User is {user[:80]!r}, of {len(user)} characters; allowed: 1 to {USER_ID_MAX_CHARS} "
            "printable characters without spaces around them",
        )
    if command.kind not in KINDS:
        raise Refused(
            Code.UNSUPPORTED,
            f"commands of kind {command.kind!r} are not taken yet; allowed are {', '.join(KINDS)}",
        )
    if len(command.data) > COMMAND_MAX:
        raise Refused(
            Code.TOO_LARGE, f"the command has {len(command.data)} bytes; at most {COMMAND_MAX} are allowed"
        )
