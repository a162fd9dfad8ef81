"""What a shard changes of its own accord: the end of a pause, and a pause after failures."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gnomon_scheduler.decisions.command import Command, Surroundings
from gnomon_scheduler.decisions.own_changes import cancel_of_closed, end_pause, pause_after_failures
from gnomon_scheduler.decisions.verbs import decide
from gnomon_scheduler.memory import ShardMemory, Slot, TaskState
from gnomon_scheduler.object_registers import KnownAccount
from gnomon_scheduler.registers import Backfilling, owes_change
from gnomon_schemas.accounts import account_id_of
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.codec import encode
from gnomon_schemas.events import Skipped, StatusChanged, Updated
from gnomon_schemas.problems import Code, Refused
from tests.unit.scheduler.making import NOW_S, executed, fly, memory_of, started, task_state
from tests.unit.scheduler.test_folding import folded


def around(now_ms: int) -> Surroundings:
    """The surroundings of a decision at an instant."""
    return Surroundings(now_ms, 0, {}, "UTC", "f", 10_000)


def command(verb: str, **body: Any) -> Command:
    """A command without a sender."""
    return Command("task", verb, "t", f"c-{verb}", None, False, None, json.dumps(body).encode(), 1)


def paused(until_ms: int | None, **spec: Any) -> TaskState:
    """A task that was paused 10 s after it was made."""
    task = task_state(**spec)
    until = {} if until_ms is None else {"until": format_instant(until_ms)}
    task.reg = decide(task, [], command("pause", **until), around((NOW_S + 10) * 1000)).reg
    return task


@pytest.mark.parametrize(
    ("until_ms", "skipped", "first_live_s"),
    [
        ((NOW_S + 20) * 1000, 9, NOW_S + 20),
        ((NOW_S + 20) * 1000 + 1, 10, NOW_S + 21),
        ((NOW_S + 20) * 1000 + 999, 10, NOW_S + 21),
        ((NOW_S + 10) * 1000 + 1, 0, NOW_S + 11),
    ],
)
def test_a_pause_lasts_until_its_time_and_not_a_slot_longer(
    until_ms: int, skipped: int, first_live_s: int
) -> None:
    """Half-open: the slot of the very instant that it lasts until fires."""
    task = paused(until_ms)
    assert task.reg.paused_until_ms == until_ms
    decision = end_pause(task, [], around(until_ms - 1))
    assert decision is not None
    spans = [event for event in decision.events if isinstance(event, Skipped)]
    assert sum(span.count for span in spans) == skipped
    (told,) = (event for event in decision.events if isinstance(event, StatusChanged))
    assert (told.old_status, told.new_status, told.reason) == ("paused", "scheduled", "pause_over")
    assert told.changed_at == format_instant(until_ms)
    assert told.task is not None
    assert (told.task.paused, told.task.paused_until, told.task.version) == (False, None, 2)
    assert decision.rescheduled
    task.reg = decision.reg
    assert end_pause(task, [], around(until_ms)) is None, "once"
    memory = memory_of(task, watermark_ms=until_ms - 1)
    assert memory.next_due_ms() == first_live_s * 1000


def test_a_pause_without_a_time_does_not_end_by_itself() -> None:
    task = paused(None)
    assert end_pause(task, [], around((NOW_S + 9999) * 1000)) is None
    assert memory_of(task).next_pause_end_ms() is None


def test_the_times_at_which_pauses_end_follow_every_change() -> None:
    """Resumed, paused anew until another time, cancelled or deleted: what was on the heap is nothing any more."""
    until_ms = (NOW_S + 100) * 1000
    task = paused(until_ms)
    memory = memory_of(task)
    assert memory.next_pause_end_ms() == until_ms
    later_ms = until_ms + 60_000
    for verb, body, expected in (
        ("pause", {"until": format_instant(later_ms)}, later_ms),
        ("pause", {"until": format_instant(until_ms)}, until_ms),
        ("pause", {"note": "for good"}, None),
        ("pause", {"until": format_instant(until_ms)}, until_ms),
        ("update", {"description": "x"}, until_ms),
        ("update", {"paused": True}, until_ms),
        ("resume", {}, None),
        ("pause", {"until": format_instant(until_ms)}, until_ms),
        ("cancel", {}, None),
    ):
        decision = decide(task, [], command(verb, **body), around((NOW_S + 20) * 1000))
        task.reg = decision.reg
        if decision.rescheduled:
            memory.schedule(task, (NOW_S + 20) * 1000)
        assert memory.next_pause_end_ms() == expected, verb
        assert task.reg.paused_until_ms == expected, verb


def test_a_standby_knows_the_times_from_registers() -> None:
    until_ms = (NOW_S + 100) * 1000
    stored = encode(paused(until_ms).stored_form())
    memory = ShardMemory(0)
    memory.apply_task(1, paused(until_ms).reg, stored)
    assert memory.next_pause_end_ms() == until_ms
    task = memory.pop_pause_end()
    assert task is memory.tasks["t"]
    assert memory.next_pause_end_ms() is None
    memory.apply_task(2, paused(until_ms).reg, stored)
    memory.drop_task("t")
    assert memory.next_pause_end_ms() is None


@pytest.mark.parametrize(
    ("until", "words"),
    [
        (format_instant((NOW_S + 10) * 1000), "allowed is a time after now"),
        ("2020-01-01T00:00:00Z", "allowed is a time after now"),
        ("tomorrow", "RFC 3339"),
        ("2099-01-01T00:00:00", "RFC 3339"),
    ],
)
def test_a_pause_until_no_time_to_come_is_refused(until: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        decide(task_state(), [], command("pause", until=until), around((NOW_S + 10) * 1000))
    (error,) = caught.value.problem.errors
    assert (caught.value.problem.code, error.pointer) == (Code.INVALID, "#/until")
    assert words in error.message


def test_what_has_ended_cannot_be_paused_until_a_time() -> None:
    task = task_state()
    task.reg = msgspec.structs.replace(task.reg, ended="completed", ended_ms=NOW_S * 1000)
    with pytest.raises(Refused) as caught:
        decide(task, [], command("pause", until="2099-01-01T00:00:00Z"), around((NOW_S + 10) * 1000))
    assert caught.value.problem.code == Code.INVALID_STATE
    assert caught.value.problem.errors[0].pointer == "#/until"


def test_the_history_tells_until_when_a_task_is_paused() -> None:
    until = format_instant((NOW_S + 99) * 1000)
    decision = decide(task_state(), [], command("pause", until=until, note="n"), around(NOW_S * 1000))
    updated = decision.events[0]
    assert isinstance(updated, Updated)
    assert updated.updated_fields == ("paused", "pause_note", "paused_until")
    assert [(change.old, change.new) for change in updated.changes] == [
        (False, True),
        (None, "n"),
        (None, until),
    ]
    assert updated.task.paused_until == until


def failing(times: int, most: int | None, **spec: Any) -> TaskState:
    """A task of which so many executions in a row have failed."""
    task = task_state(max_consecutive_failures=most, overlap="allow", **spec)
    for number in range(1, times + 1):
        folded(task, executed(fly(task, NOW_S + number).run, "failed"), seq=10 + number)
    return task


@pytest.mark.parametrize(
    ("times", "most", "pauses"), [(2, 3, False), (3, 3, True), (4, 3, True), (1, 1, True), (9, None, False)]
)
def test_as_many_failures_as_the_task_takes_pause_it(times: int, most: int | None, pauses: bool) -> None:
    task = failing(times, most)
    waiting = [Slot(task, NOW_S + 30, (NOW_S + 35) * 1000)]
    assert owes_change(task.reg) is pauses
    decision = pause_after_failures(task, waiting, around((NOW_S + 30) * 1000))
    assert (decision is not None) is pauses
    if decision is None:
        return
    assert decision.reg.spec.paused
    assert decision.reg.cursor_s == NOW_S + 30
    assert decision.reg.version == 1
    assert [flight.run for flight in decision.waiting] == [item.run for item in decision.cancels]
    assert all(item.reason == "paused" for item in decision.cancels)
    (told,) = decision.events
    assert isinstance(told, StatusChanged)
    assert (told.new_status, told.reason) == ("paused", "max_consecutive_failures")
    assert told.task is not None
    assert told.task.pause_note == f"{times} executions in a row failed; max_consecutive_failures is {most}"
    assert told.task.consecutive_failures == times
    task.reg = decision.reg
    assert not owes_change(task.reg)
    assert pause_after_failures(task, [], around((NOW_S + 31) * 1000)) is None, "once"


@pytest.mark.parametrize("last", ["completed", "cancelled"])
def test_only_a_success_sets_the_failures_back(last: str) -> None:
    task = failing(1, 2)
    folded(task, executed(fly(task, NOW_S + 5).run, last), seq=30)
    folded(task, executed(fly(task, NOW_S + 6).run, "timed_out"), seq=31)
    assert owes_change(task.reg) is (last == "cancelled")


@pytest.mark.parametrize("how", ["resume", "update", "time"])
def test_the_end_of_a_pause_forgets_the_failures(how: str) -> None:
    """Or the next failure would pause the task at once."""
    task = failing(3, 3)
    decision = pause_after_failures(task, [], around((NOW_S + 30) * 1000))
    assert decision is not None
    task.reg = decision.reg
    now_ms = (NOW_S + 60) * 1000
    if how == "resume":
        task.reg = decide(task, [], command("resume"), around(now_ms)).reg
    elif how == "update":
        task.reg = decide(task, [], command("update", paused=False), around(now_ms)).reg
    else:
        later = format_instant(now_ms + 1)
        task.reg = decide(task, [], command("pause", until=later), around((NOW_S + 40) * 1000)).reg
        ended = end_pause(task, [], around(now_ms))
        assert ended is not None
        task.reg = ended.reg
    assert not task.reg.spec.paused
    assert task.reg.pause_note is None
    assert task.reg.runtime.consecutive_failures == 0
    assert task.reg.runtime.failure_count == 3


def test_a_limit_that_is_lowered_pauses_at_once_and_one_that_is_raised_does_not() -> None:
    task = failing(3, 5)
    lowered = decide(task, [], command("update", max_consecutive_failures=2), around((NOW_S + 9) * 1000)).reg
    assert owes_change(lowered)
    raised = decide(task, [], command("update", max_consecutive_failures=6), around((NOW_S + 9) * 1000)).reg
    assert not owes_change(raised)


def test_a_task_that_is_about_to_end_is_not_paused() -> None:
    """Paused, it never would: a `once` whose only run failed is failed."""
    task = failing(1, 1, schedule={"kind": "once", "at": format_instant((NOW_S + 1) * 1000)})
    assert pause_after_failures(task, [], around((NOW_S + 30) * 1000)) is None


@pytest.mark.parametrize(
    ("body", "revision"),
    [
        ({"schedule": {"kind": "interval", "every_seconds": 5}}, 2),
        ({"status": "scheduled"}, 2),
    ],
)
def test_a_task_that_is_opened_again_owes_no_reminder_of_the_time_between(
    body: dict[str, Any], revision: int
) -> None:
    """However it is opened again."""
    task = task_state(task_type="todo", reminder_time=format_instant((NOW_S + 100) * 1000))
    task.reg = decide(task, [], command("complete"), around((NOW_S + 20) * 1000)).reg
    task.reg = decide(task, [], command("update", **body), around((NOW_S + 200) * 1000)).reg
    assert (task.reg.ended, task.reg.revision) == (None, revision)
    assert task.reg.reminder_due_ms is None


def test_a_reminder_that_another_reminder_opens_again_has_no_slots_of_the_time_between() -> None:
    task = task_state(task_type="reminder", paused=True)
    task.reg = decide(task, [], command("complete"), around((NOW_S + 20) * 1000)).reg
    later_ms = (NOW_S + 900) * 1000
    again = command("update", reminder_time=format_instant(later_ms))
    task.reg = decide(task, [], again, around((NOW_S + 200) * 1000)).reg
    assert (task.reg.ended, task.reg.reminder_ms, task.reg.spec.paused) == (None, later_ms, True)
    decision = decide(task, [], command("resume"), around((NOW_S + 210) * 1000))
    assert [event.count for event in decision.events if isinstance(event, Skipped)] == [10], "of this pause"


def test_of_a_completed_task_of_a_closed_account_what_waits_is_cancelled_and_what_runs_is_not() -> None:
    task = task_state(overlap="allow")
    waits, out, runs = fly(task, NOW_S + 1, emitted=False), fly(task, NOW_S + 2), fly(task, NOW_S + 3)
    folded(task, started(runs.run), seq=11)
    backfill = Backfilling(backfill_id="b", from_s=0, to_s=9, cursor_s=0, total=9, left=9)
    task.reg = msgspec.structs.replace(
        task.reg, user_id="u", ended="completed", ended_ms=NOW_S * 1000, backfills=(backfill,)
    )
    account = KnownAccount(object_id=account_id_of("u"), version=1, user_id="u", closed=True)
    now = around((NOW_S + 5) * 1000)
    assert cancel_of_closed(task, [], now) is None
    now = now._replace(objects={"account": {account_id_of("u"): account}})
    decision = cancel_of_closed(task, [], now)
    assert decision is not None
    assert (decision.reg.ended, decision.reg.backfills) == ("completed", ())
    (told,) = decision.events
    assert isinstance(told, StatusChanged)
    assert (told.old_status, told.new_status, told.reason) == ("completed", "completed", "account_closed")
    assert [change.field for change in told.changes] == ["backfills"]
    assert told.task is not None
    assert told.task.backfills == ()
    assert [(wish.run, wish.reason, wish.gentle) for wish in decision.cancels] == [
        (waits.run, "cancelled", True),
        (out.run, "cancelled", True),
    ]
    task.reg = decision.reg
    for wish in decision.cancels:
        task.wish(wish)
    assert cancel_of_closed(task, [], now) is None


@pytest.mark.parametrize(
    ("closed", "closed_s", "cancelled"),
    [
        pytest.param(True, None, True, id="closed by a version that did not keep when"),
        pytest.param(True, NOW_S - 9, True, id="closed before it was made, in a shard that had not heard"),
        pytest.param(False, None, False, id="never closed"),
        pytest.param(False, NOW_S + 5, True, id="open again"),
        pytest.param(False, NOW_S - 1, False, id="made after it was opened again"),
    ],
)
def test_what_is_older_than_the_closing_of_its_account_is_cancelled(
    closed: bool, closed_s: int | None, cancelled: bool
) -> None:
    """However late the shard hears of the closing, and whatever has become of the account by then."""
    task = task_state()
    task.reg = msgspec.structs.replace(
        task.reg, user_id="u", created_ms=NOW_S * 1000, revision_from_ms=NOW_S * 1000
    )
    account = KnownAccount(
        object_id=account_id_of("u"),
        version=1,
        user_id="u",
        closed=closed,
        closed_ms=None if closed_s is None else closed_s * 1000,
    )
    now = around((NOW_S + 20) * 1000)._replace(objects={"account": {account_id_of("u"): account}})
    decision = cancel_of_closed(task, [], now)
    assert (decision is not None) == cancelled
    if decision is not None:
        task.reg = decision.reg
        assert cancel_of_closed(task, [], now) is None, "once"


def test_what_waits_of_a_completed_task_stays_where_it_was_asked_for_after_the_account_was_opened_again() -> (
    None
):
    task = task_state(overlap="allow")
    before, after = fly(task, NOW_S + 1, emitted=False), fly(task, NOW_S + 9, emitted=False)
    old = Backfilling(backfill_id="old", from_s=0, to_s=9, cursor_s=0, total=9, left=9)
    new = Backfilling(
        backfill_id="new", from_s=0, to_s=9, cursor_s=0, total=9, left=9, begun_ms=(NOW_S + 9) * 1000
    )
    task.reg = msgspec.structs.replace(
        task.reg, user_id="u", ended="completed", ended_ms=NOW_S * 1000, backfills=(old, new)
    )
    account = KnownAccount(object_id=account_id_of("u"), version=1, user_id="u", closed_ms=(NOW_S + 5) * 1000)
    now = around((NOW_S + 20) * 1000)._replace(objects={"account": {account_id_of("u"): account}})
    decision = cancel_of_closed(task, [], now)
    assert decision is not None
    assert [wish.run for wish in decision.cancels] == [before.run]
    assert decision.reg.backfills == (new,)
    assert after.run in task.flights
