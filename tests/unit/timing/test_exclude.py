"""Days without slots: the stored form, what is refused, and which slots are left."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gnomon_core.rules.schedule_input import read_input, stored_form
from gnomon_core.timing import count_fires, fires, last_fire, next_fire, note_of, preview, timetable
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import (
    AnyOf,
    Cron,
    Daily,
    Interval,
    Monthly,
    Once,
    Schedule,
    ScheduleError,
    Weekly,
    normalise,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"
DE = ExcludedDays(holidays="DE")
CHRISTMAS = ExcludedDays(from_="2026-12-24", to="2027-01-02")
DAY = 86_400


def _stored(exclude: Any, **fields: Any) -> Schedule:
    given = {"kind": "daily", "time": "09:00", "timezone": BERLIN, **fields, "exclude": exclude}
    return normalise(given, created_at=NOW, default_timezone="UTC", now=NOW)


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _local(schedule: Schedule, first: str, last: str) -> list[str]:
    """The slots of [first, last] on the zone's clock; asked in every way there is, they are the same."""
    after, until = _at(first) - 1, _at(last)
    found = list(fires(schedule, after, until))
    assert len(found) == count_fires(schedule, after, until)
    walked = []
    slot = next_fire(schedule, after)
    while slot is not None and slot <= until:
        walked.append(slot)
        slot = next_fire(schedule, slot)
    assert walked == found
    back = []
    slot = last_fire(schedule, until)
    while slot is not None and slot > after:
        back.append(slot)
        slot = last_fire(schedule, slot - 1)
    assert back[::-1] == found
    zone = ZoneInfo(schedule.timezone or "UTC")
    return [f"{datetime.fromtimestamp(each, zone):%Y-%m-%d %H:%M}" for each in found]


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (["2026-12-24", "sat", {"holidays": "DE"}], ("2026-12-24", "sat", DE)),
        (["SAT", 6, "sun", "2026-12-24", "2026-12-24"], ("sat", "sun", "2026-12-24")),
        ([{"holidays": ["DE", "US-CA"]}], (DE, ExcludedDays(holidays="US-CA"))),
        ([{"from": "2026-12-24", "to": "2027-01-02"}], (CHRISTMAS,)),
        (
            {
                "dates": ["2026-12-24"],
                "weekdays": [5, "sun"],
                "holidays": "DE",
                "ranges": [{"from": "2026-12-24", "to": "2027-01-02"}],
            },
            ("sat", "sun", "2026-12-24", CHRISTMAS, DE),
        ),
        ({"holidays": ["DE"]}, (DE,)),
        ([], None),
        ({}, None),
        ({"dates": [], "holidays": []}, None),
        (None, None),
    ],
)
def test_the_stored_form_is_a_list_in_the_order_given(given: Any, stored: Any) -> None:
    schedule = _stored(given)
    assert schedule.exclude == stored
    sent_back = msgspec.json.decode(msgspec.json.encode(schedule))
    assert schedule == normalise(sent_back, created_at=NOW, default_timezone="UTC", now=None)


