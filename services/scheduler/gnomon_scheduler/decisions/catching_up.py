"""Catch-up: what becomes of slots that are `after_seconds` late or more, all of one task's at a time.

They are a *backlog* and decided together in one batch: the span events, the cursor behind the last of them, and the
slots that run all the same, written ahead. The cursor makes the decision safe against a crash right after it: the
successor sees the slots as closed, and finds those that run in the register. A span never covers a slot that a
predecessor handed out (`handled`): it is split around those.

Of the slots within grace the newest run, as many as the policy allows: one under `latest`, `limit` under `all`. Those
before them are coalesced into the oldest that runs, and what is older than grace is missed. A late slot that runs goes
after everything live: it never stops a live slot from going, cancels nothing, and unless its task allows overlap it
waits until nothing of the task runs, so that under `all` they run one after another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from gnomon_core.timing import count_fires, fires, jitter_ms, last_fire
from gnomon_scheduler.decisions.overlapping import Way, in_the_way, room_for, way_past
from gnomon_scheduler.decisions.slots import flight_of
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Coalesced, Missed, Skipped, SlotOutcome
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.tasks import CatchUpPolicy, Overlap

__all__ = ["Backlog", "catch_up", "late_flight", "most_late", "waiting_flight"]


class Backlog(NamedTuple):
    """The decision about a task's late slots."""

    events: list[SlotOutcome]
    """Spans, as events of the task."""
    runs: list[Slot]
    """The slots that run all the same, oldest first."""
    waiting: list[Slot]
    """Slots of the range that are not late themselves, because of their jitter: to be written ahead."""
    cursor_s: int
    """Everything up to here is decided."""


