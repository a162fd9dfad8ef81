"""Expected slots against recorded outcomes: tables for each way in which they may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from gnomon_core.ledger import (
    ExpectedSlot,
    Mark,
    Recorded,
    RecordedSpan,
    State,
    TaskAudit,
    audit_task,
    stretches,
)
from gnomon_schemas.schedules import Interval, Schedule, normalise

_BEGIN = 1_800_000_000
"""A whole minute."""
_BY_TEN = Interval(every_seconds=10)


def _schedule(schedule: Schedule = _BY_TEN) -> Schedule:
    return normalise(
        schedule, created_at=datetime.fromtimestamp(_BEGIN, UTC), default_timezone="UTC", now=None
    )


def _mark(at_s: float, state: State = State.ACTIVE, revision: int = 1) -> Mark:
    return Mark(int((_BEGIN + at_s) * 1000), state, revision, _schedule())


def _audit(
    marks: Sequence[Mark],
    recorded: Mapping[int, Recorded],
    spans: Sequence[RecordedSpan] = (),
    *,
    until: int = 60,
    watermark: float = 1000,
) -> TaskAudit:
    """Times are seconds after the beginning."""
    return audit_task(
        "t",
        stretches(marks),
        {_BEGIN + at: one for at, one in recorded.items()},
        [span._replace(from_s=_BEGIN + span.from_s, to_s=_BEGIN + span.to_s) for span in spans],
        since_s=_BEGIN,
        until_s=_BEGIN + until,
        watermark_ms=int((_BEGIN + watermark) * 1000),
    )


def _ran(*slots: int, revision: int = 1) -> dict[int, Recorded]:
    return {slot: Recorded("executed", revision) for slot in slots}


def _slots(found: Sequence[ExpectedSlot]) -> list[int]:
    return [slot.nominal_s - _BEGIN for slot in found]


def test_every_slot_that_ran_is_expected_and_executed() -> None:
    found = _audit([_mark(0)], _ran(10, 20, 30, 40, 50))
    assert (found.expected, found.outcomes, found.pending) == (5, {"executed": 5}, 0)
    assert [found.missing, found.duplicate, found.misplaced, found.miscounted] == [[], [], [], []]


def test_a_slot_without_a_record_is_missing() -> None:
    found = _audit([_mark(0)], _ran(10, 20, 40, 50))
    assert _slots(found.missing) == [30]


def test_a_slot_after_the_watermark_is_pending_and_not_missing() -> None:
    found = _audit([_mark(0)], _ran(10, 20), watermark=29.9)
    assert (found.expected, found.pending, found.missing) == (5, 3, [])


def test_a_slot_that_waits_for_its_jitter_is_pending() -> None:
    jittered = _schedule(Interval(every_seconds=10, jitter_seconds=1000))
    marks = [Mark(_BEGIN * 1000, State.ACTIVE, 1, jittered)]
    assert _audit(marks, {}, until=11, watermark=10.0).pending == 1
    assert _slots(_audit(marks, {}, until=11, watermark=1100).missing) == [10]


def test_what_has_begun_is_pending() -> None:
    found = _audit([_mark(0)], {**_ran(10), 20: Recorded(None, 1)}, until=30)
    assert (found.pending, found.missing) == (1, [])


def test_two_outcomes_of_one_slot_are_a_duplicate() -> None:
    found = _audit([_mark(0)], {10: Recorded("executed", 1, endings=2)}, until=20)
    assert (_slots(found.duplicate), found.outcomes) == ([10], {"executed": 1})


@pytest.mark.parametrize("outcome", ["executed", None])
def test_a_span_over_a_slot_that_has_a_record_of_its_own_is_a_duplicate(outcome: str | None) -> None:
    span = RecordedSpan(20, 31, "missed", 1, 2)
    found = _audit([_mark(0)], {**_ran(10), 20: Recorded(outcome, 1)}, [span], until=40)
    assert _slots(found.duplicate) == [20]
    assert found.expected == 3
    assert sum(found.outcomes.values()) + found.pending == 3


def test_two_spans_over_one_slot_are_a_duplicate() -> None:
    spans = [RecordedSpan(1, 21, "missed", 1, 2), RecordedSpan(20, 31, "coalesced", 1, 2)]
    assert _slots(_audit([_mark(0)], {}, spans, until=40).duplicate) == [20]


def test_a_span_that_says_another_number_of_slots_is_told() -> None:
    span = RecordedSpan(1, 31, "missed", 1, 2)
    found = _audit([_mark(0)], {}, [span], until=40)
    assert [one.slots for one in found.miscounted] == [2]
    assert found.outcomes == {"missed": 3}


def test_a_slot_that_ran_under_a_revision_not_valid_then_is_misplaced() -> None:
    marks = [_mark(0), _mark(25, revision=2)]
    found = _audit(marks, {**_ran(10, 20, 30), 40: Recorded("executed", 1), **_ran(50, revision=2)})
    assert sorted((at - _BEGIN, revision) for at, revision in found.misplaced) == [(30, 1), (40, 1)]


def test_a_record_where_no_slot_is_is_misplaced() -> None:
    found = _audit([_mark(0)], _ran(10, 15), until=20)
    assert [at - _BEGIN for at, _ in found.misplaced] == [15]


def test_slots_of_a_pause_that_lasts_are_pending_and_those_of_one_that_ended_are_not() -> None:
    pause, on = _mark(15, State.PAUSED), _mark(45)
    assert (_audit([_mark(0), pause], _ran(10))).pending == 4
    found = _audit([_mark(0), pause, on], _ran(10, 50))
    assert _slots(found.missing) == [20, 30, 40]
    recorded = RecordedSpan(16, 46, "skipped", 1, 3)
    assert not _audit([_mark(0), pause, on], _ran(10, 50), [recorded]).missing


def test_a_task_that_is_over_has_no_slots() -> None:
    over = Mark(int((_BEGIN + 25) * 1000), State.OVER, 1, _schedule())
    found = _audit([_mark(0), over], _ran(10, 20))
    assert (found.expected, found.missing) == (2, [])


def test_a_slot_in_the_second_of_a_change_belongs_to_what_was_before_it() -> None:
    marks = [_mark(0), _mark(20.5, revision=2)]
    found = _audit(marks, {**_ran(10, 20), **_ran(30, revision=2)}, until=40)
    assert (found.expected, found.misplaced) == (3, [])


def test_what_was_never_created_has_no_slots() -> None:
    """A refused id, or a shard that was told something, leaves events and no schedule."""
    assert stretches([]) == []
