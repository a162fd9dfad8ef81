"""This process with other rules for a zone, as if another release of `tzdata` were installed.

    with other_rules("Asia/Beirut", rules):
        ...

Everything that the process asks of the zone then goes by these rules. What is remembered about zones is forgotten at
both ends, so nothing that was made outside may be used inside: leaders are started in there, not taken along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import msgspec
import pytest

from gnomon_core.timing import KeptNames, calendars, keep, kept_zones
from gnomon_core.timing.showings import showings_of_year
from gnomon_core.timing.timeline import timeline
from gnomon_core.timing.timetable import _clock_timetable, _union_timetable, _without_days_off
from gnomon_core.timing.zone_clock import pieces_of_year

__all__ = ["CALENDAR_VARIABLE", "OtherCalendar", "calendar_from", "kept_rules", "other_rules"]

CALENDAR_VARIABLE: Final = "GNOMON_TEST_CALENDAR"
"""The calendar of a child process that is not the installed one, as JSON."""


class OtherCalendar(msgspec.Struct, frozen=True):
    """A calendar in which one zone has other rules."""

    fingerprint: str
    zone: str
    rules: bytes
    """The zone's file: see `zone_rules.made_rules`."""

    def as_text(self) -> str:
        """As a child process reads it."""
        return msgspec.json.encode(self).decode()


@contextmanager
def calendar_from(environ: Mapping[str, str]) -> Iterator[None]:
    """Within this, a scheduler that is started has the calendar that its environment wants."""
    text = environ.get(CALENDAR_VARIABLE)
    if not text:
        yield
        return
    calendar, patched = msgspec.json.decode(text, type=OtherCalendar), pytest.MonkeyPatch()
    patched.setattr("gnomon_scheduler.bootstrap.calendar_fingerprint", lambda: calendar.fingerprint)
    try:
        with other_rules(calendar.zone, calendar.rules):
            yield
    finally:
        patched.undo()


@contextmanager
def other_rules(zone: str, rules: bytes) -> Iterator[None]:
    """Within this, the zone has these rules for the whole process."""
    own, patched = kept_zones.zone_rules, pytest.MonkeyPatch()
    kept = keep(f"zone-{zone}", rules)
    # The very table that zones are looked up in.
    patched.setitem(kept_zones._kept, zone, kept_zones._kept[kept])
    patched.setattr(calendars, "zone_rules", lambda name: rules if name == zone else own(name))
    _forget()
    try:
        yield
    finally:
        patched.undo()
        _forget()


def kept_rules(zone: str, rules: bytes) -> KeptNames:
    """Rules of one zone, to ask for a schedule `as_of` them: whatever the process has."""
    return ((f"zone-{zone}", keep(f"zone-{zone}", rules)),)


def _forget() -> None:
    for remembered in (
        pieces_of_year,
        showings_of_year,
        timeline,
        _clock_timetable,
        _union_timetable,
        _without_days_off,
        calendars._clock_spans,
        calendars.difference,
    ):
        remembered.cache_clear()
