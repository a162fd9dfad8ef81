"""The verdict on a slot, from facts alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from gnomon_api.explanation import Change, Explanation, Facts, Span, explain, verdicts
from gnomon_api.readmodels.fold import fold_chain
from gnomon_core.ledger import ENDLESS_MS, InForce
from gnomon_core.runtime.messages import Stored
from gnomon_core.timing import keep
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import decode_event
from gnomon_schemas.schedules import Daily, Interval, Once
from gnomon_schemas.tasks import TaskStatus
from tests.harness.zone_rules import made_rules
from tests.integration.api.stories import START_MS, Story, a_task

MINUTE = 60_000
SLOT_MS = START_MS - START_MS % MINUTE + 10 * MINUTE
"""A slot of the stories' schedule, each full minute, ten minutes after creation."""
NOW_MS = SLOT_MS + 30_000
RUN = Story().run_of(SLOT_MS)


def created(at_ms: int = START_MS) -> Change:
    return Change(seq=1, at_ms=at_ms, version=1, what="created", user_id="u1", fields={})


def changed(seq: int, at_ms: int, what: str = "updated", **fields: tuple[Any, Any]) -> Change:
    return Change(seq=seq, at_ms=at_ms, version=seq, what=what, user_id="u2", fields=fields)


def asked(at_ms: int | None, *changes: Change, now_ms: int = NOW_MS, **given: Any) -> Explanation:
    task = given.pop("task", None) or a_task("T")
    return explain(Facts(task=task, history=(created(), *changes), now_ms=now_ms, at_ms=at_ms, **given))


def told(stored: Sequence[Stored], at_ms: int | None = SLOT_MS) -> Explanation:
    chain = [(one.seq, decode_event(one.data)) for one in stored]
    return asked(at_ms, chain=chain, execution=fold_chain(stored))


def whats(found: Explanation) -> list[tuple[str, int | None]]:
    return [(step.what, step.seq) for step in found.steps]


def test_a_slot_that_ran_tells_schedule_start_and_result_with_their_sequences() -> None:
    story = Story(first_seq=7, at_ms=SLOT_MS)
    story.started(a_task("T"), RUN)
    story.executed(a_task("T"), RUN)
    found = told(story.stored)
    assert (found.slot, found.verdict) == (format_instant(SLOT_MS), "completed")
    assert [what for what in whats(found) if what[0] != "due"] == [
        ("schedule", 1),
        ("started", 7),
        ("executed", 8),
    ]
    assert found.steps[0].detail == "every minute (version 1 of the task, by u1)"
    assert "attempt 1 on x1" in found.steps[-2].detail
    assert found.steps[-1].detail == "completed after 1 s, attempt 1 on x1"


def test_every_attempt_take_over_and_error_of_a_failed_run_is_told() -> None:
    task, story = a_task("T"), Story(at_ms=SLOT_MS)
    story.queued(task, RUN)
    story.started(task, RUN)
    story.retrying(task, RUN)
    story.started(task, RUN, 2)
    story.started(task, RUN, 2, executor="x2", takeovers=1)
    story.executed(task, RUN, 2, status="failed")
    found = told(story.stored)
    assert found.verdict == "failed"
    assert "at attempt 2, after 1 executor had gone" in found.reason
    assert "Boom: it broke" in found.reason
    steps = [step for step in found.steps if step.what not in ("schedule", "due")]
    assert [step.what for step in steps] == [
        "queued",
        "started",
        "retrying",
        "started",
        "started",
        "executed",
    ]
    assert steps[0].detail == "waits for an earlier execution to end"
    assert "attempt 1 failed: Boom: it broke; next attempt at 20" in steps[2].detail
    assert "attempt 2 on x2, taken over for the first time" in steps[4].detail


@pytest.mark.parametrize(
    ("tell", "verdict", "words"),
    [
        (("queued",), "queued", "an earlier execution has not ended"),
        (("started",), "running", "attempt 1 on x1"),
        (("started", "retrying"), "retrying", "Attempt 1 failed (Boom: it broke); the next is due at 20"),
        (("skipped",), "skipped", "overlap is skip"),
    ],
)
def test_what_has_not_run_to_its_end_says_why(tell: tuple[str, ...], verdict: str, words: str) -> None:
    story = Story(at_ms=SLOT_MS)
    for name in tell:
        getattr(story, name)(a_task("T"), RUN)
    found = told(story.stored)
    assert found.verdict == verdict
    assert words in found.reason


