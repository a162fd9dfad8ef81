"""What becomes of coming slots under calendars: a table of calendars and of when the slots go."""

from __future__ import annotations

import pytest

from gnomon_api.coming_fires import ComingFire, coming_fires
from gnomon_core.timing import Blackout, Blackouts
from gnomon_schemas.blackouts import BlackoutAction, CalendarSpec, Selector, Span
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.tasks import CatchUp
from tests.integration.api.stories import a_task

NOW = 1_800_000_000
SLOTS = [NOW + 60 * minute for minute in range(1, 8)]


def calendar(name: str, action: str, first: int, beyond: int, **selector: object) -> Blackout:
    """In force for the slots of some minutes."""
    span = Span(
        from_=format_instant((NOW + 60 * first) * 1000), to=format_instant((NOW + 60 * beyond) * 1000)
    )
    whose = Selector(**selector)  # type: ignore[arg-type]  # what a test names
    return Blackout(
        name, CalendarSpec(name=name, selector=whose, action=BlackoutAction(action), spans=(span,))
    )


@pytest.mark.parametrize(
    ("calendars", "goes"),
    [
        ([], [1, 2, 3, 4, 5, 6, 7]),
        ([calendar("a", "skip", 2, 4)], [1, 4, 5, 6, 7]),
        ([calendar("a", "defer", 2, 4)], [1, (2, 4), (3, 4), 4, 5, 6, 7]),
        ([calendar("a", "first_after", 2, 4)], [1, (3, 4), 4, 5, 6, 7]),
        ([calendar("a", "first_after", 2, 4, task_types=("other",))], [1, 2, 3, 4, 5, 6, 7]),
        # Two that run into each other: the slots of the first go when the second ends.
        ([calendar("a", "defer", 2, 4), calendar("b", "skip", 4, 6)], [1, (2, 6), (3, 6), 6, 7]),
        # The last slot of the second stands for what the first put off, while that waits.
        ([calendar("a", "defer", 2, 4), calendar("b", "first_after", 3, 6)], [1, (5, 6), 6, 7]),
        # Three may wait.
        ([calendar("a", "defer", 1, 6)], [(1, 6), (2, 6), (3, 6), 6, 7]),
        (
            [calendar("a", "defer", 1, 3), calendar("b", "defer", 4, 6)],
            [(1, 3), (2, 3), 3, (4, 6), (5, 6), 6, 7],
        ),
    ],
)
def test_what_calendars_make_of_the_slots(
    calendars: list[Blackout], goes: list[int | tuple[int, int]]
) -> None:
    task = a_task("t", catch_up=CatchUp(limit=3))
    found = coming_fires(task, SLOTS, Blackouts(calendars), NOW)
    minutes = [((one.nominal_s - NOW) // 60, (one.at_s - NOW) // 60) for one in found]
    assert minutes == sorted(
        ((one, one) if isinstance(one, int) else one for one in goes), key=lambda pair: (pair[1], pair[0])
    )
    assert {one.put_off_by is not None for one in found} <= {False, bool(calendars)}


@pytest.mark.parametrize("action", ["skip", "defer", "first_after"])
def test_what_waits_already_is_held_by_whatever_is_in_force_now(action: str) -> None:
    """The slot lay in another blackout, which is over; its own time tells nothing any more."""
    held = Blackouts([calendar("past", "defer", -9, -2), calendar("now", action, -1, 3)])
    found = coming_fires(a_task("t"), [], held, NOW, waiting=[NOW - 180, NOW - 240])
    assert found == [ComingFire(NOW + 180, NOW - at, "now") for at in (240, 180)]
    over = Blackouts([calendar("past", "defer", -9, -2), calendar("later", action, 5, 6)])
    assert coming_fires(a_task("t"), [], over, NOW, waiting=[NOW - 180]) == [ComingFire(NOW, NOW - 180)]


def test_what_waits_already_goes_when_its_blackout_ends_or_now_when_that_has_gone() -> None:
    task = a_task("t")
    held = Blackouts([calendar("a", "defer", -5, 3)])
    found = coming_fires(task, SLOTS[:1], held, NOW, waiting=[NOW - 60])
    assert [(one.nominal_s - NOW, one.at_s - NOW, one.put_off_by) for one in found] == [
        (-60, 180, "a"),
        (60, 180, "a"),
    ]
    for blackouts in (Blackouts(), Blackouts([calendar("b", "defer", 100, 101)])):
        assert coming_fires(task, [], blackouts, NOW, waiting=[NOW - 60])[0].at_s == NOW
