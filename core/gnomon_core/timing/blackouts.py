"""Blackouts as arithmetic: whether an instant lies in one, when that ends, and which calendar has its way.

Instants are whole seconds since 1970, as nominal times are. A calendar is in force in its spans, once or recurring,
each half-open; spans that meet or overlap are one *stretch* of it. What a task's slot meets is told by all calendars
that touch the task together:

* Where several are in force at the slot, `skip` has its way before `first_after`, and that before `defer`; of equals
  the one that comes first by id.
* The blackout *ends*, for a slot that waits for it, at the first instant after the slot at which none of them is in
  force, whatever the others would do with a slot of their own: what was put off for one calendar does not run inside
  another.

Which calendars are in force is the same from one beginning or end to the next, so it is kept for that window: while
none is, a slot costs two comparisons.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from gnomon_core.timing.timeline import LAST_INSTANT
from gnomon_core.timing.timetable import fires, last_fire, next_fire
from gnomon_schemas.blackouts import BlackoutAction, CalendarSpec, Selector
from gnomon_schemas.clock_text import instant_ms
from gnomon_schemas.schedules import Schedule

__all__ = ["Blackout", "BlackoutStretch", "Blackouts", "Touch", "stretches"]

_HORIZON_S: Final = 400 * 86_400
"""So far ahead spans that run into each other are followed to find where a blackout ends. Where it goes on after that,
what waits for its end looks again there."""
_SPANS_MAX: Final = 1000
"""So many of one recurring span are followed at a time: some milliseconds' worth."""
_STEPS_MAX: Final = 8
"""So often they are followed from one calendar's, or one span's, to another's."""
_BEYOND: Final = LAST_INSTANT + 1
_RANKS: Final = {BlackoutAction.SKIP: 0, BlackoutAction.FIRST_AFTER: 1, BlackoutAction.DEFER: 2}


class Touch(NamedTuple):
    """What a calendar does to a slot."""

    calendar_id: str
    action: BlackoutAction
    until_s: int
    """The first instant after the slot at which no calendar that touches its task is in force."""


class BlackoutStretch(NamedTuple):
    """A time, [from_s, to_s), in which the same touch holds for every slot of a task."""

    from_s: int
    to_s: int
    touch: Touch


class _Recurring(NamedTuple):
    schedule: Schedule
    duration_s: int


class Blackout:
    """One calendar: when it is in force, and whose slots it touches."""

    def __init__(self, calendar_id: str, spec: CalendarSpec) -> None:
        self.calendar_id, self.action = calendar_id, spec.action
        self.selector: Selector = spec.selector
        self._tags = frozenset(spec.selector.tags)
        self._all_tags = spec.selector.match == "all"
        self._starts, self._ends = _merged(
            (_ceil_second(span.from_), _ceil_second(span.to)) for span in spec.spans
        )
        self._recurring = [_Recurring(part.schedule, part.duration_seconds) for part in spec.recurring]

    @property
    def rank(self) -> tuple[int, str]:
        """Which of several has its way: the least."""
        return _RANKS[self.action], self.calendar_id

    def touches(self, tags: Collection[str], task_type: str, user_id: str | None) -> bool:
        """Whether it touches the slots of a task."""
        selector = self.selector
        if self._tags and not (
            self._tags.issubset(tags) if self._all_tags else not self._tags.isdisjoint(tags)
        ):
            return False
        if selector.task_types and task_type not in selector.task_types:
            return False
        return not selector.user_ids or user_id in selector.user_ids

    def end(self, at: int) -> int | None:
        """Where the stretch that holds an instant ends; None: it is not in force then."""
        reached = _free_after((self,), at)
        return reached if reached > at else None

    def next_start(self, after: int) -> int | None:
        """The first instant after one at which a span of it begins; None: none does any more."""
        index = bisect_right(self._starts, after)
        found = [self._starts[index]] if index < len(self._starts) else []
        found += [start for part in self._recurring if (start := next_fire(part.schedule, after)) is not None]
        return min(found, default=None)

    def run_end(self, at: int, limit: int) -> int:
        """How far the spans reach that hold an instant and, one after the other, run into each other without those of
        another part; the instant itself: none holds it. Not followed beyond `limit`."""
        index = bisect_right(self._starts, at) - 1
        found = max(at, self._ends[index]) if index >= 0 else at
        for part in self._recurring:
            # All spans of a part are equally long, so the last one that began is the last one to end.
            start = last_fire(part.schedule, at)
            if start is None or start + part.duration_s <= at:
                continue
            reached = start + part.duration_s
            for following in islice(fires(part.schedule, start, limit), _SPANS_MAX):
                if following > reached:
                    break
                reached = following + part.duration_s
            found = max(found, reached)
        return min(found, _BEYOND)


