"""The instants at which a cron fires in a zone: where wall times meet daylight saving.

A cron names wall times (`cron_slots`), a zone's clock shows each of them once, twice or never
(`zone_clock`). There are two ways to make instants of them.

*By the clock*, for rules that name hours of the day. Each wall time happens once: one that the clock shows
twice at its first showing; one that it skips at the first instant after the gap, together with all others
of that gap and with what is due at that instant anyway. The `fresh` of a piece says which wall times are
its own, and they fill the days without holes, so no wall time is lost and none comes twice; that is the
whole argument.

*Running through*, for rules whose hour field begins with `*`. The instants are those at which the clock
shows a matching time. An hour that it repeats fires twice, an hour that it skips does not fire; between two
fires of `*/5 * * * *` there are five minutes of real time, always.

Both are functions of the instant alone. Nothing here remembers where it was asked before, save to answer
the same question faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import takewhile
from typing import Final

from gnomon_core.timing.cron_slots import CronSlots
from gnomon_core.timing.zone_clock import Piece, ZoneClock
from gnomon_schemas.cron_grammar import CronRule

__all__ = ["FIRST_INSTANT", "LAST_INSTANT", "Timeline", "timeline"]

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


class Timeline:
    """The fires of one rule on one zone's clock, without bounds. Instants are whole seconds since 1970."""

    __slots__ = ("_asked", "_runs_through", "_slots", "clock")

    def __init__(self, rule: CronRule, zone_name: str) -> None:
        self.clock: Final = ZoneClock(zone_name)
        self._slots = CronSlots(rule)
        self._runs_through = rule.runs_through
        # (from, fire): between the two there is no fire, so whoever asks from there gets that fire. One pair
        # in one attribute, so that a thread never sees halves of two.
        self._asked = (0, 0)

    def next(self, after: int) -> int | None:
        """The first fire after an instant, or None when there is none up to `LAST_INSTANT`.

        Tasks that share an expression ask one after the other from the same instant: only the first pays.
        """
        since, fire = self._asked
        if since <= after < fire:
            return fire
        found = next(self._walk(after), None)
        if found is not None:
            self._asked = (after, found)
        return found

    def last(self, at: int, not_before: int = FIRST_INSTANT) -> int | None:
        """The last fire at or before an instant, and not before another; or None."""
        asked_at, asked, slot = at, None, None
        while at >= not_before:
            piece = self.clock.piece_at(at)
            wall = at + piece.offset
            if slot is None or asked is None or not slot <= wall <= asked:
                asked_at, asked, slot = at, wall, self._slots.prev(wall)
            if slot is None:
                return None
            if slot >= self._first_own(piece):
                fire = max(piece.start, slot - piece.offset)
                return fire if fire >= not_before else None
            at = piece.start - 1
            if at < asked_at - FAR:
                at = min(at, slot + FAR)
        return None

    def between(self, after: int, until: int) -> Iterator[int]:
        """The fires in (after, until], in order."""
        return takewhile(lambda fire: fire <= until, self._walk(after))

    def count(self, after: int, until: int) -> int:
        """How many fires lie in (after, until], without walking them."""
        start, beyond = max(after + 1, FIRST_INSTANT), min(until, LAST_INSTANT) + 1
        total = 0
        while start < beyond:
            piece = self.clock.piece_at(start)
            end = min(piece.end, beyond)
            first = start + piece.offset
            if start == piece.start and piece.gap and not self._runs_through:
                # Whatever the gap holds, and what is due at its end, is one fire.
                due = self.skipped_slot(piece) is not None or self._slots.next(first) == first
                total += due
                first += 1
            total += self._slots.count(max(first, self._first_own(piece)), end + piece.offset)
            start = end
        return total

    def skipped_slot(self, piece: Piece) -> int | None:
        """The first wall time that this rule names in the gap before a piece, or None; None, too, for no gap.

        Where there is one, a rule by the clock fires at the piece's start because of it.
        """
        if self._runs_through or not piece.gap:
            return None
        slot = self._slots.next(piece.gap.start)
        return slot if slot in piece.gap else None

    def _walk(self, after: int) -> Iterator[int]:
        """The fires after an instant, piece by piece."""
        at = max(after + 1, FIRST_INSTANT)
        asked_at, asked, slot = at, None, None
        while at <= LAST_INSTANT:
            start, end, offset, _ = piece = self.clock.piece_at(at)
            first_own = self._first_own(piece)
            wall = first_own if at == start else max(at + offset, first_own)
            if slot is None or asked is None or not asked <= wall <= slot:
                asked_at, asked, slot = at, wall, self._slots.next(wall)
            fire = at - 1
            while slot is not None and slot - offset < end:
                # Slots of a gap are due where it ends, all at once.
                due = max(start, slot - offset)
                if due > fire:
                    if due > LAST_INSTANT:
                        return
                    yield due
                fire = due
                asked_at, asked, slot = due, slot + 1, self._slots.next(slot + 1)
            if slot is None:
                return
            at = end
            if at > asked_at + FAR:
                at = max(at, slot - FAR)

    def _first_own(self, piece: Piece) -> int:
        """The first wall time whose instant lies in a piece."""
        return piece.start + piece.offset if self._runs_through else piece.fresh


@lru_cache(maxsize=16_384)
def timeline(rule: CronRule, zone_name: str) -> Timeline:
    """The one Timeline of a rule and a zone, so that all tasks that share them share its memory."""
    return Timeline(rule, zone_name)
