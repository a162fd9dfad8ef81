"""Catch-up: what becomes of slots that are `after_seconds` late or more, all of one task's at a time.

They are a *backlog* and decided together in one batch: the span events, the cursor behind the last of them, and the
slots that run all the same, written ahead. The cursor makes the decision safe against a crash right after it: the
successor sees the slots as closed, and finds those that run in the register. A span never covers a slot that a
predecessor handed out (`handled`): it is split around those.

Of the slots within grace the newest run, as many as the policy allows: one under `latest`, `limit` under `all`. Those
before them are coalesced into the oldest that runs, and what is older than grace is missed. A late slot that runs goes
after everything live: it never stops a live slot from going, cancels nothing, and unless its task allows overlap it
waits until nothing of the task runs, so that under `all` they run one after another.

Late slots that lie in a blackout get what its calendar says: they are skipped, put off until its end, or stood for by
the last of them (`blackouts`). Where that end has passed they were to run then, and are late by as much.

**Its size.** A backlog is one unit, which fits into one batch. Every stretch of a blackout has an event of its own, and
so may every slot that is put off or waits for its jitter. So a range with more of these than fit is cut: the cursor
stands at the cut, and what comes after it is the next backlog, decided in the same turn or the one after. Each of them
goes by the policy by itself: what is within grace, and broken up so often, has a run under `latest` at every cut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from msgspec import UNSET, UnsetType

from gnomon_core.timing import (
    Blackout,
    BlackoutStretch,
    Touch,
    count_fires,
    fires,
    jitter_ms,
    last_fire,
    stretches,
)
from gnomon_scheduler.decisions.blackouts import room_to_put_off, touch_words
from gnomon_scheduler.decisions.overlapping import Way, in_the_way, room_for, way_past
from gnomon_scheduler.decisions.slots import flight_of
from gnomon_scheduler.memory import Flight, Slot, TaskState
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, slot_run
from gnomon_schemas.events import Coalesced, Missed, Skipped, SlotOutcome
from gnomon_schemas.limits import ENTRIES_PER_TASK
from gnomon_schemas.tasks import CatchUpPolicy, Overlap

__all__ = ["Backlog", "catch_up", "late_flight", "most_late", "waiting_flight"]


_PUT_OFF_MAX: Final = 400
"""So many slots may be put off at a time: each has an event of its own, and they go into one batch."""
_STRETCHES_MAX: Final = 150
"""So many stretches of blackouts are looked at at a time: each has an event, and so has what is before it."""
_WAITING_MAX: Final = 150
"""So many slots may wait for their jitter at a time: a blackout may skip every one."""


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
    put_off: Sequence[tuple[Slot, Touch]] = ()
    """The slots that wait for the end of a blackout, oldest first."""


def catch_up(
    first: Slot,
    now_ms: int,
    *,
    partition: int,
    handled: Collection[int],
    calendars: Sequence[Blackout] = (),
) -> Backlog:
    """Decide the late slots of a task. `first` comes first by its emission time.

    `handled` are nominal times that a predecessor handed out already; `calendars` are those that touch the task.
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
        if len(waiting) > _WAITING_MAX:
            waiting = waiting[:_WAITING_MAX]
            until_s = waiting[-1].nominal_s
    ends = [one.to_s for one in islice(stretches(calendars, first_s - 1, late_until_s), _STRETCHES_MAX)]
    if len(ends) == _STRETCHES_MAX and ends[-1] <= late_until_s:
        # All of it is late, with and without jitter: what is behind the cut is a backlog too.
        until_s = late_until_s = ends[-1] - 1
        waiting = []
    parts = _Parts(task, first_s, late_until_s, calendars, now_ms)
    for part in parts.beyond_grace:
        spans.missed("grace_exceeded", part.from_s - 1, part.until_s, part.touch)
    for part in parts.skipped:
        spans.skipped("blackout", part.from_s - 1, part.until_s, part.touch)
    put_off = _put_off(task, parts, handled, spans)
    if policy.policy is CatchUpPolicy.SKIP:
        for part in parts.late:
            spans.missed("catch_up_skip", part.from_s - 1, part.until_s, part.touch)
        return Backlog(spans.events, [], waiting, until_s, put_off)
    runs: list[int] = []
    for part in reversed(parts.late):
        runs = _newest(task, part.until_s, part.from_s, handled, most_late(task) - len(runs)) + runs
    for part in parts.late:
        if runs:
            until_part_s = min(part.until_s, runs[0] - 1)
            spans.coalesced(slot_run(runs[0]), part.from_s - 1, until_part_s, part.touch)
        else:
            # All were handed out, or the register takes no more of them.
            spans.skipped("limit", part.from_s - 1, part.until_s)
    return Backlog(spans.events, [_slot(task, nominal) for nominal in runs], waiting, until_s, put_off)


class _Part(NamedTuple):
    """Nominal times from `from_s` to `until_s`, both of them in it, that meet with the same."""

    from_s: int
    until_s: int
    touch: Touch | None = None


