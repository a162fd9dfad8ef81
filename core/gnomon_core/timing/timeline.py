"""The instants at which a rule fires in a zone: where wall times meet daylight saving.

A rule names wall times (`calendar_slots`, `interval_slots`), a zone's clock shows each of them once, twice or never
(`zone_clock`), and a policy says what is made of that (`showings`). Two policies are defaults:

*By the clock*, for rules that name hours of the day. Each wall time happens once: one that the clock shows
twice at its first showing; one that it skips at the first instant after the gap, together with all others
of that gap and with what is due at that instant anyway.

*Running through*, for rules whose hour field begins with `*`. The instants are those at which the clock
shows a matching time. An hour that it repeats fires twice, an hour that it skips does not fire; between two
fires of `*/5 * * * *` there are five minutes of real time, always.

All are functions of the instant alone. Nothing here remembers where it was asked before, save to answer
the same question faster. Each instant is in one showing, and what fires in a showing does not depend on where in it
somebody asks; that is why a span may be cut anywhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from typing import Final, Literal, Protocol

from gnomon_core.timing.calendar_slots import cron_slots
from gnomon_core.timing.showings import (
    BY_THE_CLOCK,
    RUNNING_THROUGH,
    DstPolicy,
    Showing,
    Stretch,
    showing_at,
)
from gnomon_core.timing.zone_clock import ZoneClock
from gnomon_schemas.cron_grammar import CronRule

__all__ = [
    "FAR",
    "FIRST_INSTANT",
    "LAST_INSTANT",
    "Note",
    "Timeline",
    "WallSlots",
    "make_timeline",
    "timeline",
]

FIRST_INSTANT: Final = 0
"""1970-01-01T00:00:00Z: no slot is before it."""
LAST_INSTANT: Final = 32_503_679_999
"""2999-12-31T23:59:59Z: no slot is after it."""
FAR: Final = 2 * 86_400
"""More than any clock is off UTC, or jumps, in seconds.