def test_a_run_on_demand_has_no_slot() -> None:
    story = Story(at_ms=SLOT_MS)
    story.queued(a_task("T"), "r-1", command_id="1")
    story.executed(a_task("T"), "r-1", status="cancelled")
    found = told(story.stored, at_ms=None)
    assert (found.slot, found.verdict) == (None, "cancelled")
    assert found.steps[0].detail == "asked for by u1"


@pytest.mark.parametrize(
    ("outcome", "reason", "into", "words"),
    [
        ("skipped", "paused", None, "the task was paused"),
        ("missed", "grace_exceeded", None, "within its grace (1 h now)"),
        ("missed", "catch_up_skip", None, "policy is to skip"),
        ("missed", "expired", None, "nobody had claimed it in time (1 h"),
        ("coalesced", "catch_up", "20260921T140000Z", "run 20260921T140000Z stood in"),
        ("skipped", "blackout", None, "the rule 'blackout'"),
    ],
)
def test_a_slot_of_a_span_is_told_by_the_span(
    outcome: str, reason: str, into: str | None, words: str
) -> None:
    span = Span(
        seq=9,
        outcome=outcome,
        reason=reason,
        revision=1,
        from_at=format_instant(SLOT_MS - MINUTE),
        to_at=format_instant(SLOT_MS + MINUTE),
        slots=2,
        into=into,
        occurred_at=format_instant(NOW_MS),
    )
    found = asked(SLOT_MS, span=span)
    assert (found.slot, found.verdict) == (format_instant(SLOT_MS), outcome)
    assert words in found.reason
    assert (found.steps[-1].what, found.steps[-1].seq) == (outcome, 9)
    assert "one of 2 slots" in found.steps[-1].detail
    assert asked(SLOT_MS + 1000, span=span).verdict == "no_slot"


def test_a_coming_slot_is_planned_and_tells_its_jitter() -> None:
    schedule = Interval(
        every_seconds=60, anchor="2026-09-21T00:00:00.000Z", timezone="UTC", jitter_seconds=30
    )
    found = asked(SLOT_MS + MINUTE, task=a_task("T", schedule=schedule))
    assert found.verdict == "planned"
    due_ms = instant_ms(found.steps[-1].at or "")
    assert SLOT_MS + MINUTE < due_ms < SLOT_MS + MINUTE + 30_000
    assert found.steps[-1].what == "due"


def test_a_due_slot_of_which_nothing_is_stored_is_pending() -> None:
    found = asked(SLOT_MS)
    assert found.verdict == "pending"
    assert "It was due 30 s ago" in found.reason


def test_an_instant_that_is_no_slot_names_its_neighbours() -> None:
    found = asked(SLOT_MS + 1500)
    assert (found.slot, found.verdict) == (None, "no_slot")
    assert "every minute" in found.reason
    assert [(step.what, step.at) for step in found.steps[1:]] == [
        ("slot_before", format_instant(SLOT_MS)),
        ("slot_after", format_instant(SLOT_MS + MINUTE)),
    ]


def test_the_schedule_of_that_time_counts_and_not_todays() -> None:
    daily = Interval(every_seconds=86_400, anchor="2026-09-21T00:00:00.000Z", timezone="UTC")
    old = {"kind": "interval", "every_seconds": 60, "anchor": "2026-09-21T00:00:00.000Z", "timezone": "UTC"}
    change = changed(5, SLOT_MS + 10_000, schedule=(old, None))
    before = asked(SLOT_MS, change, task=a_task("T", schedule=daily))
    assert before.verdict == "pending"
    assert before.steps[0].seq == 1
    after = asked(SLOT_MS + MINUTE, change, task=a_task("T", schedule=daily))
    assert after.verdict == "no_slot"
    assert (after.steps[0].seq, after.steps[0].detail) == (5, "every day (version 5 of the task, by u2)")


def test_a_change_counts_from_the_second_after_it() -> None:
    old = {"kind": "interval", "every_seconds": 60, "anchor": "2026-09-21T00:00:00.000Z", "timezone": "UTC"}
    for at_ms, verdict in ((SLOT_MS - 1, "no_slot"), (SLOT_MS, "pending"), (SLOT_MS + 999, "pending")):
        change = changed(5, at_ms, schedule=(old, None))
        assert asked(SLOT_MS, change, task=a_task("T", schedule=None)).verdict == verdict, at_ms