@pytest.mark.parametrize(
    ("given", "pointer", "words"),
    [
        (["someday"], "/exclude/0", "'someday' is no excluded day; allowed are dates .YYYY-MM-DD., mon, tue"),
        (["sat", 7], "/exclude/1", "7 is no excluded day"),
        (["2026-02-29"], "/exclude/0", "'2026-02-29' is no date"),
        (["20260301"], "/exclude/0", "'20260301' is no excluded day"),
        (["1969-12-31"], "/exclude/0", "the years 1970 to 2999"),
        ([2.5], "/exclude/0", "2.5"),
        ([None], "/exclude/0", "None"),
        ([{}], "/exclude/0", "holidays, or a span by from and to"),
        ([{"from": "2026-12-24"}], "/exclude/0", "and whole"),
        ([{"from": "2026-12-24", "to": "2026-12-25", "holidays": "DE"}], "/exclude/0", "one or the other"),
        ([{"from": "2026-12-24", "to": "2026-12-24"}], "/exclude/0/to", "is not after from"),
        ([{"from": "soon", "to": "2026-12-24"}], "/exclude/0/from", "'soon' is no date"),
        ([{"holidays": []}], "/exclude/0/holidays", "no place is named"),
        ([{"holiday": "DE"}], "/exclude/0", "holiday"),
        ({"days": ["sat"]}, "/exclude", "days"),
        ({"dates": ["x"]}, "/exclude/dates/0", "'x' is no excluded day"),
        ({"ranges": [{"from": "2026-12-24", "to": "2026-12-01"}]}, "/exclude/ranges/0/to", "is not after"),
        ("sat", "/exclude", "'sat' is neither a list"),
        (list(range(7)), "/exclude", "every day of the week"),
        ([f"{1970 + n // 365}-01-01" for n in range(1001)], "/exclude", "1001 excluded days .* 1000"),
        ({"dates": ["2026-01-01"] * 1001}, "/exclude", "1001 excluded days"),
    ],
)
def test_what_is_refused_says_where_and_why(given: Any, pointer: str, words: str) -> None:
    with pytest.raises(ScheduleError, match=words) as refused:
        _stored(given)
    assert [fault.pointer for fault in refused.value.faults] == [pointer]


def test_a_thousand_days_are_taken() -> None:
    days = [f"{2000 + n // 300}-{1 + n % 12:02}-{1 + n % 25:02}" for n in range(1000)]
    assert _stored(days).exclude == tuple(dict.fromkeys(days))


def test_the_parts_of_a_union_share_the_limit() -> None:
    part = {
        "kind": "daily",
        "time": "09:00",
        "exclude": [f"2026-{1 + n % 12:02}-{1 + n // 12:02}" for n in range(300)],
    }
    with pytest.raises(ScheduleError, match="1200 excluded days") as refused:
        normalise(
            {"kind": "any_of", "schedules": [part] * 4}, created_at=NOW, default_timezone="UTC", now=NOW
        )
    assert [fault.pointer for fault in refused.value.faults] == ["/schedules"]


@pytest.mark.parametrize(
    "never",
    [
        {"kind": "weekly", "time": "09:00", "days": ["sat", "sun"], "exclude": ["sun", "sat", "mon"]},
        {"kind": "cron", "expression": "0 9 * * 0", "exclude": ["sun"]},
        {"kind": "cron", "expression": "0 9 * * 5#2", "exclude": ["fri"]},
        {"kind": "cron", "minute": 0, "day_of_week": "mon-tue", "exclude": [0, 1]},
        {"kind": "once", "at": "2026-12-24T00:30:00+01:00", "timezone": BERLIN, "exclude": ["2026-12-24"]},
        {"kind": "once", "at": "2026-12-24T00:30:00+01:00", "timezone": BERLIN, "exclude": ["thu"]},
        {
            "kind": "any_of",
            "schedules": [
                {"kind": "weekly", "time": "09:00", "days": ["sun"]},
                {"kind": "cron", "expression": "@weekly"},
            ],
            "exclude": ["sun"],
        },
    ],
)
def test_a_schedule_that_excludes_all_its_days_is_refused(never: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError, match=r"no slot is left|none is left") as refused:
        normalise(never, created_at=NOW, default_timezone="UTC", now=NOW)
    assert [fault.pointer for fault in refused.value.faults] == ["/exclude"]


