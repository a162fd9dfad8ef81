"""What a schedule answers: the next slot, the last, all of a span, how many; and where its bounds are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gnomon_core.timing import (
    LAST_INSTANT,
    count_fires,
    fires,
    fires_between,
    last_fire,
    next_fire,
    next_fire_at,
    timetable,
    zone_clock,
)
from gnomon_core.timing.calendar_slots import CalendarSlots
from gnomon_schemas.schedules import Cron, Interval, Once, Schedule

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
T = int(NOON.timestamp())
ANCHOR = "2026-09-21T12:00:00.000Z"


def _cron(expression: str, **fields: str) -> Cron:
    return Cron(expression=expression, **({"timezone": "UTC"} | fields))  # type: ignore[arg-type]  # str fields only


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (_cron("*/5 * * * *"), [T + 300, T + 600, T + 900]),
        (_cron("*/20 * * * * *"), [T + 20, T + 40, T + 60]),
        (Interval(every_seconds=7, anchor=ANCHOR), [T + 7, T + 14, T + 21]),
        (Interval(every_seconds=7, anchor="2026-09-21T12:00:03.000Z"), [T + 3, T + 10, T + 17]),
        (Interval(every_seconds=7, anchor="2027-09-21T12:00:00.000Z"), [T + 6, T + 13, T + 20]),
        (Once(at="2026-09-21T12:00:01.000Z"), [T + 1]),
        (Once(at=ANCHOR), []),
    ],
)
def test_next_is_exclusive_and_goes_on_to_the_end(schedule: Schedule, expected: list[int]) -> None:
    """An interval's anchor gives its phase, also to what lies before it."""
    walked: list[int] = []
    at = next_fire(schedule, T)
    while at is not None and len(walked) < 3:
        walked.append(at)
        at = next_fire(schedule, at)
    assert expected == walked
    assert expected == list(fires(schedule, T, T + 3600))[:3]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (_cron("*/5 * * * *"), T),
        (_cron("1 * * * *"), T - 59 * 60),
        (_cron("0 0 29 2 *"), int(datetime(2024, 2, 29, tzinfo=UTC).timestamp())),
        (_cron("0 0 * 2 1#5"), int(datetime(2016, 2, 29, tzinfo=UTC).timestamp())),
        (Interval(every_seconds=7, anchor=ANCHOR), T),
        (Interval(every_seconds=7, anchor="2026-09-21T12:00:03.000Z"), T - 4),
        (Once(at=ANCHOR), T),
        (Once(at="2026-09-21T12:00:01.000Z"), None),
    ],
)
def test_last_is_inclusive(schedule: Schedule, expected: int | None) -> None:
    assert expected == last_fire(schedule, T)


def test_rare_days_are_found_far_ahead() -> None:
    """29 February, across 2100, which has none; a fifth Monday in February, which comes every 28 years."""
    leap = _cron("0 0 29 2 *")
    assert next_fire_at(leap, datetime(2096, 2, 29, tzinfo=UTC)) == datetime(2104, 2, 29, tzinfo=UTC)
    rare = _cron("0 0 * 2 1#5")
    assert next_fire_at(rare, datetime(2072, 3, 1, tzinfo=UTC)) == datetime(2112, 2, 29, tzinfo=UTC)
    assert last_fire(rare, int(datetime(2112, 2, 28, tzinfo=UTC).timestamp())) == int(
        datetime(2072, 2, 29, tzinfo=UTC).timestamp()
    )


def test_decades_without_a_slot_are_not_looked_at() -> None:
    """Whoever asks for the next fifty fifth Mondays in February must not cost a walk through all years."""
    rare = _cron("0 0 * 2 1#5", timezone="Europe/Paris")
    zone_clock.pieces_of_year.cache_clear()
    found = list(fires(rare, T, LAST_INSTANT))
    assert len(found) == 36
    assert [last_fire(rare, slot - 1) for slot in found[1:]] == found[:-1]
    assert zone_clock.pieces_of_year.cache_info().misses < 4 * len(found)


BOUNDED = {"start_at": "2026-09-21T12:00:30.000Z", "end_at": "2026-09-21T12:03:00.000Z"}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (_cron("* * * * *", **BOUNDED), [60, 120]),
        (_cron("*/30 * * * * *", **BOUNDED), [30, 60, 90, 120, 150]),
        (Interval(every_seconds=60, anchor=ANCHOR, timezone="UTC", **BOUNDED), [60, 120]),  # type: ignore[arg-type]  # str fields only
        (Interval(every_seconds=30, anchor=ANCHOR, timezone="UTC", **BOUNDED), [30, 60, 90, 120, 150]),  # type: ignore[arg-type]  # str fields only
        (Interval(every_seconds=900, anchor=ANCHOR, timezone="UTC", **BOUNDED), []),  # type: ignore[arg-type]  # str fields only
    ],
)
def test_start_at_counts_and_end_at_does_not(schedule: Schedule, expected: list[int]) -> None:
    slots = [T + each for each in expected]
    assert slots == list(fires(schedule, 0, LAST_INSTANT))
    assert len(slots) == count_fires(schedule, 0, LAST_INSTANT)
    assert (slots[0] if slots else None) == next_fire(schedule, 0)
    assert (slots[-1] if slots else None) == last_fire(schedule, LAST_INSTANT)
    assert next_fire(schedule, slots[-1] if slots else T) is None
    assert last_fire(schedule, slots[0] - 1 if slots else T) is None


