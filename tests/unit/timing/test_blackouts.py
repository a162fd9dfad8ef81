"""When a calendar of blackouts is in force, whose slots it touches, and where it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gnomon_core.rules.calendar_input import parse_calendar
from gnomon_core.timing import Blackout, Blackouts, BlackoutStretch, Touch, fires, stretches
from gnomon_schemas.codec import encode


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


NOW_MS = at("2026-11-01T00:00") * 1000
NIGHTS = {
    "schedule": {"kind": "daily", "time": "22:00", "timezone": "Europe/Berlin"},
    "duration_seconds": 8 * 3600,
}


def calendar(calendar_id: str = "c", **fields: Any) -> Blackout:
    body = {"name": "n", "selector": {}, "timezone": "UTC", **fields}
    return Blackout(calendar_id, parse_calendar(encode(body), now_ms=NOW_MS, default_timezone="UTC"))


def span(start: str, end: str) -> dict[str, str]:
    return {"from": f"{start}:00Z", "to": f"{end}:00Z"}


DAY = span("2026-11-10T10:00", "2026-11-10T12:00")


def test_a_span_holds_its_beginning_and_not_its_end() -> None:
    one = calendar(spans=[DAY])
    begin, end = at("2026-11-10T10:00"), at("2026-11-10T12:00")
    assert [one.end(moment) for moment in (begin - 1, begin, end - 1, end)] == [None, end, end, None]


def test_of_a_span_that_begins_within_a_second_the_slot_before_is_none() -> None:
    one = calendar(spans=[{"from": "2026-11-10T10:00:00.500Z", "to": "2026-11-10T10:00:02.500Z"}])
    begin = at("2026-11-10T10:00")
    assert [one.end(begin + second) is not None for second in range(4)] == [False, True, True, False]


def test_spans_that_meet_or_overlap_end_together() -> None:
    one = calendar(
        spans=[
            span("2026-11-10T11:00", "2026-11-10T13:00"),
            DAY,
            span("2026-11-10T13:00", "2026-11-10T14:00"),
            span("2026-11-10T15:00", "2026-11-10T16:00"),
        ]
    )
    assert one.end(at("2026-11-10T10:30")) == at("2026-11-10T14:00")
    assert one.next_start(at("2026-11-10T14:00")) == at("2026-11-10T15:00")
    assert one.next_start(at("2026-11-10T15:00")) is None


@pytest.mark.parametrize(
    ("inside", "end"),
    [
        # An ordinary night: 22:00 to 06:00 in Berlin, an hour ahead of UTC.
        ("2026-11-10T21:00", "2026-11-11T05:00"),
        # The clock goes back, so eight hours end at 05:00 there; and on, so they end at 07:00.
        ("2026-10-24T20:00", "2026-10-25T04:00"),
        ("2027-03-27T21:00", "2027-03-28T05:00"),
    ],
)
def test_a_recurring_span_lasts_as_long_on_a_night_when_the_clock_changes(inside: str, end: str) -> None:
    one = calendar(recurring=[NIGHTS])
    assert one.end(at(inside) - 1) is None
    assert one.end(at(inside)) == at(end)
    assert one.end(at(end) - 1) == at(end)
    assert one.end(at(end)) is None


def test_a_recurring_span_runs_into_a_single_one_and_on() -> None:
    one = calendar(recurring=[NIGHTS], spans=[span("2026-11-11T04:00", "2026-11-11T22:00")])
    assert one.end(at("2026-11-10T21:00")) == at("2026-11-12T05:00")


def test_one_that_never_ends_is_followed_so_far_and_no_further() -> None:
    always = {"schedule": {"kind": "daily", "time": "00:00"}, "duration_seconds": 86_400}
    one = calendar(recurring=[always])
    begin = at("2026-11-10T00:00")
    assert one.end(begin) == begin + 401 * 86_400


@pytest.mark.parametrize(
    ("selector", "tags", "task_type", "user", "touched"),
    [
        ({}, (), "echo", None, True),
        ({"tags": ["a"]}, ("b", "a"), "echo", "u", True),
        ({"tags": ["a"]}, ("b",), "echo", "u", False),
        ({"tags": ["a", "b"]}, ("b",), "echo", "u", True),
        ({"tags": ["a", "b"], "match": "all"}, ("b",), "echo", "u", False),
        ({"tags": ["a", "b"], "match": "all"}, ("b", "c", "a"), "echo", "u", True),
        ({"task_types": ["mail"]}, (), "echo", "u", False),
        ({"task_types": ["mail", "echo"]}, (), "echo", "u", True),
        ({"user_ids": ["u"]}, (), "echo", "u", True),
        ({"user_ids": ["u"]}, (), "echo", None, False),
        ({"tags": ["a"], "task_types": ["echo"], "user_ids": ["u"]}, ("a",), "echo", "u", True),
        ({"tags": ["a"], "task_types": ["echo"], "user_ids": ["u"]}, ("a",), "echo", "w", False),
    ],
)
def test_a_task_is_touched_that_fits_every_list_that_is_given(
    selector: dict[str, Any], tags: tuple[str, ...], task_type: str, user: str | None, touched: bool
) -> None:
    one = calendar(spans=[DAY], selector=selector)
    assert one.touches(tags, task_type, user) is touched


@pytest.mark.parametrize(
    ("actions", "winner"),
    [
        ({"a": "defer", "b": "first_after", "c": "skip"}, "c"),
        ({"a": "defer", "b": "first_after"}, "b"),
        ({"b": "skip", "a": "skip"}, "a"),
    ],
)
def test_skip_has_its_way_before_first_after_and_that_before_defer(
    actions: dict[str, str], winner: str
) -> None:
    blackouts = Blackouts([calendar(name, action=action, spans=[DAY]) for name, action in actions.items()])
    touch = blackouts.touch((), "echo", None, at("2026-11-10T11:00"))
    assert touch is not None
    assert touch.calendar_id == winner


def test_what_was_put_off_for_one_calendar_does_not_run_inside_another() -> None:
    blackouts = Blackouts(
        [
            calendar("a", action="defer", spans=[DAY]),
            calendar("b", action="skip", spans=[span("2026-11-10T11:30", "2026-11-10T13:00")]),
            calendar("other", selector={"tags": ["x"]}, spans=[span("2026-11-10T13:00", "2026-11-10T18:00")]),
        ]
    )
    assert blackouts.touch((), "echo", None, at("2026-11-10T10:30")) == Touch(
        "a", blackouts.of((), "echo", None)[-1].action, at("2026-11-10T13:00")
    )


def test_what_is_in_force_is_found_forwards_and_backwards() -> None:
    one = calendar(spans=[DAY], recurring=[NIGHTS])
    blackouts = Blackouts([one])
    moments = [at("2026-11-10T00:00") + 1800 * step for step in (*range(96), *range(96)[::-1], 3, 90, 21)]
    for moment in moments:
        assert bool(blackouts.in_force(moment)) is (one.end(moment) is not None)


def test_without_calendars_nothing_is_looked_at() -> None:
    blackouts = Blackouts()
    assert not blackouts
    assert blackouts.in_force(at("2026-11-10T00:00")) == ()
    assert blackouts.touch((), "echo", None, at("2026-11-10T00:00")) is None


def test_stretches_name_who_has_its_way_piece_by_piece() -> None:
    calm = calendar("calm", action="defer", spans=[span("2026-11-10T10:00", "2026-11-10T14:00")])
    stop = calendar("stop", action="skip", spans=[span("2026-11-10T11:00", "2026-11-10T12:00")])
    end = at("2026-11-10T14:00")
    found = list(stretches([calm, stop], at("2026-11-10T09:00"), at("2026-11-10T13:00")))
    assert found == [
        BlackoutStretch(at("2026-11-10T10:00"), at("2026-11-10T11:00"), Touch("calm", calm.action, end)),
        BlackoutStretch(at("2026-11-10T11:00"), at("2026-11-10T12:00"), Touch("stop", stop.action, end)),
        BlackoutStretch(at("2026-11-10T12:00"), at("2026-11-10T13:00") + 1, Touch("calm", calm.action, end)),
    ]


def test_stretches_agree_with_the_touch_of_every_instant() -> None:
    mine = [
        calendar("n", action="first_after", recurring=[NIGHTS]),
        calendar("d", action="defer", spans=[DAY, span("2026-11-11T04:00", "2026-11-11T07:00")]),
        calendar(
            "s",
            recurring=[
                {"schedule": {"kind": "interval", "every_seconds": 5400}, "duration_seconds": 700},
            ],
        ),
    ]
    blackouts = Blackouts(mine)
    after, until = at("2026-11-10T06:00"), at("2026-11-12T00:00")
    found = list(stretches(mine, after, until))
    for moment in range(after + 1, until + 1, 97):
        held = [one.touch for one in found if one.from_s <= moment < one.to_s]
        touch = blackouts.touch((), "echo", None, moment)
        assert held == ([] if touch is None else [touch])


def test_slots_inside_one_that_never_ends_cost_little() -> None:
    """Its spans meet without end: an hour at every hour. Where it goes on, what waits looks again."""
    hourly = {"schedule": {"kind": "interval", "every_seconds": 3600}, "duration_seconds": 3600}
    known = Blackouts([calendar(recurring=[hourly], action="defer")])
    begin = at("2026-11-10T10:00")
    started = time.process_time()
    ends = {touch.until_s for number in range(200) if (touch := known.touch((), "x", None, begin + number))}
    assert time.process_time() - started < 1.0, "two hundred slots in CPU seconds"
    assert min(ends) > begin + 30 * 86_400


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ({"kind": "daily", "time": "00:00", "timezone": "Europe/Berlin"}, 365 * 86_400),
        ({"kind": "cron", "expression": "0 0 1 * *", "timezone": "Europe/Berlin"}, 32 * 86_400),
        ({"kind": "cron", "expression": "*/5 * * * *"}, 7 * 86_400),
        ({"kind": "interval", "every_seconds": 60, "anchor": "2026-01-01T00:00:00Z"}, 120),
    ],
)
def test_spans_that_overlap_for_ever_are_not_followed_for_long(
    schedule: dict[str, Any], seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks holds up an event loop meanwhile."""
    asked = 0

    def counting(*args: Any) -> Iterator[int]:
        nonlocal asked
        for one in fires(*args):
            asked += 1
            yield one

    monkeypatch.setattr("gnomon_core.timing.blackouts.fires", counting)
    one = calendar(recurring=[{"schedule": schedule, "duration_seconds": seconds}])
    begin = at("2026-11-10T00:00")
    end = one.end(begin)
    assert end is not None
    assert begin < end <= begin + 401 * 86_400 + seconds
    assert asked <= 8 * 1001
