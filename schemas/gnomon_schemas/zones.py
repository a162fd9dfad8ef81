"""Time zones by name, and which instant a local time names.

Which database of zones is asked depends on the process: Python looks into the operating system's first. Gnomon's own
processes pin it to the `tzdata` wheel (`gnomon_core.timing` does, when imported), so that no host's database decides.
"""

from __future__ import annotations

import zoneinfo
from bisect import bisect_left
from datetime import datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from zoneinfo import ZoneInfo

__all__ = ["local_instant", "offset_at", "zone"]

_SECOND = timedelta(seconds=1)
_EPOCH_WALL = datetime(1970, 1, 1)


def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name, spelled exactly. Raises ValueError naming what was meant, where that can be guessed."""
    names = _names(zoneinfo.TZPATH)
    if name not in names:
        by_folded = {known.lower(): known for known in names}
        near = get_close_matches(name.lower(), by_folded, n=1, cutoff=0.75)
        hint = f"; did you mean {by_folded[near[0]]}?" if near else ", like Europe/Berlin or UTC"
        raise ValueError(f"{name!r} is no time zone; allowed are IANA names{hint}")
    return ZoneInfo(name)


@lru_cache(maxsize=2)
def _names(_path: tuple[str, ...]) -> frozenset[str]:
    """All zone names; keyed by where they come from, so that a changed path is looked at again."""
    return frozenset(zoneinfo.available_timezones())


def offset_at(zone: ZoneInfo, instant: int) -> int:
    """Seconds that the zone's clock is ahead of UTC at an instant (seconds since 1970)."""
    offset = datetime.fromtimestamp(instant, zone).utcoffset()
    assert offset is not None, "a ZoneInfo knows its offset at every instant"
    return offset // _SECOND


def local_instant(local: datetime, zone: ZoneInfo) -> int:
    """The instant (seconds since 1970) that a naive local time names, what is below a second cut off.

    A time that the clock shows twice is its first; one that it skips is the first instant after the gap.
    """
    wall = (local.replace(microsecond=0) - _EPOCH_WALL) // _SECOND
    # Python answers for a skipped time, too: fold=0 by the offset before the change, fold=1 by the one after it.
    before, after = (local.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert before is not None and after is not None, "a ZoneInfo knows its offset at every instant"
    early, late = wall - after // _SECOND, wall - before // _SECOND
    if before >= after:
        return late
    old = offset_at(zone, early)
    return early + bisect_left(
        range(early, late + 1), True, key=lambda instant: offset_at(zone, instant) != old
    )