class _Parts:
    """The range of a backlog, taken apart by what becomes of its slots. Each list is in order."""

    def __init__(
        self, task: TaskState, from_s: int, until_s: int, calendars: Sequence[Blackout], now_ms: int
    ) -> None:
        self._policy, self._now_ms = task.reg.spec.catch_up, now_ms
        self.beyond_grace: list[_Part] = []
        self.skipped: list[_Part] = []
        """By a blackout."""
        self.put_off: list[_Part] = []
        """Until the end of a blackout, which is still to come or was a moment ago."""
        self.late: list[_Part] = []
        """What the catch-up policy decides about."""
        at_s = from_s
        for stretch in stretches(calendars, from_s - 1, until_s):
            self._free(at_s, stretch.from_s - 1)
            self._touched(stretch)
            at_s = stretch.to_s
        self._free(at_s, until_s)

    def _free(self, from_s: int, until_s: int) -> None:
        graced_from_s = -(-(self._now_ms - int(self._policy.grace_seconds * 1000)) // 1000)
        if from_s < graced_from_s and from_s <= until_s:
            self.beyond_grace.append(_Part(from_s, min(until_s, graced_from_s - 1)))
        if max(from_s, graced_from_s) <= until_s:
            self.late.append(_Part(max(from_s, graced_from_s), until_s))

    def _touched(self, stretch: BlackoutStretch) -> None:
        """Of a slot that a blackout puts off, lateness counts from the end of that, when it was to run."""
        part = _Part(stretch.from_s, stretch.to_s - 1, stretch.touch)
        late_ms = self._now_ms - stretch.touch.until_s * 1000
        if stretch.touch.action is BlackoutAction.SKIP:
            self.skipped.append(part)
        elif late_ms < self._policy.after_seconds * 1000:
            self.put_off.append(part)
        elif late_ms > self._policy.grace_seconds * 1000:
            self.beyond_grace.append(part)
        else:
            self.late.append(part)


def _put_off(
    task: TaskState, parts: _Parts, handled: Collection[int], spans: _Spans
) -> list[tuple[Slot, Touch]]:
    """The slots that wait for the end of a blackout, oldest first. What they stand for, and what there is no room for,
    is told in spans."""
    found: list[tuple[Slot, Touch]] = []
    alone: int | None = None
    room = min(_PUT_OFF_MAX, room_to_put_off(task))
    for part in reversed(parts.put_off):
        assert part.touch is not None  # only what is touched is put off
        if part.touch.action is BlackoutAction.FIRST_AFTER:
            kept = [] if alone is not None else _newest(task, part.until_s, part.from_s, handled, 1)
            if kept:
                alone = kept[0]
            if alone is not None:
                until_s = min(part.until_s, alone - 1)
                spans.stood_for(slot_run(alone), part.from_s - 1, until_s, part.touch)
        else:
            kept = _newest(task, part.until_s, part.from_s, handled, room - len(found))
            until_s = kept[0] - 1 if kept else part.until_s
            spans.skipped("limit", part.from_s - 1, until_s, part.touch)
        found = [(_slot(task, nominal), part.touch) for nominal in kept] + found
    return found


def most_late(task: TaskState) -> int:
    """How many late slots of the task may run of a backlog."""
    policy = task.reg.spec.catch_up
    waiting = sum(flight.waits_late for flight in task.flights.values())
    bounds = [1 if policy.policy is CatchUpPolicy.LATEST else policy.limit, ENTRIES_PER_TASK - waiting]
    bounds.append(room_for(task))
    if task.reg.runs_left is not None:
        bounds.append(task.reg.runs_left)
    return max(0, min(bounds))


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

    def missed(self, reason: str, after_s: int, until_s: int, touch: Touch | None = None) -> None:
        """These could not run in time; `touch` is of the calendar that had put them off."""
        policy = self._task.reg.spec.catch_up
        detail = f"catch_up.grace_seconds is {policy.grace_seconds:g}"
        if reason == "catch_up_skip":
            detail = f"catch_up.policy is skip, from {policy.after_seconds:g} s after a slot"
        self.events += [
            Missed(**about, detail=detail, calendar_id=_calendar(touch))
            for about in self._abouts(reason, after_s, until_s)
        ]

    def skipped(self, reason: str, after_s: int, until_s: int, touch: Touch | None = None) -> None:
        """These were not run, by a rule; by a calendar where one touches them."""
        detail = f"{len(self._task.flights)} executions of the task had not ended, and no more may wait"
        if touch is not None:
            detail = touch_words(touch)
        self.events += [
            Skipped(**about, detail=detail, calendar_id=_calendar(touch))
            for about in self._abouts(reason, after_s, until_s)
        ]

    def stood_for(self, into: str, after_s: int, until_s: int, touch: Touch) -> None:
        """One run stands for these when a blackout is over."""
        self.events += [
            Coalesced(**about, into=into, detail=touch_words(touch), calendar_id=_calendar(touch))
            for about in self._abouts("blackout", after_s, until_s)
        ]

    def coalesced(self, into: str, after_s: int, until_s: int, touch: Touch | None = None) -> None:
        """One other run stands for these; `touch` is of the calendar that had put them off."""
        catch_up = self._task.reg.spec.catch_up
        detail = f"catch_up.policy is {catch_up.policy}, from {catch_up.after_seconds:g} s after a slot"
        if catch_up.policy is CatchUpPolicy.ALL:
            detail += f", with a limit of {catch_up.limit}"
        self.events += [
            Coalesced(**about, into=into, detail=detail, calendar_id=_calendar(touch))
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


def _calendar(touch: Touch | None) -> str | UnsetType:
    return UNSET if touch is None else touch.calendar_id
