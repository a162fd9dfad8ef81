"""The claim table against the real broker: each row, from what stands on the chain to what is done."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gnomon_core.runtime.bus import WrongSequence
from gnomon_executor.attempt import Attempt
from gnomon_executor.chain_writer import ChainWriter
from gnomon_executor.claims import ASK_SECONDS, SETTLED_CONNECTION_SECONDS
from gnomon_executor.delivery import Delivery
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.dues import Due
from gnomon_schemas.events import (
    Coalesced,
    DeadLettered,
    ErrorInfo,
    Event,
    Executed,
    Failed,
    Missed,
    Queued,
    Retrying,
    Skipped,
    Started,
)
from gnomon_schemas.subjects import DUE_STREAM
from gnomon_schemas.tasks import NULL
from tests.integration.executor.faults import connect_faulty
from tests.integration.executor.handlers import words
from tests.integration.executor.harness import Lab, answer_claims, executed, make_due, names, until


def common(due: Due) -> dict[str, Any]:
    return {
        "task_id": due.task_id,
        "user_id": due.user_id,
        "partition": Lab.partition(due),
        "occurred_at": due.scheduled_for,
        "execution_id": due.execution_id,
        "run": due.run,
        "task_type": due.task_type,
        "attempt": due.attempt,
        "trigger": due.trigger,
        "scheduled_for": due.scheduled_for,
        "due_at": due.due_at,
        "revision": due.revision,
    }


def terminal(due: Due, name: str) -> Event:
    error = ErrorInfo(type="E", message="m")
    base, at = common(due), due.scheduled_for
    if name == "executed":
        return Executed(
            **base, status="completed", result=NULL, error=None, started_at=at, completed_at=at, executed_at=at,
            duration_ms=0, credits_consumed=0, tokens_used=0, api_calls_made=0, executor="other",
        )  # fmt: skip
    if name == "failed":
        return Failed(**base, status="failed", error=error, failure_count=1, consecutive_failures=1)
    if name == "dead_lettered":
        return DeadLettered(**base, reason="crash_loop", error=error)
    if name == "skipped":
        return Skipped(**base, reason="cancelled")
    if name == "missed":
        return Missed(**base, reason="expired")
    return Coalesced(**base, reason="latest", into="other")


def retrying(due: Due) -> Retrying:
    at = due.scheduled_for
    return Retrying(
        **common(due), retry_at=at, error=ErrorInfo(type="E", message="m"), executor="other", started_at=at,
        first_started_at=at, duration_ms=0,
    )  # fmt: skip


async def test_a_cause_is_what_the_claim_expects(lab: Lab) -> None:
    """A run on demand begins with `queued`; its claim comes right after it."""
    due = make_due()
    queued = await lab.put(due, Queued(**common(due), reason="manual"), 0)
    due = msgspec.structs.replace(due, cause_seq=queued)
    async with lab.worker():
        await lab.emit(due)
        await lab.ended(due)
    assert names(await lab.chain(due)) == ["queued", "started", "executed"]


async def test_row_unclaimed_a_claim_that_never_arrived_is_made_again(lab: Lab) -> None:
    """The request was lost: the chain has nothing newer than the cause, so it is claimed again, once."""
    due = make_due()
    bus = await connect_faulty(lab.url)
    bus.lose_request("task.started")
    async with lab.worker(bus=bus):
        await lab.emit(due)
        await lab.ended(due)
    assert names(await lab.chain(due)) == ["started", "executed"]


async def test_row_mine_a_claim_whose_answer_was_lost_is_recognised(lab: Lab, tmp_path: Path) -> None:
    """The claim was stored and its answer lost: the nonce says whose it is, and the handler runs once."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)})
    bus = await connect_faulty(lab.url)
    bus.lose_answer("task.started")
    async with lab.worker(bus=bus):
        await lab.emit(due)
        await lab.ended(due)
    assert names(await lab.chain(due)) == ["started", "executed"]
    assert words(trace) == ["begin", "end"]


