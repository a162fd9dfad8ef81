"""The stored form of schedules, and everything that is refused on the way to it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from gnomon_schemas.schedules import (
    AnyOf,
    Cron,
    Daily,
    Dst,
    Interval,
    Monthly,
    Once,
    Schedule,
    ScheduleError,
    Weekly,
    normalise,
    read_schedule,
    shape_faults,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def _stored(schedule: dict[str, Any], *, now: datetime | None = NOW, zone: str = "Europe/Berlin") -> Schedule:
    return normalise(schedule, created_at=NOW, default_timezone=zone, now=now)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"kind": "cron", "expression": " 0  9 * * MON-fri "},
            Cron(expression="0 9 * * MON-fri", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "cron", "expression": "@daily", "timezone": "UTC", "jitter_seconds": 30.0},
            Cron(expression="@daily", timezone="UTC", jitter_seconds=30),
        ),
        (
            {"kind": "cron", "hour": 9, "jitter_seconds": None},
            Cron(
                second="0",
                minute="0",
                hour="9",
                day="*",
                month="*",
                day_of_week="*",
                timezone="Europe/Berlin",
            ),
        ),
        (
            {"kind": "cron", "expression": "* * * * *", "start_at": "2026-04-01T00:00:00.5+02:00"},
            Cron(expression="* * * * *", timezone="Europe/Berlin", start_at="2026-03-31T22:00:00.500Z"),
        ),
        (
            {"kind": "interval", "every_seconds": 60},
            Interval(every_seconds=60, anchor="2026-03-01T12:00:00.000Z", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "interval", "every_seconds": 60.0, "anchor": "2026-01-01T00:00:00.9Z"},
            Interval(every_seconds=60, anchor="2026-01-01T00:00:00.000Z", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "interval", "hours": 1, "minutes": 1.5},
            Interval(every_seconds=3690, anchor="2026-03-01T12:00:00.000Z", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "interval", "weeks": 1, "days": 1},
            Interval(every_seconds=8 * 86_400, anchor="2026-03-01T12:00:00.000Z", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "daily", "time": "09:00:00"},
            Daily(time="09:00", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "daily", "time": "09:00:05", "dst": {"overlap": "both"}},
            Daily(time="09:00:05", timezone="Europe/Berlin", dst=Dst(overlap="both")),
        ),
        (
            {"kind": "weekly", "time": "09:00", "days": [4, "MON", 0]},
            Weekly(time="09:00", days=("mon", "fri"), timezone="Europe/Berlin"),
        ),
        (
            {"kind": "monthly", "time": "09:00"},
            Monthly(time="09:00", day=1, timezone="Europe/Berlin"),
        ),
        (
            {
                "kind": "any_of",
                "timezone": "Asia/Tokyo",
                "jitter_seconds": 5,
                "schedules": [
                    {"kind": "daily", "time": "09:00"},
                    {"kind": "interval", "hours": 1, "timezone": "UTC"},
                ],
            },
            AnyOf(
                timezone="Asia/Tokyo",
                jitter_seconds=5,
                schedules=(
                    Daily(time="09:00", timezone="Asia/Tokyo"),
                    Interval(every_seconds=3600, anchor="2026-03-01T12:00:00.000Z", timezone="UTC"),
                ),
            ),
        ),
        (
            {"kind": "once", "at": "2026-06-01T09:00:00.999+02:00"},
            Once(at="2026-06-01T07:00:00.000Z", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "once", "at": "2026-06-01T09:00:00.999"},
            Once(at="2026-06-01T07:00:00.000Z", timezone="Europe/Berlin"),
        ),
        (
            {"kind": "once", "at": "2026-06-01 09:00", "timezone": "America/New_York"},
            Once(at="2026-06-01T13:00:00.000Z", timezone="America/New_York"),
        ),
    ],
)
def test_everything_is_made_explicit(given: dict[str, Any], expected: Schedule) -> None:
    stored = _stored(given)
    assert expected == stored
    # A read can be sent back: the stored form is its own stored form, whatever the defaults are then.
    again = msgspec.json.decode(msgspec.json.encode(stored))
    assert stored == _stored(again, zone="Asia/Tokyo")


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:00:00.000Z"),
        ("Europe/Berlin", "2026-03-29T02:00:00", "2026-03-29T01:00:00.000Z"),
        ("Europe/Berlin", "2026-03-29T01:59:59", "2026-03-29T00:59:59.000Z"),
        ("Europe/Berlin", "2026-03-29T03:00:00", "2026-03-29T01:00:00.000Z"),
        ("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00.000Z"),
        ("Europe/Berlin", "2026-10-25T03:00:00", "2026-10-25T02:00:00.000Z"),
        ("Australia/Lord_Howe", "2026-10-04T02:15:00", "2026-10-03T15:30:00.000Z"),
        ("Australia/Lord_Howe", "2026-04-05T01:45:00", "2026-04-04T14:45:00.000Z"),
    ],
)
def test_a_local_time_in_a_gap_is_the_end_of_the_gap_and_in_an_overlap_the_first(
    zone: str, at: str, expected: str
) -> None:
    stored = _stored({"kind": "once", "at": at, "timezone": zone})
    assert Once(at=expected, timezone=zone) == stored


def _nested(levels: int, schedule: dict[str, Any]) -> dict[str, Any]:
    for _ in range(levels):
        schedule = {"kind": "any_of", "schedules": [schedule]}
    return schedule


FAULTS: list[tuple[Any, list[tuple[str, str, str]]]] = [
    ([], [("", "not_an_object", "cron, interval, once")]),
    ("* * * * *", [("", "not_an_object", "'\\* \\* \\* \\* \\*'")]),
    ({}, [("/kind", "unsupported_kind", "kind is missing; allowed are cron, interval, once")]),
    ({"kind": "yearly", "time": "09:00"}, [("/kind", "unsupported_kind", "'yearly'.*cron, interval, once")]),
    ({"kind": "daily"}, [("/time", "missing_field", "time is missing")]),
    ({"kind": "daily", "time": "24:00"}, [("/time", "invalid_time", "'24:00'.*HH:MM")]),
    ({"kind": "daily", "time": "9:00"}, [("/time", "invalid_time", "'9:00'.*HH:MM")]),
    ({"kind": "weekly", "time": "09:00", "days": []}, [("/days", "invalid_day", "no day.*mon, tue")]),
    (
        {"kind": "weekly", "time": "09:00", "days": ["mon", 7, "montag"]},
        [("/days/1", "invalid_day", "7 is no day"), ("/days/2", "invalid_day", "'montag'")],
    ),
    ({"kind": "monthly", "time": "09:00", "day": 0}, [("/day", "invalid_day", "1 to 31, and -1")]),
    ({"kind": "monthly", "time": "09:00", "day": 32}, [("/day", "invalid_day", "32")]),
    ({"kind": "any_of", "schedules": []}, [("/schedules", "invalid_union", "1 to 100")]),
    (
        {"kind": "any_of", "schedules": [{"kind": "daily", "time": "09:00"}, {"kind": "once"}, 5]},
        [("/schedules/1/at", "missing_field", "at is"), ("/schedules/2", "not_an_object", "5")],
    ),
    (
        {"kind": "any_of", "schedules": [{"kind": "cron", "expression": "x", "jitter_seconds": 5}]},
        [
            ("/schedules/0/expression", "invalid_cron", "allowed are 5"),
            ("/schedules/0/jitter_seconds", "invalid_jitter", "belongs to the any_of"),
        ],
    ),
    (
        _nested(4, {"kind": "daily", "time": "09:00"}),
        [("/schedules/0/schedules/0/schedules/0", "invalid_union", "level 3")],
    ),
    (
        {"kind": "any_of", "dst": {}, "schedules": [{"kind": "daily", "time": "09:00"}]},
        [("/dst", "invalid_dst", "single schedules")],
    ),
    (
        {"kind": "once", "at": "2027-01-01T00:00:00Z", "dst": {"gap": "skip"}},
        [("/dst", "invalid_dst", "nothing to choose")],
    ),
    (
        {"kind": "daily", "time": "09:00", "dst": {"gap": "never"}},
        [("/dst", "invalid_type", "'never'")],
    ),
    ({"kind": ["cron"]}, [("/kind", "unsupported_kind", "'cron'")]),
    (
        {"kind": "cron", "expression": "* * * * *", "excludes": [], "max_run": 3},
        [
            ("/excludes", "unknown_field", "'excludes'.*expression"),
            ("/max_run", "unknown_field", "'max_run'"),
        ],
    ),
    ({"kind": "once", "at": "2027-01-01T00:00:00Z", "a/b~c": 1}, [("/a~1b~0c", "unknown_field", "a/b~c")]),
    ({"kind": "interval", "every": 60}, [("/every", "unknown_field", "every_seconds, minutes, hours")]),
    ({"kind": "once"}, [("/at", "missing_field", "at is missing")]),
    ({"kind": "once", "at": 5}, [("/at", "invalid_type", "Expected `str`")]),
    ({"kind": "interval", "every_seconds": True}, [("/every_seconds", "invalid_type", "got `bool`")]),
    ({"kind": "interval", "every_seconds": "60"}, [("/every_seconds", "invalid_type", "got `str`")]),
    ({"kind": "cron"}, [("/expression", "invalid_cron", "an expression, or at least one of second, minute")]),
    (
        {"kind": "cron", "expression": "* * * * *", "hour": 9},
        [("/expression", "invalid_cron", "expression and hour are both given")],
    ),
    (
        {"kind": "cron", "hour": 99, "day": "x"},
        [("/hour", "invalid_cron", "'99'"), ("/day", "invalid_cron", "'x'")],
    ),
    (
        {
            "kind": "cron",
            "expression": "61 * * * 9",
            "timezone": "Mars/Phobos",
            "start_at": "tomorrow",
            "end_at": "2026-03-01T00:00:00",
            "jitter_seconds": -1,
        },
        [
            ("/timezone", "unknown_timezone", "'Mars/Phobos'.*IANA"),
            ("/start_at", "invalid_time", "'tomorrow'.*RFC 3339"),
            ("/end_at", "invalid_time", "with offset"),
            ("/jitter_seconds", "invalid_jitter", "-1.*0 to 86400"),
            ("/expression", "invalid_cron", "minute"),
            ("/expression", "invalid_cron", "day-of-week"),
        ],
    ),
    (
        {"kind": "interval", "every_seconds": 60, "timezone": "europe/berlin"},
        [("/timezone", "unknown_timezone", "did you mean Europe/Berlin")],
    ),
    (
        {"kind": "interval", "every_seconds": 60, "timezone": "../../etc/passwd"},
        [("/timezone", "unknown_timezone", "no time zone")],
    ),
    (
        {"kind": "interval"},
        [("/every_seconds", "invalid_interval", "every_seconds, or at least one of minutes")],
    ),
    (
        {"kind": "interval", "every_seconds": 0},
        [("/every_seconds", "invalid_interval", "whole seconds, 1 to")],
    ),
    ({"kind": "interval", "every_seconds": -5}, [("/every_seconds", "invalid_interval", "-5")]),
    ({"kind": "interval", "every_seconds": 0.5}, [("/every_seconds", "invalid_interval", "0.5")]),
    ({"kind": "interval", "every_seconds": 1.5}, [("/every_seconds", "invalid_interval", "1.5")]),
    ({"kind": "interval", "every_seconds": 10**400}, [("/every_seconds", "invalid_interval", "3155760000")]),
    ({"kind": "interval", "minutes": 0.001}, [("/minutes", "invalid_interval", "whole seconds")]),
    ({"kind": "interval", "minutes": 1, "hours": -1}, [("", "invalid_interval", "-3540")]),
    (
        {"kind": "interval", "every_seconds": 5, "days": 1},
        [("/every_seconds", "invalid_interval", "every_seconds and days are both given")],
    ),
    (
        {"kind": "interval", "every_seconds": 5, "anchor": "2026-01-01"},
        [("/anchor", "invalid_time", "'2026-01-01'")],
    ),
    ({"kind": "once", "at": "soon"}, [("/at", "invalid_time", "'soon'")]),
    ({"kind": "once", "at": "2026-03-01T12:00:00Z"}, [("/at", "in_the_past", "not after now")]),
    ({"kind": "once", "at": "2026-03-01T12:00:00.9Z"}, [("/at", "in_the_past", "not after now")]),
    ({"kind": "once", "at": "2026-03-01T13:00:00"}, [("/at", "in_the_past", "2026-03-01T12:00:00.000Z")]),
    ({"kind": "once", "at": "3000-01-01T00:00:00Z"}, [("/at", "invalid_time", "1970 to 2999")]),
    (
        {"kind": "once", "at": "2027-01-01T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"},
        [("/at", "invalid_bounds", "outside")],
    ),
    (
        {"kind": "once", "at": "2027-01-01T00:00:00Z", "start_at": "2027-01-02T00:00:00Z"},
        [("/at", "invalid_bounds", "outside")],
    ),
    (
        {
            "kind": "cron",
            "expression": "@daily",
            "start_at": "2027-01-01T01:00:00+01:00",
            "end_at": "2027-01-01T00:00:00Z",
        },
        [("/end_at", "invalid_bounds", "not after start_at")],
    ),
    (
        {"kind": "cron", "expression": "@daily", "jitter_seconds": 86_401},
        [("/jitter_seconds", "invalid_jitter", "86401")],
    ),
]


@pytest.mark.parametrize(("given", "expected"), FAULTS)
def test_every_fault_is_told_with_pointer_code_and_what_is_allowed(
    given: Any, expected: list[tuple[str, str, str]]
) -> None:
    with pytest.raises(ScheduleError) as refused:
        _stored(given)
    faults = refused.value.faults
    assert [(pointer, code) for pointer, code, _ in expected] == [(f.pointer, f.code) for f in faults]
    for (_, _, words), fault in zip(expected, faults, strict=True):
        with pytest.raises(ValueError, match=words):
            raise ValueError(fault.message)


def test_a_once_that_was_accepted_before_is_not_refused_for_being_past() -> None:
    past = Once(at="2026-01-01T00:00:00.000Z", timezone="UTC")
    assert past == normalise(past, created_at=NOW, default_timezone="UTC", now=None)


def test_a_once_at_this_very_second_is_past() -> None:
    """Slots are after the instant of the decision, so this one would never come."""
    now = NOW.replace(microsecond=0)
    with pytest.raises(ScheduleError, match="not after now"):
        _stored({"kind": "once", "at": "2026-03-01T12:00:00Z"}, now=now)
    assert isinstance(_stored({"kind": "once", "at": "2026-03-01T12:00:01Z"}, now=now), Once)


def test_messages_stay_short_whatever_is_sent() -> None:
    """A fault goes into an event and an answer, which have a limit."""
    long = "x" * 100_000
    with pytest.raises(ScheduleError) as refused:
        _stored({"kind": "cron", "expression": long, "timezone": long, "start_at": long, "end_at": long})
    assert all(len(fault.message) < 400 for fault in refused.value.faults)


def test_reading_without_faults_keeps_the_input_form() -> None:
    given = {"kind": "interval", "minutes": 5}
    assert shape_faults(given) == ()
    assert read_schedule(given) == Interval(minutes=5)
