"""The pieces of a zone's clock against Python's own answers, and against the zone files."""

from __future__ import annotations

import struct
import zoneinfo
from datetime import UTC, datetime
from importlib.resources import files
from itertools import pairwise

import pytest

from gnomon_core.timing import showings, zone_clock
from gnomon_core.timing.showings import DstPolicy
from gnomon_core.timing.timeline import make_timeline
from gnomon_core.timing.zone_clock import DAY, PROBE, YEAR, ZoneClock
from gnomon_schemas.cron_grammar import parse_expression
from gnomon_schemas.zones import local_instant, offset_at, zone

ZONES = sorted(zoneinfo.available_timezones())


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def _changes_in_file(name: str) -> list[tuple[int, int]]:
    """(instant, offset from then on) of every change that a zone file lists in its 64-bit part (RFC 9636)."""
    data = (files("tzdata") / "zoneinfo").joinpath(*name.split("/")).read_bytes()
    isut, isstd, leap, times, types, chars = struct.unpack(">6l", data[20:44])
    start = 44 + times * 5 + types * 6 + chars + leap * 8 + isstd + isut
    _, _, _, times, types, _ = struct.unpack(">6l", data[start + 20 : start + 44])
    body = start + 44
    instants = struct.unpack(f">{times}q", data[body : body + times * 8])
    kinds = data[body + times * 8 : body + times * 9]
    table = body + times * 9
    offsets = [struct.unpack(">l", data[table + 6 * kind : table + 6 * kind + 4])[0] for kind in range(types)]
    return [(instant, offsets[kind]) for instant, kind in zip(instants, kinds, strict=True)]


def test_no_host_database_decides() -> None:
    assert zoneinfo.TZPATH == ()
    assert len(ZONES) > 500


def test_no_zone_changes_twice_between_two_probes() -> None:
    """Probing would overlook two changes that cancel each other."""
    for name in ZONES:
        recent = [instant for instant, _ in _changes_in_file(name) if instant >= -10 * DAY]
        assert all(later - earlier > PROBE for earlier, later in pairwise(recent)), name


@pytest.mark.parametrize("year", [1970, 1982, 1993, 2006])
def test_pieces_are_what_the_zone_files_list(year: int) -> None:
    """The changes of the offset in a year, found by probing, are those that the zone files list."""
    first = _instant(f"{year}-01-01") // YEAR * YEAR
    compared = 0
    for name in ZONES:
        listed = _changes_in_file(name)
        if not listed or listed[-1][0] < first + YEAR:
            continue  # from its last change on, a file has a rule instead of a list
        compared += 1
        expected = []
        offset = [offset for instant, offset in listed if instant <= first][-1:]
        for instant, new in listed:
            if first < instant < first + YEAR and [new] != offset:
                expected.append((instant, new))
            if instant > first:
                offset = [new]
        clock = ZoneClock(name)
        found = []
        piece = clock.piece_at(first)
        while piece.end < first + YEAR:
            piece = clock.piece_at(piece.end)
            found.append((piece.start, piece.offset))
        assert expected == found, name
    assert compared > 100


def test_pieces_are_what_python_answers_in_every_zone() -> None:
    first = _instant("2026-01-01")
    for name in ZONES:
        clock, here = ZoneClock(name), zone(name)
        for instant in range(first, first + YEAR, 13 * 3600):
            assert clock.piece_at(instant).offset == offset_at(here, instant), name


@pytest.mark.parametrize("name", ["Europe/Berlin", "Africa/Casablanca", "Asia/Kathmandu", "America/St_Johns"])
def test_pieces_follow_python_for_centuries(name: str) -> None:
    """Far beyond what the file lists, by the rule at its end."""
    clock = ZoneClock(name)
    for instant in range(0, _instant("2300-01-01"), 86_400 * 37 + 1234):
        assert clock.wall_at(instant) == instant + offset_at(zone(name), instant)


