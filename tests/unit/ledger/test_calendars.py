"""Stretches under the calendars of their time."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_core.ledger import ENDLESS_MS, InForce, Mark, State, stretches, under_calendars
from gnomon_core.timing import keep
from gnomon_schemas.schedules import Cron
from tests.harness.zone_rules import made_rules

PART = "zone-Asia/Beirut"
HOUR = 3600
DAILY = Cron(expression="0 9 * * *", timezone="Asia/Beirut")
TWO, THREE, FOUR = (keep(PART, made_rules(f"<+0{hours}>-{hours}")) for hours in (2, 3, 4))
"""Beirut two, three and four hours ahead of UTC, always: nine o'clock is at 7, 6 and 5 UTC."""
DAY = 86_400
START = 20_000 * DAY
PASTS = {
    PART: (
        InForce((START + 2 * DAY) * 1000, TWO),
        InForce((START + 4 * DAY) * 1000, THREE),
        InForce(ENDLESS_MS, FOUR),
    )
}


def mark(day: float, revision: int, state: State = State.ACTIVE) -> Mark:
    """A mark so many days after the start."""
    return Mark(int((START + day * DAY) * 1000), state, revision, DAILY)


def hours(marks: list[Mark], pasts: Any = PASTS, days: int = 6) -> list[tuple[int, int]]:
    """The slots of some days, as hours UTC, with their revision."""
    return [
        ((slot - START) % DAY // HOUR, piece.revision)
        for piece in under_calendars(stretches(marks), pasts)
        for slot in piece.slots(START, START + days * DAY)
    ]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        # Not re-planned: it would be the same, and is cut where the rules changed.
        ([mark(0, 1)], [(7, 1), (7, 1), (6, 1), (6, 1), (5, 1), (5, 1)]),
        # Re-planned: from before the change on.
        ([mark(0, 1), mark(1.95, 2)], [(7, 1), (7, 1), (6, 2), (6, 2), (5, 2), (5, 2)]),
        # Between 6 and 7 on the second day, and 5 and 6 on the fourth: the newer slot is before the revision.
        ([mark(0, 1), mark(1.26, 2), mark(3.22, 3)], [(7, 1), (6, 2), (5, 3), (5, 3)]),
        # Before 6 on the second day: that slot is already the revision's.
        ([mark(0, 1), mark(1.2, 2)], [(7, 1), (6, 2), (6, 2), (6, 2), (5, 2), (5, 2)]),
        # A revision by a caller goes by what was in force then.
        ([mark(1, 1), mark(3, 3)], [(7, 1), (6, 1), (6, 3), (5, 3), (5, 3)]),
        # A pause is counted when it ends, or would be now.
        ([mark(0, 1, State.PAUSED), mark(3, 1)], [(6, 1), (6, 1), (6, 1), (6, 1), (5, 1), (5, 1)]),
        ([mark(0, 1, State.PAUSED)], [(5, 1)] * 6),
        ([mark(0, 1, State.PAUSED), mark(1.95, 2, State.PAUSED)], [(7, 1), (7, 1), *[(5, 2)] * 4]),
    ],
)
def test_slots_are_those_of_the_rules_in_force(marks: list[Mark], expected: list[tuple[int, int]]) -> None:
    assert hours(marks) == expected


def test_a_pause_that_lasts_still_lasts() -> None:
    [piece] = under_calendars(stretches([mark(0, 1, State.PAUSED)]), PASTS)
    assert piece.lasts


def test_what_was_never_another_is_left_alone() -> None:
    pieces = stretches([mark(0, 1), mark(1, 2)])
    assert under_calendars(pieces, {}) == pieces
    assert under_calendars(pieces, {"zone-Asia/Tokyo": PASTS[PART]}) == pieces
