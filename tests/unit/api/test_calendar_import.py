"""What an iCalendar comes to as spans, and what is refused of one."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from gnomon_api.calendar_import import Imported, read_ical
from gnomon_schemas.problems import Refused

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def ical(*events: str, head: str = "") -> str:
    body = "".join(
        f"BEGIN:VEVENT\nUID:{number}\n{event}\nEND:VEVENT\n" for number, event in enumerate(events, 1)
    )
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\n{head}{body}END:VCALENDAR\n"


def read(text: str, days: int = 365) -> Imported:
    return read_ical(text, timezone="Europe/Berlin", now=NOW, until=NOW + timedelta(days=days))


def times(found: Imported) -> list[tuple[str, str]]:
    return [(span.from_[:16], span.to[:16]) for span in found.spans]


@pytest.mark.parametrize(
    ("event", "start", "end"),
    [
        ("DTSTART:20261124T100000Z\nDTEND:20261124T120000Z", "2026-11-24T10:00", "2026-11-24T12:00"),
        (
            "DTSTART;TZID=America/New_York:20261124T100000\nDURATION:PT90M",
            "2026-11-24T15:00",
            "2026-11-24T16:30",
        ),
        # A time without a zone, and whole days, are of the calendar's own.
        ("DTSTART:20261124T100000\nDURATION:PT1H", "2026-11-24T09:00", "2026-11-24T10:00"),
        (
            "DTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261227",
            "2026-12-23T23:00",
            "2026-12-26T23:00",
        ),
        ("DTSTART;VALUE=DATE:20261224", "2026-12-23T23:00", "2026-12-24T23:00"),
    ],
)
def test_an_event_is_read_in_its_zone(event: str, start: str, end: str) -> None:
    found = read(ical(event))
    assert times(found) == [(start, end)]
    assert found.expanded_until is None


def test_a_zone_that_the_file_defines_itself_is_read() -> None:
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Ship\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0330\n"
        "TZOFFSETTO:+0330\nEND:STANDARD\nEND:VTIMEZONE\n"
    )
    found = read(ical("DTSTART;TZID=Ship:20261124T100000\nDURATION:PT1H", head=zone))
    assert times(found) == [("2026-11-24T06:30", "2026-11-24T07:30")]


def test_what_recurs_is_written_out_up_to_the_horizon_by_the_clock_on_the_wall() -> None:
    nightly = (
        "DTSTART;TZID=Europe/Berlin:20261019T220000\nDTEND;TZID=Europe/Berlin:20261020T020000\n"
        "RRULE:FREQ=MONTHLY;BYDAY=3MO\nEXDATE;TZID=Europe/Berlin:20261221T220000\nSUMMARY:Maintenance"
    )
    found = read(ical(nightly, head="X-WR-CALNAME:Ops\n"), days=240)
    assert [start for start, _ in times(found)] == [
        "2026-11-16T21:00",
        "2027-01-18T21:00",
        "2027-02-15T21:00",
        "2027-03-15T21:00",
        "2027-04-19T20:00",
        "2027-05-17T20:00",
        "2027-06-21T20:00",
    ]
    assert found.spans[0].name == "Maintenance"
    assert found.name == "Ops"
    assert found.expanded_until == "2027-06-29T00:00:00.000Z"


def test_what_is_over_or_cancelled_or_has_no_length_is_left_out_and_a_moved_occurrence_is_where_it_was_moved() -> (
    None
):
    weekly = "DTSTART:20261102T100000Z\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;COUNT=3"
    text = ical(
        weekly,
        "DTSTART:20261101T000000Z\nDTEND:20261101T000000Z",
        "DTSTART:20251101T000000Z\nDURATION:PT1H",
        "DTSTART:20261201T000000Z\nDURATION:PT1H\nSTATUS:CANCELLED",
    )
    moved = (
        "BEGIN:VEVENT\nUID:1\nRECURRENCE-ID:20261109T100000Z\nDTSTART:20261110T180000Z\nDURATION:PT2H\n"
        "END:VEVENT\nEND:VCALENDAR\n"
    )
    assert times(read(text.replace("END:VCALENDAR\n", moved))) == [
        ("2026-11-02T10:00", "2026-11-02T11:00"),
        ("2026-11-10T18:00", "2026-11-10T20:00"),
        ("2026-11-16T10:00", "2026-11-16T11:00"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nonsense", "is no iCalendar"),
        ("", "is no iCalendar"),
        ("BEGIN:VEVENT\nUID:1\nEND:VEVENT\n", "BEGIN:VCALENDAR"),
        (ical("DURATION:PT1H"), "event 1 (1) has no DTSTART"),
        (ical("DTSTART:tomorrow"), "tomorrow"),
        (ical("DTSTART;TZID=Mars/Olympus:20261124T100000\nDURATION:PT1H"), "'Mars/Olympus'"),
        (ical("DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=NEVER"), "RRULE"),
        (ical("DTSTART:20261124T100000Z\nDURATION:PT1S\nRRULE:FREQ=SECONDLY"), "24 times a day"),
        (
            ical(
                "DTSTART:20261124T100000Z\nDURATION:PT1S\nRRULE:FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=1,2,3,4,5"
            ),
            "24 times a day",
        ),
        (
            ical(*["DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;BYHOUR=1,2,3,4,5"] * 20),
            "36,720 times; allowed: up to 20,000",
        ),
        (
            ical(*["DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY"] * 3),
            "spans before 2027-11-01; allowed: up to 1,000",
        ),
        # What a rule is searched for without an end, or for centuries.
        (
            ical("DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;INTERVAL=0"),
            "INTERVAL is 0; allowed: 1 or more",
        ),
        (
            ical("DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;INTERVAL=-1"),
            "INTERVAL is -1; allowed: 1 or more",
        ),
        (
            ical("DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"),
            "too many days",
        ),
        (ical(*["DTSTART:00010102T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY"] * 3), "too many days"),
        (
            ical("DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY\nRRULE:FREQ=SECONDLY"),
            "RRULE more than once",
        ),
        (ical("DTSTART:20261124T100000Z\nDTSTART:20261125T100000Z"), "DTSTART more than once"),
        (ical("DTSTART:20261124T100000Z\nDURATION:PT1H\nRRULE:FREQ=MONTHLY;BYDAY=99MO"), "cannot be read"),
    ],
)
def test_what_cannot_be_read_or_comes_to_too_much_is_refused_in_words_and_at_once(
    text: str, words: str
) -> None:
    began = time.process_time()
    with pytest.raises(Refused) as refused:
        read(text)
    (error,) = refused.value.problem.errors
    assert error.pointer == "#/ical"
    assert words in error.message
    assert time.process_time() - began < 5


def test_a_calendar_of_many_birthdays_and_of_last_working_days_is_read() -> None:
    days = [f"DTSTART;VALUE=DATE:19{number:02}0401\nRRULE:FREQ=YEARLY" for number in range(10, 90)]
    days.append("DTSTART;VALUE=DATE:20200131\nRRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1")
    days.append("DTSTART;VALUE=DATE:20001225\nRRULE:FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=25,26")
    assert len(read(ical(*days)).spans) == 80 + 12 + 2
