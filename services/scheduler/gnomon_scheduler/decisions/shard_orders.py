"""What each verb of kind `shard` does: an operator's word about the shard's backlog of late slots (see `late_runs`)."""

from __future__ import annotations

from gnomon_core.rules.decoding import parse_body
from gnomon_scheduler.decisions.command import Command
from gnomon_scheduler.decisions.objects import check_verb
from gnomon_scheduler.registers import CatchUpOrder
from gnomon_schemas.commands import SHARD_VERBS, ApproveCatchUp, DiscardCatchUp
from gnomon_schemas.problems import Code, Refused

__all__ = ["decide_order"]


def decide_order(command: Command, partition: int, now_ms: int) -> CatchUpOrder:
    """Decide a command to the shard of `partition`: it holds for what was found late up to now. Raises Refused."""
    check_verb(command, SHARD_VERBS)
    if not command.privileged:
        raise Refused(
            Code.FORBIDDEN, "the backlog of a shard is of all users; only an admin decides about it"
        )
    prefix, _, number = command.object_id.rpartition("-")
    if prefix != f"shard-{partition}" or not number.isdigit():
        raise Refused(
            Code.NOT_FOUND,
            f"there is no shard {command.object_id!r} here; this is partition {partition}, "
            f"whose shard is called shard-{partition}-<n>",
        )
    if command.verb == "approve_catch_up":
        parse_body(command.data, ApproveCatchUp)
        return CatchUpOrder(approved_ms=now_ms)
    parse_body(command.data, DiscardCatchUp)
    return CatchUpOrder(discarded_ms=now_ms)