def test_a_schedule_too_large_for_the_history_is_not_guessed() -> None:
    change = changed(5, NOW_MS, schedule=({"omitted_bytes": 99_000}, None))
    found = asked(SLOT_MS, change)
    assert found.verdict == "no_slot"
    assert "is not kept" in found.reason


def test_there_is_no_slot_before_creation_and_none_after_the_end() -> None:
    assert "created at" in asked(START_MS - START_MS % MINUTE).reason
    deleted = asked(SLOT_MS, changed(3, SLOT_MS - 5000, "deleted"))
    assert deleted.verdict == "no_slot"
    assert "was deleted at" in deleted.reason
    assert ("deleted", 3) in whats(deleted)
    cancelled = asked(SLOT_MS, changed(3, SLOT_MS - 5000, status=("scheduled", "cancelled")))
    assert "was cancelled at" in cancelled.reason
    once = a_task("T", schedule=Once(at=format_instant(SLOT_MS), timezone="UTC"), status=TaskStatus.COMPLETED)
    assert "no run of its schedule is left" in asked(NOW_MS + MINUTE, task=once).reason


def test_a_slot_of_a_pause_waits_for_the_resume_to_be_recorded() -> None:
    pause = changed(4, SLOT_MS - 5000, paused=(False, True))
    due, coming = asked(SLOT_MS, pause), asked(SLOT_MS + MINUTE, pause)
    assert (due.verdict, coming.verdict) == ("pending", "planned")
    assert "a pause that has not ended" in due.reason
    assert ("paused", 4) in whats(due)
    resumed = asked(SLOT_MS + MINUTE, pause, changed(5, SLOT_MS + 5000, paused=(True, False)))
    assert "pause" not in resumed.reason


def test_a_task_that_was_created_paused_is_paused_from_the_start() -> None:
    found = asked(SLOT_MS, task=a_task("T", paused=True))
    assert "a pause that has not ended" in found.reason


def test_a_task_without_schedule_and_runs_says_so() -> None:
    found = asked(None, task=a_task("T", schedule=None))
    assert found.verdict == "no_slot"
    assert "on demand only" in found.reason
    assert "no schedule then" in asked(SLOT_MS, task=a_task("T", schedule=None)).reason


def test_verdicts_are_all_listed() -> None:
    assert len(set(verdicts)) == len(verdicts)
    assert {"completed", "planned", "pending", "no_slot"} <= set(verdicts)


def test_a_pause_that_failures_began_and_a_task_that_was_called_done_are_told() -> None:
    note = "3 executions in a row failed; max_consecutive_failures is 3"
    pause = changed(2, SLOT_MS - 60_000, paused=(False, True), pause_note=(None, note))
    itself = dataclasses.replace(pause, by_itself=True, user_id=None)
    paused = asked(SLOT_MS, itself, task=a_task("T", paused=True))
    assert [step.detail for step in paused.steps if step.what == "paused"] == [f"by itself: {note}"]
    done = changed(3, SLOT_MS - 60_000, status=("scheduled", "completed"))
    assert "was completed at" in asked(SLOT_MS, done).reason
    revived = changed(4, SLOT_MS - 30_000, status=("completed", "scheduled"))
    assert "was completed at" not in asked(SLOT_MS, done, revived).reason


def test_a_slot_before_a_new_calendar_is_one_by_the_rules_of_its_time() -> None:
    """Nine o'clock in Beirut is at 7 UTC by the rules that were kept, and at 6 by those of now."""
    part = "zone-Asia/Beirut"
    old, new = (keep(part, made_rules(words)) for words in ("EET-2", "<+03>-3"))
    day = 86_400_000
    first = START_MS // day * day + 2 * day
    nine_before, nine_now = first + 7 * 3_600_000, first + 6 * 3_600_000
    changed_ms = first + 3 * day
    task = a_task("T", schedule=Daily(time="09:00", timezone="Asia/Beirut"))
    pasts = {part: (InForce(changed_ms, old), InForce(ENDLESS_MS, new))}
    replanned = changed(2, changed_ms - 60_000, calendar=({"fingerprint": "a"}, {"fingerprint": "b"}))

    def verdict(at_ms: int) -> str:
        return asked(at_ms, replanned, now_ms=first + 9 * day, task=task, pasts=pasts).verdict

    assert (verdict(nine_before), verdict(nine_now)) == ("pending", "no_slot")
    assert (verdict(nine_before + 5 * day), verdict(nine_now + 5 * day)) == ("no_slot", "pending")
