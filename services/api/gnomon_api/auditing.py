"""The audit: for every slot that should have been, is there exactly one outcome?

The slots are reckoned anew from when which schedule was in force (`slot_marks`, made of the tasks' own events) by
`gnomon_core.ledger`; what is recorded is read from the read models. Neither asks what any scheduler emitted.

**What may rightly have no record yet.** The shard's watermark, read first, says up to when all slots were handed out;
what is due after it is pending. Then the read models are waited for until they have the newest event there was. A slot
up to the watermark that still has no record is looked for once more, in the order in which work moves: its due in
`TASK_DUE` (nobody has claimed it), its entry in the task's register (it is written ahead), then a row again (it was
claimed meanwhile). Work only ever moves from the first two to the third, so what is found in none of them, looked at in
this order, is missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from gnomon_api.calendar_pasts import read_pasts
from gnomon_api.database import Database, Row
from gnomon_api.projection import Projection
from gnomon_api.readmodels.sections.executions import ACTIVE
from gnomon_api.readmodels.statements import statement
from gnomon_api.run_counts import Runs, counted_runs, marks_of
from gnomon_api.second_opinion import SecondOpinion, Why
from gnomon_core.ledger import (
    Mark,
    Pasts,
    Recorded,
    RecordedSpan,
    TaskAudit,
    audit_task,
    own_slots,
    stretches,
    under_calendars,
)
from gnomon_core.runtime.bus import Bus
from gnomon_schemas.clock_text import EPOCH, format_instant, parse_slot_run, slot_run
from gnomon_schemas.codec import decode
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.subjects import (
    DUE_STREAM,
    EVENTS_STREAM,
    due_filter,
    is_due,
    shard_register,
    task_register,
)
from gnomon_schemas.tasks import ExecutionStatus

__all__ = [
    "LISTED_MAX",
    "AuditReport",
    "AuditedSlot",
    "AuditedSpan",
    "Auditing",
    "CrossCheck",
    "Engine",
    "OtherSlot",
]

LISTED_MAX: Final = 1000
"""Slots that each list of a report names; the counts are of all."""
_TASKS_A_PAGE: Final = 200
_BEHIND_SECONDS: Final = 5.0
_REGISTERS_A_READ: Final = 200
_STATEMENT_SECONDS: Final = 60.0
_decode_schedule: Final = msgspec.json.Decoder(Schedule).decode
_OUTCOME_OF: Final = {
    ExecutionStatus.SKIPPED: "skipped",
    ExecutionStatus.MISSED: "missed",
    ExecutionStatus.COALESCED: "coalesced",
}
"""Every other status of an execution that has ended is one of `executed`."""


class Engine(StrEnum):
    """Whose arithmetic says which slots there should have been."""

    TIMING = "timing"
    """Gnomon's own, for every schedule."""
    CRONSIM = "cronsim"
    """cronsim for cron, which shares no code with it; for all else Gnomon's own."""


class AuditedSlot(msgspec.Struct, frozen=True, kw_only=True):
    """One slot that a report names."""

    execution_id: str
    task_id: str
    scheduled_for: str
    revision: int


class AuditedSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A span that stands for another number of slots than it covers. Half-open, nominal times."""

    task_id: str
    from_: str = msgspec.field(name="from")
    to: str
    outcome: str
    count: int


class OtherSlot(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that only one of the two engines names."""

    task_id: str
    revision: int
    scheduled_for: str
    named_by: Literal["gnomon", "cronsim"]
    why: Why
    """`disputed`: nothing explains it."""


class CrossCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What cronsim was asked, and where it differs."""

    checked: int
    """Slots of cron schedules that both name."""
    unchecked: int
    """Slots of schedules that are no cron: reckoned by Gnomon alone."""
    explained: int
    """Slots that only one names, by a difference between the two that is known: Gnomon's count."""
    disputed: int
    """Slots that only one names, and nothing explains it: cronsim's count."""
    differences: tuple[OtherSlot, ...]
    """Those of both sorts: the first 1,000."""


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """Expected slots against recorded outcomes: expected = sum of outcomes + pending + missing."""

    since: str
    until: str
    tasks: int
    """How many tasks were looked at."""
    expected: int
    outcomes: dict[str, int]
    """`executed`, `skipped`, `missed` and `coalesced`."""
    pending: int
    """Due or running, or not due yet for the shard, or in a pause that lasts."""
    missing_count: int
    missing: tuple[AuditedSlot, ...]
    """Slots without any outcome: the first 1,000."""
    duplicate_count: int
    duplicate: tuple[AuditedSlot, ...]
    """Slots with more than one outcome."""
    misplaced_count: int
    misplaced: tuple[AuditedSlot, ...]
    """Recorded where no slot was, or under a revision that was not valid then."""
    miscounted: tuple[AuditedSpan, ...]
    engine: Engine = Engine.TIMING
    """By whose arithmetic the slots of cron schedules were reckoned."""
    cross_check: CrossCheck | None = None
    """Under `cronsim`: where the two engines differ."""
    sound: bool
    """Nothing is missing, duplicate, misplaced, miscounted or disputed."""


class _Suspect(NamedTuple):
    task_id: str
    partition: int
    nominal_s: int
    revision: int

    @property
    def execution_id(self) -> str:
        return f"{self.task_id}.{slot_run(self.nominal_s)}"


class _ShardMark(msgspec.Struct, frozen=True):
    watermark_ms: int


class _DueName(msgspec.Struct, frozen=True):
    execution_id: str


class _EntryRun(msgspec.Struct, frozen=True):
    run: str


class _Entries(msgspec.Struct, frozen=True):
    task_id: str
    entries: tuple[_EntryRun, ...] = ()


class _Facts(NamedTuple):
    """Rows of one page of tasks."""

    tasks: Sequence[Row]
    marks: Mapping[str, list[Mark]]
    executions: Sequence[Row]
    spans: Sequence[Row]
    second_endings: Sequence[Row]
    runs: Runs


class _Found:
    """What has been found so far."""

    def __init__(self) -> None:
        self.tasks = self.expected = self.pending = 0
        self.outcomes: Counter[str] = Counter()
        self.missing: list[_Suspect] = []
        self.duplicate: list[_Suspect] = []
        self.misplaced: list[_Suspect] = []
        self.miscounted: list[AuditedSpan] = []
        self.opinion: SecondOpinion | None = None

    def take(self, task_id: str, partition: int, audited: TaskAudit) -> None:
        """Add what one task came to."""
        self.tasks += 1
        self.expected += audited.expected
        self.pending += audited.pending
        self.outcomes += audited.outcomes
        self.missing += [_Suspect(task_id, partition, *slot) for slot in audited.missing]
        self.duplicate += [_Suspect(task_id, partition, *slot) for slot in audited.duplicate]
        self.misplaced += [_Suspect(task_id, partition, *slot) for slot in audited.misplaced]
        self.miscounted += [
            AuditedSpan(
                task_id=task_id,
                from_=format_instant(span.from_s * 1000),
                to=format_instant(span.to_s * 1000),
                outcome=span.outcome,
                count=span.slots,
            )
            for span in audited.miscounted
        ]


