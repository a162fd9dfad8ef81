"""Repair: which slots are lost and which are not, and what becomes of them by the catch-up policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gnomon_core.ledger import Mark, State
from gnomon_core.timing import Blackouts
from gnomon_scheduler.decisions.command import Decision, PastSlots
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.memory import TaskState
from gnomon_schemas.clock_text import format_instant, parse_slot_run, slot_run
from gnomon_schemas.events import Coalesced, Unchanged, event_name
from gnomon_schemas.limits import REPAIR_SLOTS_MAX
from gnomon_schemas.problems import Code, Refused
from tests.unit.scheduler.making import NOW_S, fly, task_state
from tests.unit.scheduler.test_blackouts import calendar
from tests.unit.scheduler.test_own_changes import around, command

NOW_MS = (NOW_S + 100) * 1000 + 500
"""A hundred slots after the task was made, of which there is one a second."""


def mark(task: TaskState, at_s: int, state: State = State.ACTIVE, revision: int = 1) -> Mark:
    return Mark((NOW_S + at_s) * 1000, state, revision, task.reg.spec.schedule)


def past(
    task: TaskState,
    *,
    recorded: Sequence[int] = (),
    spans: Sequence[tuple[int, int, int]] = (),
    marks: Sequence[Mark] | None = None,
    log_from: int | None = 0,
    watermark: float = 100,
) -> PastSlots:
    """What the log says; times in seconds after the task was made."""
    return PastSlots(
        watermark_ms=int((NOW_S + watermark) * 1000),
        log_from_ms=None if log_from is None else (NOW_S + log_from) * 1000,
        recorded=frozenset(NOW_S + at for at in recorded),
        spans=tuple((NOW_S + start, NOW_S + end, revision) for start, end, revision in spans),
        marks=tuple([mark(task, 0)] if marks is None else marks),
    )


def repaired(task: TaskState, slots: Sequence[int], log: PastSlots, **asked: Any) -> Decision:
    """The decision about these slots."""
    wanted = command("repair", slots=[format_instant((NOW_S + at) * 1000) for at in slots])
    return decide(task, [], wanted._replace(slots=log, **asked), around(NOW_MS))


def became(decision: Decision) -> dict[int, str]:
    """What became of each slot, by seconds after the task was made."""
    assert isinstance(decision.events[0], Unchanged)
    assert len(decision.events) == 1
    found = {}
    for event in decision.refused:
        assert event.detail == "an audit found nothing recorded of this slot"
        what = event.into if isinstance(event, Coalesced) else event.reason
        found[_at(event.run or "")] = f"{event_name(event)}({what})"
    for flight, queued in decision.queued:
        assert (queued.reason, flight.queued, flight.run) == ("repair", True, queued.run)
        assert flight.revision == queued.revision
        found[_at(flight.run)] = "runs"
    return found


def _at(run: str) -> int:
    nominal = parse_slot_run(run)
    assert nominal is not None
    return int(nominal.timestamp()) - NOW_S


def test_lost_slots_run_by_the_policy_as_late_ones() -> None:
    task = task_state(overlap="allow", catch_up={"policy": "all", "limit": 2})
    into = slot_run(NOW_S + 12)
    assert became(repaired(task, [14, 10, 11, 12], past(task))) == {
        10: f"coalesced({into})",
        11: f"coalesced({into})",
        12: "runs",
        14: "runs",
    }


@pytest.mark.parametrize(
    ("spec", "slots", "found"),
    [
        ({}, [10, 20], {10: f"coalesced({slot_run(NOW_S + 20)})", 20: "runs"}),
        ({"catch_up": {"policy": "skip"}}, [10], {10: "missed(catch_up_skip)"}),
        ({"catch_up": {"policy": "skip"}}, [99], {99: "runs"}),
        ({"catch_up": {"grace_seconds": 60}}, [10, 90], {10: "missed(grace_exceeded)", 90: "runs"}),
        (
            {"task_type": "reminder", "config": {"reminder_type": "call"}},
            [10],
            {10: "missed(catch_up_skip)"},
        ),
    ],
)
def test_what_becomes_of_them(spec: dict[str, Any], slots: list[int], found: dict[int, str]) -> None:
    task = task_state(**spec)
    assert became(repaired(task, slots, past(task))) == found


@pytest.mark.parametrize(
    ("changes", "spec", "reason"),
    [
        ({"deleted_ms": NOW_MS}, {}, "deleted"),
        ({"ended": "cancelled"}, {}, "cancelled"),
        ({}, {"paused": True}, "paused"),
    ],
)
def test_slots_of_a_task_that_runs_no_more_are_skipped_for_that(
    changes: dict[str, Any], spec: dict[str, Any], reason: str
) -> None:
    task = task_state(**spec)
    task.reg = msgspec.structs.replace(task.reg, **changes)
    assert became(repaired(task, [10], past(task))) == {10: f"skipped({reason})"}


def test_slots_of_a_pause_that_ended_are_skipped_and_those_of_one_that_lasts_left_alone() -> None:
    task = task_state()
    paused = [mark(task, 0), mark(task, 10, State.PAUSED)]
    assert became(repaired(task, [11], past(task, marks=paused))) == {}
    ended = past(task, marks=[*paused, mark(task, 20)])
    assert became(repaired(task, [11], ended)) == {11: "skipped(paused)"}


def test_a_slot_under_the_revision_before_keeps_it() -> None:
    task = task_state(overlap="allow")
    task.reg = msgspec.structs.replace(task.reg, revision=2)
    log = past(task, marks=[mark(task, 0), mark(task, 50, revision=2)])
    (((flight, queued),),) = [repaired(task, [20], log).queued]
    assert (flight.revision, queued.revision) == (1, 1)


@pytest.mark.parametrize(
    "log",
    [
        {"recorded": [10]},
        {"spans": [(5, 11, 1)]},
        {"watermark": 9},
    ],
)
def test_what_is_recorded_or_to_come_is_left_alone(log: dict[str, Any]) -> None:
    task = task_state()
    decision = repaired(task, [10], past(task, **log))
    assert (became(decision), decision.repaired) == ({}, 0)


def test_a_span_of_another_revision_does_not_cover() -> None:
    task = task_state()
    assert became(repaired(task, [10], past(task, spans=[(5, 11, 2)]))) == {10: "runs"}


def test_what_is_in_flight_is_left_alone() -> None:
    task = task_state()
    fly(task, NOW_S + 10)
    assert became(repaired(task, [10], past(task))) == {}


def test_a_task_that_has_not_changed_since_the_log_begins_is_known_by_its_register() -> None:
    task = task_state()
    assert became(repaired(task, [90], past(task, marks=[], log_from=80))) == {90: "runs"}


@pytest.mark.parametrize(
    ("slots", "log", "words"),
    [
        ([10], {"log_from": 11}, "before the log begins"),
        ([10], {"log_from": None}, "before the log begins"),
        ([0], {}, "was no slot"),
        ([10], {"marks": [Mark((NOW_S + 30) * 1000, State.ACTIVE, 2, None)]}, "does not tell what schedule"),
    ],
)
def test_what_cannot_be_told_is_refused_and_nothing_changes(
    slots: list[int], log: dict[str, Any], words: str
) -> None:
    task = task_state()
    with pytest.raises(Refused) as refusal:
        repaired(task, slots, past(task, **log))
    (error,) = refusal.value.problem.errors
    assert (error.pointer, error.code) == ("#/slots/0", Code.INVALID)
    assert words in error.message


def test_only_an_admin_or_a_service_may_repair() -> None:
    task = task_state()
    with pytest.raises(Refused) as refusal:
        repaired(task, [10], past(task), user="u1")
    assert refusal.value.problem.code is Code.NOT_FOUND, "another's task"
    task.reg = msgspec.structs.replace(task.reg, user_id="u1")
    with pytest.raises(Refused) as refusal:
        repaired(task, [10], past(task), user="u1")
    assert refusal.value.problem.code is Code.FORBIDDEN
    assert became(repaired(task, [10], past(task), user="root", admin=True)) == {10: "runs"}


@pytest.mark.parametrize(
    ("slots", "pointer"),
    [([], "#/slots"), (["10:00"], "#/slots/0"), (["2026-11-21T09:00:00.5Z"], "#/slots/0")],
)
def test_a_list_that_cannot_be_read_is_refused(slots: list[str], pointer: str) -> None:
    with pytest.raises(Refused) as refusal:
        decide(task_state(), [], command("repair", slots=slots), around(NOW_MS))
    assert [error.pointer for error in refusal.value.problem.errors] == [pointer]


def test_too_many_are_refused() -> None:
    slots = [format_instant((NOW_S + at) * 1000) for at in range(REPAIR_SLOTS_MAX + 1)]
    with pytest.raises(Refused) as refusal:
        decide(task_state(), [], command("repair", slots=slots), around(NOW_MS))
    assert [error.pointer for error in refusal.value.problem.errors] == ["#/slots"]


@pytest.mark.parametrize(
    ("action", "until", "expected"),
    [
        pytest.param(
            "skip", 95, {90: "skipped(blackout)", 91: "skipped(blackout)", 99: "runs"}, id="skipped"
        ),
        pytest.param("defer", 500, {90: "waits", 91: "waits", 99: "waits"}, id="put off while it lasts"),
        pytest.param(
            "defer", 95, {90: "coalesced", 91: "coalesced", 99: "runs"}, id="late ones once it is over"
        ),
    ],
)
def test_slots_in_a_blackout_get_what_its_calendar_says(
    action: str, until: int, expected: dict[int, str]
) -> None:
    task = task_state(catch_up={"policy": "latest", "after_seconds": 1, "grace_seconds": 60})
    slots = list(expected)
    wanted = command("repair", slots=[format_instant((NOW_S + at) * 1000) for at in slots])
    blackouts = Blackouts([calendar("c", action, (0, until))])
    decision = decide(
        task, [], wanted._replace(slots=past(task)), around(NOW_MS)._replace(blackouts=blackouts)
    )
    found = {}
    for event in decision.refused:
        name = event_name(event)
        found[_at(event.run or "")] = f"{name}({event.reason})" if name == "skipped" else name
        assert (event.calendar_id == "c") == (name == "skipped")
    for flight, queued in decision.queued:
        found[_at(flight.run)] = "waits" if flight.put_off else "runs"
        assert queued.reason == ("blackout" if flight.put_off else "repair")
    assert found == expected
