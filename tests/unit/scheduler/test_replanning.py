"""Re-planning a task on a new calendar: the instant, and what the old revision leaves behind."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon_core.timing import Difference, as_of, fires, jitter_ms, keep
from gnomon_scheduler.decisions.command import Decision, Surroundings
from gnomon_scheduler.decisions.replanning import Calendars, compared_from_s, decided_until_ms, replan
from gnomon_scheduler.memory import TaskState
from gnomon_scheduler.registers import CalendarRegister, KeptRules
from gnomon_schemas.clock_text import instant_ms, slot_run
from gnomon_schemas.events import CalendarName, Coalesced, Replanned, Skipped
from gnomon_schemas.schedules import Schedule
from tests.harness.zone_rules import made_rules
from tests.unit.scheduler.making import NOW_S, fly, register, task_state

ZONE = "Asia/Beirut"
MINUTELY: dict[str, Any] = {"kind": "cron", "expression": "* * * * *", "timezone": ZONE}
HALF_PAST: dict[str, Any] = {"kind": "cron", "expression": "30 * * * *", "timezone": ZONE}
CALENDARS = Calendars(
    CalendarName(fingerprint="old", versions={"tzdata": "1"}),
    CalendarName(fingerprint="new", versions={"tzdata": "2"}),
    (f"zone-{ZONE}",),
)
MOVED = Difference(first=NOW_S + 60, old_next=NOW_S + 60, new_next=NOW_S + 120, appeared=3, disappeared=4)
AROUND = Surroundings(
    now_ms=(NOW_S + 10_000) * 1000,
    partition=0,
    types={},
    default_timezone="UTC",
    fingerprint="new",
    cancel_grace_ms=1000,
)
FIRST = (NOW_S // 60 + 1) * 60
"""The first full minute after a task was made."""


def before(task: TaskState) -> Schedule:
    """A task's schedule under rules by which Beirut is half an hour ahead."""
    schedule = task.reg.spec.schedule
    assert schedule is not None
    return as_of(schedule, ((f"zone-{ZONE}", keep(f"zone-{ZONE}", made_rules("<+0230>-2:30"))),))


def replanned(
    task: TaskState, at_s: int, *, watermark_s: int = NOW_S, handled: set[int] | None = None
) -> Decision:
    """The decision at an instant."""
    return replan(
        task,
        before(task),
        MOVED,
        CALENDARS,
        at_ms=at_s * 1000,
        watermark_ms=watermark_s * 1000,
        handled=handled or set(),
        around=AROUND,
    )