class Auditing:
    """Audits spans of time."""

    def __init__(self, database: Database, bus: Bus, projection: Projection, partitions: int) -> None:
        self._database, self._bus = database, bus
        self._projection, self._partitions = projection, partitions

    async def audit(
        self,
        since: datetime,
        until: datetime,
        *,
        task_id: str | None = None,
        user_id: str | None = None,
        engine: Engine = Engine.TIMING,
    ) -> AuditReport:
        """Audit the slots with a nominal time in [since, until), of all tasks or those of one user or id.

        Raises Refused while the read models are behind; DatabaseAway; BusError while NATS does not answer.
        """
        watermarks = await self._watermarks()
        pasts = await read_pasts(self._bus, self._partitions, until.year)
        await self._projection.catch_up(within=_BEHIND_SECONDS)
        found = _Found()
        if engine is Engine.CRONSIM:
            found.opinion = SecondOpinion()
        await self._look(found, since, until, watermarks, pasts, task_id, user_id)
        recorded = await self._look_again(found.missing)
        missing = [slot for slot in found.missing if slot not in recorded]
        return AuditReport(
            since=_shown(since),
            until=_shown(until),
            tasks=found.tasks,
            expected=found.expected,
            outcomes={name: found.outcomes[name] for name in ("executed", "skipped", "missed", "coalesced")},
            pending=found.pending + len(found.missing) - len(missing),
            missing_count=len(missing),
            missing=_listed(missing),
            duplicate_count=len(found.duplicate),
            duplicate=_listed(found.duplicate),
            misplaced_count=len(found.misplaced),
            misplaced=_listed(found.misplaced),
            miscounted=tuple(found.miscounted[:LISTED_MAX]),
            engine=engine,
            cross_check=None if found.opinion is None else _cross_check(found.opinion),
            sound=not (
                missing
                or found.duplicate
                or found.misplaced
                or found.miscounted
                or (found.opinion is not None and found.opinion.disputed_count)
            ),
        )

    async def _watermarks(self) -> dict[int, int]:
        registers = await asyncio.gather(
            *(
                self._bus.last(EVENTS_STREAM, shard_register(partition))
                for partition in range(self._partitions)
            )
        )
        return {
            partition: 0 if stored is None else decode(stored.data, _ShardMark).watermark_ms
            for partition, stored in enumerate(registers)
        }

    async def _look(
        self,
        found: _Found,
        since: datetime,
        until: datetime,
        watermarks: dict[int, int],
        pasts: list[Pasts],
        task_id: str | None,
        user_id: str | None,
    ) -> None:
        after = ""
        async with self._database.connection() as connection:
            # One snapshot for all pages: what is recorded while they are read changes nothing.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                while True:
                    tasks = await connection.fetch(
                        statement("audited_tasks"), after, task_id, user_id, _TASKS_A_PAGE
                    )
                    if not tasks:
                        return
                    ids = [row["task_id"] for row in tasks]
                    after = ids[-1]
                    marks = marks_of(await connection.fetch(statement("audited_marks"), ids))
                    facts = _Facts(
                        tasks,
                        marks,
                        await connection.fetch(
                            statement("audited_executions"), ids, since, until, timeout=_STATEMENT_SECONDS
                        ),
                        await connection.fetch(statement("audited_spans"), ids, since, until),
                        await connection.fetch(statement("audited_second_endings"), ids),
                        await counted_runs(connection.fetch, marks),
                    )
                    # Beside the event loop: a page may have a million slots.
                    await asyncio.to_thread(_audit_page, found, facts, since, until, watermarks, pasts)

    async def _look_again(self, suspects: Sequence[_Suspect]) -> set[_Suspect]:
        """Which slots without a record have one after all, or are on their way to one."""
        if not suspects:
            return set()
        due = await self._due({suspect.partition for suspect in suspects})
        rest = [suspect for suspect in suspects if suspect.execution_id not in due]
        ahead = await self._written_ahead(rest)
        rest = [suspect for suspect in rest if suspect.execution_id not in ahead]
        await self._projection.catch_up(within=_BEHIND_SECONDS)
        rows = await self._database.fetch(
            statement("recorded_since"), [suspect.execution_id for suspect in rest]
        )
        there = due | ahead | {row["execution_id"] for row in rows}
        return {suspect for suspect in suspects if suspect.execution_id in there}

    async def _due(self, partitions: set[int]) -> set[str]:
        found: set[str] = set()
        for partition in partitions:
            newest = await self._bus.last(DUE_STREAM, due_filter(partition))
            if newest is None:
                continue
            async for stored in self._bus.scan(
                DUE_STREAM, due_filter(partition), start_seq=1, at_least_seq=newest.seq
            ):
                if is_due(stored.subject):
                    found.add(decode(stored.data, _DueName).execution_id)
        return found

    async def _written_ahead(self, suspects: Sequence[_Suspect]) -> set[str]:
        registers = sorted({task_register(suspect.partition, suspect.task_id) for suspect in suspects})
        newest = await self._bus.last(EVENTS_STREAM, ">") if registers else None
        found: set[str] = set()
        for start in range(0, len(registers), _REGISTERS_A_READ):
            for stored in await self._bus.multi_last(
                EVENTS_STREAM,
                registers[start : start + _REGISTERS_A_READ],
                at_least_seq=0 if newest is None else newest.seq,
            ):
                register = decode(stored.data, _Entries)
                found |= {f"{register.task_id}.{entry.run}" for entry in register.entries}
        return found