def catch_up(first: Slot, now_ms: int, *, partition: int, handled: Collection[int]) -> Backlog:
    """Decide the late slots of a task. `first` comes first by its emission time.

    `handled` are nominal times that a predecessor handed out already.
    """
    task, first_s = first.task, first.nominal_s
    reg = task.reg
    schedule, policy = reg.spec.schedule, reg.spec.catch_up
    assert schedule is not None  # only a task with a schedule has slots
    if schedule.jitter_seconds:
        first_s, gone = _around(first)
        handled = {*handled, *gone}
    until_s = max(first_s, (now_ms - int(policy.after_seconds * 1000)) // 1000)
    spans = _Spans(task, now_ms, partition, handled)
    waiting: list[Slot] = []
    late_until_s = until_s
    if schedule.jitter_seconds:
        # With jitter the nominal times do not tell who is late: the youngest are looked at one by one.
        late_until_s = max(first_s - 1, until_s - int(schedule.jitter_seconds) - 1)
        waiting = _tail(task, late_until_s, until_s, handled)
    graced_from_s = -(-(now_ms - int(policy.grace_seconds * 1000)) // 1000)
    spans.missed("grace_exceeded", first_s - 1, min(late_until_s, graced_from_s - 1))
    start_s = max(first_s, graced_from_s)
    if policy.policy is CatchUpPolicy.SKIP:
        spans.missed("catch_up_skip", start_s - 1, late_until_s)
        return Backlog(spans.events, [], waiting, until_s)
    runs = _newest(task, late_until_s, start_s, handled, most_late(task))
    if runs:
        spans.coalesced(slot_run(runs[0]), start_s - 1, runs[0] - 1)
    else:
        # All were handed out, or the register takes no more of them.
        spans.skipped("limit", start_s - 1, late_until_s)
    return Backlog(spans.events, [_slot(task, nominal) for nominal in runs], waiting, until_s)


def most_late(task: TaskState) -> int:
    """How many late slots of the task may run of a backlog."""
    policy = task.reg.spec.catch_up
    waiting = sum(flight.waits_late for flight in task.flights.values())
    bounds = [1 if policy.policy is CatchUpPolicy.LATEST else policy.limit, ENTRIES_PER_TASK - waiting]
    bounds.append(room_for(task))
    if task.reg.runs_left is not None:
        bounds.append(task.reg.runs_left)
    return min(bounds)


def _slot(task: TaskState, nominal_s: int) -> Slot:
    schedule = task.reg.spec.schedule
    assert schedule is not None
    offset = jitter_ms(task.task_id, nominal_s, schedule.jitter_seconds) if schedule.jitter_seconds else 0
    return Slot(task, nominal_s, nominal_s * 1000 + offset)


def late_flight(slot: Slot, now_ms: int) -> Flight | None:
    """The execution of a late slot that runs, to be written ahead; None: its overlap policy forbids it.

    Of a backlog under `all` none is given up: they wait. One slot under `latest` gives way as a live one does.
    """
    spec = slot.task.reg.spec
    way = way_past(spec.overlap, in_the_way(slot.task))
    if way is Way.GIVE_WAY and spec.catch_up.policy is CatchUpPolicy.LATEST:
        return None
    flight = flight_of(slot, written=True, gated=spec.overlap is not Overlap.ALLOW)
    # It expires so long after it was handed out, not after its slot: it waits for others, and for its turn.
    flight.late_ms, flight.expires_ms = now_ms, None
    return flight


def waiting_flight(slot: Slot) -> Flight:
    """The execution of a slot that is in the range of a backlog and not late, because of its jitter: written ahead."""
    return flight_of(slot, written=True, gated=slot.task.reg.spec.overlap is not Overlap.ALLOW)


def _around(first: Slot) -> tuple[int, set[int]]:
    """Where jitter is longer than the pace, emission times come in another order than nominal ones.

    Given the slot with the earliest emission time of those that are left: the earliest nominal time of those, and the
    nominal times after that whose slots were handed out before it.
    """
    reg, schedule = first.task.reg, first.task.reg.spec.schedule
    assert schedule is not None  # only a task with a schedule has slots
    span_s = int(schedule.jitter_seconds or 0) + 1
    emitted_s = first.emit_ms // 1000
    first_s, gone = first.nominal_s, set()
    for nominal in fires(schedule, max(reg.cursor_s, emitted_s - span_s), emitted_s):
        emit_ms = nominal * 1000 + jitter_ms(reg.task_id, nominal, schedule.jitter_seconds or 0)
        if (emit_ms, nominal) < (first.emit_ms, first.nominal_s):
            gone.add(nominal)
        else:
            first_s = min(first_s, nominal)
    return first_s, gone


def _newest(task: TaskState, until_s: int, from_s: int, handled: Collection[int], most: int) -> list[int]:
    """The newest slots of a range that nobody has handed out, at most so many, oldest first."""
    schedule = task.reg.spec.schedule
    assert schedule is not None
    found: list[int] = []
    nominal = last_fire(schedule, until_s)
    while nominal is not None and nominal >= from_s and len(found) < most:
        if nominal not in handled:
            found.append(nominal)
        nominal = last_fire(schedule, nominal - 1)
    return found[::-1]


def _tail(task: TaskState, after_s: int, until_s: int, handled: Collection[int]) -> list[Slot]:
    schedule = task.reg.spec.schedule
    assert schedule is not None
    slots: list[Slot] = []
    nominal = last_fire(schedule, until_s)
    while nominal is not None and nominal > after_s:
        if nominal not in handled:
            slots.append(_slot(task, nominal))
        nominal = last_fire(schedule, nominal - 1)
    return slots[::-1]


class _Spans:
    """Collects span events over (after, until], split around the slots that were handed out."""

    def __init__(self, task: TaskState, now_ms: int, partition: int, handled: Collection[int]) -> None:
        self.events: list[SlotOutcome] = []
        self._task, self._now, self._partition = task, format_instant(now_ms), partition
        self._handled = sorted(handled)

    def missed(self, reason: str, after_s: int, until_s: int) -> None:
        """These could not run in time."""
        policy = self._task.reg.spec.catch_up
        detail = f"catch_up.grace_seconds is {policy.grace_seconds:g}"
        if reason == "catch_up_skip":
            detail = f"catch_up.policy is skip, from {policy.after_seconds:g} s after a slot"
        self.events += [Missed(**about, detail=detail) for about in self._abouts(reason, after_s, until_s)]

    def skipped(self, reason: str, after_s: int, until_s: int) -> None:
        """These were not run, by a rule."""
        detail = f"{len(self._task.flights)} executions of the task had not ended, and no more may wait"
        self.events += [Skipped(**about, detail=detail) for about in self._abouts(reason, after_s, until_s)]

    def coalesced(self, into: str, after_s: int, until_s: int) -> None:
        """One other run stands for these."""
        catch_up = self._task.reg.spec.catch_up
        detail = f"catch_up.policy is {catch_up.policy}, from {catch_up.after_seconds:g} s after a slot"
        if catch_up.policy is CatchUpPolicy.ALL:
            detail += f", with a limit of {catch_up.limit}"
        self.events += [
            Coalesced(**about, into=into, detail=detail)
            for about in self._abouts(f"catch_up_{catch_up.policy}", after_s, until_s)
        ]

    def _abouts(self, reason: str, after_s: int, until_s: int) -> Iterator[dict[str, Any]]:
        for start, end, count in self._pieces(after_s, until_s):
            yield {
                "task_id": self._task.task_id,
                "user_id": self._task.reg.user_id,
                "partition": self._partition,
                "occurred_at": self._now,
                "reason": reason,
                "revision": self._task.reg.revision,
                "count": count,
                "task_type": self._task.reg.spec.task_type,
                "from_": start,
                "to": end,
            }

    def _pieces(self, after_s: int, until_s: int) -> list[tuple[str, str, int]]:
        schedule = self._task.reg.spec.schedule
        assert schedule is not None
        pieces = []
        cuts = [s for s in self._handled if after_s < s <= until_s]
        for start, end in zip([after_s, *cuts], [c - 1 for c in cuts] + [until_s], strict=True):
            count = count_fires(schedule, start, end) if end > start else 0
            if count:
                pieces.append((format_instant((start + 1) * 1000), format_instant((end + 1) * 1000), count))
        return pieces