@pytest.mark.parametrize(
    ("exclude", "pointers"),
    [
        ([{"holidays": "XX"}], ["#/schedule/exclude/0/holidays"]),
        (
            ["sat", {"holidays": ["DE", "DE-XX", "de"]}],
            ["#/schedule/exclude/1/holidays/1", "#/schedule/exclude/1/holidays/2"],
        ),
        ({"holidays": "Bavaria"}, ["#/schedule/exclude/holidays"]),
        (["someday", {"holidays": "XX"}], ["#/schedule/exclude/0", "#/schedule/exclude/1/holidays"]),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_places_without_known_holidays_are_refused(exclude: Any, pointers: list[str], inside: bool) -> None:
    given: dict[str, Any] = {"kind": "daily", "time": "09:00", "exclude": exclude}
    if inside:
        given = {"kind": "any_of", "schedules": [given]}
        pointers = [pointer.replace("schedule/", "schedule/schedules/0/") for pointer in pointers]
    schedule, errors = read_input(msgspec.json.encode(given))
    assert schedule is not None
    assert errors == []
    stored, errors = stored_form(schedule, now_ms=None, created_at_ms=0, default_timezone="UTC")
    assert stored is None
    assert [error.pointer for error in errors] == pointers


@pytest.mark.parametrize(
    ("schedule", "first", "last", "expected"),
    [
        (  # New Year's Eve is excluded by the span, New Year's Day is a holiday besides
            Daily(
                time="09:00",
                timezone=BERLIN,
                exclude=("sat", "sun", DE, ExcludedDays(from_="2026-12-28", to="2027-01-01")),
            ),
            "2026-12-23T00:00:00Z",
            "2027-01-05T00:00:00Z",
            ["2026-12-23 09:00", "2026-12-24 09:00", "2027-01-04 09:00"],
        ),
        (
            Cron(expression="0 */12 * * *", timezone=BERLIN, exclude=("2026-09-22",)),
            "2026-09-21T12:00:00+02:00",
            "2026-09-23T12:00:00+02:00",
            ["2026-09-21 12:00", "2026-09-23 00:00", "2026-09-23 12:00"],
        ),
        (  # by the date in Berlin, though the interval goes by real time
            Interval(
                every_seconds=6 * 3600, anchor="2026-09-21T00:00:00.000Z", timezone=BERLIN, exclude=("tue",)
            ),
            "2026-09-21T16:00:00Z",
            "2026-09-23T01:00:00Z",
            ["2026-09-21 20:00", "2026-09-23 02:00"],
        ),
        (
            Weekly(time="09:00", days=("fri", "sat"), timezone=BERLIN, exclude=(DE,)),
            "2026-12-18T00:00:00Z",
            "2027-01-02T12:00:00Z",
            ["2026-12-18 09:00", "2026-12-19 09:00", "2027-01-02 09:00"],
        ),
        (
            Monthly(time="09:00", day=1, timezone=BERLIN, exclude=(DE,)),
            "2026-12-01T00:00:00Z",
            "2027-06-01T12:00:00Z",
            [
                "2026-12-01 09:00",
                "2027-02-01 09:00",
                "2027-03-01 09:00",
                "2027-04-01 09:00",
                "2027-06-01 09:00",
            ],
        ),
        (
            Once(at="2026-12-25T09:00:00.000Z", timezone=BERLIN, exclude=(DE,)),
            "2026-12-01T00:00:00Z",
            "2027-06-01T12:00:00Z",
            [],
        ),
        (  # each part its own days, all of them those of the union
            AnyOf(
                schedules=(
                    Daily(time="09:00", timezone=BERLIN, exclude=("tue",)),
                    Daily(time="18:00", timezone=BERLIN),
                ),
                timezone=BERLIN,
                exclude=("wed",),
            ),
            "2026-09-21T00:00:00Z",
            "2026-09-24T12:00:00Z",
            ["2026-09-21 09:00", "2026-09-21 18:00", "2026-09-22 18:00", "2026-09-24 09:00"],
        ),
        (  # a place with holidays of its own
            Daily(time="09:00", timezone=BERLIN, exclude=(ExcludedDays(holidays="DE-BY"),)),
            "2026-06-03T00:00:00Z",
            "2026-06-05T12:00:00Z",
            ["2026-06-03 09:00", "2026-06-05 09:00"],
        ),
        (  # Samoa had no 30 December 2011: what it would have had comes with the 31st, whose date is what counts
            Daily(time="09:00", timezone="Pacific/Apia", exclude=("2011-12-30",)),
            "2011-12-29T00:00:00-10:00",
            "2012-01-01T12:00:00+14:00",
            ["2011-12-29 09:00", "2011-12-31 00:00", "2011-12-31 09:00", "2012-01-01 09:00"],
        ),
        (
            Daily(time="09:00", timezone="Pacific/Apia", exclude=("2011-12-31",)),
            "2011-12-29T00:00:00-10:00",
            "2012-01-01T12:00:00+14:00",
            ["2011-12-29 09:00", "2012-01-01 09:00"],
        ),
        (  # Havana's midnight of 8 March 2026 is skipped: the slot moves to 01:00 of the same date
            Daily(time="00:00", timezone="America/Havana", exclude=("2026-03-08",)),
            "2026-03-07T04:00:00Z",
            "2026-03-09T12:00:00Z",
            ["2026-03-07 00:00", "2026-03-09 00:00"],
        ),
        (  # St. John's was set back from 00:01 of 7 November 2010 to 23:01: each of two dates is shown twice
            Cron(expression="*/30 * * * *", timezone="America/St_Johns", exclude=("2010-11-07",)),
            "2010-11-07T00:00:00-02:30",
            "2010-11-08T00:00:00-03:30",
            ["2010-11-06 23:30", "2010-11-08 00:00"],
        ),
        (
            Cron(expression="*/30 * * * *", timezone="America/St_Johns", exclude=("2010-11-06",)),
            "2010-11-06T22:00:00-02:30",
            "2010-11-07T00:30:00-03:30",
            ["2010-11-07 00:00", "2010-11-07 00:00", "2010-11-07 00:30"],
        ),
    ],
)
def test_slots_that_are_left(schedule: Schedule, first: str, last: str, expected: list[str]) -> None:
    assert expected == _local(schedule, first, last)


def test_a_long_span_is_one_step() -> None:
    """A thousand years without slots cost no walk, forwards, backwards or counted."""
    rest = ExcludedDays(from_="1990-01-01", to="2990-01-01")
    schedule = Cron(expression="* * * * * *", timezone=BERLIN, exclude=(rest,))
    now = _at("2026-09-21T12:00:00Z")
    assert next_fire(schedule, now) == _at("2990-01-01T00:00:00+01:00")
    assert last_fire(schedule, now) == _at("1989-12-31T23:59:59+01:00")
    assert count_fires(schedule, now, now + 50 * 365 * DAY) == 0


def test_that_no_slot_is_left_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A week's interval that always meets its excluded day walks over a thousand years of weeks, but once."""
    sundays = Interval(
        every_seconds=7 * DAY, anchor="2026-03-01T12:00:00.000Z", timezone="UTC", exclude=("sun",)
    )
    compiled = timetable(sundays)
    now = _at("2026-09-21T12:00:00Z")
    assert compiled.next(now) is None
    monkeypatch.setattr(type(compiled), "_off_around", lambda *_: pytest.fail("it walked again"))
    assert compiled.next(now + DAY) is None


def test_a_preview_leaves_excluded_days_out_and_keeps_the_notes() -> None:
    """The clock's change of 29 March 2026 moves 02:30; the Saturday before is excluded."""
    schedule = Daily(time="02:30", timezone=BERLIN, exclude=("sat", "mon"))
    shown = preview(schedule, after=_at("2026-03-27T12:00:00Z"), count=2)
    assert [(fire.local, fire.note) for fire in shown.fires] == [
        ("2026-03-29T03:00:00+02:00", "dst_gap"),
        ("2026-03-31T02:30:00+02:00", None),
    ]
    both = AnyOf(schedules=(schedule,), timezone=BERLIN, exclude=("tue",))
    assert note_of(both, _at("2026-03-29T03:00:00+02:00")) == "dst_gap"


def test_a_schedule_that_is_not_in_stored_form_is_refused() -> None:
    for wrong in (
        Daily(time="09:00", timezone="UTC", exclude=(5,)),
        Once(at="2026-01-01T00:00:00.000Z", exclude=("sat",)),
    ):
        with pytest.raises(ValueError, match="not in stored form"):
            next_fire(wrong, 0)
