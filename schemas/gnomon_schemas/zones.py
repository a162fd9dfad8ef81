"""Time zones by name, and which instant a local time names.

Which database of zones is asked depends on the process: Python looks into the operating system's first.
Gnomon's own processes pin it to the `tzdata` wheel (`gnomon_core.timing` does, when imported), so that no
host's database decides.
"""

from __future__ import annotations

import zoneinfo
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo

from gnomon_schemas.clock_text import EPOCH

__all__ = ["first_change", "local_instant", "offset_at", "zone"]

_SECOND = timedelta(seconds=1)


def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name, spelled exactly. Raises ValueError, which guesses at what was meant."""
    names = _names(zoneinfo.TZPATH)
    if name not in names:
        by_folded = {known.lower(): known for known in names}
        # Guessing at a text of any length would be work without end for whoever sends a long one.
        near = get_close_matches(name[:64].lower(), by_folded, n=1, cutoff=0.75)
        hint = f"; did you mean {by_folded[near[0]]}?" if near else ", like Europe/Berlin or UTC"
        raise ValueError(f"{name!r:.80} is no time zone; allowed are IANA names{hint}")
    return ZoneInfo(name)


@lru_cache(maxsize=2)
def _names(_path: tuple[str, ...]) -> frozenset[str]:
    """All zone names; keyed by where they come from, so that a changed path is looked at again."""
    return frozenset(zoneinfo.available_timezones())


def offset_at(zone: ZoneInfo, instant: int) -> int:
    """Seconds that the zone's clock is ahead of UTC at an instant (seconds since 1970)."""
    return _offset(datetime.fromtimestamp(instant, zone))


def local_instant(local: datetime, zone: ZoneInfo) -> int:
    """The instant (seconds since 1970) that a naive local time names, what is below a second cut off.

    A time that the clock shows twice is its first; one that it skips is the first instant after the gap.
    """
    wall = (local.replace(microsecond=0, tzinfo=UTC) - EPOCH) // _SECOND
    # Python answers for a skipped time, too: fold=0 by the offset before the change, fold=1 by the later one.
    before, after = (_offset(local.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    early, late = wall - after, wall - before
    if before >= after:
        return late
    return first_change(zone, early, late)


def first_change(zone: ZoneInfo, low: int, high: int) -> int:
    """The first instant from which the offset is not that of `low`, where the offset of `high` is another."""
    old = offset_at(zone, low)
    span = range(low, high + 1)
    return span[bisect_left(span, True, key=lambda instant: offset_at(zone, instant) != old)]


def _offset(moment: datetime) -> int:
    offset = moment.utcoffset()
    assert offset is not None, "a ZoneInfo knows its offset at every instant"
    return offset // _SECOND