async def test_row_running_here_a_second_delivery_is_adopted(lab: Lab, tmp_path: Path) -> None:
    """The same execution delivered twice to the process that runs it: one run, and both messages leave."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 1.0})
    async with lab.worker() as worker:
        await lab.emit(due)
        await until(lambda: _words(trace))
        await lab.emit(due)
        await lab.ended(due)
        await lab.queue_empty()
        assert worker.busy == 0
    assert names(await lab.chain(due)) == ["started", "executed"]
    assert words(trace) == ["begin", "end"]


async def test_row_dropped_here_is_started_on_top(lab: Lab) -> None:
    """This process claimed it and is not running it: it claims again on top, and that counts."""
    due = make_due()
    me = f"e-{secrets.token_hex(4)}"
    await lab.put(due, lab.started_event(due, me, nonce=f"{me}:ffff"), 0)
    async with lab.worker(executor_id=me):
        await lab.emit(due)
        await lab.ended(due)
    chain = await lab.chain(due)
    assert names(chain) == ["started", "started", "executed"]
    assert isinstance(chain[1], Started)
    assert (chain[1].executor, chain[1].takeovers) == (me, 1)


@pytest.mark.parametrize("name", ["executed", "failed", "dead_lettered", "skipped", "missed", "coalesced"])
async def test_row_over_after_a_terminal_it_is_acknowledged_and_nothing_else(
    lab: Lab, name: str, tmp_path: Path
) -> None:
    """Whatever ended the execution: the handler does not run, the chain stays as it is, the message leaves."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)})
    await lab.put(due, terminal(due, name), 0)
    async with lab.worker():
        await lab.emit(due)
        await lab.queue_empty()
    assert names(await lab.chain(due)) == [name]
    assert words(trace) == []


async def test_row_over_after_a_later_retrying(lab: Lab, tmp_path: Path) -> None:
    """The attempt is over and another one follows: this due is a leftover."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)})
    await lab.put(due, retrying(due), 0)
    async with lab.worker():
        await lab.emit(due)
        await lab.queue_empty()
    assert names(await lab.chain(due)) == ["retrying"]
    assert words(trace) == []


async def test_row_over_when_the_chain_of_a_later_attempt_is_gone(lab: Lab, tmp_path: Path) -> None:
    """A second attempt whose chain has left the log was finished long ago."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)}, attempt=2, cause_seq=1, expires_at=None)
    async with lab.worker():
        await lab.emit(due)
        await lab.queue_empty()
    assert await lab.chain(due) == []
    assert words(trace) == []


async def test_row_anothers_that_is_running_comes_again_after_the_ack_wait(lab: Lab, tmp_path: Path) -> None:
    """Another executor says that it is running it: nothing is touched; once that one is done, it is acknowledged."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)})
    other = f"e-{secrets.token_hex(4)}"
    await answer_claims(lab, other, running=True)
    claimed = await lab.put(due, lab.started_event(due, other), 0)
    async with lab.worker(ack_wait=2.0) as worker:
        emitted = time.monotonic()
        await lab.emit(due)
        await until(lambda: _consumed(lab))
        await until(lambda: _idle(worker))
        assert names(await lab.chain(due)) == ["started"]
        await lab.put(due, terminal(due, "executed"), claimed)
        await lab.queue_empty()
        assert time.monotonic() - emitted >= 1.9
    assert names(await lab.chain(due)) == ["started", "executed"]
    assert words(trace) == []


async def test_row_take_over_when_the_other_is_silent(either_lab: Lab) -> None:
    """Another executor does not answer for two seconds: its attempt is taken over, and that is counted."""
    lab = either_lab
    due = make_due()
    await lab.put(due, lab.started_event(due, "e-gone"), 0)
    async with lab.worker() as worker:
        await until(lambda: _settled_connection(worker))
        emitted = time.monotonic()
        await lab.emit(due)
        await lab.ended(due)
        assert time.monotonic() - emitted >= 1.9
    chain = await lab.chain(due)
    assert names(chain) == ["started", "started", "executed"]
    assert isinstance(chain[1], Started)
    assert chain[1].takeovers == 1


async def test_row_take_over_when_the_other_says_it_is_not_running_it(lab: Lab) -> None:
    """An executor that answers "not running" is not waited for."""
    due = make_due()
    other = f"e-{secrets.token_hex(4)}"
    await answer_claims(lab, other, running=False)
    await lab.put(due, lab.started_event(due, other), 0)
    async with lab.worker():
        begun = time.monotonic()
        await lab.emit(due)
        await lab.ended(due)
        assert time.monotonic() - begun < 1.5
    assert names(await lab.chain(due)) == ["started", "started", "executed"]


async def test_a_silence_right_after_connecting_proves_nothing(lab: Lab) -> None:
    """Nobody is taken over before the connection is settled and silence has lasted from then on."""
    due = make_due()
    await lab.put(due, lab.started_event(due, "e-reconnecting"), 0)
    await lab.emit(due)
    async with lab.worker() as worker:
        began = time.monotonic()
        await lab.ended(due)
        # A second until the connection is settled, two of silence; it was made a moment before.
        assert time.monotonic() - began >= SETTLED_CONNECTION_SECONDS + ASK_SECONDS - 0.5
        await until(lambda: _idle(worker))


async def test_row_crash_loop_at_the_limit(lab: Lab, tmp_path: Path) -> None:
    """An attempt that was taken over as often as allowed ends as failed, without running once more."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)})
    other = f"e-{secrets.token_hex(4)}"
    await answer_claims(lab, other, running=False)
    await lab.put(due, lab.started_event(due, other, takeovers=3), 0)
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
        await lab.queue_empty()
    assert (result.status, result.reason) == ("failed", "crash_loop")
    assert names(await lab.chain(due)) == ["started", "executed"]
    assert words(trace) == []


