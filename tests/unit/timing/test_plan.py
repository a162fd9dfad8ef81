"""What a change would do to a task's slots: tables of changes, and of clocks that change."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from gnomon_core.timing import Course, Plan, fires, plan
from gnomon_core.timing.plan import LISTED_MAX, SLOTS_MAX, WINDOW_SECONDS
from gnomon_schemas.schedules import AnyOf, Cron, Daily, Dst, Interval, Monthly, Once, Schedule, Weekly

NOON = int(datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp())
"""A Sunday."""
NONE = Course(None)


def _every(seconds: int) -> Interval:
    return Interval(every_seconds=seconds, anchor="2026-11-22T12:00:00.000Z", timezone="UTC")


def _daily(time: str, zone: str = "UTC", **fields: Any) -> Daily:
    return Daily(time=time, timezone=zone, **fields)


NINE, TEN = _daily("09:00"), _daily("10:00")


@pytest.mark.parametrize(
    ("before", "after", "appear", "disappear"),
    [
        pytest.param(NONE, Course(NINE), 7, 0, id="created"),
        pytest.param(NONE, NONE, 0, 0, id="created without a schedule"),
        pytest.param(NONE, Course(NINE, fires=False), 0, 0, id="created paused"),
        pytest.param(Course(NINE), Course(TEN), 7, 7, id="moved by an hour"),
        pytest.param(Course(_every(600)), Course(_every(300)), 1008, 0, id="twice as often"),
        pytest.param(Course(_every(300)), Course(_every(600)), 0, 1008, id="half as often"),
        pytest.param(Course(NINE), Course(_daily("09:00", jitter_seconds=60)), 0, 0, id="only jitter"),
        pytest.param(
            Course(NINE), Course(_daily("10:00", "Europe/Berlin")), 0, 0, id="the same instants elsewhere"
        ),
        pytest.param(Course(NINE), Course(NINE, fires=False), 0, 7, id="paused"),
        pytest.param(Course(NINE, fires=False), Course(NINE), 7, 0, id="resumed"),
        pytest.param(Course(NINE), NONE, 0, 7, id="taken off its schedule"),
        pytest.param(
            Course(NINE), Course(AnyOf(schedules=(NINE, TEN), timezone="UTC")), 7, 0, id="one rule more"
        ),
        pytest.param(Course(NINE, runs_left=2), Course(NINE, runs_left=3), 1, 0, id="one run more"),
        pytest.param(Course(NINE), Course(NINE, runs_left=3), 0, 4, id="three runs left"),
        pytest.param(
            Course(NINE),
            Course(_daily("09:00", end_at="2026-11-25T09:00:00.000Z")),
            0,
            5,
            id="ending: the end is exclusive",
        ),
        pytest.param(Course(Once(at="2027-01-01T00:00:00.000Z")), Course(NINE), 7, 0, id="beyond the window"),
    ],
)
def test_what_appears_and_what_disappears(before: Course, after: Course, appear: int, disappear: int) -> None:
    found = plan(before, after, now=NOON)
    assert (found.appear_count, found.disappear_count) == (appear, disappear)
    assert len(found.appear) == min(appear, LISTED_MAX)
    assert len(found.disappear) == min(disappear, LISTED_MAX)
    back = plan(after, before, now=NOON)
    assert (back.appear_count, back.disappear_count) == (disappear, appear)


SCHEDULES: list[Schedule] = [
    _every(420),
    Cron(expression="*/11 9-17 * * 1-5", timezone="Europe/Berlin"),
    Weekly(time="09:00", days=("mon", "sun"), timezone="Asia/Kathmandu"),
    Monthly(time="18:00", day=-1, timezone="America/New_York"),
    AnyOf(schedules=(NINE, _every(7200)), timezone="UTC"),
]


@pytest.mark.parametrize(("old", "new"), list(product(SCHEDULES, SCHEDULES)))
def test_the_counts_are_those_of_the_sets(old: Schedule, new: Schedule) -> None:
    found = plan(Course(old), Course(new), now=NOON)
    had = set(fires(old, NOON, NOON + WINDOW_SECONDS))
    has = set(fires(new, NOON, NOON + WINDOW_SECONDS))
    assert (found.appear_count, found.disappear_count) == (len(has - had), len(had - has))
    assert [_second(fire.at) for fire in found.appear] == sorted(has - had)[:LISTED_MAX]
    assert [_second(fire.at) for fire in found.disappear] == sorted(had - has)[:LISTED_MAX]
    assert [_second(fire.at) for fire in found.fires] == list(fires(new, NOON, NOON + 10**8))[:5]


def test_it_speaks_of_what_comes_after_now() -> None:
    found = plan(NONE, Course(_every(60)), now=NOON)
    assert found.fires[0].at == "2026-11-22T12:01:00.000Z"
    assert found.window.from_ == "2026-11-22T12:00:01.000Z"
    assert found.window.to == "2026-11-29T12:00:01.000Z"
    assert found.description == "every minute"


def test_next_fires_keep_to_the_runs_that_are_left() -> None:
    assert len(plan(NONE, Course(NINE, runs_left=2), now=NOON).fires) == 2
    assert plan(NONE, Course(NINE, runs_left=0), now=NOON).fires == ()
    assert plan(Course(NINE), Course(NINE, fires=False), now=NOON).fires == ()


def test_load_is_told_a_minute() -> None:
    hourly_bursts = Cron(expression="*/10 0 * * * *", timezone="UTC")
    load = plan(Course(_every(60)), Course(hourly_bursts), now=NOON).load
    assert (load.fires_per_minute_before, load.fires_per_minute_after) == (1.0, 0.1)
    assert load.added_per_minute == -0.9
    assert (load.peak_per_minute_before, load.peak_per_minute_after) == (1, 6)
    idle = plan(NONE, NONE, now=NOON).load
    assert (idle.fires_per_minute_after, idle.peak_per_minute_after) == (0.0, 0)


def test_where_too_many_slots_would_be_compared_the_window_ends_earlier() -> None:
    seconds = Course(_every(1))
    for before, after, counts in (
        (NONE, seconds, (SLOTS_MAX, 0)),
        (seconds, NONE, (0, SLOTS_MAX)),
        (Course(_every(2)), seconds, (SLOTS_MAX // 2, 0)),
        (seconds, Course(_every(2)), (0, SLOTS_MAX // 2)),
    ):
        found = plan(before, after, now=NOON)
        assert (found.appear_count, found.disappear_count) == counts
        assert _second(found.window.to) - _second(found.window.from_) == SLOTS_MAX
    assert plan(NONE, seconds, now=NOON).load.fires_per_minute_after == 60.0


Rows = list[tuple[str | None, str, str]]
SPRING, AUTUMN = "2027-03-28T01:00:00.000Z", "2027-10-31T01:00:00.000Z"


@pytest.mark.parametrize(
    ("dst", "expected"),
    [
        (
            None,
            [
                ("2027-03-28T01:00:00.000Z", "2027-03-28T03:00:00+02:00", "dst_gap"),
                ("2027-10-31T00:30:00.000Z", "2027-10-31T02:30:00+02:00", "dst_overlap"),
            ],
        ),
        (
            Dst(gap="shift", overlap="last"),
            [
                ("2027-03-28T01:30:00.000Z", "2027-03-28T03:30:00+02:00", "dst_gap"),
                ("2027-10-31T01:30:00.000Z", "2027-10-31T02:30:00+01:00", "dst_overlap"),
            ],
        ),
        (
            Dst(gap="skip", overlap="both"),
            [
                (None, "2027-03-28T02:30:00", "dst_gap"),
                ("2027-10-31T00:30:00.000Z", "2027-10-31T02:30:00+02:00", "dst_overlap"),
                ("2027-10-31T01:30:00.000Z", "2027-10-31T02:30:00+01:00", "dst_overlap"),
            ],
        ),
    ],
    ids=["default", "shift and last", "skip and both"],
)
@pytest.mark.parametrize("inside", [False, True], ids=["daily", "in a union"])
def test_slots_that_a_change_of_the_clock_touches(dst: Dst | None, expected: Rows, inside: bool) -> None:
    schedule: Schedule = _daily("02:30", "Europe/Berlin", dst=dst)
    if inside:
        schedule = AnyOf(schedules=(schedule, _daily("12:00", "Asia/Tokyo")), timezone="Europe/Berlin")
    found = plan(NONE, Course(schedule), now=NOON)
    assert [(one.at, one.local, one.note) for one in found.transitions] == expected
    assert found.transitions[0].change_at == SPRING
    assert {one.change_at for one in found.transitions[1:]} == {AUTUMN}
    assert found.transitions_count == len(expected)


@pytest.mark.parametrize(
    "schedule",
    [
        _daily("12:00", "Europe/Berlin"),
        _daily("02:30", "Asia/Tokyo"),
        _every(60),
        Interval(every_seconds=60, anchor="2026-11-22T12:00:00.000Z", timezone="Europe/Berlin"),
        _daily("02:30", "Europe/Berlin", end_at="2027-03-01T00:00:00.000Z"),
        Weekly(time="02:30", days=("mon",), timezone="Europe/Berlin"),
    ],
)
def test_nothing_is_said_of_changes_that_touch_no_slot(schedule: Schedule) -> None:
    assert plan(NONE, Course(schedule), now=NOON).transitions == ()


def test_a_rule_of_all_hours_runs_through_and_is_touched_only_where_a_time_comes_twice() -> None:
    found = plan(NONE, Course(Cron(expression="*/10 * * * *", timezone="Europe/Berlin")), now=NOON)
    assert {(one.note, one.change_at) for one in found.transitions} == {("dst_overlap", AUTUMN)}
    assert found.transitions_count == 12


def test_days_that_are_left_out_are_in_no_plan_and_the_others_keep_their_notes() -> None:
    """The clock changes on a Sunday in spring and in autumn."""
    sundays = Course(_daily("02:30", "Europe/Berlin"))
    without = Course(_daily("02:30", "Europe/Berlin", exclude=("mon", "sat")))
    found = plan(sundays, without, now=NOON)
    assert (found.appear_count, found.disappear_count) == (0, 2)
    assert [(one.note, one.change_at) for one in found.transitions] == [
        ("dst_gap", SPRING),
        ("dst_overlap", AUTUMN),
    ]
    assert plan(NONE, Course(_daily("02:30", "Europe/Berlin", exclude=("sun",))), now=NOON).transitions == ()


def test_half_an_hour_and_more_touched_slots_than_are_named() -> None:
    dst = Dst(gap="skip", overlap="both")
    howe = Cron(expression="* 2 * * *", timezone="Australia/Lord_Howe", dst=dst)
    found: Plan = plan(NONE, Course(howe), now=NOON)
    # 30 minutes are left out in October; in April half an hour before 02:00 comes twice, which is no slot of it.
    assert found.transitions_count == 30
    assert all(one.at is None for one in found.transitions)
    many = plan(NONE, Course(Cron(expression="* 2 * * *", timezone="Europe/Berlin", dst=dst)), now=NOON)
    assert (len(many.transitions), many.transitions_count) == (LISTED_MAX, 60 + 120)


def test_a_paused_task_is_touched_by_nothing() -> None:
    asleep = Course(_daily("02:30", "Europe/Berlin"), fires=False)
    assert plan(NONE, asleep, now=NOON).transitions == ()


def _second(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