So far from where a slot was looked for, the clock shows nothing that lies on the other side of that wall time; and a
slot that was found is due within as much of its wall time taken for UTC. In between there is nothing to look at, and
decades may pass there.
"""

_NOTHING_PLAIN: Final = (0, 0, 0, 0, 0)
"""Before anything was asked: no instant lies in it."""

Note = Literal["dst_gap", "dst_overlap"]
"""What a change of the clock does to a slot: moved out of a gap, or at a time that the clock shows twice."""


class WallSlots(Protocol):
    """The wall times that a rule names."""

    def next(self, wall: int) -> int | None:
        """The first one at or after a wall time; None when there is none for fifty years."""

    def prev(self, wall: int) -> int | None:
        """The last one at or before a wall time; None when there is none for fifty years."""

    def count(self, first: int, beyond: int) -> int:
        """How many lie in [first, beyond)."""


class Timeline:
    """The fires of one rule on one zone's clock, without bounds. Instants are whole seconds since 1970."""

    __slots__ = ("_asked", "_plain", "_policy", "_slots", "_zone", "clock")

    def __init__(self, slots: WallSlots, zone_name: str, policy: DstPolicy) -> None:
        """Raises ValueError where `zone_name` is no zone."""
        self.clock: Final = ZoneClock(zone_name)
        self._zone = zone_name
        self._slots = slots
        self._policy = policy
        # (from, fire): between the two there is no fire, so whoever asks from there gets that fire. One pair
        # in one attribute, so that a thread never sees halves of two.
        self._asked = (0, 0)
        # (start, end, first, beyond, offset) of the showing asked last, where it is one stretch.
        self._plain = _NOTHING_PLAIN

    def next(self, after: int) -> int | None:
        """The first fire after an instant, or None when there is none up to `LAST_INSTANT`.

        Tasks that share an expression ask one after the other from the same instant: only the first pays.
        """
        since, fire = self._asked
        if since <= after < fire:
            return fire
        found: int | None
        start, end, first, beyond, offset = self._plain
        at = after + 1
        if start < at < end:
            # So it mostly is: one showing lasts for months, and nothing is odd inside of it.
            wall = at + offset
            found = self._slots.next(wall if wall > first else first)
            if found is not None and found < beyond:
                found -= offset
                self._asked = (after, found)
                return found
        elif FIRST_INSTANT <= at <= LAST_INSTANT:
            showing = showing_at(self._zone, self._policy, at)
            if showing.end <= LAST_INSTANT and len(showing.stretches) == 1:
                self._plain = (showing.start, showing.end, *showing.stretches[0])
        found = next(self._walk(after), None)
        if found is not None:
            self._asked = (after, found)
        return found

    def last(self, at: int, not_before: int = FIRST_INSTANT) -> int | None:
        """The last fire at or before an instant, and not before another; or None."""
        while at >= not_before:
            showing = showing_at(self._zone, self._policy, at)
            found = [self._last_of(stretch, at) for stretch in showing.stretches]
            if self._moved_here(showing):
                found.append(showing.start)
            fire = max((each for each in found if each is not None), default=None)
            if fire is not None:
                return fire if fire >= not_before else None
            at = showing.start - 1
            before = self._slots.prev(at + FAR)
            if before is None:
                return None
            at = min(at, before + FAR)
        return None

    def between(self, after: int, until: int) -> Iterator[int]:
        """The fires in (after, until], in order."""
        return takewhile(lambda fire: fire <= until, self._walk(after))

    def count(self, after: int, until: int) -> int:
        """How many fires lie in (after, until], without walking them."""
        start, beyond = max(after + 1, FIRST_INSTANT), min(until, LAST_INSTANT) + 1
        total = 0
        while start < beyond:
            showing = showing_at(self._zone, self._policy, start)
            end = min(showing.end, beyond)
            own, *others = showing.stretches
            total += self._slots.count(max(own.first, start + own.offset), min(own.beyond, end + own.offset))
            extra = {fire for stretch in others for fire in self._of(stretch, start, end)}
            if start == showing.start and self._moved_here(showing):
                extra.add(start)
            total += sum(not self._names(own, fire) for fire in extra)
            start = end
        return total

    def plain_offset(self, start: int, end: int) -> int | None:
        """Wall time minus instant, where all of [start, end) is plain: each wall time happens there once, as shown.

        None where the clock changes in it, or has just been set back.
        """
        showing = showing_at(self._zone, self._policy, start)
        own, *others = showing.stretches
        if others or start == showing.start or end > showing.end:
            return None
        covered = own.first <= start + own.offset and end + own.offset <= own.beyond
        return own.offset if covered else None

    @property
    def slots(self) -> WallSlots:
        """The wall times that its rule names."""
        return self._slots

    def note(self, fire: int) -> Note | None:
        """How a change of the clock touches a fire."""
        showing = showing_at(self._zone, self._policy, fire)
        _, *others = showing.stretches
        if fire == showing.start and self._moved_here(showing):
            return "dst_gap"
        if any(self._names(stretch, fire) for stretch in others):
            return "dst_gap"
        return "dst_overlap" if self.clock.is_shown_twice(fire) else None

    def _walk(self, after: int) -> Iterator[int]:
        """The fires after an instant, showing by showing."""
        at = max(after + 1, FIRST_INSTANT)
        while at <= LAST_INSTANT:
            showing = showing_at(self._zone, self._policy, at)
            own, *others = showing.stretches
            end = min(showing.end, LAST_INSTANT + 1)
            fires = self._of(own, at, end)
            if others:
                fires = heapq.merge(fires, *(self._of(stretch, at, end) for stretch in others))
            fire = at - 1
            if at == showing.start and self._moved_here(showing):
                fire = at
                yield fire
            for due in fires:
                if due > fire:
                    fire = due
                    yield due
            at = showing.end
            # From the lowest wall time that the clock may still show.
            coming = self._slots.next(at - FAR)
            if coming is None:
                return
            at = max(at, coming - FAR)

    def _of(self, stretch: Stretch, start: int, end: int) -> Iterator[int]:
        """The fires of a stretch in [start, end)."""
        first, beyond, offset = stretch
        beyond = min(beyond, end + offset)
        wall = self._slots.next(max(first, start + offset))
        while wall is not None and wall < beyond:
            yield wall - offset
            wall = self._slots.next(wall + 1)

    def _last_of(self, stretch: Stretch, at: int) -> int | None:
        """The last fire of a stretch at or before an instant."""
        wall = self._slots.prev(min(stretch.beyond - 1, at + stretch.offset))
        return None if wall is None or wall < stretch.first else wall - stretch.offset

    def _names(self, stretch: Stretch, fire: int) -> bool:
        """Whether an instant is a fire of a stretch."""
        wall = fire + stretch.offset
        return stretch.first <= wall < stretch.beyond and self._slots.next(wall) == wall

    def _moved_here(self, showing: Showing) -> bool:
        """Whether a slot of the gap before a showing is due at its start."""
        if not showing.moved:
            return False
        slot = self._slots.next(showing.moved.start)
        return slot is not None and slot in showing.moved


def make_timeline(rule: CronRule, zone_name: str, policy: DstPolicy | None = None) -> Timeline:
    """A Timeline that has been asked nothing yet.

    Without a policy, a rule of all hours runs through, and any other goes by the clock.
    """
    return Timeline(
        cron_slots(rule), zone_name, policy or (RUNNING_THROUGH if rule.runs_through else BY_THE_CLOCK)
    )


timeline = lru_cache(maxsize=16_384)(make_timeline)
"""The one Timeline of a rule, a zone and a policy, so that all tasks that share them share its memory."""
