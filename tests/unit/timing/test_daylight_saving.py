"""Defaults at real changes of the clock: next valid in a gap, first in an overlap, and what runs through.

Every row is a zone, a cron, a span in UTC, and all fires in it, in UTC. The table was written by hand, from
the published times of the changes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from gnomon_core.timing import count_fires, fires_between, last_fire, next_fire, note_of
from gnomon_schemas.schedules import Cron, Interval

BERLIN, NEW_YORK, LONDON = "Europe/Berlin", "America/New_York", "Europe/London"
LORD_HOWE, SAO_PAULO, APIA = "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"
ST_JOHNS = "America/St_Johns"

# Berlin 2026: 29 March 02:00 -> 03:00 at 01:00Z; 25 October 03:00 -> 02:00 at 01:00Z.
# New York 2026: 8 March 02:00 -> 03:00 at 07:00Z; 1 November 02:00 -> 01:00 at 06:00Z.
# London 2026: 29 March 01:00 -> 02:00 at 01:00Z; 25 October 02:00 -> 01:00 at 01:00Z.
# Lord Howe 2026: 5 April 02:00 -> 01:30 at 4 April 15:00Z; 4 October 02:00 -> 02:30 at 3 October 15:30Z.
# Sao Paulo 2018: 18 February 00:00 -> 17 February 23:00 at 02:00Z; 4 November 00:00 -> 01:00 at 03:00Z.
# St. John's 2010: 7 November 00:01 -> 6 November 23:01 at 02:31Z.
# Apia 2011: 29 December 24:00 -> 31 December 00:00 at 30 December 10:00Z.
BY_THE_CLOCK = [
    # a gap: the first instant after it, once for all its slots, and once with what is due then anyway
    (BERLIN, "30 2 * * *", "2026-03-28 00:00", "2026-03-31 00:00", ["28 01:30", "29 01:00", "30 00:30"]),
    (BERLIN, "0 2 * * *", "2026-03-28 12:00", "2026-03-30 12:00", ["29 01:00", "30 00:00"]),
    (BERLIN, "0,15,30,59 2 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 01:00"]),
    (BERLIN, "30 2,3 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 01:00", "29 01:30"]),
    (BERLIN, "0,30 2,3 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 01:00", "29 01:30"]),
    (BERLIN, "59 1 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 00:59"]),
    (BERLIN, "0 3 * * *", "2026-03-28 12:00", "2026-03-29 12:00", ["29 01:00"]),
    (BERLIN, "30 2 29 3 *", "2026-01-01 00:00", "2026-12-31 00:00", ["29 01:00"]),
    (BERLIN, "30 2 * * 1", "2026-03-28 12:00", "2026-03-30 12:00", ["30 00:30"]),
    (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", "2026-03-09 12:00", ["8 07:00", "9 06:30"]),
    (LONDON, "30 1 * * *", "2026-03-28 12:00", "2026-03-30 12:00", ["29 01:00", "30 00:30"]),
    (LORD_HOWE, "15 2 * * *", "2026-10-03 00:00", "2026-10-05 00:00", ["3 15:30", "4 15:15"]),
    (LORD_HOWE, "45 2 * * *", "2026-10-03 00:00", "2026-10-04 00:00", ["3 15:45"]),
    (SAO_PAULO, "0 0 * * *", "2018-11-03 00:00", "2018-11-05 12:00", ["3 03:00", "4 03:00", "5 02:00"]),
    (SAO_PAULO, "30 0 * * 0", "2018-11-03 00:00", "2018-11-05 12:00", ["4 03:00"]),
    (SAO_PAULO, "@weekly", "2018-11-03 00:00", "2018-11-05 12:00", ["4 03:00"]),
    (APIA, "0 9 * * *", "2011-12-29 00:00", "2011-12-31 00:00", ["29 19:00", "30 10:00", "30 19:00"]),
    (APIA, "0 9,12,17 30 12 *", "2011-12-01 00:00", "2012-01-01 00:00", ["30 10:00"]),
    (APIA, "0 9 * * 5", "2011-12-24 00:00", "2012-01-02 00:00", ["30 10:00"]),
    # an overlap: the first showing
    (BERLIN, "30 2 * * *", "2026-10-24 00:00", "2026-10-27 00:00", ["24 00:30", "25 00:30", "26 01:30"]),
    (BERLIN, "0 2,3 * * *", "2026-10-24 12:00", "2026-10-25 12:00", ["25 00:00", "25 02:00"]),
    (BERLIN, "0,59 2 * * *", "2026-10-24 12:00", "2026-10-25 12:00", ["25 00:00", "25 00:59"]),
    (NEW_YORK, "30 1 * * *", "2026-10-31 12:00", "2026-11-02 12:00", ["1 05:30", "2 06:30"]),
    (NEW_YORK, "0 2 * * *", "2026-10-31 12:00", "2026-11-01 12:00", ["1 07:00"]),
    (LONDON, "30 1 * * *", "2026-10-24 12:00", "2026-10-26 12:00", ["25 00:30", "26 01:30"]),
    (LORD_HOWE, "45 1 * * *", "2026-04-04 00:00", "2026-04-06 00:00", ["4 14:45", "5 15:15"]),
    (LORD_HOWE, "0 2 * * *", "2026-04-04 00:00", "2026-04-05 00:00", ["4 15:30"]),
    (SAO_PAULO, "30 23 * * *", "2018-02-17 12:00", "2018-02-19 12:00", ["18 01:30", "19 02:30"]),
    # a rule that names all hours one by one is by the clock as well
    (
        BERLIN,
        "0 0-23 * * *",
        "2026-10-24 22:30",
        "2026-10-25 04:00",
        ["24 23:00", "25 00:00", "25 02:00", "25 03:00", "25 04:00"],
    ),
]

RUNNING_THROUGH = [
    # every half hour of real time, across a gap and across an overlap
    (
        BERLIN,
        "*/30 * * * *",
        "2026-03-29 00:00",
        "2026-03-29 02:00",
        ["29 00:30", "29 01:00", "29 01:30", "29 02:00"],
    ),
    (
        BERLIN,
        "*/30 * * * *",
        "2026-10-25 00:00",
        "2026-10-25 02:00",
        ["25 00:30", "25 01:00", "25 01:30", "25 02:00"],
    ),
    (BERLIN, "30 * * * *", "2026-03-29 00:00", "2026-03-29 02:00", ["29 00:30", "29 01:30"]),
    (
        BERLIN,
        "30 * * * *",
        "2026-10-24 23:00",
        "2026-10-25 03:00",
        ["24 23:30", "25 00:30", "25 01:30", "25 02:30"],
    ),
    # Lord Howe's half hour: the clock shows 01:30, 02:30 in October, and 01:30, 01:30, 02:30 in April
    (LORD_HOWE, "30 * * * *", "2026-10-03 14:00", "2026-10-03 16:00", ["3 15:00", "3 15:30"]),
    (LORD_HOWE, "30 * * * *", "2026-04-04 14:00", "2026-04-04 16:00", ["4 14:30", "4 15:00", "4 16:00"]),
    # what the clock never shows does not happen, what it shows twice happens twice
    (BERLIN, "30 */2 * * *", "2026-03-28 23:00", "2026-03-29 04:00", ["28 23:30", "29 02:30"]),
    (
        BERLIN,
        "30 */2 * * *",
        "2026-10-24 22:00",
        "2026-10-25 04:00",
        ["24 22:30", "25 00:30", "25 01:30", "25 03:30"],
    ),
    (BERLIN, "0 * 29 2 *", "2026-01-01 00:00", "2028-02-28 23:00", ["28 23:00"]),
    # shown again after the clock went back over midnight, though the next slot of the calendar is a year away
    (
        SAO_PAULO,
        "30 * 17 2 *",
        "2018-02-18 00:00",
        "2018-03-01 00:00",
        ["18 00:30", "18 01:30", "18 02:30"],
    ),
    (ST_JOHNS, "0 */12 7 11 *", "2010-11-01 00:00", "2010-11-07 03:00", ["7 02:30"]),
    (ST_JOHNS, "0 */12 7 11 *", "2010-11-01 00:00", "2010-11-08 00:00", ["7 02:30", "7 03:30", "7 15:30"]),
    (APIA, "0 */12 * * *", "2011-12-29 22:00", "2011-12-30 22:30", ["30 10:00", "30 22:00"]),
]


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


@pytest.mark.parametrize(("zone", "expression", "after", "until", "expected"), BY_THE_CLOCK + RUNNING_THROUGH)
def test_fires_at_changes_of_the_clock(
    zone: str, expression: str, after: str, until: str, expected: list[str]
) -> None:
    """All fires of the span, by every way of asking."""
    cron = Cron(expression=expression, timezone=zone)
    start, end = _instant(after), _instant(until)
    found = list(fires_between(cron, start, end))
    assert expected == [f"{fire.day} {fire:%H:%M}" for fire in found]
    seconds = [int(fire.timestamp()) for fire in found]
    first, last = int(start.timestamp()), int(end.timestamp())
    assert len(seconds) == count_fires(cron, first, last)
    assert seconds[-1] == last_fire(cron, last)
    walked = []
    at = next_fire(cron, first)
    while at is not None and at <= last:
        walked.append(at)
        at = next_fire(cron, at)
    assert seconds == walked


@pytest.mark.parametrize(
    ("zone", "expression", "slot", "expected"),
    [
        (BERLIN, "30 2 * * *", "2026-03-29 01:00", "dst_gap"),
        (BERLIN, "30 2,3 * * *", "2026-03-29 01:00", "dst_gap"),
        (BERLIN, "30 2,3 * * *", "2026-03-29 01:30", None),
        (BERLIN, "0 3 * * *", "2026-03-29 01:00", None),
        (BERLIN, "30 2 * * *", "2026-03-30 00:30", None),
        (BERLIN, "30 2 * * *", "2026-10-25 00:30", "dst_overlap"),
        (BERLIN, "0 3 * * *", "2026-10-25 02:00", None),
        (BERLIN, "59 1 * * *", "2026-10-24 23:59", None),
        (BERLIN, "*/30 * * * *", "2026-03-29 01:00", None),
        (BERLIN, "*/30 * * * *", "2026-10-25 00:30", "dst_overlap"),
        (BERLIN, "*/30 * * * *", "2026-10-25 01:30", "dst_overlap"),
        (BERLIN, "*/30 * * * *", "2026-10-25 02:00", None),
        (SAO_PAULO, "@daily", "2018-11-04 03:00", "dst_gap"),
        (APIA, "0 9 * * 5", "2011-12-30 10:00", "dst_gap"),
    ],
)
def test_slots_that_a_change_touches_are_marked(
    zone: str, expression: str, slot: str, expected: str | None
) -> None:
    cron = Cron(expression=expression, timezone=zone)
    nominal = int(_instant(slot).timestamp())
    assert next_fire(cron, nominal - 1) == nominal, "the table names a slot"
    assert expected == note_of(cron, nominal)


@pytest.mark.parametrize(
    ("after", "until"), [("2026-03-28 20:00", "2026-03-29 20:00"), ("2026-10-24 20:00", "2026-10-25 20:00")]
)
def test_intervals_know_no_daylight_saving(after: str, until: str) -> None:
    every = Interval(every_seconds=5400, anchor="2026-01-01T00:00:00.000Z", timezone=BERLIN)
    found = list(fires_between(every, _instant(after), _instant(until)))
    assert {5400.0} == {(b - a).total_seconds() for a, b in pairwise(found)}
    assert len(found) == 16
    assert all(note_of(every, int(fire.timestamp())) is None for fire in found)
