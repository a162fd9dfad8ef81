"""What a zone's clock shows, as whole numbers.

Terms. An *instant* is seconds since 1970 in UTC. A *wall time* is what the zone's clock shows at an
instant, counted as if that clock were UTC. A *piece* is a span of instants in which the two differ by a
constant offset. Where one piece ends and another begins, the clock jumps: forward over a *gap* of wall
times that it never shows, or back into an *overlap* that it shows twice.

Python answers a question about a zone in a microsecond or two, through datetimes. Schedules ask so often that
the pieces are cut once instead, a year at a time, and all else is adding up. A year is probed every three days, and
where two probes differ the change is found by halving; two changes within three days that cancel each other would be
overlooked. Since 1970 no zone had two changes within six (a test reads the zone files to make sure).

Importing this module pins the zone database of the process to the `tzdata` wheel, so that no host's database
decides.
"""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from typing import Final, NamedTuple

from gnomon_core.timing.kept_zones import zone_named
from gnomon_schemas.zones import first_change, offset_at

__all__ = ["LOOK_BACK", "YEAR", "Piece", "ZoneClock", "pieces_of_year"]

zoneinfo.reset_tzpath(())
zoneinfo.ZoneInfo.clear_cache()

DAY: Final = 86_400
YEAR: Final = 366 * DAY
"""How much is cut at a time. Pieces end at these seams, too, though the clock does not jump there."""
PROBE: Final = 3 * DAY
"""How far apart the offset is asked for; see above."""
LOOK_BACK: Final = 3 * DAY
"""An overlap just before a seam still counts after it; none was ever longer than about a day."""


class Piece(NamedTuple):
    """A span of instants with one offset."""

    start: int
    """First instant."""
    end: int
    """First instant after it."""
    offset: int
    """Wall time minus instant."""
    fresh: int
    """The first wall time that the clock had neither shown nor skipped before `start`.

    Equal to `start + offset` where the clock does not jump; less after a gap, which lies between the two;
    more in an overlap, of which they are the ends. From piece to piece these cut the wall times without
    holes.
    """

    @property
    def gap(self) -> range:
        """The wall times that the clock skipped when the piece began; empty for most."""
        return range(self.fresh, self.start + self.offset)

    @property
    def overlap(self) -> range:
        """The wall times that the clock shows for the second time when the piece begins; empty for most."""
        return range(self.start + self.offset, self.fresh)


class ZoneClock:
    """The clock of one zone."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        """`name` is an IANA name, or that of a zone that is kept. Raises ValueError for any other."""
        zone_named(name)
        self.name = name

    def piece_at(self, instant: int) -> Piece:
        """The piece that holds an instant, as far as it lies within a year's cut."""
        for piece in pieces_of_year(self.name, instant // YEAR):  # a handful at most: quicker than searching
            if instant < piece.end:
                return piece
        raise AssertionError("the pieces of a year fill it")

    def wall_at(self, instant: int) -> int:
        """The wall time at an instant."""
        return instant + self.piece_at(instant).offset

    def is_shown_twice(self, instant: int) -> bool:
        """Whether the clock shows the same time at another instant, too."""
        piece = self.piece_at(instant)
        wall = instant + piece.offset
        while wall not in piece.overlap:
            if piece.end > instant + LOOK_BACK:
                return False
            piece = self.piece_at(piece.end)
        return True


@lru_cache(maxsize=4096)
def pieces_of_year(name: str, number: int) -> tuple[Piece, ...]:
    """The pieces of one year of a zone, years of `YEAR` seconds counted from 1970."""
    first, beyond = number * YEAR, (number + 1) * YEAR
    start = first - LOOK_BACK
    offset = offset_at(zone_named(name), start)
    fresh = start + offset
    changes = dict(_changes(name, start, beyond))
    pieces = []
    for instant in sorted({first, beyond, *changes}):
        pieces.append(Piece(start, instant, offset, fresh))
        fresh = max(fresh, instant + offset)
        start, offset = instant, changes.get(instant, offset)
    return tuple(piece for piece in pieces if piece.start >= first)


def _changes(name: str, first: int, beyond: int) -> list[tuple[int, int]]:
    """Each instant after `first` and before `beyond` from which the offset is another, with that offset."""
    here = zone_named(name)
    changes = []
    low, offset = first, offset_at(here, first)
    while low < beyond - 1:
        high = min(low + PROBE, beyond - 1)
        if offset_at(here, high) != offset:
            # Only up to the first change: another may follow before the next probe.
            high = first_change(here, low, high)
            offset = offset_at(here, high)
            changes.append((high, offset))
        low = high
    return changes