async def test_take_overs_count_for_one_attempt_only(lab: Lab) -> None:
    """The take-overs of the first attempt do not weigh on the second."""
    due = make_due(attempt=2, expires_at=None)
    first = msgspec.structs.replace(due, attempt=1)
    seq = await lab.put(first, lab.started_event(first, "e-old", takeovers=3), 0)
    cause = await lab.put(first, retrying(first), seq)
    due = msgspec.structs.replace(due, cause_seq=cause)
    async with lab.worker():
        await lab.emit(due)
        await lab.ended(due)
    last = (await lab.chain(due))[2]
    assert isinstance(last, Started)
    assert last.takeovers == 0


async def test_row_given_back_goes_on_at_once_and_uncounted(lab: Lab) -> None:
    """A stopping executor gave the attempt back: nobody is asked, no take-over is counted."""
    due = make_due()
    seq = await lab.put(due, lab.started_event(due, "e-stopped", takeovers=2), 0)
    await lab.put(due, lab.started_event(due, "e-stopped", takeovers=2, released=True), seq)
    async with lab.worker():
        begun = time.monotonic()
        await lab.emit(due)
        await lab.ended(due)
        assert time.monotonic() - begun < 1.5
    third = (await lab.chain(due))[2]
    assert isinstance(third, Started)
    assert third.takeovers == 2


async def test_failure_10_row_taken_from_me_the_result_is_dropped_and_nothing_is_sent(
    either_lab: Lab, tmp_path: Path
) -> None:
    """Another executor's `started` is on top when the result comes: it is refused, dropped, and heard by nobody;
    the message stays with the other one."""
    lab = either_lab
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 0.7})
    heard: list[bytes] = []

    async def hear(message: Any) -> None:
        if due.execution_id.encode() in message.data:
            heard.append(message.data)

    await lab.bus.subscribe(subjects.live("task", "executed"), hear)
    async with lab.worker() as worker:
        await lab.emit(due)
        await until(lambda: _words(trace))
        mine = (await lab.stored(lab.chain_of(due)))[0]
        await lab.put(due, lab.started_event(due, "e-successor", takeovers=1), mine.seq)
        await until(lambda: _words(trace, 2))
        await until(lambda: _idle(worker))
        assert names(await lab.chain(due)) == ["started", "started"]
        assert len(await lab.stored("task.due.>", DUE_STREAM)) == 1
    assert heard == []
    await lab.bus.purge(DUE_STREAM, filter="task.due.>")


async def test_row_recorded_a_result_whose_answer_was_lost_is_not_doubled(either_lab: Lab) -> None:
    """The result was stored and its answer lost: it is found on the chain, and the message acknowledged."""
    lab = either_lab
    due = make_due()
    bus = await connect_faulty(lab.url)
    bus.lose_answer("task.executed")
    async with lab.worker(bus=bus):
        await lab.emit(due)
        await lab.queue_empty()
    assert names(await lab.chain(due)) == ["started", "executed"]


async def test_a_result_that_never_arrived_is_published_again(lab: Lab) -> None:
    """The request with the result was lost: one's own claim is still last, so it is sent again."""
    due = make_due()
    bus = await connect_faulty(lab.url)
    bus.lose_request("task.executed")
    async with lab.worker(bus=bus):
        await lab.emit(due)
        await lab.queue_empty()
    assert names(await lab.chain(due)) == ["started", "executed"]