class Blackouts:
    """All calendars that are enabled. Keeps what it was asked last; otherwise it never changes."""

    def __init__(self, blackouts: Iterable[Blackout] = ()) -> None:
        self._all = tuple(sorted(blackouts, key=lambda one: one.rank))
        self._from, self._to = (0, 0) if self._all else (-_BEYOND, _BEYOND)
        self._free: dict[tuple[Blackout, ...], int] = {}
        """Where the blackout of those that touch a task ends, as reckoned within the present window."""
        self._in_force: tuple[Blackout, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._all)

    def in_force(self, at: int) -> tuple[Blackout, ...]:
        """Those that are in force at an instant, whoever they touch, the one that has its way first."""
        if not self._from <= at < self._to:
            self._look(at)
        return self._in_force

    def between(self, start: int, end: int) -> Blackouts:
        """Those that are in force at some time of [start, end)."""
        return Blackouts(
            one
            for one in self._all
            if one.end(start) is not None or ((begin := one.next_start(start)) is not None and begin < end)
        )

    @property
    def tags(self) -> frozenset[str] | None:
        """A task that one of them touches has one of these tags; None: it may have any."""
        if any(not one.selector.tags for one in self._all):
            return None
        return frozenset(tag for one in self._all for tag in one.selector.tags)

    def touch(self, tags: Collection[str], task_type: str, user_id: str | None, at: int) -> Touch | None:
        """What becomes of a task's slot at an instant; None: nothing touches it."""
        for one in self.in_force(at):
            if one.touches(tags, task_type, user_id):
                mine = self.of(tags, task_type, user_id)
                if mine not in self._free:
                    self._free[mine] = _free_after(mine, at)
                return Touch(one.calendar_id, one.action, self._free[mine])
        return None

    def of(self, tags: Collection[str], task_type: str, user_id: str | None) -> tuple[Blackout, ...]:
        """Those that touch a task, in whichever times."""
        return tuple(one for one in self._all if one.touches(tags, task_type, user_id))

    def _look(self, at: int) -> None:
        self._free.clear()
        ends = [(one, one.end(at)) for one in self._all]
        self._in_force = tuple(one for one, end in ends if end is not None)
        changes = [one.next_start(at) if end is None else end for one, end in ends]
        self._from, self._to = at, min((one for one in changes if one is not None), default=_BEYOND)


def stretches(mine: Sequence[Blackout], after: int, until: int) -> Iterator[BlackoutStretch]:
    """The stretches of (after, until] in which one of some calendars has its way, in order."""
    at, ranked = after + 1, sorted(mine, key=lambda one: one.rank)
    held: BlackoutStretch | None = None
    while at <= until and ranked:
        ends = [(one, one.end(at)) for one in ranked]
        changes = [one.next_start(at) if end is None else end for one, end in ends]
        change = min((one for one in changes if one is not None), default=_BEYOND)
        first = next((one for one, end in ends if end is not None), None)
        if first is not None:
            touch = Touch(first.calendar_id, first.action, _free_after(ranked, at))
            if held is not None and held.to_s == at and held.touch == touch:
                held = held._replace(to_s=min(change, until + 1))
            else:
                if held is not None:
                    yield held
                held = BlackoutStretch(at, min(change, until + 1), touch)
        at = change
    if held is not None:
        yield held


def _free_after(mine: Sequence[Blackout], at: int) -> int:
    """The first instant from `at` on at which none of some calendars is in force."""
    reached, limit = at, min(at + _HORIZON_S, LAST_INSTANT)
    for _ in range(_STEPS_MAX):
        further = max((one.run_end(reached, limit) for one in mine), default=reached)
        if further == reached:
            break
        reached = further
        if reached > limit:
            break
    return reached


def _ceil_second(text: str) -> int:
    """The first whole second that is not before an instant: no slot lies between them."""
    return -(-instant_ms(text) // 1000)


def _merged(spans: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Beginnings and ends of spans, those that meet or overlap made one, in order."""
    starts: list[int] = []
    ends: list[int] = []
    for start, end in sorted(spans):
        if ends and start <= ends[-1]:
            ends[-1] = max(ends[-1], end)
        elif end > start:
            starts.append(start)
            ends.append(end)
    return starts, ends
