"""The claim table: what the chain's last event tells an executor, one row after another."""

from __future__ import annotations

from typing import Any

import pytest

from gnomon_core.runtime.messages import Stored
from gnomon_executor.chain import ChainEnd, Row, Taken, chain_end, claim_row, result_row, taken_row
from gnomon_schemas.events import TERMINAL


def end(name: str, seq: int = 20, **fields: Any) -> ChainEnd:
    values: dict[str, Any] = {
        "msg_id": "",
        "attempt": 1,
        "executor": None,
        "nonce": "",
        "takeovers": 0,
        "released": False,
        "started_at": "",
        "first_started_at": "",
    }
    return ChainEnd(name=name, seq=seq, **{**values, **fields})


def row(last: ChainEnd | None, *, cause_seq: int = 10, attempt: int = 1, running: bool = False) -> Row:
    return claim_row(last, cause_seq=cause_seq, attempt=attempt, me="me", nonce="me:1", running=running)


def test_nothing_newer_than_the_cause_is_claimed() -> None:
    assert row(end("queued", 10)) is Row.UNCLAIMED
    assert row(end("retrying", 10), attempt=2) is Row.UNCLAIMED
    assert row(None) is Row.UNCLAIMED


def test_my_nonce_means_it_was_stored() -> None:
    assert row(end("started", executor="me", nonce="me:1")) is Row.MINE


def test_started_here_and_running_is_adopted() -> None:
    assert row(end("started", executor="me", nonce="me:0"), running=True) is Row.RUNNING_HERE


def test_started_here_and_not_running_is_claimed_on_top() -> None:
    assert row(end("started", executor="me", nonce="me:0")) is Row.DROPPED_HERE


@pytest.mark.parametrize("name", sorted(TERMINAL))
def test_any_terminal_is_over(name: str) -> None:
    assert row(end(name)) is Row.OVER
    assert row(end(name, 10)) is Row.OVER


def test_a_later_retrying_is_over() -> None:
    assert row(end("retrying")) is Row.OVER


def test_a_later_attempts_claim_is_over() -> None:
    assert row(end("started", executor="you", nonce="you:1", attempt=2)) is Row.OVER


def test_a_chain_that_is_gone_is_over_unless_it_is_a_first_attempt() -> None:
    assert row(None, attempt=2) is Row.OVER
    assert row(None, attempt=1) is Row.UNCLAIMED


def test_started_by_another_is_asked() -> None:
    assert row(end("started", executor="you", nonce="you:1")) is Row.ANOTHERS


def test_what_another_gave_back_is_claimed_without_asking() -> None:
    assert row(end("started", executor="you", nonce="you:1", released=True)) is Row.GIVEN_BACK


def test_another_that_runs_it_keeps_it() -> None:
    assert taken_row(True, end("started", takeovers=99), 3) is Taken.LEAVE


@pytest.mark.parametrize(
    ("takeovers", "expected"),
    [(0, Taken.TAKE_OVER), (2, Taken.TAKE_OVER), (3, Taken.CRASH_LOOP), (4, Taken.CRASH_LOOP)],
)
def test_silence_is_taken_over_up_to_the_limit(takeovers: int, expected: Taken) -> None:
    assert taken_row(False, end("started", takeovers=takeovers), 3) is expected


def result(last: ChainEnd | None) -> Row:
    return result_row(last, claim_seq=20, nonce="me:1", msg_id="me:2")


def test_my_own_result_was_stored() -> None:
    assert result(end("executed", 21, msg_id="me:2")) is Row.RECORDED
    assert result(end("retrying", 21, msg_id="me:2")) is Row.RECORDED


def test_my_own_claim_still_last_means_publish_again() -> None:
    assert result(end("started", 20, nonce="me:1")) is Row.MINE


def test_anothers_claim_takes_the_result_from_me() -> None:
    assert result(end("started", 21, executor="you", nonce="you:1")) is Row.TAKEN_FROM_ME


@pytest.mark.parametrize("name", [*sorted(TERMINAL), "retrying"])
def test_a_result_after_the_end_is_over(name: str) -> None:
    assert result(end(name, 30, msg_id="you:7")) is Row.OVER
    assert result(None) is Row.OVER


def test_an_unreadable_started_counts_as_anothers() -> None:
    """What cannot be read must not be claimed as if nothing were there, nor end the execution."""
    stored = Stored("task.started.3.t.r", 20, 0, {}, b"\xff")
    last = chain_end(stored)
    assert last is not None
    assert row(last) is Row.ANOTHERS
