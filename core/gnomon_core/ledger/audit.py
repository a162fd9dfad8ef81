"""Expected slots against recorded outcomes, for one task and one span of time.

    expected = executed + skipped + missed + coalesced + pending + missing

`missing` has to be empty, and so has `duplicate`. The left side is computed from stretches of schedules
(`stretches`) alone, the right side from what was recorded: outcomes of single slots, and spans that stand for many.

*Pending* is a slot that may have no outcome yet: begun and not ended, after the shard's watermark (the instant up to
which the shard says that it has handed out every slot), or in a pause that lasts, whose slots are recorded when it
ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from gnomon_core.ledger.stretches import State, Stretch
from gnomon_core.timing import emission_ms

__all__ = [
    "OUTCOMES",
    "ExpectedSlot",
    "Recorded",
    "RecordedSpan",
    "SlotsOf",
    "TaskAudit",
    "audit_task",
    "own_slots",
]

OUTCOMES: Final = ("executed", "skipped", "missed", "coalesced")


SlotsOf: TypeAlias = Callable[[str, Stretch, int, int], Iterator[int]]
"""(task id, stretch, since_s, until_s) -> its nominal times in [since_s, until_s), in order."""


def own_slots(task_id: str, piece: Stretch, since_s: int, until_s: int) -> Iterator[int]:
    """The slots of a stretch by `gnomon_core.timing`."""
    return piece.slots(since_s, until_s)


class Recorded(NamedTuple):
    """What is recorded of one slot by itself."""

    outcome: str | None
    """One of `OUTCOMES`; None: begun and not ended."""
    revision: int | None
    """The revision that it ran under; None: not known."""
    endings: int = 1
    """How many outcomes were recorded on its chain."""


class RecordedSpan(NamedTuple):
    """Slots passed over in bulk: [from_s, to_s) in seconds, of one revision."""

    from_s: int
    to_s: int
    outcome: str
    revision: int
    slots: int


class ExpectedSlot(NamedTuple):
    """A slot that should have been."""

    nominal_s: int
    revision: int


@dataclass(slots=True)
class TaskAudit:
    """What was found for one task."""

    expected: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    missing: list[ExpectedSlot] = field(default_factory=list)
    """Expected, and nothing is recorded. Whoever audits looks further: it may be due and unclaimed."""
    duplicate: list[ExpectedSlot] = field(default_factory=list)
    """More than one outcome."""
    misplaced: list[tuple[int, int]] = field(default_factory=list)
    """(nominal time, revision) of what was recorded where no slot was, or under a revision not valid then."""
    miscounted: list[RecordedSpan] = field(default_factory=list)
    """Spans that stand for another number of slots than they cover."""


def audit_task(
    task_id: str,
    pieces: Sequence[Stretch],
    recorded: Mapping[int, Recorded],
    spans: Iterable[RecordedSpan],
    *,
    since_s: int,
    until_s: int,
    watermark_ms: int,
    slots_of: SlotsOf = own_slots,
) -> TaskAudit:
    """Audit the slots of a task with a nominal time in [since_s, until_s), seconds since 1970.

    `recorded` by nominal time; `spans` at least those that touch the span of time. `watermark_ms`: the shard has
    handed out every slot with an emission time up to then. `slots_of`: by what arithmetic the slots of a stretch are
    reckoned.
    """
    result = TaskAudit()
    if not pieces:
        return result
    # What lies before all that is known of the task's schedules cannot be judged.
    begins_s = pieces[0].after_ms // 1000
    bulk = sorted(spans)
    for span in bulk:
        if span.from_s >= begins_s:
            _check_count(result, span, pieces)
    seen: set[int] = set()
    for piece in pieces:
        covering = _Covering([span for span in bulk if span.revision == piece.revision])
        for nominal_s in slots_of(task_id, piece, since_s, until_s):
            one = recorded.get(nominal_s)
            if one is not None:
                seen.add(nominal_s)
            _judge(result, task_id, piece, nominal_s, one, covering.of(nominal_s), watermark_ms)
    result.misplaced += [
        (nominal_s, one.revision or 0)
        for nominal_s, one in recorded.items()
        if max(since_s, begins_s) <= nominal_s < until_s and nominal_s not in seen
    ]
    return result


class _Covering:
    """Which spans cover a slot, asked for slots in order: each span is looked at once."""

    def __init__(self, spans: list[RecordedSpan]) -> None:
        self._coming = iter(spans)
        self._next = next(self._coming, None)
        self._open: list[RecordedSpan] = []

    def of(self, nominal_s: int) -> list[RecordedSpan]:
        """The spans over a slot that is not before the one asked for last."""
        while self._next is not None and self._next.from_s <= nominal_s:
            self._open.append(self._next)
            self._next = next(self._coming, None)
        if self._open:
            self._open = [span for span in self._open if nominal_s < span.to_s]
        return self._open


def _judge(
    result: TaskAudit,
    task_id: str,
    piece: Stretch,
    nominal_s: int,
    one: Recorded | None,
    spans: Sequence[RecordedSpan],
    watermark_ms: int,
) -> None:
    slot = ExpectedSlot(nominal_s, piece.revision)
    result.expected += 1
    if one is not None and one.revision not in {None, piece.revision}:
        result.misplaced.append((nominal_s, one.revision or 0))
    begun = one is not None and one.outcome is None
    ends = [span.outcome for span in spans]
    if one is not None and one.outcome is not None:
        ends = [one.outcome] * one.endings + ends
    if len(ends) > 1 or (begun and ends):
        # A span must not cover what has begun: whatever that comes to, the slot gets a second end.
        result.duplicate.append(slot)
    if ends:
        result.outcomes[ends[0]] += 1
    elif begun or _may_wait(task_id, piece, nominal_s, watermark_ms):
        result.pending += 1
    else:
        result.missing.append(slot)


def _may_wait(task_id: str, piece: Stretch, nominal_s: int, watermark_ms: int) -> bool:
    if piece.state is State.PAUSED:
        return piece.lasts
    return emission_ms(task_id, nominal_s, piece.schedule) > watermark_ms


def _check_count(result: TaskAudit, span: RecordedSpan, pieces: Sequence[Stretch]) -> None:
    """Whether a span covers as many slots as it says: reckoned over all of it, also beyond what is audited."""
    covered = sum(
        piece.how_many(span.from_s, span.to_s) for piece in pieces if piece.revision == span.revision
    )
    if covered != span.slots:
        result.miscounted.append(span)