def test_gap_overlap_and_the_plain_border_between_years() -> None:
    clock = ZoneClock("Europe/Berlin")
    spring = clock.piece_at(_instant("2026-03-29T01:00:00"))
    assert (spring.start, spring.offset) == (_instant("2026-03-29T01:00:00"), 7200)
    assert spring.gap == range(_instant("2026-03-29T02:00:00"), _instant("2026-03-29T03:00:00"))
    assert not spring.overlap
    autumn = clock.piece_at(_instant("2026-10-25T01:00:00"))
    assert autumn.overlap == range(_instant("2026-10-25T02:00:00"), _instant("2026-10-25T03:00:00"))
    assert not autumn.gap
    seam = clock.piece_at((_instant("2026-12-31") // YEAR) * YEAR)
    assert seam.fresh == seam.start + seam.offset


def test_wall_times_are_cut_without_holes() -> None:
    """Each piece begins where the wall times of the one before it ended, across seams and changes alike."""
    for name in ("Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Africa/Cairo"):
        clock = ZoneClock(name)
        piece = clock.piece_at(0)
        while piece.end < _instant("2030-01-01"):
            later = clock.piece_at(piece.end)
            assert later.start == piece.end
            assert later.fresh == max(piece.fresh, piece.end + piece.offset)
            piece = later


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-24T23:59:59", False),
        ("2026-10-25T00:00:00", True),
        ("2026-10-25T00:59:59", True),
        ("2026-10-25T01:00:00", True),
        ("2026-10-25T01:59:59", True),
        ("2026-10-25T02:00:00", False),
        ("2026-03-29T01:00:00", False),
    ],
)
def test_times_that_the_clock_shows_twice(text: str, expected: bool) -> None:
    assert expected == ZoneClock("Europe/Berlin").is_shown_twice(_instant(text))


def test_an_overlap_of_nearly_a_day_is_seen_from_both_sides() -> None:
    """Kwajalein crossed the date line backwards in 1969, with the clock back by 23 hours."""
    clock = ZoneClock("Pacific/Kwajalein")
    change = _instant("1969-09-30T13:00:00")
    assert clock.piece_at(change).overlap == range(change - 12 * 3600, change + 11 * 3600)
    assert clock.is_shown_twice(change - 1)
    assert clock.is_shown_twice(change)
    assert not clock.is_shown_twice(change + 23 * 3600)
    assert not clock.is_shown_twice(change - 23 * 3600 - 1)


CHANGES = ["2026-10-25T01:00:00", "2026-03-29T01:00:00"]
POLICIES = [
    DstPolicy(gap, overlap)
    for gap in ("next_valid", "skip", "shift")
    for overlap in ("first", "last", "both")
]


@pytest.mark.parametrize("policy", POLICIES, ids="-".join)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("minutes", [-90, -60, -30, 0, 30, 60, 90])
def test_a_seam_beside_a_change_changes_nothing(
    minutes: int, change: str, policy: DstPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the seam between two years falls, before, in or after a change, slots are the same."""
    at = _instant(change)
    seam = at + minutes * 60
    rule = parse_expression("*/15 0-23 * * *")
    span = range(at - 3 * 3600, at + 3 * 3600, 900)
    plain = make_timeline(rule, "Europe/Berlin", policy)
    expected = list(plain.between(span[0], span[-1]))
    last = [plain.last(instant) for instant in span]
    notes = [plain.note(instant) for instant in span]
    try:
        monkeypatch.setattr(zone_clock, "YEAR", seam // 50)
        assert seam % 50 == 0
        _forget_years()
        moved = make_timeline(rule, "Europe/Berlin", policy)
        assert moved.clock.piece_at(seam).start == seam
        assert expected == list(moved.between(span[0], span[-1]))
        assert len(expected) == moved.count(span[0], span[-1]) == plain.count(span[0], span[-1])
        assert [moved.last(instant) for instant in span] == last
        assert [moved.note(instant) for instant in span] == notes
    finally:
        _forget_years()


def _forget_years() -> None:
    zone_clock.pieces_of_year.cache_clear()
    showings.showings_of_year.cache_clear()


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean Europe/Berlin"):
        ZoneClock("Europe/Berln")


@pytest.mark.parametrize(
    "name", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo"]
)
def test_a_local_time_names_the_first_instant_that_shows_it_or_ends_its_gap(name: str) -> None:
    """Checked by looking at every quarter of an hour around the changes of a year."""
    clock = ZoneClock(name)
    first = _instant("2011-09-20" if name == "Pacific/Apia" else "2018-02-10")
    shown: dict[int, int] = {}
    instants = range(first, first + 300 * DAY, 900)
    for instant in instants:
        shown.setdefault(clock.wall_at(instant), instant)
    walls = range(clock.wall_at(instants[0]) + DAY, clock.wall_at(instants[-1]) - DAY, 900)
    ends: int | None = None
    for wall in reversed(walls):
        ends = shown.get(wall, ends)
        local = datetime.fromtimestamp(wall, UTC).replace(tzinfo=None)
        assert local_instant(local, zone(name)) == ends, (name, local)
