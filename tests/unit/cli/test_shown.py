"""Values as people read and write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gnomon_cli import shown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0034, "3 ms"),
        (0.9996, "1 s"),
        (1.238, "1.24 s"),
        (59.4, "59.4 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (11_520, "3 h 12 min"),
        (93_600, "1 d 2 h"),
        (-2, "-2 s"),
    ],
)
def test_a_duration_shows_its_two_largest_units(seconds: float, text: str) -> None:
    assert shown.duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86_400), ("1w", 604_800), ("90", 90), ("250ms", 0.25)],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert shown.read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 parsecs", "1h30m", "٣s"])
def test_what_is_no_duration_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 30s"):
        shown.read_duration(text)


def test_an_instant_is_shown_in_utc_without_milliseconds() -> None:
    assert shown.instant("2026-09-21T11:00:00.250+02:00") == "2026-09-21 09:00:00Z"
    assert shown.instant(None) == "-"


def test_a_duration_stands_for_an_instant() -> None:
    now = datetime(2026, 9, 21, 9, tzinfo=UTC)
    assert shown.instant_given("2h", now) == "2026-09-21T07:00:00+00:00"
    assert shown.instant_given("2h", now, ahead=True) == "2026-09-21T11:00:00+00:00"
    assert shown.instant_given("noon", now) == "noon"
    assert shown.instant_given(None, now) is None


def test_a_duration_ahead_may_say_so() -> None:
    now = datetime(2026, 9, 21, 9, 0, 0, tzinfo=UTC)
    for text in ("2h", "in 2h", " in 2h "):
        assert shown.instant_given(text, now, ahead=True) == "2026-09-21T11:00:00+00:00"
    assert shown.instant_given("in 2h", now) == "in 2h", "that is not so long ago"


def test_how_far_off_an_instant_is() -> None:
    now = datetime(2026, 9, 21, 9, 0, 0, tzinfo=UTC)
    assert shown.relative("2026-09-21T09:00:42Z", now) == "in 42 s"
    assert shown.relative("2026-09-21T08:57:00Z", now) == "3 min ago"
    assert shown.relative("2026-09-21T09:00:00.4Z", now) == "now"
    assert shown.relative(None, now) == "-"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 slots"), (1, "1 slot"), (2, "2 slots"), (12_345, "12,345 slots")]
)
def test_one_is_told_in_the_singular(count: int, text: str) -> None:
    assert shown.counted(count, "slot") == text
    assert shown.counted(1, "process", "es") == "1 process"
    assert shown.counted(2, "process", "es") == "2 processes"


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, "on demand"),
        ({"kind": "interval", "every_seconds": 90, "timezone": "UTC"}, "every 1 min 30 s"),
        ({"kind": "once", "at": "2026-09-21T09:00:00.000Z"}, "once 2026-09-21T09:00:00.000Z"),
        ({"kind": "cron", "expression": "*/5 * * * *", "timezone": "UTC"}, "cron */5 * * * *"),
        (
            {"kind": "cron", "expression": "0 9 * * *", "timezone": "Europe/Berlin"},
            "cron 0 9 * * * Europe/Berlin",
        ),
        ({"kind": "cron", "hour": 9, "minute": 0}, "cron minute=0 hour=9"),
        ({"kind": "daily", "time": "09:00", "timezone": "Asia/Tokyo"}, "daily 09:00 Asia/Tokyo"),
        ({"kind": "weekly", "time": "09:00", "days": ["mon", "fri"]}, "weekly mon,fri 09:00"),
        ({"kind": "monthly", "time": "09:00", "day": -1, "timezone": "UTC"}, "monthly -1 09:00"),
        (
            {
                "kind": "daily",
                "time": "09:00",
                "exclude": [
                    "sat",
                    {"holidays": "DE"},
                    {"from": "2026-12-24", "to": "2027-01-02"},
                    "2026-05-01",
                    "2026-05-02",
                ],
            },
            "daily 09:00 except sat, holidays DE, 2026-12-24 to 2027-01-02, 2026-05-01 and 1 more",
        ),
        (
            {"kind": "any_of", "schedules": [{"kind": "daily", "time": "09:00"}, {"kind": "tides"}]},
            "daily 09:00 or tides",
        ),
        ({"kind": "tides"}, "tides"),
    ],
)
def test_a_schedule_in_a_few_words(schedule: dict[str, object] | None, text: str) -> None:
    assert shown.schedule(schedule) == text
