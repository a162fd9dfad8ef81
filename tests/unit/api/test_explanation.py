"""The verdict on a slot, from facts alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from gnomon_api.explaining import Change, Explanation, Facts, Revision, Span, explain, verdicts
from gnomon_api.explaining.facts import PoolNow, ReadModels, ShardNow
from gnomon_api.readmodels.fold import fold_chain
from gnomon_core.ledger import ENDLESS_MS, InForce
from gnomon_core.runtime.messages import Stored
from gnomon_core.timing import Touch, keep
from gnomon_schemas.blackouts import BlackoutAction
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import decode_event
from gnomon_schemas.exclusions import ExcludedDays
from gnomon_schemas.schedules import Daily, Dst, Interval, Once
from gnomon_schemas.tasks import RateLimit, TaskStatus
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
    assert [what for what in whats(found) if what[1] is not None] == [
        ("schedule", 1),
        ("started", 7),
        ("executed", 8),
    ]
    assert found.steps[0].detail == "every minute (version 1 of the task, by u1)"
    assert "attempt 1 on x1" in found.steps[-2].detail
    assert [what for what, _ in whats(found)] == ["schedule", "slot", "lease", "due", "started", "executed"]
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
    steps = [step for step in found.steps if step.what not in ("schedule", "slot", "lease", "due")]
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
        (("queued",), "queued", "an earlier execution of the task has not ended"),
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
        ("missed", "catch_up_skip", None, "catch-up policy"),
        ("missed", "expired", None, "nobody had claimed it in time (1 h"),
        ("coalesced", "catch_up", "20260921T140000Z", "run 20260921T140000Z stood in"),
        ("skipped", "blackout", None, "a calendar said that nothing runs"),
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
    (due,) = (step for step in found.steps if step.what == "due")
    assert SLOT_MS + MINUTE < instant_ms(due.at or "") < SLOT_MS + MINUTE + 30_000
    assert due.detail.endswith("later, by jitter")


def test_a_due_slot_of_which_nothing_is_stored_is_pending() -> None:
    found = asked(SLOT_MS)
    assert found.verdict == "pending"
    assert "It was due 30 s ago" in found.reason


def test_an_instant_that_is_no_slot_names_its_neighbours() -> None:
    assert "a fraction of one" in asked(SLOT_MS + 1500).reason
    found = asked(SLOT_MS + 1000)
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


def test_a_slot_that_ran_tells_its_decision_lease_due_and_projection() -> None:
    """With the times and sequences that the events know, and of what is no event where it is to be found."""
    story, task = Story(first_seq=7, at_ms=SLOT_MS + 250), a_task("T")
    story.started(task, RUN, published_ms=SLOT_MS + 40)
    story.executed(task, RUN)
    chain = [(one.seq, decode_event(one.data)) for one in story.stored]
    found = asked(
        SLOT_MS,
        chain=chain,
        execution=fold_chain(story.stored),
        revisions=(Revision(START_MS, 4, task.schedule),),
        shard=ShardNow(5, 3, "s-1"),
        read_models=ReadModels(8, format_instant(NOW_MS)),
    )
    assert [(step.what, step.at, step.seq) for step in found.steps] == [
        ("schedule", format_instant(START_MS), 1),
        ("slot", format_instant(SLOT_MS), None),
        ("policy", format_instant(SLOT_MS + 40), None),
        ("lease", None, None),
        ("due", format_instant(SLOT_MS + 40), None),
        ("started", format_instant(SLOT_MS + 250), 7),
        ("executed", format_instant(SLOT_MS + 1250), 8),
        ("projection", format_instant(NOW_MS), 8),
    ]
    told = {step.what: step.detail for step in found.steps}
    assert told["schedule"] == "every minute (revision 4, version 1 of the task, by u1)"
    assert told["policy"] == "nothing was in its way: handed out by itself, as less than 60 s late"
    assert told["lease"] == "epoch 3 of the leaders of shard 5 (s-1 leads now)"
    assert told["due"].startswith(
        "sequence 1 of TASK_DUE, pool default, priority medium; published 40 ms after"
    )
    assert told["started"] == "attempt 1 on x1, 250 ms after due, 210 ms of it in the queue"
    assert told["projection"] == "the read models have it: they are at sequence 8"
    newer = asked(SLOT_MS, chain=chain, execution=fold_chain(story.stored), shard=ShardNow(5, 9, "s-2"))
    assert "s-2 leads with epoch 9 now" in newer.steps[2].detail + newer.steps[3].detail


def test_a_slot_that_was_late_and_ran_all_the_same_names_the_policy() -> None:
    story, task = Story(at_ms=SLOT_MS + 90_250), a_task("T")
    story.started(task, RUN, published_ms=SLOT_MS + 90_000)
    (policy,) = (step for step in told(story.stored).steps if step.what == "policy")
    assert policy.detail == "late by 90 s: the catch-up policy (latest now) let it run"


FREE = PoolNow("default", paused=False, max_in_flight=None, runnable=True)
BLACKOUT_ENDS = (SLOT_MS + 60 * MINUTE) // 1000


@pytest.mark.parametrize(
    ("given", "what", "words"),
    [
        ({"pool": FREE}, None, "It is still to come: it is due at"),
        ({"pool": FREE._replace(paused=True)}, "pool", "But pool 'default' is paused"),
        (
            {"pool": FREE._replace(runnable=False)},
            "executors",
            "But no live executor of pool 'default' runs type 'echo'",
        ),
        ({"pool": FREE._replace(max_in_flight=3)}, "pool", "But at most 3 of pool 'default'"),
        (
            {"in_flight": ("r1",)},
            "in_flight",
            "But run r1 has not ended: if that is still so then, it is skipped",
        ),
        ({"in_flight": ("r1", "r2")}, "in_flight", "run r1 and 1 more has not ended"),
        (
            {"touch": Touch("xmas", BlackoutAction.SKIP, BLACKOUT_ENDS)},
            "blackout",
            "calendar 'xmas' will skip it",
        ),
        (
            {"touch": Touch("xmas", BlackoutAction.DEFER, BLACKOUT_ENDS)},
            "blackout",
            "will put it off: it runs when",
        ),
        ({"touch": Touch("xmas", BlackoutAction.FIRST_AFTER, BLACKOUT_ENDS)}, "blackout", "for all of them"),
        (
            {"touch": Touch("xmas", BlackoutAction.SKIP, BLACKOUT_ENDS), "pool": FREE._replace(paused=True)},
            "blackout",
            "But calendar 'xmas' will skip it",
        ),
        ({"task": a_task("T", concurrency_key="k")}, "key", "at most 1 with key 'k'"),
        (
            {"task": a_task("T", rate_limit=RateLimit(count=5, per_seconds=60))},
            "key",
            "at most 5 start in 60 s",
        ),
    ],
)
def test_a_coming_slot_tells_the_policies_and_what_would_be_in_its_way(
    given: dict[str, Any], what: str | None, words: str
) -> None:
    found = asked(SLOT_MS + MINUTE, **given)
    assert (found.verdict, words in found.reason) == ("planned", True), found.reason
    assert [step.what for step in found.steps[:4]] == ["schedule", "slot", "due", "policy"]
    assert found.steps[3].detail.startswith("fires by itself while less than 60 s late")
    assert "overlap is skip" in found.steps[3].detail
    assert (found.steps[4].what if what else None) == what


def test_what_is_due_and_not_recorded_names_what_may_be_in_its_way() -> None:
    found = asked(SLOT_MS, pool=FREE._replace(runnable=False))
    assert found.verdict == "pending"
    assert "nothing is recorded about it yet: no live executor of pool 'default'" in found.reason


def test_a_pause_that_ends_before_a_coming_slot_lets_it_fire() -> None:
    pause = changed(4, SLOT_MS - 5000, paused=(False, True))
    for until_ms, words in (
        (SLOT_MS + MINUTE, "The pause ends before it"),
        (SLOT_MS + MINUTE + 1, "a pause that has not"),
    ):
        task = a_task("T", paused=True, paused_until=format_instant(until_ms))
        assert words in asked(SLOT_MS + MINUTE, pause, task=task).reason


BERLIN = Daily(time="02:30", timezone="Europe/Berlin")
SKIPPING = msgspec.structs.replace(BERLIN, dst=Dst(gap="skip"))
CREATED_2025 = instant_ms("2025-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("schedule", "at", "words"),
    [
        (
            Daily(time="09:00", timezone="UTC", start_at="2026-09-25T00:00:00.000Z"),
            "2026-09-24T09:00:00Z",
            "begins at",
        ),
        (
            Daily(time="09:00", timezone="UTC", end_at="2026-09-23T00:00:00.000Z"),
            "2026-09-24T09:00:00Z",
            "ended at",
        ),
        (
            Daily(time="09:00", timezone="UTC", exclude=("thu", "2026-09-25")),
            "2026-09-24T09:00:00Z",
            "excluded by the schedule (thu)",
        ),
        (
            Daily(time="09:00", timezone="UTC", exclude=("thu", "2026-09-25")),
            "2026-09-25T09:00:00Z",
            "(2026-09-25)",
        ),
        (
            Daily(time="09:00", timezone="UTC", exclude=(ExcludedDays(from_="2026-09-20", to="2026-10-01"),)),
            "2026-09-25T09:00:00Z",
            "(2026-09-20 up to but not 2026-10-01)",
        ),
        (
            Daily(time="09:00", timezone="Europe/Berlin", exclude=(ExcludedDays(holidays="DE"),)),
            "2025-12-25T08:00:00Z",
            "(holidays of DE)",
        ),
        (
            Daily(time="09:00", timezone="UTC", exclude=("thu",)),
            "2026-09-24T10:00:00Z",
            "is no slot of the schedule",
        ),
        # 02:30 by the clock of before the change, which is 03:30 by that of after it.
        (BERLIN, "2026-03-29T02:30:00+01:00", "the slot was at 2026-03-29T01:00:00.000Z instead"),
        (
            SKIPPING,
            "2026-03-29T02:30:00+01:00",
            "dst.gap is skip, so there was no slot",
        ),
        (SKIPPING, "2026-03-28T02:31:00+01:00", "is no slot of the schedule"),
    ],
)
def test_a_time_that_is_no_slot_says_why_not(schedule: Any, at: str, words: str) -> None:
    at_ms = instant_ms(at)
    found = explain(
        Facts(
            task=a_task("T", schedule=schedule),
            history=(created(CREATED_2025),),
            now_ms=instant_ms("2026-09-30T00:00:00Z"),
            at_ms=at_ms,
        )
    )
    assert (found.slot, found.verdict) == (None, "no_slot")
    assert words in found.reason, found.reason


def test_a_slot_beyond_the_runs_that_are_left_is_none() -> None:
    schedule = Interval(every_seconds=60, anchor="2026-09-21T00:00:00.000Z", timezone="UTC", max_runs=9)
    task = a_task("T", schedule=schedule, runs_left=2)
    assert asked(SLOT_MS + 2 * MINUTE, task=task).verdict == "planned"
    beyond = asked(SLOT_MS + 3 * MINUTE, task=task)
    assert (beyond.verdict, "ends after 9 runs, of which 2 are left" in beyond.reason) == ("no_slot", True)


def test_a_large_schedule_is_found_with_its_revision() -> None:
    """The history keeps it by its size alone, the audit whole."""
    change = changed(5, NOW_MS, schedule=({"omitted_bytes": 99_000}, None))
    minutes = Interval(every_seconds=60, anchor="2026-09-21T00:00:00.000Z", timezone="UTC")
    found = asked(SLOT_MS, change, revisions=(Revision(START_MS, 1, minutes), Revision(NOW_MS, 2, None)))
    assert found.verdict == "pending"
    assert found.steps[0].detail.startswith("every minute (revision 1, version 1")


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