def _audit_page(
    found: _Found,
    facts: _Facts,
    since: datetime,
    until: datetime,
    watermarks: dict[int, int],
    pasts: list[Pasts],
) -> None:
    recorded = _recorded(facts)
    spans = _spans(facts.spans)
    for row in facts.tasks:
        task_id, partition = row["task_id"], row["partition"]
        pieces = facts.runs.shorten(task_id, stretches(facts.marks[task_id]))
        audited = audit_task(
            task_id,
            under_calendars(pieces, pasts[partition] if partition < len(pasts) else {}),
            recorded[task_id],
            spans[task_id],
            since_s=_seconds(since),
            until_s=_seconds(until),
            watermark_ms=watermarks.get(partition, 0),
            slots_of=own_slots if found.opinion is None else found.opinion.slots,
        )
        found.take(task_id, partition, audited)


def _recorded(facts: _Facts) -> defaultdict[str, dict[int, Recorded]]:
    more: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for row in facts.second_endings:
        nominal = parse_slot_run(row["execution_id"].rpartition(".")[2])
        if nominal is not None:
            more[row["task_id"]][int(nominal.timestamp())] = row["times"]
    recorded: defaultdict[str, dict[int, Recorded]] = defaultdict(dict)
    for row in facts.executions:
        task_id, nominal_s, status = row["task_id"], _seconds(row["scheduled_for"]), row["status"]
        outcome = None if status in ACTIVE else _OUTCOME_OF.get(status, "executed")
        endings = 1 + more[task_id].pop(nominal_s, 0)
        if (other := recorded[task_id].get(nominal_s)) is not None:
            # Its execution was removed for its age, and its chain has got another row since.
            endings += other.endings
        recorded[task_id][nominal_s] = Recorded(outcome, row["revision"], endings)
    return recorded


def _spans(rows: Sequence[Row]) -> defaultdict[str, list[RecordedSpan]]:
    spans: defaultdict[str, list[RecordedSpan]] = defaultdict(list)
    for row in rows:
        spans[row["task_id"]].append(
            RecordedSpan(
                _seconds(row["from_at"]),
                _seconds(row["to_at"]),
                row["outcome"],
                row["revision"],
                row["slots"],
            )
        )
    return spans


def _listed(slots: Sequence[_Suspect]) -> tuple[AuditedSlot, ...]:
    return tuple(
        AuditedSlot(
            execution_id=slot.execution_id,
            task_id=slot.task_id,
            scheduled_for=format_instant(slot.nominal_s * 1000),
            revision=slot.revision,
        )
        for slot in slots[:LISTED_MAX]
    )


def _cross_check(opinion: SecondOpinion) -> CrossCheck:
    return CrossCheck(
        checked=opinion.checked,
        unchecked=opinion.unchecked,
        explained=opinion.explained_count,
        disputed=opinion.disputed_count,
        differences=tuple(
            OtherSlot(
                task_id=one.task_id,
                revision=one.revision,
                scheduled_for=format_instant(one.nominal_s * 1000),
                named_by="gnomon" if one.ours else "cronsim",
                why=one.why,
            )
            for one in opinion.differences
        ),
    )


def _seconds(at: datetime) -> int:
    """Whole seconds since 1970, rounded up: no slot lies within a second."""
    return -((EPOCH - at) // timedelta(seconds=1))


def _milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def _shown(at: datetime) -> str:
    return format_instant(at.astimezone(UTC))
