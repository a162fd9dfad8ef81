"""Where the slots of a schedule with `max_runs` end."""

from __future__ import annotations

from datetime import UTC, datetime

from gnomon_core.ledger import LimitedRuns, Mark, State, limited_runs, stretches, until_exhausted
from gnomon_schemas.schedules import Interval, Schedule, normalise

BEGIN = 1_800_000_000


def schedule(max_runs: int | None, every_seconds: int = 10) -> Schedule:
    return normalise(
        Interval(every_seconds=every_seconds, max_runs=max_runs),
        created_at=datetime.fromtimestamp(BEGIN, UTC),
        default_timezone="UTC",
        now=None,
    )


def mark(at_s: int, revision: int, of: Schedule | None, state: State = State.ACTIVE) -> Mark:
    return Mark((BEGIN + at_s) * 1000, state, revision, of)


def test_revisions_of_one_schedule_count_together_and_a_changed_one_anew() -> None:
    three, four = schedule(3), schedule(4)
    marks = [
        mark(0, 1, three),
        mark(5, 1, three, State.PAUSED),
        mark(9, 2, three),
        mark(20, 3, schedule(None)),
        mark(30, 4, four),
        mark(40, 4, four, State.OVER),
        mark(50, 5, three),
        mark(60, 6, None),
    ]
    assert limited_runs(marks) == [LimitedRuns(1, 2, 3), LimitedRuns(4, 4, 4), LimitedRuns(5, 5, 3)]


def test_slots_end_with_the_last_that_is_recorded_once_enough_have_counted() -> None:
    three = schedule(3)
    pieces = stretches([mark(0, 1, three), mark(25, 2, three), mark(55, 3, schedule(None))])
    runs = LimitedRuns(1, 2, 3)
    assert until_exhausted(pieces, runs, 2, BEGIN + 20) == pieces
    assert until_exhausted(pieces, runs, 3, None) == pieces
    shortened = until_exhausted(pieces, runs, 3, BEGIN + 40)
    slots = [slot - BEGIN for piece in shortened for slot in piece.slots(BEGIN, BEGIN + 80)]
    assert slots == [10, 20, 30, 40, 60, 70]


def test_a_stretch_that_begins_after_the_last_has_no_slots() -> None:
    two = schedule(2)
    pieces = stretches([mark(0, 1, two), mark(35, 1, two, State.PAUSED)])
    assert [piece.until_ms for piece in until_exhausted(pieces, LimitedRuns(1, 1, 2), 2, BEGIN + 20)] == [
        (BEGIN + 20) * 1000
    ]
