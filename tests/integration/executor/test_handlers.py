"""Running handlers: where they run, how they end, and what is recorded of it."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gnomon_core.runtime.clock import ClockGuard
from gnomon_executor.jobs import Job
from gnomon_schemas import subjects
from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.codec import encode
from gnomon_schemas.dues import PreviousRun
from gnomon_schemas.events import Executed, Queued, Rejected, Retrying, Started
from gnomon_schemas.limits import RESULT_MAX
from gnomon_schemas.subjects import DUE_STREAM
from gnomon_schemas.tasks import RetryPolicy, Trigger
from tests.integration.executor.handlers import words
from tests.integration.executor.harness import Lab, executed, make_due, names, until

THREE = RetryPolicy(max_attempts=3, initial_seconds=10, jitter=0)


async def test_a_failure_with_attempts_left_is_retrying(lab: Lab) -> None:
    """The executor computes when, tells it, and lets go: the next attempt is the scheduler's."""
    due = make_due("test_fail", retry=THREE)
    async with lab.worker():
        await lab.emit(due)
        await lab.queue_empty()
    started, event = await lab.chain(due)
    assert isinstance(started, Started)
    assert isinstance(event, Retrying)
    assert instant_ms(event.retry_at) - instant_ms(event.occurred_at) == 10_000
    assert (event.error.type, event.attempt, event.first_started_at) == ("ValueError", 1, started.started_at)
    assert event.error.traceback is not None


async def test_the_last_failure_is_executed_failed(lab: Lab) -> None:
    due = make_due("test_fail")
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.message == "this one always fails"
    assert bytes(result.result) == b"null"


async def test_br_exe_003_a_start_is_recorded_before_the_handler_is_called(lab: Lab) -> None:
    """The handler itself finds it in the log."""
    due = make_due("test_looks")
    config = msgspec.Raw(encode({"url": lab.url, "chain": lab.chain_of(due)}))
    due = msgspec.structs.replace(due, config=config)
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
    assert msgspec.json.decode(result.result) == ["started"]


@pytest.mark.parametrize(
    ("fails", "used", "cost"), [(True, 0, 0), (True, 1.5, 1.5), (False, 0, 2), (False, 0.5, 2.5)]
)
async def test_br_exe_004_credits_are_charged_for_success_and_what_a_handler_reported(
    lab: Lab, fails: bool, used: float, cost: float
) -> None:
    config = msgspec.Raw(encode({"fails": fails, "used": used}))
    due = make_due("test_spend", config=config, credits_per_run=2)
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
    assert (result.status, result.credits_consumed) == ("failed" if fails else "completed", cost)


async def test_a_later_attempt_tells_when_the_first_one_started(lab: Lab) -> None:
    """Total timeouts count from the first start, so every `retrying` carries it on."""
    due = make_due("test_fail", retry=THREE)
    async with lab.worker():
        await lab.emit(due)
        await lab.queue_empty()
        first = (await lab.stored(lab.chain_of(due)))[-1]
        second = msgspec.structs.replace(due, attempt=2, cause_seq=first.seq, expires_at=None)
        await lab.emit(second)
        await lab.queue_empty()
    chain = await lab.chain(due)
    assert names(chain) == ["started", "retrying", "started", "retrying"]
    assert isinstance(chain[3], Retrying)
    assert isinstance(chain[0], Started)
    assert chain[3].first_started_at == chain[0].started_at


async def test_the_handler_decides_with_retry_and_do_not_retry(lab: Lab) -> None:
    again = make_due("test_retry_after", retry=THREE)
    never = make_due("test_do_not_retry", retry=THREE)
    async with lab.worker():
        await lab.emit(again)
        await lab.emit(never)
        await lab.queue_empty()
    event = (await lab.chain(again))[-1]
    assert isinstance(event, Retrying)
    # Decided when the handler ended, recorded a moment later.
    assert instant_ms(event.retry_at) - 7000 == pytest.approx(instant_ms(event.occurred_at), abs=500)
    assert instant_ms(event.retry_at) - 7000 >= instant_ms(event.started_at)
    [result] = executed(await lab.chain(never))
    assert (result.status, result.reason) == ("failed", "do_not_retry")


