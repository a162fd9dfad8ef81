"""The oracle: which slots should there have been, and what is recorded of them?

From the task's own events come the stretches of time in which one schedule was in force; from those, by pure
arithmetic, the slots; and every slot must have exactly one recorded outcome:

    expected = executed + skipped + missed + coalesced + pending      none missing, none doubled

Nothing in here looks at registers, at `TASK_DUE`, or at any process's memory: it is computed from the events alone,
as a user could. Runs on demand are counted beside the slots: each `queued` of one must end exactly once too.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from gnomon_core.timing import KeptNames, as_of, fires
from gnomon_schemas.clock_text import format_instant, instant_ms, parse_slot_run, slot_run
from gnomon_schemas.events import Created, Deleted, Replanned, SlotOutcome, StatusChanged, Updated
from gnomon_schemas.schedules import Schedule
from gnomon_schemas.subjects import TASK_RUN
from gnomon_schemas.tasks import Task, TaskStatus
from tests.harness.events import Seen

__all__ = ["ENDINGS", "Audit", "Stretch", "audit", "stretches"]

ENDINGS = frozenset({"executed", "skipped", "missed", "coalesced"})
"""Events that are the outcome of a slot."""
_COMPANIONS = frozenset({"failed", "dead_lettered"})
_OVER = frozenset({TaskStatus.CANCELLED, TaskStatus.COMPLETED, TaskStatus.FAILED})
_SHOWN = 20
_ENDLESS_MS = 1 << 62


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in which one schedule was in force, or none: (after, until], in epoch milliseconds."""

    after_ms: int
    until_ms: int
    schedule: Schedule | None
    revision: int
    paused: bool
    stored: Schedule | None
    """`schedule` as the task has it; that one may be by the rules of another calendar, and none while it is over."""

    def slots(self, until_ms: int) -> Iterator[int]:
        """Nominal times in it up to an instant, in seconds. The second in which it begins belongs to the one
        before."""
        if self.schedule is None:
            return iter(())
        return fires(self.schedule, self.after_ms // 1000, min(self.until_ms, until_ms) // 1000)


Calendars = Mapping[str, KeptNames]
"""By the fingerprint of a calendar, what differs in it from that of the process that audits."""


def stretches(events: Iterable[Seen], calendars: Calendars = MappingProxyType({})) -> list[Stretch]:
    """The stretches of one task, in order, from its own events.

    A stretch has the slots of the calendar that was in force: the next `replanned` names it, or the last one.
    """
    marks: list[_Mark] = []
    replanned: list[tuple[int, Replanned]] = []
    for seen in events:
        event = seen.event
        if isinstance(event, Created | Updated | Replanned):
            if isinstance(event, Replanned):
                replanned.append((len(marks), event))
            mark = _mark_of(event.task, instant_ms(_valid_from(event)))
            # A change that leaves the slots what they are: a pause that lasts is one, whatever is changed meanwhile.
            if not marks or mark._replace(at_ms=marks[-1].at_ms) != marks[-1]:
                marks.append(mark)
        elif isinstance(event, Deleted):
            marks.append(_Mark(instant_ms(event.deleted_at), None, 0, paused=False, over=True))
        elif isinstance(event, StatusChanged) and event.task is not None:
            # `occurred_at`: a pause ends before the instant that it lasts until, the slot of that second is live.
            marks.append(_mark_of(event.task, instant_ms(event.occurred_at)))
        elif isinstance(event, StatusChanged) and event.new_status in _OVER:
            at_ms, stored = instant_ms(event.changed_at), marks[-1].stored if marks else None
            marks.append(_Mark(at_ms, stored, 0, paused=False, over=True))
    # What was never created (a shard that was told something, a refused id) has no mark, and no stretch.
    ends = [*(mark.at_ms for mark in marks), _ENDLESS_MS][1:]
    found: list[Stretch] = []
    for index, (mark, end_ms) in enumerate(zip(marks, ends, strict=True)):
        schedule = None if mark.over else _as_of(mark.stored, index, replanned, calendars)
        found.append(Stretch(mark.at_ms, end_ms, schedule, mark.revision, mark.paused, mark.stored))
    return found


class _Mark(NamedTuple):
    """What holds of a task from an instant on."""

    at_ms: int
    stored: Schedule | None
    """Its schedule, also while it is over."""
    revision: int
    paused: bool
    over: bool


def _mark_of(task: Task, at_ms: int) -> _Mark:
    return _Mark(at_ms, task.schedule, task.revision, task.paused, over=task.status in _OVER)


def _valid_from(event: Created | Updated | Replanned) -> str:
    if isinstance(event, Created):
        return event.created_at
    return event.updated_at if isinstance(event, Updated) else event.replanned_at


def _as_of(
    schedule: Schedule | None, index: int, replanned: list[tuple[int, Replanned]], calendars: Calendars
) -> Schedule | None:
    """A schedule under the calendar in force in the stretch of that index."""
    if schedule is None or not replanned:
        return schedule
    following = (event.old_calendar for at, event in replanned if at > index)
    calendar = next(following, replanned[-1][1].new_calendar)
    return as_of(schedule, calendars.get(calendar.fingerprint, ()))


@dataclass(slots=True)
class Audit:
    """Expected against recorded. `str` of it is a report."""

    expected: int = 0
    runs: int = 0
    """Runs on demand."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Slots by outcome: `executed`, `skipped(overlap)`, `coalesced(span)` …"""
    pending: list[str] = field(default_factory=list)
    """Begun and not ended."""
    in_pause: int = 0
    """Slots of a pause that lasts: recorded when it ends."""
    missing: list[str] = field(default_factory=list)
    """Expected, and nothing is recorded."""
    doubled: list[str] = field(default_factory=list)
    """More than one outcome."""
    strange: list[str] = field(default_factory=list)
    """Recorded where nothing was expected, or in a way that contradicts itself."""

    @property
    def sound(self) -> bool:
        """Nothing missing, doubled or strange; some may be pending."""
        return not (self.missing or self.doubled or self.strange)

    @property
    def settled(self) -> bool:
        """Sound, and nothing is pending."""
        return self.sound and not self.pending

    def executed(self) -> int:
        """Slots and runs that were executed."""
        return self.outcomes["executed"]

    def __str__(self) -> str:
        head = f"{self.expected} slots and {self.runs} runs expected; " + ", ".join(
            f"{name} {count}" for name, count in sorted(self.outcomes.items())
        )
        lines = [f"{head}; {self.in_pause} in a pause" if self.in_pause else head]
        for name in ("pending", "missing", "doubled", "strange"):
            found: list[str] = getattr(self, name)
            if found:
                lines.append(f"{name} ({len(found)}): {', '.join(found[:_SHOWN])}")
        return "\n  ".join(lines)


def audit(events: Iterable[Seen], until_ms: int, calendars: Calendars = MappingProxyType({})) -> Audit:
    """Compare for all slots with a nominal time up to `until_ms`, of all tasks."""
    of_task: defaultdict[str, list[Seen]] = defaultdict(list)
    for seen in events:
        if seen.subject.kind == "task":
            of_task[seen.task_id].append(seen)
    result = Audit()
    for task_id, seen_of_task in of_task.items():
        _audit_task(result, task_id, seen_of_task, until_ms, calendars)
    return result


def _audit_task(result: Audit, task_id: str, events: list[Seen], until_ms: int, calendars: Calendars) -> None:
    pieces = stretches((seen for seen in events if seen.run == TASK_RUN), calendars)
    chains: defaultdict[str, list[Seen]] = defaultdict(list)
    for seen in events:
        if seen.run != TASK_RUN:
            chains[seen.run].append(seen)
    pieces = _until_exhausted(result, task_id, pieces, chains)
    wanted = {slot: piece for piece in pieces for slot in piece.slots(until_ms)}
    recorded = _recorded(result, task_id, events, pieces, chains)
    result.expected += len(wanted)
    for slot, piece in wanted.items():
        name, found = f"{task_id}.{slot_run(slot)}", recorded.pop(slot, [])
        if len(found) > 1:
            result.doubled.append(f"{name} {found}")
        if found:
            result.outcomes[found[0]] += 1
        elif slot_run(slot) in chains:
            result.pending.append(name)
        elif piece.paused and piece.until_ms == _ENDLESS_MS:
            result.in_pause += 1
        else:
            result.missing.append(name)
        _check_revision(result, name, piece, chains.get(slot_run(slot), ()))
    for slot, found in recorded.items():
        if slot * 1000 <= until_ms:
            result.strange.append(f"{task_id}.{slot_run(slot)} is no slot and has {found}")


_NEVER_TO_RUN = frozenset({"overlap", "limit"})
"""Reasons of slots that were skipped when they came due: they do not count as runs of their schedule. One that was
skipped because its key was taken had been written ahead and counted."""


def _until_exhausted(
    result: Audit, task_id: str, pieces: list[Stretch], chains: dict[str, list[Seen]]
) -> list[Stretch]:
    """Where a schedule has `max_runs`, and so many of its slots were to run, its slots end with the last of them.

    Stretches with one and the same schedule count together: nobody has changed it between them, also where the task
    was over for a while.
    """
    found: list[Stretch] = []
    for schedule, group in groupby(pieces, key=lambda piece: piece.stored):
        same = list(group)
        if schedule is not None and schedule.max_runs is not None:
            same = _counted(result, task_id, same, schedule.max_runs, chains)
        found += same
    return found


def _counted(
    result: Audit, task_id: str, pieces: list[Stretch], max_runs: int, chains: dict[str, list[Seen]]
) -> list[Stretch]:
    revisions = {piece.revision for piece in pieces}
    begun = {
        int(nominal.timestamp()): chain
        for run, chain in chains.items()
        if (nominal := parse_slot_run(run)) is not None
        and getattr(chain[0].event, "revision", None) in revisions
    }
    to_run = [
        slot
        for slot, chain in begun.items()
        if getattr(chain[0].event, "reason", "") not in _NEVER_TO_RUN or chain[0].name == "queued"
    ]
    started = sum(any(seen.name == "started" for seen in chain) for chain in begun.values())
    if started > max_runs:
        result.strange.append(f"{task_id} ran {started} slots of a schedule with max_runs {max_runs}")
    if len(to_run) < max_runs:
        return pieces
    last_ms = max(begun) * 1000
    return [replace(piece, until_ms=min(piece.until_ms, max(last_ms, piece.after_ms))) for piece in pieces]


def _recorded(
    result: Audit, task_id: str, events: list[Seen], pieces: list[Stretch], chains: dict[str, list[Seen]]
) -> defaultdict[int, list[str]]:
    """The outcomes recorded for each nominal time, from spans and from chains."""
    recorded: defaultdict[int, list[str]] = defaultdict(list)
    for event in (seen.event for seen in events if seen.run == TASK_RUN):
        if isinstance(event, SlotOutcome):
            _take_span(result, event, pieces, recorded)
    for run, chain in chains.items():
        _take_chain(result, f"{task_id}.{run}", run, chain, recorded)
    return recorded


def _take_span(
    result: Audit, event: SlotOutcome, pieces: list[Stretch], recorded: defaultdict[int, list[str]]
) -> None:
    words = f"span of {event.task_id} [{event.from_}, {event.to})"
    if event.from_ is None or event.to is None:
        result.strange.append(f"{words} has no bounds")
        return
    start, end = instant_ms(event.from_), instant_ms(event.to) - 1
    slots = [
        slot
        for piece in pieces
        if piece.revision == event.revision and piece.schedule is not None
        for slot in piece.slots(end)
        if slot * 1000 >= start
    ]
    if len(slots) != event.count:
        result.strange.append(f"{words} says {event.count} slots and covers {len(slots)}")
    kind = type(event).__name__.lower()
    for slot in slots:
        recorded[slot].append(f"{kind}({event.reason}, span)")


def _take_chain(
    result: Audit, name: str, run: str, chain: list[Seen], recorded: defaultdict[int, list[str]]
) -> None:
    endings = [seen for seen in chain if seen.name in ENDINGS]
    outcomes = [_outcome(seen) for seen in endings]
    if endings:
        after = [seen.name for seen in chain if seen.seq > endings[0].seq and seen.name not in _COMPANIONS]
        if after:
            result.strange.append(f"{name} goes on after its end: {after}")
    if outcomes[:1] == ["executed"] and not any(seen.name == "started" for seen in chain):
        result.strange.append(f"{name} was executed and never started")
    nominal = parse_slot_run(run)
    if nominal is not None:
        recorded[int(nominal.timestamp())] += outcomes
        return
    result.runs += 1
    if len(endings) > 1:
        result.doubled.append(f"{name} {outcomes}")
    if outcomes:
        result.outcomes[outcomes[0]] += 1
    else:
        result.pending.append(name)


def _outcome(seen: Seen) -> str:
    return "executed" if seen.name == "executed" else f"{seen.name}({seen.event.reason})"  # type: ignore[attr-defined]  # a SlotOutcome


def _check_revision(result: Audit, name: str, piece: Stretch, chain: Iterable[Seen]) -> None:
    for seen in chain:
        revision = getattr(seen.event, "revision", piece.revision)
        if revision != piece.revision:
            result.strange.append(
                f"{name} ran under revision {revision}; at its nominal time {piece.revision} was valid, "
                f"from {format_instant(piece.after_ms)}"
            )
            return
