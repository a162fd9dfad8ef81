"""Every choice about daylight saving at real changes of the clock.

A row is a zone, a time of the day, the change (local, as published), and what a daily schedule does then under each
choice, in UTC. The table was written by hand, from the published times of the changes.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gnomon_core.timing import count_fires, fires, last_fire, next_fire, note_of
from gnomon_schemas.schedules import AnyOf, Daily, Dst, GapChoice, Interval, Monthly, OverlapChoice, Weekly

DAY = 86_400

GAPS: list[tuple[str, str, str, dict[GapChoice, str | None]]] = [
    # New York 2026-03-08 02:00 -> 03:00 at 07:00Z
    (
        "America/New_York",
        "02:30",
        "2026-03-08",
        {"next_valid": "03-08 07:00", "skip": None, "shift": "03-08 07:30"},
    ),
    # Berlin 2026-03-29 02:00 -> 03:00 at 01:00Z
    (
        "Europe/Berlin",
        "02:15",
        "2026-03-29",
        {"next_valid": "03-29 01:00", "skip": None, "shift": "03-29 01:15"},
    ),
    (
        "Europe/Berlin",
        "02:00",
        "2026-03-29",
        {"next_valid": "03-29 01:00", "skip": None, "shift": "03-29 01:00"},
    ),
    # London 2026-03-29 01:00 -> 02:00 at 01:00Z
    (
        "Europe/London",
        "01:30",
        "2026-03-29",
        {"next_valid": "03-29 01:00", "skip": None, "shift": "03-29 01:30"},
    ),
    # Lord Howe 2026-10-04 02:00 -> 02:30 at 03 October 15:30Z: half an hour
    (
        "Australia/Lord_Howe",
        "02:10",
        "2026-10-04",
        {"next_valid": "10-03 15:30", "skip": None, "shift": "10-03 15:40"},
    ),
    # Casablanca 2026-03-22 02:00 -> 03:00 at 02:00Z: the end of Ramadan
    (
        "Africa/Casablanca",
        "02:45",
        "2026-03-22",
        {"next_valid": "03-22 02:00", "skip": None, "shift": "03-22 02:45"},
    ),
    # Sao Paulo 2018-11-04 00:00 -> 01:00 at 03:00Z: there is no midnight
    (
        "America/Sao_Paulo",
        "00:00",
        "2018-11-04",
        {"next_valid": "11-04 03:00", "skip": None, "shift": "11-04 03:00"},
    ),
    # Havana 2026-03-08 00:00 -> 01:00 at 05:00Z
    (
        "America/Havana",
        "00:20",
        "2026-03-08",
        {"next_valid": "03-08 05:00", "skip": None, "shift": "03-08 05:20"},
    ),
    # Beirut 2026-03-29 00:00 -> 01:00 at 28 March 22:00Z
    (
        "Asia/Beirut",
        "00:30",
        "2026-03-29",
        {"next_valid": "03-28 22:00", "skip": None, "shift": "03-28 22:30"},
    ),
    # Apia 2011-12-29 24:00 -> 2011-12-31 00:00 at 30 December 10:00Z: the 30th was no day there
    (
        "Pacific/Apia",
        "09:00",
        "2011-12-30",
        {"next_valid": "12-30 10:00", "skip": None, "shift": "12-30 19:00"},
    ),
]

OVERLAPS: list[tuple[str, str, str, dict[OverlapChoice, list[str]]]] = [
    # New York 2026-11-01 02:00 -> 01:00 at 06:00Z
    (
        "America/New_York",
        "01:30",
        "2026-11-01",
        {"first": ["11-01 05:30"], "last": ["11-01 06:30"], "both": ["11-01 05:30", "11-01 06:30"]},
    ),
    # Berlin 2026-10-25 03:00 -> 02:00 at 01:00Z
    (
        "Europe/Berlin",
        "02:30",
        "2026-10-25",
        {"first": ["10-25 00:30"], "last": ["10-25 01:30"], "both": ["10-25 00:30", "10-25 01:30"]},
    ),
    (
        "Europe/Berlin",
        "03:00",
        "2026-10-25",
        {"first": ["10-25 02:00"], "last": ["10-25 02:00"], "both": ["10-25 02:00"]},
    ),
    # London 2026-10-25 02:00 -> 01:00 at 01:00Z
    (
        "Europe/London",
        "01:00",
        "2026-10-25",
        {"first": ["10-25 00:00"], "last": ["10-25 01:00"], "both": ["10-25 00:00", "10-25 01:00"]},
    ),
    # Lord Howe 2026-04-05 02:00 -> 01:30 at 04 April 15:00Z
    (
        "Australia/Lord_Howe",
        "01:45",
        "2026-04-05",
        {"first": ["04-04 14:45"], "last": ["04-04 15:15"], "both": ["04-04 14:45", "04-04 15:15"]},
    ),
    # Casablanca 2026-02-15 03:00 -> 02:00 at 02:00Z: Ramadan begins
    (
        "Africa/Casablanca",
        "02:30",
        "2026-02-15",
        {"first": ["02-15 01:30"], "last": ["02-15 02:30"], "both": ["02-15 01:30", "02-15 02:30"]},
    ),
    # Sao Paulo 2018-02-18 00:00 -> 02-17 23:00 at 02:00Z: the 17th has an hour more
    (
        "America/Sao_Paulo",
        "23:15",
        "2018-02-17",
        {"first": ["02-18 01:15"], "last": ["02-18 02:15"], "both": ["02-18 01:15", "02-18 02:15"]},
    ),
    # Havana 2020-11-01 01:00 -> 00:00 at 05:00Z: midnight comes twice
    (
        "America/Havana",
        "00:00",
        "2020-11-01",
        {"first": ["11-01 04:00"], "last": ["11-01 05:00"], "both": ["11-01 04:00", "11-01 05:00"]},
    ),
]


def on_the_day(schedule: Daily, day: str) -> list[int]:
    """The slots of the local day, by every way of asking."""
    noon = int(datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp())
    before = last_fire(schedule, noon - 2 * DAY)
    assert before is not None
    span = (before, noon + 2 * DAY)
    found = list(fires(schedule, *span))
    assert count_fires(schedule, *span) == len(found)
    walked, at = [], next_fire(schedule, before)
    while at is not None and at <= span[1]:
        walked.append(at)
        at = next_fire(schedule, at)
    assert walked == found
    return found


def text(slot: int) -> str:
    return f"{datetime.fromtimestamp(slot, UTC):%m-%d %H:%M}"


@pytest.mark.parametrize("overlap", ["first", "last", "both"])
@pytest.mark.parametrize("gap", ["next_valid", "skip", "shift"])
@pytest.mark.parametrize(("zone", "time", "day", "expected"), GAPS)
def test_a_time_that_the_clock_skips(
    zone: str,
    time: str,
    day: str,
    expected: dict[GapChoice, str | None],
    gap: GapChoice,
    overlap: OverlapChoice,
) -> None:
    schedule = Daily(time=time, timezone=zone, dst=Dst(gap=gap, overlap=overlap))
    touched = [slot for slot in on_the_day(schedule, day) if note_of(schedule, slot) == "dst_gap"]
    assert [text(slot) for slot in touched] == ([] if expected[gap] is None else [expected[gap]])


@pytest.mark.parametrize("gap", ["next_valid", "skip", "shift"])
@pytest.mark.parametrize("overlap", ["first", "last", "both"])
@pytest.mark.parametrize(("zone", "time", "day", "expected"), OVERLAPS)
def test_a_time_that_the_clock_shows_twice(
    zone: str,
    time: str,
    day: str,
    expected: dict[OverlapChoice, list[str]],
    gap: GapChoice,
    overlap: OverlapChoice,
) -> None:
    schedule = Daily(time=time, timezone=zone, dst=Dst(gap=gap, overlap=overlap))
    found = on_the_day(schedule, day)
    texts = [text(slot) for slot in found]
    at = texts.index(expected[overlap][0])
    assert texts[at : at + len(expected[overlap])] == expected[overlap]
    assert len(found) == 4 + len(expected[overlap]) - 1
    shown_twice = len(expected["both"]) == 2
    notes = [note_of(schedule, found[at + index]) for index in range(len(expected[overlap]))]
    assert notes == (["dst_overlap"] * len(notes) if shown_twice else [None])


def test_a_gap_is_shifted_among_the_times_that_follow_it_and_equal_instants_fire_once() -> None:
    """Berlin: 02:00 and 02:30 move to 03:00 and 03:30, which are due themselves."""
    shift = Dst(gap="shift")
    parts = tuple(
        Daily(time=time, timezone="Europe/Berlin", dst=shift) for time in ("02:00", "02:30", "03:30")
    )
    union = AnyOf(schedules=parts, timezone="Europe/Berlin")
    first = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp())
    found = list(fires(union, first, first + 7200))
    assert [text(slot) for slot in found] == ["03-29 01:00", "03-29 01:30"]
    assert count_fires(union, first, first + 7200) == 2
    assert [note_of(union, slot) for slot in found] == ["dst_gap", "dst_gap"]


def test_an_interval_with_a_choice_goes_by_the_clock() -> None:
    """Every 24 hours at the anchor's time of the day, whatever the offset: in real time it would drift by an hour."""
    anchor = "2026-03-27T08:00:00.000Z"
    every = Interval(every_seconds=DAY, anchor=anchor, timezone="Europe/Berlin", dst=Dst())
    real = Interval(every_seconds=DAY, anchor=anchor, timezone="Europe/Berlin")
    first = int(datetime(2026, 3, 28, tzinfo=UTC).timestamp())
    by_the_clock = [text(slot) for slot in fires(every, first, first + 3 * DAY)]
    assert by_the_clock == ["03-28 08:00", "03-29 07:00", "03-30 07:00"]
    assert [text(slot) for slot in fires(real, first, first + 3 * DAY)] == [
        "03-28 08:00",
        "03-29 08:00",
        "03-30 08:00",
    ]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (28, ["01-28", "02-28", "03-28", "04-28"]),
        (29, ["01-29", "02-28", "03-29", "04-29"]),
        (30, ["01-30", "02-28", "03-30", "04-30"]),
        (31, ["01-31", "02-28", "03-31", "04-30"]),
        (-1, ["01-31", "02-28", "03-31", "04-30"]),
    ],
)
def test_a_month_that_is_shorter_has_its_last_day_instead(day: int, expected: list[str]) -> None:
    schedule = Monthly(time="12:00", day=day, timezone="UTC")
    first = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    found = list(fires(schedule, first, first + 120 * DAY - 1))
    assert [f"{datetime.fromtimestamp(slot, UTC):%m-%d}" for slot in found] == expected
    leap = list(fires(schedule, first + 2 * 365 * DAY, first + (2 * 365 + 60) * DAY - 1))
    assert datetime.fromtimestamp(leap[1], UTC).day == (28 if day == 28 else 29)


def test_the_days_of_a_week_are_counted_from_monday() -> None:
    schedule = Weekly(time="18:00", days=("mon", "sun"), timezone="UTC")
    first = int(datetime(2026, 11, 16, tzinfo=UTC).timestamp())  # a Monday
    found = [datetime.fromtimestamp(slot, UTC) for slot in fires(schedule, first, first + 8 * DAY)]
    assert [f"{slot:%a}" for slot in found] == ["Mon", "Sun", "Mon"]
