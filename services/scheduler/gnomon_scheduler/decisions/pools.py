"""What the command `update` does to a pool."""

from __future__ import annotations

from typing import Any

import msgspec

from gnomon_core.rules.pool_input import parse_pool
from gnomon_core.rules.versions import check_version
from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.objects import check_admin, check_verb
from gnomon_scheduler.decisions.telling import command_id
from gnomon_scheduler.gate_registers import GateRegister
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.commands import POOL_VERBS
from gnomon_schemas.events import FieldChange
from gnomon_schemas.pools import Pool, PoolUpdated

__all__ = ["update_pool", "view_pool"]


def update_pool(
    reg: GateRegister, command: Command, around: Surroundings
) -> tuple[GateRegister, PoolUpdated]:
    """The pool's register after the command, and the event that tells of it. Raises Refused."""
    check_verb(command, POOL_VERBS)
    check_admin(command)
    check_version(command.if_match, reg.version, "pool")
    payload = parse_pool(command.data)
    given: dict[str, Any] = {
        name: value
        for name, value in (("max_in_flight", payload.max_in_flight), ("paused", payload.paused))
        if value is not msgspec.UNSET
    }
    changes = tuple(
        FieldChange(field=name, old=getattr(reg, name), new=value)
        for name, value in given.items()
        if getattr(reg, name) != value
    )
    if changes:
        reg = msgspec.structs.replace(reg, **given, version=reg.version + 1, updated_ms=around.now_ms)
    return reg, PoolUpdated(
        pool=reg.gate,
        partition=around.partition,
        occurred_at=format_instant(around.now_ms),
        command_id=command_id(command),
        changed_by=command.user,
        changes=changes,
        max_in_flight=reg.max_in_flight,
        paused=reg.paused,
        version=reg.version,
        updated_at=format_instant(reg.updated_ms or around.now_ms),
    )


def view_pool(reg: GateRegister) -> Pool:
    """The pool as everybody reads it."""
    return Pool(
        pool=reg.gate,
        max_in_flight=reg.max_in_flight,
        paused=reg.paused,
        version=reg.version,
        updated_at=format_instant(reg.updated_ms) if reg.updated_ms else None,
    )