async def test_a_cancel_put_on_top_by_the_shard_ends_it(lab: Lab, tmp_path: Path) -> None:
    """The shard ended the execution while it ran: the executor's result is refused, and the message leaves."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 0.7})
    async with lab.worker():
        await lab.emit(due)
        await until(lambda: _words(trace))
        mine = (await lab.stored(lab.chain_of(due)))[0]
        ended = msgspec.structs.replace(terminal(due, "executed"), status="cancelled", executor=None)
        await lab.put(due, ended, mine.seq)
        await lab.queue_empty()
    [result] = executed(await lab.chain(due))
    assert result.status == "cancelled"


async def test_an_expired_first_attempt_is_missed_and_a_later_one_is_not(lab: Lab) -> None:
    """`expires_at` ends work that nobody claimed in time; what has started once is never too late."""
    past = format_instant(time.time_ns() // 1_000_000 - 1000)
    first = make_due(expires_at=past)
    second = make_due(attempt=2, expires_at=past)
    taken = make_due(expires_at=past)
    other = f"e-{secrets.token_hex(4)}"
    await answer_claims(lab, other, running=False)
    await lab.put(taken, lab.started_event(taken, other), 0)
    before = msgspec.structs.replace(second, attempt=1)
    cause = await lab.put(before, retrying(before), 0)
    second = msgspec.structs.replace(second, cause_seq=cause)
    async with lab.worker():
        for due in (first, second, taken):
            await lab.emit(due)
        await lab.queue_empty()
    [missed] = await lab.chain(first)
    assert isinstance(missed, Missed)
    assert (missed.reason, missed.count, missed.execution_id) == ("expired", 1, first.execution_id)
    assert names(await lab.chain(second)) == ["retrying", "started", "executed"]
    assert names(await lab.chain(taken)) == ["started", "started", "executed"]


async def test_failure_04_four_claimants_one_winner(either_lab: Lab, tmp_path: Path) -> None:
    """Each execution delivered to four executors at once: one claim, one run and one result of each."""
    lab = either_lab
    trace = tmp_path / "trace"
    dues = [make_due("test_wait", {"trace": str(trace)}) for _ in range(60)]
    async with (
        lab.worker(ack_wait=2.0) as one,
        lab.worker(ack_wait=2.0) as two,
        lab.worker(ack_wait=2.0) as three,
        lab.worker(ack_wait=2.0) as four,
    ):
        for due in dues:
            for _ in range(4):
                await lab.emit(due)
        await lab.queue_empty(timeout=40)
        assert [worker.busy for worker in (one, two, three, four)] == [0] * 4
    for due in dues:
        assert names(await lab.chain(due)) == ["started", "executed"]
    assert sorted(words(trace)) == ["begin"] * 60 + ["end"] * 60


async def _words(trace: Path, count: int = 1) -> bool:
    return len(words(trace)) >= count


async def _idle(worker: Any) -> bool:
    return bool(worker.busy == 0)


async def _settled_connection(worker: Any) -> bool:
    return bool(time.monotonic() - worker.intake._bus.connected_since > 2.1)


async def _consumed(lab: Lab) -> bool:
    info = await lab.bus.api(f"CONSUMER.INFO.{DUE_STREAM}.exec_default_medium")
    return bool(info["num_ack_pending"] > 0)


async def test_failure_04_an_id_that_was_seen_counts_as_refused(either_lab: Lab) -> None:
    """The broker answers a repeated message id with "duplicate", which is no refusal to it: to a chain it is one."""
    lab = either_lab
    due = make_due()
    writer = ChainWriter(lab.bus, "e-twice")
    delivery = Delivery("task.due.default.medium.0.x", b"", None, "", "", 1, 1, 0, 0)
    attempt = Attempt(due, delivery, lab.partition(due), writer.nonce())
    attempt.started_at = due.due_at
    message = writer.started(attempt)
    seq = await writer.store(attempt, message, 0)
    with pytest.raises(WrongSequence):
        await writer.store(attempt, message, seq)
    assert names(await lab.chain(due)) == ["started"]


async def test_failure_14_in_process_is_asked_again_and_decides_nothing(lab: Lab, tmp_path: Path) -> None:
    """Told that another write is in process, claim and result are tried again; the handler runs once."""
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace)})
    bus = await connect_faulty(lab.url)
    bus.answer_in_process("task.started", 5)
    bus.answer_in_process("task.executed", 5)
    async with lab.worker(bus=bus):
        await lab.emit(due)
        await lab.queue_empty()
    assert names(await lab.chain(due)) == ["started", "executed"]
    assert words(trace) == ["begin", "end"]
