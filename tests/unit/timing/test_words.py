"""Schedules in words, previews, jitter and the calendar's fingerprint."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import msgspec
import pytest

from gnomon_core.timing import (
    LAST_INSTANT,
    Preview,
    calendar_fingerprint,
    calendar_versions,
    describe,
    emission_ms,
    fingerprint,
    jitter_ms,
    preview,
)
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import Cron, Daily, Interval, Monthly, Once, Schedule, Weekly

ANCHOR = "2026-09-21T12:00:00.000Z"
BERLIN = "Europe/Berlin"
DE = ExcludedDays(holidays="DE")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "at minutes 0 to 56 by 7 of every hour"),
        ("3/5 * * * *", "at minutes 3 to 58 by 5 of every hour"),
        ("0 * * * *", "every hour"),
        ("5 * * * *", "at minute 5 of every hour"),
        ("1,2,7 * * * *", "at minutes 1, 2 and 7 of every hour"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("* * * * * *", "every second"),
        ("30 * * * * *", "at second 30 of every minute of every hour"),
        ("15 0 9 * * *", "every day at 09:00:15"),
        ("0 9 * * *", "every day at 09:00"),
        ("0 9 * * mon-fri", "every weekday at 09:00"),
        ("0 9 * * sat,sun", "on weekends at 09:00"),
        ("0 9,17 * * 3,0", "every Wednesday and Sunday at 09:00 and 17:00"),
        ("0 9-17 * * *", "at minute 0 of hours 9 to 17"),
        ("* 9 * * *", "at every minute of hour 9"),
        ("0 0 1 * *", "on day 1 of the month at 00:00"),
        ("0 0 1,15,L * *", "on days 1 and 15 and the last day of the month at 00:00"),
        ("0 0 L * *", "on the last day of the month at 00:00"),
        ("0 0 29 2 *", "on day 29 of the month in February at 00:00"),
        ("0 0 * 1,7 5#2", "on the second Friday of the month in January and July at 00:00"),
        ("0 0 * * 5L", "on the last Friday of the month at 00:00"),
        ("0 0 13 * 5", "on day 13 of the month or every Friday at 00:00"),
        ("0 0 1-31 * 5", "every day at 00:00"),
        ("0 0 */2 * 1", "every Monday when that is days 1 to 31 by 2 of the month at 00:00"),
        ("*/5 * * * mon-fri", "every 5 minutes on weekdays"),
        ("5 * * 1 tue", "at minute 5 of every hour on Tuesday in January"),
        ("0 9 * 2 *", "every day in February at 09:00"),
        ("@weekly", "every Sunday at 00:00"),
    ],
)
def test_crons_in_words(expression: str, expected: str) -> None:
    assert f"{expected} in Berlin" == describe(Cron(expression=expression, timezone=BERLIN))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            Cron(hour="5", day="last fri", timezone=BERLIN),
            "on the last Friday of the month at 05:00 in Berlin",
        ),
        (
            Cron(hour="5", day="13", day_of_week="fri", timezone="UTC"),
            "every Friday when that is day 13 of the month at 05:00 in UTC",
        ),
        (
            Cron(expression="0 9 * * mon-fri", timezone=BERLIN, exclude=(DE,), jitter_seconds=30),
            "every weekday at 09:00 in Berlin, except German holidays, spread over 30 s",
        ),
        (
            Interval(
                every_seconds=60,
                anchor=ANCHOR,
                exclude=(
                    "2026-12-24",
                    "sun",
                    ExcludedDays(holidays="IS"),
                    "sat",
                    ExcludedDays(holidays="DE-BY"),
                ),
            ),
            "every minute, except weekends, holidays of Iceland, holidays of Germany (BY) and 2026-12-24",
        ),
        (
            Interval(
                every_seconds=60,
                anchor=ANCHOR,
                exclude=(
                    "fri",
                    ExcludedDays(from_="2026-12-24", to="2027-01-02"),
                    *(f"2026-01-0{n}" for n in range(1, 6)),
                ),
            ),
            "every minute, except Fridays, 2026-12-24 up to but not 2027-01-02, 2026-01-01, 2026-01-02, 2026-01-03 "
            "and 2 more dates",
        ),
        (
            Weekly(time="09:00", days=("mon", "fri"), timezone="America/Argentina/Buenos_Aires"),
            "every Monday and Friday at 09:00 in Buenos Aires",
        ),
        (
            Daily(time="09:00", timezone="Etc/GMT+5", max_runs=3),
            "every day at 09:00 in Etc/GMT+5, 3 times at most",
        ),
        (
            Monthly(time="18:00", day=-1, timezone="US/Eastern"),
            "on the last day of the month at 18:00 in US/Eastern",
        ),
        (Interval(every_seconds=1, anchor=ANCHOR), "every second"),
        (Interval(every_seconds=90, anchor=ANCHOR), "every 90 seconds"),
        (Interval(every_seconds=300, anchor=ANCHOR), "every 5 minutes"),
        (Interval(every_seconds=86_400, anchor=ANCHOR), "every day"),
        (Interval(every_seconds=1_209_600, anchor=ANCHOR), "every 2 weeks"),
        (
            Interval(every_seconds=60, anchor=ANCHOR, timezone=BERLIN, jitter_seconds=2.5, start_at=ANCHOR),
            "every minute, from 2026-09-21 14:00:00, spread over 2.5 s",
        ),
        (Once(at=ANCHOR, timezone=BERLIN), "once at 2026-09-21 14:00:00 in Berlin"),
        (
            Cron(expression="0 9 * * *", timezone="UTC", end_at=ANCHOR),
            "every day at 09:00 in UTC, before 2026-09-21 12:00:00",
        ),
    ],
)
def test_schedules_in_words(schedule: Schedule, expected: str) -> None:
    assert expected == describe(schedule)


def test_a_preview_has_the_shape_of_the_contract() -> None:
    cron = Cron(expression="30 2 * * *", timezone=BERLIN)
    shown = preview(cron, after=1_774_656_000, count=2)  # 2026-03-28T00:00:00Z
    assert msgspec.json.decode(msgspec.json.encode(shown)) == {
        "description": "every day at 02:30 in Berlin",
        "fires": [
            {"at": "2026-03-28T01:30:00.000Z", "local": "2026-03-28T02:30:00+01:00", "note": None},
            {"at": "2026-03-29T01:00:00.000Z", "local": "2026-03-29T03:00:00+02:00", "note": "dst_gap"},
        ],
    }
    assert shown == msgspec.json.decode(msgspec.json.encode(shown), type=Preview)


@pytest.mark.parametrize(
    ("count", "until", "expected"),
    [(None, None, 5), (2, None, 2), (0, None, 0), (None, 600, 10), (3, 600, 3), (30, 600, 10)],
)
def test_a_preview_ends_at_the_count_and_the_time(
    count: int | None, until: int | None, expected: int
) -> None:
    every_minute = Cron(expression="* * * * *", timezone="UTC")
    assert expected == len(preview(every_minute, after=0, count=count, until=until).fires)


def test_a_preview_of_what_is_over_is_empty() -> None:
    assert preview(Once(at=ANCHOR, timezone="UTC"), after=LAST_INSTANT).fires == ()


def test_jitter_is_stable_in_every_process() -> None:
    """The numbers are pinned: a take-over by another version must come to the same instants."""
    assert jitter_ms("01890a5d-ac96-774b-bcce-b302099a8057", 1_790_000_000, 30) == 29_768
    code = "from gnomon_core.timing import jitter_ms; print(jitter_ms('a', 1790000000, 3600))"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {f"{jitter_ms('a', 1_790_000_000, 3600)}\n".encode()}


@pytest.mark.parametrize("jitter", [0.5, 1, 30, 86_400])
def test_jitter_spreads_evenly_over_its_span(jitter: float) -> None:
    drawn = [jitter_ms("task", nominal, jitter) for nominal in range(20_000)]
    assert min(drawn) >= 0
    assert max(drawn) < jitter * 1000
    tenths = Counter(int(each * 10 // (jitter * 1000)) for each in drawn)
    assert all(1800 < tenths[tenth] < 2200 for tenth in range(10))


def test_jitter_differs_between_tasks_and_between_slots() -> None:
    assert len({jitter_ms(f"task-{number}", 0, 3600) for number in range(1000)}) > 990
    # The two parts are kept apart: (a1, 2) and (a, 12) are two slots.
    assert jitter_ms("a1", 2, 3600) != jitter_ms("a", 12, 3600)


def test_emission_is_nominal_plus_jitter() -> None:
    spread = Cron(expression="* * * * *", timezone="UTC", jitter_seconds=30)
    assert emission_ms("task", 60, spread) == 60_000 + jitter_ms("task", 60, 30)
    assert (
        emission_ms("task", 60, Cron(expression="* * * * *", timezone="UTC", jitter_seconds=None)) == 60_000
    )


def test_the_fingerprint_follows_what_decides_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(calendar_versions()) == {"tzdata", "croniter", "python-holidays", "gnomon_rules"}
    assert len(calendar_fingerprint()) == 16
    assert calendar_fingerprint() == calendar_fingerprint()
    known = calendar_fingerprint()
    for name in calendar_versions():
        changed = calendar_versions() | {name: "0"}
        monkeypatch.setattr(fingerprint, "calendar_versions", lambda changed=changed: changed)
        assert fingerprint.calendar_fingerprint.__wrapped__() != known