def waiting(decision: Decision) -> list[int]:
    """Nominal times of what is written ahead."""
    return [flight.scheduled_ms // 1000 for flight in decision.waiting]


@pytest.mark.parametrize(
    ("watermark", "revision_from", "cursor", "in_flight", "handled", "instant"),
    [
        (5, 0, 0, (), (), 5),
        (5, 7, 7, (), (), 7),
        (5, 0, 9, (), (), 9),
        (5, 0, 0, (3,), (), 5),
        (5, 0, 0, (60,), (), 60),
        (5, 0, 0, (), (60, 120), 120),
    ],
)
def test_the_instant_is_the_last_one_at_which_anything_was_decided(
    watermark: int,
    revision_from: int,
    cursor: int,
    in_flight: tuple[int, ...],
    handled: tuple[int, ...],
    instant: int,
) -> None:
    task = task_state(schedule=MINUTELY)
    task.reg = msgspec.structs.replace(
        task.reg, revision_from_ms=(NOW_S + revision_from) * 1000, cursor_s=NOW_S + cursor
    )
    for nominal in in_flight:
        fly(task, NOW_S + nominal)
    at_ms = decided_until_ms(task, (NOW_S + watermark) * 1000, {NOW_S + nominal for nominal in handled})
    assert at_ms == (NOW_S + instant) * 1000


@pytest.mark.parametrize(
    ("spec", "since"),
    [
        ({}, 100),
        ({"schedule": {**MINUTELY, "jitter_seconds": 30}}, 69),
        ({"schedule": {**MINUTELY, "jitter_seconds": 3600}}, 0),
        ({"paused": True}, 160),
    ],
)
def test_compared_is_from_the_first_slot_that_may_lack_an_outcome(spec: dict[str, Any], since: int) -> None:
    task = task_state(**{"schedule": MINUTELY, **spec})
    assert compared_from_s(task, (NOW_S + 100) * 1000, (NOW_S + 160) * 1000) == NOW_S + since


def test_a_pause_whose_end_was_not_stored_is_compared_from_there() -> None:
    task = task_state(schedule=MINUTELY, paused=True)
    task.reg = msgspec.structs.replace(task.reg, paused_until_ms=(NOW_S + 130) * 1000)
    assert compared_from_s(task, (NOW_S + 100) * 1000, (NOW_S + 160) * 1000) == NOW_S + 129


def test_a_new_revision_begins_there_and_nothing_else_of_the_task_changes() -> None:
    task = task_state(schedule=MINUTELY)
    at_s = NOW_S + 100
    decision = replanned(task, at_s, watermark_s=at_s)
    assert decision.reg == msgspec.structs.replace(
        task.reg, revision=2, revision_from_ms=at_s * 1000, cursor_s=at_s, fingerprint="new"
    )
    assert decision.rescheduled
    assert not decision.waiting
    [event] = decision.events
    assert isinstance(event, Replanned)
    assert (event.old_calendar.fingerprint, event.new_calendar.fingerprint) == ("old", "new")
    assert (event.revision, event.appeared, event.disappeared) == (2, 3, 4)
    assert instant_ms(event.replanned_at) == at_s * 1000
    assert (event.task.version, event.task.revision, event.task.paused) == (1, 2, False)


def test_slots_before_the_last_one_handed_out_are_written_ahead() -> None:
    task = task_state(schedule=MINUTELY)
    fly(task, FIRST + 120)
    decision = replanned(task, FIRST + 240, handled={FIRST + 240})
    assert waiting(decision) == [FIRST, FIRST + 60, FIRST + 180]
    assert {flight.revision for flight in decision.waiting} == {1}
    assert all(flight.written and flight.gated for flight in decision.waiting)
    assert [type(event) for event in decision.events] == [Replanned]


def test_of_many_the_oldest_are_coalesced_around_what_was_handed_out() -> None:
    task = task_state(schedule=MINUTELY)
    handled = {FIRST + 60 * number for number in (3, 4, 200, 299)}
    decision = replanned(task, FIRST + 60 * 299, handled=handled)
    assert len(decision.waiting) == 100
    first = waiting(decision)[0]
    slots = set(fires(before(task), NOW_S, FIRST + 60 * 299))
    *spans, told = decision.events
    assert isinstance(told, Replanned)
    covered: set[int] = set()
    for span in spans:
        assert isinstance(span, Coalesced)
        assert (span.reason, span.into, span.revision) == ("replanned", slot_run(first), 1)
        start, end = instant_ms(span.from_ or "") // 1000, instant_ms(span.to or "") // 1000
        inside = {slot for slot in slots if start <= slot < end}
        assert len(inside) == span.count
        assert not covered & inside
        covered |= inside
    assert covered | set(waiting(decision)) | handled == slots
    assert not covered & handled
    assert max(covered) < first


def test_slots_that_wait_for_their_jitter_run_under_the_old_revision() -> None:
    task = task_state(schedule={**MINUTELY, "jitter_seconds": 300})
    watermark = FIRST + 600
    late = {
        nominal
        for nominal in range(FIRST, watermark + 1, 60)
        if nominal * 1000 + jitter_ms("t", nominal, 300) > watermark * 1000
    }
    handled = {max(late)}
    decision = replanned(task, watermark, watermark_s=watermark, handled=handled)
    assert len(late) > 1
    assert waiting(decision) == sorted(late - handled)
    for flight in decision.waiting:
        assert flight.emit_ms == flight.scheduled_ms + jitter_ms("t", flight.scheduled_ms // 1000, 300)


def test_slots_of_a_pause_are_counted_by_the_old_rules() -> None:
    """Half past by a clock that was half an hour ahead is the full hour."""
    task = task_state(schedule=HALF_PAST, paused=True)
    hour = (NOW_S // 3600 + 1) * 3600
    decision = replanned(task, hour + 60, watermark_s=hour + 60)
    skipped, told = decision.events
    assert isinstance(skipped, Skipped)
    assert (skipped.reason, skipped.count, skipped.revision) == ("paused", 1, 1)
    assert instant_ms(skipped.to or "") == (hour + 61) * 1000
    assert isinstance(told, Replanned)
    assert decision.reg.spec.paused
    assert not decision.waiting


def test_which_rules_a_revision_goes_by() -> None:
    def rules(fingerprint: str) -> KeptRules:
        return KeptRules(fingerprint=fingerprint, versions={}, rules=fingerprint.encode())

    one = CalendarRegister(name="zone-UTC", kept=(rules("a"),))
    assert one.rules_of("a") == one.rules_of("z") == rules("a")
    change = CalendarRegister(name="zone-UTC", kept=(rules("a"), rules("b"), rules("c")))
    assert change.rules_of("b") == rules("b")
    assert change.rules_of("c") == rules("c")
    assert change.rules_of("before all of them") == rules("a")
    there_and_back = CalendarRegister(name="zone-UTC", kept=(rules("a"), rules("b"), rules("a")))
    assert there_and_back.rules_of("a") == rules("a")


def test_a_look_at_what_is_stored_wakes_no_task() -> None:
    reg = register(schedule=MINUTELY)
    task = TaskState(reg, 1)
    assert task.may_mention([b"Tokyo"])  # awake: it is looked at more closely
    task.rest(reg, msgspec.json.encode(reg))
    assert task.may_mention([b"Tokyo", b'"Asia/Beirut"'])
    assert not task.may_mention([b'"Asia/Tokyo"'])
    assert task.outline.fingerprint == "f"
    assert not task.awake
