"""Repair: what an audit found missing is sent to the shards, which judge for themselves (ADR 0019).

A command is made anew for each repair. That nothing is repaired twice does not rest on its id but on the shard, which
looks into the log before it touches a slot.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gnomon_api.auditing import AuditedSlot, AuditReport
from gnomon_api.commander import Commander, WantedCommand
from gnomon_api.identity import Caller
from gnomon_core.runtime.tracing import new_traceparent
from gnomon_schemas.commands import RepairTask
from gnomon_schemas.headers import ADMIN_ROLE
from gnomon_schemas.limits import REPAIR_SLOTS_MAX
from gnomon_schemas.problems import Problem

__all__ = ["AUDITOR", "NotRepaired", "RepairReport", "Repairing"]

AUDITOR: Final = Caller(user_id="gnomon-auditor", roles=frozenset({ADMIN_ROLE}))
"""In whose name the auditor repairs by itself."""
_AT_ONCE: Final = 8
_AT_SLOT: Final = re.compile(r"#/slots/(\d+)")


class NotRepaired(msgspec.Struct, frozen=True, kw_only=True):
    """Slots that a shard would not touch, and why."""

    task_id: str
    slots: tuple[str, ...]
    code: str
    detail: str


class RepairReport(msgspec.Struct, frozen=True, kw_only=True):
    """An audit, and what was done about what it found missing."""

    audit: AuditReport
    """As it was before."""
    repaired: int
    """Slots that their shards had lost: each has its outcome now, or runs."""
    archive_only: int
    """Slots of which the log has the outcome: it is the archive, or a read model, that lacks it. `gnomon verify` tells
    more."""
    refused: tuple[NotRepaired, ...]
    pending: int
    """Slots whose shards had not answered in time; the commands wait for them."""


class _Tally:
    def __init__(self) -> None:
        self.repaired = self.archive_only = self.pending = 0
        self.refused: list[NotRepaired] = []


class Repairing:
    """Sends what is missing to the shards."""

    def __init__(self, commander: Commander, *, within: float) -> None:
        """`within`: seconds that a shard has to answer."""
        self._commander, self._within = commander, within

    async def repair(self, report: AuditReport, caller: Caller) -> RepairReport:
        """Have the slots repaired that a report lists as missing.

        Raises Refused, `unavailable` where NATS does not take a command.
        """
        tally = _Tally()
        by_task: defaultdict[str, list[AuditedSlot]] = defaultdict(list)
        for slot in report.missing:
            by_task[slot.task_id].append(slot)
        room = asyncio.Semaphore(_AT_ONCE)

        async def work(task_id: str, slots: Sequence[AuditedSlot]) -> None:
            async with room:
                await self._of_task(task_id, [slot.scheduled_for for slot in slots], caller, tally)

        await asyncio.gather(*(work(task_id, slots) for task_id, slots in by_task.items()))
        return RepairReport(
            audit=report,
            repaired=tally.repaired,
            archive_only=tally.archive_only,
            refused=tuple(tally.refused),
            pending=tally.pending,
        )

    async def _of_task(self, task_id: str, slots: Sequence[str], caller: Caller, tally: _Tally) -> None:
        for start in range(0, len(slots), REPAIR_SLOTS_MAX):
            rest = list(slots[start : start + REPAIR_SLOTS_MAX])
            problem = await self._ask(task_id, rest, caller, tally)
            told = {} if problem is None else _by_slot(problem, rest)
            if problem is not None and told:
                # Some of them cannot be repaired, so none was: the others are asked for without those.
                tally.refused += [
                    NotRepaired(task_id=task_id, slots=(slot,), code=problem.code, detail=detail)
                    for slot, detail in told.items()
                ]
                rest = [slot for slot in rest if slot not in told]
                problem = await self._ask(task_id, rest, caller, tally) if rest else None
            if problem is not None:
                tally.refused.append(
                    NotRepaired(task_id=task_id, slots=tuple(rest), code=problem.code, detail=problem.detail)
                )

    async def _ask(self, task_id: str, slots: Sequence[str], caller: Caller, tally: _Tally) -> Problem | None:
        """Send one command; why it was refused, where it was."""
        outcome = await self._commander.send(
            WantedCommand(
                verb="repair",
                object_id=task_id,
                command_id=f"repair-{secrets.token_hex(12)}",
                payload=msgspec.json.encode(RepairTask(slots=tuple(slots))),
                caller=caller,
                traceparent=new_traceparent(),
            ),
            within=self._within,
        )
        if outcome is None:
            tally.pending += len(slots)
        elif outcome.ok:
            # Of a command that was decided before it is not told any more.
            repaired = len(slots) if outcome.repaired is None else outcome.repaired
            tally.repaired += repaired
            tally.archive_only += len(slots) - repaired
        else:
            return outcome.error
        return None


def _by_slot(problem: Problem, slots: Sequence[str]) -> Mapping[str, str]:
    """Why, by the slots that a problem names."""
    return {
        slots[int(match[1])]: error.message
        for error in problem.errors
        if (match := _AT_SLOT.fullmatch(error.pointer)) and int(match[1]) < len(slots)
    }
