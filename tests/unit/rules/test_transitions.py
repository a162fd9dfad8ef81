"""The table of changes of status, and what a `status` in an update asks for."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from gnomon_core.rules.transitions import asked, transition, verb_asked, wanted_status
from gnomon_schemas.lifecycle import ENDED, OWN_CAUSES, TRANSITIONS, WISHES, moves, reachable
from gnomon_schemas.problems import Refused
from gnomon_schemas.schedules import Daily
from gnomon_schemas.tasks import TaskSpec, TaskStatus

VERBS = {"pause", "resume", "cancel", "complete", "update", "reopen"}
PAIRS = list(itertools.product(TaskStatus, TaskStatus))
SPEC = TaskSpec(name="t", task_type="echo")
DAILY = Daily(time="09:00", timezone="UTC")


def test_the_table_has_every_change_once_and_only_causes_that_there_are() -> None:
    pairs = [(one.old, one.new) for one in TRANSITIONS]
    assert len(pairs) == len(set(pairs))
    assert all(old is not new for old, new in pairs)
    causes = {cause for one in TRANSITIONS for cause in one.causes}
    assert causes == VERBS | set(OWN_CAUSES)


def test_nothing_leads_out_of_cancelled_and_everything_leads_there() -> None:
    assert reachable(TaskStatus.CANCELLED) == set()
    for status in set(TaskStatus) - {TaskStatus.CANCELLED}:
        assert moves(status, TaskStatus.CANCELLED)
        assert reachable(status) == set(TaskStatus)


@pytest.mark.parametrize(("now", "wanted"), PAIRS)
def test_a_status_asks_for_a_change_of_the_table_or_is_refused(now: TaskStatus, wanted: TaskStatus) -> None:
    """What is not in the table by a caller's verb is refused, with the pointer and the number of a rule."""
    try:
        verb = verb_asked(now, wanted)
    except Refused as refusal:
        (error,) = refusal.problem.errors
        assert error.pointer == "#/status"
        assert "BR-STS-" in error.message or wanted is TaskStatus.PENDING
        found = moves(now, wanted)
        assert found is None or not VERBS & set(found.causes) - {"update"} or wanted is TaskStatus.RUNNING
    else:
        if verb is None:
            assert wanted is now or wanted is TaskStatus.RUNNING
        else:
            assert verb in transition(now, wanted).causes
            assert verb == ("reopen" if now in ENDED and WISHES[wanted] == "resume" else WISHES[wanted])


@pytest.mark.parametrize(("now", "wanted"), [pair for pair in PAIRS if pair[0] is not pair[1]])
def test_a_change_that_the_table_lacks_is_refused(now: TaskStatus, wanted: TaskStatus) -> None:
    if moves(now, wanted) is None:
        with pytest.raises(Refused, match="final" if now is TaskStatus.CANCELLED else "does not become"):
            transition(now, wanted)
    else:
        assert transition(now, wanted).told == (TaskStatus.RUNNING not in (now, wanted))


@pytest.mark.parametrize("given", ["asleep", None, 7, ["paused"], "Paused"])
def test_what_is_no_status_is_refused_by_name(given: object) -> None:
    with pytest.raises(Refused, match="allowed: pending, scheduled"):
        wanted_status(msgspec.json.encode({"status": given}))
    assert wanted_status(b'{"name":"x"}') is None


def _asked(patch: dict[str, object], old: TaskSpec, spec: TaskSpec, ended: TaskStatus | None) -> object:
    found = asked(msgspec.json.encode(patch), old, spec, ended, lambda _: False)
    return found.spec.paused, found.ended, found.verb


def test_a_status_is_asked_for_of_the_task_as_the_other_fields_leave_it() -> None:
    scheduled = msgspec.structs.replace(SPEC, schedule=DAILY)
    paused = msgspec.structs.replace(scheduled, paused=True)
    assert _asked({"status": "scheduled"}, SPEC, scheduled, None) == (False, None, None)
    assert _asked({"status": "paused"}, SPEC, scheduled, None) == (True, None, "pause")
    assert _asked({"status": "scheduled"}, scheduled, paused, None) == (False, None, "resume")
    assert _asked({"status": "completed"}, SPEC, scheduled, None) == (False, TaskStatus.COMPLETED, "complete")
    assert _asked({"status": "cancelled"}, paused, paused, TaskStatus.FAILED) == (
        True,
        TaskStatus.CANCELLED,
        "cancel",
    )


def test_a_task_that_was_through_goes_on_with_another_schedule_or_reminder() -> None:
    done, scheduled = TaskStatus.COMPLETED, msgspec.structs.replace(SPEC, schedule=DAILY)
    assert _asked({}, SPEC, scheduled, done) == (False, None, None)
    assert _asked({}, scheduled, scheduled, done) == (False, done, None)
    assert _asked({}, SPEC, scheduled, TaskStatus.CANCELLED) == (False, TaskStatus.CANCELLED, None)
    assert _asked({"status": "pending"}, SPEC, SPEC, done) == (False, None, "reopen")
    with pytest.raises(Refused, match="no slot left"):
        _asked({"status": "scheduled"}, scheduled, scheduled, done)
    for task_type, ended in (("reminder", None), ("todo", done)):
        old = TaskSpec(name="t", task_type=task_type, reminder_time="2026-11-21T09:00:00.000Z")
        new = msgspec.structs.replace(old, reminder_time="2026-11-22T09:00:00.000Z")
        assert _asked({}, old, new, done) == (False, ended, None)
