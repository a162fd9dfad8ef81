"""A timetable without the slots of excluded days.

A slot is left out when the date that the zone's clock shows at its instant is excluded; so the rule is the same for
all kinds, also for those that do not go by the clock. Dates do not only rise: a clock that is set back just after
midnight shows the old date again. So instants are cut into *stretches* in which the offset from UTC is constant and
all dates are excluded, or none. What is asked jumps over excluded stretches, and a count takes away what they hold.

Every answer is a function of the instant alone, as those of the timetable inside are: which stretch holds an instant
does not depend on who asks from where.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gnomon_core.timing.days_off import DaysOff
from gnomon_core.timing.questions import Timetable
from gnomon_core.timing.timeline import FAR, FIRST_INSTANT, LAST_INSTANT
from gnomon_core.timing.zone_clock import ZoneClock

__all__ = ["ExcludingTimetable"]

DAY: Final = 86_400


class ExcludingTimetable:
    """The slots of a timetable on days that are not excluded."""

    __slots__ = ("_asked", "_clock", "_off", "inner")

    def __init__(self, inner: Timetable, zone_name: str, off: DaysOff) -> None:
        """`zone_name` tells whose clock shows the dates. Raises ValueError where it is no zone."""
        self.inner: Final = inner
        self._clock = ZoneClock(zone_name)
        self._off = off
        # (from, slot): between the two there is no slot; one pair in one attribute (see Timeline).
        self._asked = (0, 0)

    def next(self, after: int) -> int | None:
        """See Timetable."""
        since, slot = self._asked
        if since <= after < slot:
            return slot if slot <= LAST_INSTANT else None
        found = self.inner.next(after)
        while found is not None and (off := self._off_around(found)):
            found = self.inner.next(off.stop - 1)
        # That none is left is remembered, too: to find it out may have taken a walk over centuries.
        self._asked = (after, LAST_INSTANT + 1 if found is None else found)
        return found

    def last(self, at: int) -> int | None:
        """See Timetable."""
        found = self.inner.last(at)
        while found is not None and (off := self._off_around(found)):
            found = self.inner.last(off.start - 1)
        return found

    def between(self, after: int, until: int) -> Iterator[int]:
        """See Timetable."""
        free_until = after
        off: range | None = range(after, after + 1)
        while off:
            slots, off = self.inner.between(off.stop - 1, until), None
            for slot in slots:
                if slot >= free_until:
                    if off := self._off_around(slot):
                        break
                    free_until = self._free_until(slot)
                yield slot

    def count(self, after: int, until: int) -> int:
        """See Timetable. Walks over days and stretches of them, not over slots."""
        at, beyond = max(after + 1, FIRST_INSTANT), min(until, LAST_INSTANT) + 1
        total = self.inner.count(after, until)
        while at < beyond and total:
            off = self._off_around(at)
            end = min(off.stop if off else self._free_until(at), beyond)
            if off:
                total -= self.inner.count(at - 1, end - 1)
            at = end
        return total

    def _off_around(self, instant: int) -> range | None:
        """The stretch of excluded dates that holds an instant; None where its date is not excluded."""
        piece = self._clock.piece_at(instant)
        day = (instant + piece.offset) // DAY
        if not self._off.has(day):
            return None
        first, beyond = self._off.run(day)
        start = max(piece.start, first * DAY - piece.offset)
        end = min(piece.end, beyond * DAY - piece.offset)
        # Far enough inside a long run no clock shows another date, so years of it are one step.
        if instant >= first * DAY + FAR:
            end = max(end, beyond * DAY - FAR)
        if instant < beyond * DAY - FAR:
            start = min(start, first * DAY + FAR)
        return range(start, end)

    def _free_until(self, instant: int) -> int:
        """The end of the stretch that holds an instant whose date is not excluded."""
        piece = self._clock.piece_at(instant)
        day, last_day = (instant + piece.offset) // DAY, (piece.end - 1 + piece.offset) // DAY
        return min(piece.end, self._off.next(day + 1, last_day + 1) * DAY - piece.offset)
