"""When a task is alive: a table of what is recorded last of its slots."""

from __future__ import annotations

import pytest

from gnomon_api.task_heartbeats import LastSlot, succeeds
from gnomon_schemas.schedules import Interval

BEGIN = 1_800_000_000
MINUTELY = Interval(every_seconds=60, anchor="2027-01-15T08:00:00.000Z", timezone="UTC")
NOW = BEGIN + 605
"""Ten minutes and five seconds after the schedule began: its tenth slot was five seconds ago."""


def last(at: int | None, *, ok: bool = True, passed_over: int | None = None) -> LastSlot:
    """Times in seconds after the beginning."""
    return LastSlot(
        None if at is None else BEGIN + at, ok, None if passed_over is None else BEGIN + passed_over
    )


@pytest.mark.parametrize(
    ("recorded", "within", "alive"),
    [
        (last(600), 300, True),
        (last(540), 300, True),
        (last(540), 0, False),
        (last(300), 300, True),
        (last(240), 300, False),
        (last(600, ok=False), 300, False),
        (last(None), 300, False),
        (last(None), 700, True),
        (last(600, passed_over=301), 300, True),
        (last(300, passed_over=541), 300, False),
        (last(None, passed_over=541), 700, False),
    ],
)
def test_slots_have_to_succeed_in_time(recorded: LastSlot, within: float, alive: bool) -> None:
    assert succeeds(MINUTELY, BEGIN, recorded, within, NOW) is alive


def test_of_a_task_without_schedule_the_last_slot_alone_counts() -> None:
    assert succeeds(None, BEGIN, last(10), 0, NOW)
    assert not succeeds(None, BEGIN, last(10, ok=False), 0, NOW)


def test_slots_before_the_present_schedule_are_not_waited_for() -> None:
    assert succeeds(MINUTELY, NOW - 20, last(300), 10, NOW)