@pytest.mark.parametrize(
    ("bound", "first", "last"),
    [("2026-09-21T12:00:00.001Z", T + 1, T), ("2026-09-21T11:59:59.999Z", T, T - 1)],
)
def test_bounds_within_a_second_leave_out_what_is_outside(bound: str, first: int, last: int) -> None:
    assert first == next_fire(_cron("* * * * * *", start_at=bound), 0)
    assert last == last_fire(_cron("* * * * * *", end_at=bound), LAST_INSTANT)


def test_no_slot_lies_after_the_year_2999() -> None:
    every = _cron("0 0 1 1 *", timezone="Pacific/Kiritimati")
    assert last_fire(every, 10**12) == next_fire(every, int(datetime(2999, 1, 1, tzinfo=UTC).timestamp()))
    assert next_fire(every, LAST_INSTANT) is None
    assert next_fire(Interval(every_seconds=60, anchor=ANCHOR), LAST_INSTANT) is None


def test_an_empty_span_holds_nothing() -> None:
    for schedule in (_cron("* * * * *"), Interval(every_seconds=60, anchor=ANCHOR), Once(at=ANCHOR)):
        for after, until in ((T, T), (T, T - 600), (T + 1, T + 59)):
            assert list(fires(schedule, after, until)) == []
            assert count_fires(schedule, after, until) == 0


def test_fires_are_lazy() -> None:
    found = fires(_cron("* * * * * *"), 0, LAST_INSTANT)
    assert isinstance(found, Iterator)
    assert [next(found) for _ in range(3)] == [1, 2, 3]


def test_counting_an_interval_does_not_walk() -> None:
    """Every second of a thousand years: walking would outlast the test's time limit."""
    assert count_fires(Interval(every_seconds=1, anchor=ANCHOR), 0, LAST_INSTANT) == LAST_INSTANT


def test_counting_seconds_of_a_year_does_not_walk() -> None:
    year = 365 * 86_400
    assert count_fires(_cron("* * * * * *", timezone="Europe/Berlin"), T, T + year) == year
    # By the clock the repeated hour counts once; the skipped one is the single fire at its end, due anyway.
    assert count_fires(_cron("* * 0-23 * * *", timezone="Europe/Berlin"), T, T + year) == year - 3600


def test_datetimes_of_any_zone_are_taken() -> None:
    local = datetime(2026, 9, 21, 14, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert next_fire_at(_cron("*/5 * * * *"), local) == NOON + timedelta(minutes=5)
    assert list(fires_between(_cron("*/5 * * * *"), local, NOON + timedelta(minutes=5))) == [
        NOON + timedelta(minutes=5)
    ]
    assert next_fire_at(Once(at=ANCHOR), local) is None
    with pytest.raises(ValueError, match="no offset"):
        next_fire_at(Once(at=ANCHOR), datetime(2026, 9, 21))  # noqa: DTZ001  # the lack of a zone is what is tested


def test_tasks_that_share_an_expression_pay_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedules that differ in jitter share one timeline; only the first asker starts a search."""
    next_fire(
        Cron(expression="*/7 3-20 * * *", timezone="UTC"), T - 1
    )  # from here on the clock's piece is known
    searches = 0
    search = CalendarSlots.next

    def counted(slots: CalendarSlots, wall: int) -> int | None:
        nonlocal searches
        searches += 1
        return search(slots, wall)

    monkeypatch.setattr(CalendarSlots, "next", counted)
    for minute in range(10):
        after = T + minute * 420
        for jitter in range(50):
            shared = Cron(expression="*/7 3-20 * * *", timezone="UTC", jitter_seconds=jitter)
            assert next_fire(shared, after) == timetable(shared).next(after)
    assert searches == 10


@pytest.mark.parametrize(
    "schedule",
    [
        Cron(expression="* * * * *"),
        Interval(every_seconds=60),
        Interval(minutes=1, anchor=ANCHOR),
        Interval(every_seconds=60, anchor="2026-09-21T12:00:00+02:00"),
        Once(at="2026-09-21T12:00:00"),
    ],
)
def test_only_the_stored_form_is_reckoned_with(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="stored form"):
        timetable(schedule)