async def test_a_coroutine_that_takes_too_long_is_cancelled_and_timed_out(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    due = make_due("test_wait", {"trace": str(trace), "seconds": 30}, timeout_seconds=0.4)
    async with lab.worker() as worker:
        await lab.emit(due)
        result = await lab.ended(due)
        await lab.queue_empty()
        assert worker.busy == 0
    assert (result.status, result.reason) == ("timed_out", "timeout")
    assert words(trace) == ["begin", "cancelled"]
    assert 300 <= result.duration_ms < 3000


async def test_a_timeout_with_attempts_left_is_retrying(lab: Lab, tmp_path: Path) -> None:
    due = make_due(
        "test_wait", {"trace": str(tmp_path / "t"), "seconds": 30}, timeout_seconds=0.3, retry=THREE
    )
    async with lab.worker():
        await lab.emit(due)
        await lab.queue_empty()
    event = (await lab.chain(due))[-1]
    assert isinstance(event, Retrying)
    assert (event.status, event.error.type) == ("timed_out", "Timeout")


async def test_the_end_of_all_attempts_ends_without_another(lab: Lab, tmp_path: Path) -> None:
    due = make_due(
        "test_wait",
        {"trace": str(tmp_path / "t"), "seconds": 30},
        timeout_seconds=30,
        total_timeout_seconds=0.4,
        retry=THREE,
    )
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
    assert (result.status, result.reason) == ("timed_out", "total_timeout")


async def test_an_attempt_after_the_end_of_all_is_not_begun(lab: Lab, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    past = format_instant(time.time_ns() // 1_000_000 - 1000)
    due = make_due("test_wait", {"trace": str(trace)}, deadline=past, total_timeout_seconds=5.0)
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
    assert (result.status, result.reason) == ("timed_out", "total_timeout")
    assert words(trace) == []


async def test_a_thread_times_out_at_once_and_keeps_its_slot_until_it_returns(
    lab: Lab, tmp_path: Path
) -> None:
    """A thread cannot be killed: its result is recorded at the timeout, its late return dropped."""
    trace = tmp_path / "trace"
    due = make_due("test_thread", {"trace": str(trace), "seconds": 2.0}, timeout_seconds=0.3)
    async with lab.worker() as worker:
        await lab.emit(due)
        result = await lab.ended(due)
        await lab.queue_empty()
        assert words(trace) == ["begin"]
        assert worker.busy == 1
        await until(lambda: _idle(worker))
        assert words(trace) == ["begin", "end"]
    assert result.status == "timed_out"
    assert names(await lab.chain(due)) == ["started", "executed"]


async def test_threads_and_processes_run_side_by_side(lab: Lab, tmp_path: Path) -> None:
    """Ten functions that sleep for half a second take about that, not five."""
    dues = [make_due("test_thread", {"trace": str(tmp_path / "t"), "seconds": 0.5}) for _ in range(10)]
    async with lab.worker():
        begun = time.monotonic()
        for due in dues:
            await lab.emit(due)
        await lab.queue_empty()
        assert time.monotonic() - begun < 3


async def test_a_process_runs_elsewhere_and_is_kept(lab: Lab, tmp_path: Path) -> None:
    dues = [make_due("test_process", {"trace": str(tmp_path / "t")}) for _ in range(3)]
    pids = set()
    async with lab.worker():
        for due in dues:
            await lab.emit(due)
            result = msgspec.json.decode((await lab.ended(due)).result)
            assert result["key"] == due.execution_id
            pids.add(result["pid"])
    assert len(pids) == 1
    assert os.getpid() not in pids


async def test_a_process_is_killed_at_its_timeout(lab: Lab, tmp_path: Path) -> None:
    """A worker process that is deaf to everything is ended, and the next job gets another one."""
    trace = tmp_path / "trace"
    first = make_due("test_process", {"trace": str(tmp_path / "first")})
    due = make_due("test_process", {"trace": str(trace), "seconds": 60}, timeout_seconds=1.5)
    async with lab.worker() as worker:
        await lab.emit(first)  # so that a process is up, and the timeout is the handler's alone
        await lab.ended(first)
        await lab.emit(due)
        result = await lab.ended(due)
        await until(lambda: _idle(worker))
        following = make_due("test_process", {"trace": str(trace)})
        await lab.emit(following)
        assert (await lab.ended(following)).status == "completed"
    assert result.status == "timed_out"
    assert words(trace) == ["begin", "begin", "end"]


async def test_a_process_that_dies_is_a_failed_attempt(lab: Lab) -> None:
    """Only the attempt fails: the executor lives."""
    due = make_due("test_process_dies")
    async with lab.worker() as worker:
        await lab.emit(due)
        result = await lab.ended(due)
        assert worker.running
    assert result.error is not None
    assert result.error.type == "WorkerProcessDied"
    assert "exit code 7" in result.error.message


async def test_results_of_every_kind_end_somewhere(lab: Lab) -> None:
    """Too large is cut, no JSON and too deep are failures; none of them stays undelivered."""
    large, no_json, deep = (make_due("test_result", {"kind": kind}) for kind in ("large", "object", "deep"))
    async with lab.worker():
        for due in (large, no_json, deep):
            await lab.emit(due)
        cut = await lab.ended(large)
        odd, nested = await lab.ended(no_json), await lab.ended(deep)
    assert (cut.status, cut.result_truncated) == ("completed", True)
    assert len(bytes(cut.result)) <= RESULT_MAX
    for result in (odd, nested):
        assert result.status == "failed"
        assert result.error is not None
        assert result.error.type == "ResultNotEncodable"


async def test_a_config_that_does_not_fit_fails_at_once(lab: Lab) -> None:
    due = make_due("sleep", {"seconds": "long"}, retry=THREE)
    async with lab.worker():
        await lab.emit(due)
        result = await lab.ended(due)
    assert result.error is not None
    assert result.error.type == "InvalidConfig"


async def test_the_context_says_what_the_run_is(lab: Lab) -> None:
    """Input, overrides, the last success, usage: what a handler sees, and what is recorded of it."""
    task_id = make_due().task_id
    before = make_due("echo", {"was": 1}, task_id=task_id)
    due = make_due("test_context", {"a": 1, "b": {"c": 2, "d": 3}}, task_id=task_id, trigger=Trigger.MANUAL)
    async with lab.worker():
        await lab.emit(before)
        done = await lab.ended(before)
        queued = Queued(
            **{field: getattr(due, field) for field in _SHARED},
            partition=lab.partition(due),
            occurred_at=due.scheduled_for,
            reason="manual",
            trigger_data=msgspec.Raw(b'{"why":"test"}'),
            config_overrides=msgspec.Raw(b'{"b":{"c":null,"e":4}}'),
        )
        cause = await lab.put(due, queued, 0)
        due = msgspec.structs.replace(
            due,
            cause_seq=cause,
            has_input=True,
            credits_per_run=2,
            previous=PreviousRun(at=done.completed_at, run=before.run),
            metadata=msgspec.Raw(b'{"team":"blue"}'),
        )
        await lab.emit(due)
        result = await lab.ended(due)
    seen = msgspec.json.decode(result.result)
    claim = (await lab.stored(lab.chain_of(due)))[1]
    assert seen["config"] == {"a": 1, "b": {"d": 3, "e": 4}}
    assert seen["trigger_data"] == {"why": "test"}
    assert seen["metadata"] == {"team": "blue"}
    assert seen["previous"] == {"was": 1}
    assert seen["idempotency_key"] == seen["execution_id"] == due.execution_id
    assert (seen["trigger"], seen["user_id"], seen["attempt"]) == ("manual", "u1", 1)
    assert seen["fencing_token"] == claim.seq
    assert 20 < seen["seconds_left"] < 40
    assert (result.tokens_used, result.api_calls_made, result.credits_consumed) == (10, 2, 2.5)


async def test_trigger_data_without_overrides_leaves_the_config_alone(lab: Lab) -> None:
    due = make_due("test_context", {"a": 1}, trigger=Trigger.MANUAL)
    queued = Queued(
        **{field: getattr(due, field) for field in _SHARED},
        partition=lab.partition(due),
        occurred_at=due.scheduled_for,
        reason="manual",
        trigger_data=msgspec.Raw(b"[1,2]"),
    )
    cause = await lab.put(due, queued, 0)
    async with lab.worker():
        await lab.emit(msgspec.structs.replace(due, cause_seq=cause, has_input=True))
        seen = msgspec.json.decode((await lab.ended(due)).result)
    assert (seen["config"], seen["trigger_data"]) == ({"a": 1}, [1, 2])


async def test_progress_is_heard_on_core_nats(lab: Lab, tmp_path: Path) -> None:
    """From a worker process too."""
    due = make_due("test_process", {"trace": str(tmp_path / "t"), "seconds": 0.3})
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def hear(message: Any) -> None:
        heard.put_nowait(msgspec.json.decode(message.data))

    await lab.bus.subscribe(subjects.progress(due.task_id, due.run), hear)
    async with lab.worker():
        await lab.emit(due)
        report = await asyncio.wait_for(heard.get(), 10)
        await lab.ended(due)
    assert (report["fraction"], report["message"], report["execution_id"]) == (0.5, "half", due.execution_id)


async def test_a_cancel_is_heard_and_recorded(lab: Lab, tmp_path: Path) -> None:
    """A coroutine that does not look is cancelled; a function that looks stops; a deaf process is killed."""
    coroutine, thread, process = (
        make_due(kind, {"trace": str(tmp_path / kind), "seconds": 30})
        for kind in ("test_wait", "test_polite_thread", "test_process")
    )
    dues = (coroutine, thread, process)
    async with lab.worker() as worker:
        for due in dues:
            await lab.emit(due)
            await until(partial(_said, tmp_path / due.task_type, "begin"))
        for due in dues:
            await lab.bus.send(subjects.cancel_signal(due.task_id, due.run), encode({"reason": "by hand"}))
        results = [await lab.ended(due) for due in dues]
        await lab.queue_empty()
        await until(lambda: _idle(worker))
    for result in results:
        assert (result.status, result.reason) == ("cancelled", "cancelled")
        assert result.error is not None
        assert result.error.message == "by hand"
    assert words(tmp_path / "test_wait") == ["begin", "cancelled"]
    assert words(tmp_path / "test_polite_thread") == ["begin", "told"]
    assert bytes(results[1].result) == b'"stopped"'
    assert words(tmp_path / "test_process") == ["begin"]


async def test_a_handler_that_blocks_its_loop_runs_once(lab: Lab, tmp_path: Path) -> None:
    """Blocking for three ack waits: the claim is kept, the message never comes again, and a function in a thread
    goes on beside it."""
    trace = tmp_path / "trace"
    due = make_due("test_block", {"trace": str(trace), "seconds": 6.0})
    beside = make_due("test_thread", {"trace": str(tmp_path / "beside")})
    async with lab.worker(ack_wait=2.0):
        before = await _deliveries(lab)
        await lab.emit(due)
        await until(lambda: _said(trace, "begin"))
        await lab.emit(beside)
        await lab.ended(beside)
        assert words(trace) == ["begin"]
        await lab.ended(due)
        await lab.queue_empty()
        assert await _deliveries(lab) == before + 2
    assert words(trace) == ["begin", "end"]
    assert names(await lab.chain(due)) == ["started", "executed"]


async def test_failure_26_work_of_an_unknown_type_is_left_to_others(lab: Lab) -> None:
    """This executor does not run the type: the message goes back, untouched, for one that does."""
    due = make_due("no_such_type_here")
    async with lab.worker() as worker:
        await lab.emit(due)
        await until(lambda: _seen(lab))
        await until(lambda: _idle(worker))
    assert await lab.chain(due) == []
    assert len(await lab.stored("task.due.>", DUE_STREAM)) == 1
    await lab.bus.purge(DUE_STREAM, filter="task.due.>")


async def test_a_due_that_cannot_be_read_ends_as_failed_where_its_chain_is_known(lab: Lab) -> None:
    """Its slot has an outcome, and it leaves the queue."""
    due = make_due()
    whole = msgspec.json.decode(encode(due))
    whole["retry"] = "often"
    subject = subjects.due("default", "medium", lab.partition(due), due.task_id)
    async with lab.worker() as worker:
        await lab.emit_raw(subject, encode(whole))
        result = await lab.ended(due)
        await lab.queue_empty()
        await until(lambda: _idle(worker))
    assert (result.status, result.reason) == ("failed", "unreadable_due")


async def test_a_due_that_cannot_be_read_at_all_is_told_and_removed(lab: Lab) -> None:
    due = make_due()
    partition = lab.partition(due)
    subject = subjects.due("default", "medium", partition, due.task_id)
    async with lab.worker():
        await lab.emit_raw(subject, b"\xffnot json")
        await lab.queue_empty()
    [stored] = await lab.stored(subjects.event("task", "rejected", partition, due.task_id))
    rejected = msgspec.json.decode(stored.data, type=Rejected)
    assert (rejected.verb, rejected.subject) == ("due", subject)


async def test_failure_24_an_executor_whose_clock_is_off_claims_nothing(lab: Lab) -> None:
    """It asks for no work; once its clock is right, it does."""
    guard = ClockGuard()
    guard.told(0, 600_000, 1)
    guard.told(0, 600_000, 1)
    due = make_due()
    async with lab.worker(guard=guard) as worker:
        await lab.emit(due)
        await asyncio.sleep(1.5)  # nothing is to happen: there is no signal to wait for
        assert await lab.chain(due) == []
        assert worker.intake.lanes.outstanding == 0
        guard.told(0, 0, 0)
        await lab.ended(due)


async def test_the_trace_goes_on_from_the_due_to_the_events(lab: Lab) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    due = make_due()
    subject = subjects.due(due.pool, due.priority.value, lab.partition(due), due.task_id)
    await lab.bus.store(subject, encode(due), {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    async with lab.worker():
        await lab.ended(due)
    traces = [stored.headers["traceparent"] for stored in await lab.stored(lab.chain_of(due))]
    assert [trace.split("-")[1] for trace in traces] == [trace_id] * 2
    assert traces[0] == traces[1]
    assert "b7ad6b7169203331" not in traces[0]


async def test_events_are_cloud_events(lab: Lab) -> None:
    due = make_due()
    async with lab.worker(executor_id="e-headers"):
        await lab.emit(due)
        await lab.ended(due)
    started, ended = await lab.stored(lab.chain_of(due))
    assert started.headers["ce-type"] == "gnomon.task.started.v1"
    assert ended.headers["ce-type"] == "gnomon.task.executed.v1"
    assert ended.headers["ce-source"] == "gnomon/executor/e-headers"
    assert ended.headers["ce-subject"] == due.task_id
    assert ended.headers["ce-id"] != started.headers["ce-id"]
    assert isinstance((await lab.chain(due))[1], Executed)


_SHARED = [
    "task_id",
    "user_id",
    "execution_id",
    "run",
    "task_type",
    "attempt",
    "trigger",
    "scheduled_for",
    "due_at",
    "revision",
    "retry_of",
]


async def _idle(worker: Any) -> bool:
    return bool(worker.busy == 0)


async def _said(trace: Path, word: str) -> bool:
    return word in words(trace)


async def _deliveries(lab: Lab) -> int:
    """How many messages the lane's consumer has delivered, each delivery counted."""
    info = await lab.bus.api(f"CONSUMER.INFO.{DUE_STREAM}.exec_default_medium")
    return int(info["delivered"]["consumer_seq"])


async def _seen(lab: Lab) -> bool:
    info = await lab.bus.api(f"CONSUMER.INFO.{DUE_STREAM}.exec_default_medium")
    return bool(info["num_ack_pending"] > 0)


@pytest.mark.parametrize("task_type", ["echo", "test_logs", "test_logs_thread", "test_fail"])
async def test_what_is_over_is_freed_without_the_collector(lab: Lab, task_type: str) -> None:
    """The collector of cycles stops everything for some hundredths of a second when it has thousands to look at."""

    async def nothing_left() -> bool:
        return not any(isinstance(thing, Job) for thing in gc.get_objects())

    dues = [make_due(task_type) for _ in range(3)]
    gc.collect()
    gc.disable()
    try:
        async with lab.worker():
            for due in dues:
                await lab.emit(due)
            for due in dues:
                await lab.ended(due)
            await until(nothing_left)
    finally:
        gc.enable()
