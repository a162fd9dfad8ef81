"""Ending an execution: what is done about it, by what stands last on its chain."""

from __future__ import annotations

import pytest

from gnomon_core.runtime.messages import Stored
from gnomon_scheduler.withdrawals import Step, Wish, act
from gnomon_schemas.events import Executed, ExecutionEvent, Missed, Skipped
from tests.unit.scheduler.making import (
    NOW_S,
    executed,
    fly,
    queued,
    retrying,
    run_at,
    started,
    stored,
    task_state,
)

NOW_MS = (NOW_S + 10) * 1000
RUN = run_at(1)
FIRM, GENTLE = ["cancelled", "deleted"], ["paused", "expired"]


def wish(reason: str, *, in_flight: bool = True, deadline_ms: int = NOW_MS + 1000) -> Wish:
    """A wish about the slot one second after the task was made."""
    task = task_state()
    if in_flight:
        fly(task, NOW_S + 1)
    return Wish(task, RUN, reason, deadline_ms)


def last(event: ExecutionEvent | None) -> Stored | None:
    """The last message of its chain, at sequence 77."""
    return None if event is None else stored(event, 77)


@pytest.mark.parametrize("reason", FIRM + GENTLE)
@pytest.mark.parametrize("event", [None, queued(RUN)], ids=["empty chain", "queued"])
def test_what_nobody_has_claimed_is_ended_on_its_chain(reason: str, event: ExecutionEvent | None) -> None:
    """Expecting just what was read, so that a claim in between refuses it."""
    outcome = act(wish(reason), last(event), NOW_MS, 0)
    assert isinstance(outcome, tuple)
    ending, expected = outcome
    assert isinstance(ending, Missed if reason == "expired" else Skipped)
    assert (ending.reason, ending.run, ending.count) == (reason, RUN, 1)
    assert expected == (0 if event is None else 77)


@pytest.mark.parametrize("reason", GENTLE)
@pytest.mark.parametrize("event", [started(RUN), retrying(RUN)])
def test_a_pause_and_an_expiry_leave_alone_what_was_claimed(reason: str, event: ExecutionEvent) -> None:
    assert act(wish(reason, deadline_ms=0), last(event), NOW_MS, 0) is Step.DROP


@pytest.mark.parametrize("reason", FIRM)
def test_a_running_handler_is_told_until_its_deadline_and_then_ended(reason: str) -> None:
    assert act(wish(reason), last(started(RUN)), NOW_MS, 0) is Step.SIGNAL
    outcome = act(wish(reason, deadline_ms=NOW_MS), last(started(RUN, attempt=2)), NOW_MS, 0)
    assert isinstance(outcome, tuple)
    ending, expected = outcome
    assert isinstance(ending, Executed)
    assert (ending.status, ending.reason, ending.attempt, ending.executor) == ("cancelled", reason, 2, None)
    assert expected == 77


@pytest.mark.parametrize("reason", FIRM)
def test_what_waits_for_its_next_attempt_is_ended_at_once(reason: str) -> None:
    outcome = act(wish(reason), last(retrying(RUN)), NOW_MS, 0)
    assert isinstance(outcome, tuple)
    assert isinstance(outcome[0], Executed)
    assert outcome[1] == 77


@pytest.mark.parametrize("reason", FIRM + GENTLE)
def test_what_has_ended_is_waited_for_until_it_is_folded(reason: str) -> None:
    assert act(wish(reason), last(executed(RUN)), NOW_MS, 0) is Step.WAIT
    assert act(wish(reason, in_flight=False), last(executed(RUN)), NOW_MS, 0) is Step.DROP


@pytest.mark.parametrize("reason", FIRM + GENTLE)
@pytest.mark.parametrize("event", [None, queued(RUN)])
def test_what_is_not_in_flight_is_not_ended(reason: str, event: ExecutionEvent | None) -> None:
    assert act(wish(reason, in_flight=False), last(event), NOW_MS, 0) is Step.DROP
