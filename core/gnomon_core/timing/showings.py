"""Which wall times happen, and at which instants: what is chosen about daylight saving, applied to a zone's clock.

`zone_clock` tells what the clock shows. A `DstPolicy` says what that means for a time of day which the clock skips or
shows twice. Both are reckoned out once, a year at a time, into *showings*: one per piece of the clock, each with

* *stretches* of wall times that happen at `wall - offset`. Mostly there is one, the piece's own. In an overlap the
  policy decides which showing has the wall times that come twice. Under `shift` a gap adds a second stretch: its wall
  times happen as if the clock had not jumped yet, among those that follow it;
* *moved* wall times, which all happen at the showing's start: under `next_valid`, those of the gap before it.

Whatever is chosen, every instant is in one showing. What lies in two stretches at the same instant happens once.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from gnomon_core.timing import zone_clock
from gnomon_core.timing.zone_clock import LOOK_BACK, Piece, ZoneClock, pieces_of_year
from gnomon_schemas.schedules import GapChoice, OverlapChoice

__all__ = [
    "BY_THE_CLOCK",
    "RUNNING_THROUGH",
    "DstPolicy",
    "Showing",
    "Stretch",
    "showing_at",
    "showings_of_year",
]


class DstPolicy(NamedTuple):
    """What happens at wall times that the clock skips, and at those that it shows twice."""

    gap: GapChoice
    overlap: OverlapChoice


BY_THE_CLOCK: Final = DstPolicy("next_valid", "first")
"""Each time of the day happens once a day: the default."""
RUNNING_THROUGH: Final = DstPolicy("skip", "both")
"""What the clock shows happens whenever it shows it: a rule of all hours keeps its distance in real time."""


class Stretch(NamedTuple):
    """Wall times [first, beyond) that happen at `wall - offset`."""

    first: int
    beyond: int
    offset: int


class Showing(NamedTuple):
    """A span of instants [start, end), and the wall times that happen in it."""

    start: int
    end: int
    moved: range
    """Wall times that happen at `start`, all at once; empty for most."""
    stretches: tuple[Stretch, ...]
    """The first is the clock's own; a second one is of a gap that is shifted."""


def showing_at(zone_name: str, policy: DstPolicy, instant: int) -> Showing:
    """The showing that holds an instant, as far as it lies within a year's cut."""
    for showing in showings_of_year(
        zone_name, policy, instant // zone_clock.YEAR
    ):  # a handful at most: quicker than searching
        if instant < showing.end:
            return showing
    raise AssertionError("the showings of a year fill it")


@lru_cache(maxsize=4096)
def showings_of_year(zone_name: str, policy: DstPolicy, year: int) -> tuple[Showing, ...]:
    """The showings of one year of a zone, cut as its pieces are."""
    clock = ZoneClock(zone_name)
    return tuple(_showing(clock, policy, piece) for piece in pieces_of_year(zone_name, year))


def _showing(clock: ZoneClock, policy: DstPolicy, piece: Piece) -> Showing:
    first, beyond = piece.start + piece.offset, piece.end + piece.offset
    if policy.overlap == "first":
        first = max(first, piece.fresh)
    elif policy.overlap == "last":
        beyond = min(beyond, _shown_again_from(clock, piece))
    stretches = [Stretch(first, max(first, beyond), piece.offset)]
    if policy.gap == "shift" and (shifted := _shifted(clock, piece)) is not None:
        stretches.append(shifted)
    moved = piece.gap if policy.gap == "next_valid" else range(0)
    return Showing(piece.start, piece.end, moved, tuple(stretches))


def _shown_again_from(clock: ZoneClock, piece: Piece) -> int:
    """The lowest wall time that the clock shows soon after a piece."""
    later = clock.piece_at(piece.end)
    lowest = later.start + later.offset
    while later.end <= piece.end + LOOK_BACK:
        later = clock.piece_at(later.end)
        lowest = min(lowest, later.start + later.offset)
    return lowest


def _shifted(clock: ZoneClock, piece: Piece) -> Stretch | None:
    """The wall times of the gap before a piece, or of one before it that reaches over the seam between two years."""
    jumped = piece
    if not jumped.gap and piece.start > 0:
        jumped = clock.piece_at(piece.start - 1)
    gap = jumped.gap
    if not gap:
        return None
    offset = gap.start - jumped.start  # of the clock before it jumped
    first, beyond = max(gap.start, piece.start + offset), min(gap.stop, piece.end + offset)
    return Stretch(first, beyond, offset) if first < beyond else None
