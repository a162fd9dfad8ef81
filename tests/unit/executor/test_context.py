"""What a handler is given."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest

from gnomon import Context
from gnomon_executor.context import AttemptContext, AttemptFacts, CancelFlag
from gnomon_executor.handler_end import Usage
from gnomon_executor.handler_log import LogSink

FACTS = AttemptFacts(
    task_id="t",
    execution_id="t.r",
    attempt=2,
    scheduled_for="2026-09-21T09:00:00.000Z",
    deadline_ms=1_790_000_000_500,
    trigger="schedule",
    fencing_token=77,
)


def make() -> tuple[AttemptContext, Usage, list[tuple[float, str]]]:
    usage, told = Usage(), []
    context = AttemptContext(
        FACTS, CancelFlag(), usage, lambda f, m: told.append((f, m)), lambda: lambda _line: None, lambda: 0
    )
    return context, usage, told


def test_it_is_what_handlers_are_promised() -> None:
    context: Context = make()[0]
    assert isinstance(context, Context)
    assert context.idempotency_key == "t.r"
    assert context.scheduled_for == datetime(2026, 9, 21, 9, tzinfo=UTC)
    assert context.deadline.timestamp() == 1_790_000_000.5
    assert (context.attempt, context.fencing_token, context.trigger_data) == (2, 77, None)
    assert context.metadata == {}


async def test_progress_is_sent_by_the_call_and_may_be_awaited() -> None:
    context, _, told = make()
    _ = context.progress(0.5)
    await context.progress(1.0, "done")
    assert told == [(0.5, ""), (1.0, "done")]
    with pytest.raises(ValueError, match="fraction"):
        _ = context.progress(1.1)


def test_usage_adds_up_and_is_never_negative() -> None:
    context, usage, _ = make()
    context.add_usage(tokens=2)
    context.add_usage(tokens=3, api_calls=1, credits=0.5)
    assert (usage.tokens, usage.api_calls, usage.credits) == (5, 1, 0.5)
    with pytest.raises(ValueError, match="tokens=-1"):
        context.add_usage(tokens=-1)
    with pytest.raises(ValueError, match="nan"):
        context.add_usage(credits=float("nan"))
    with pytest.raises(ValueError, match="inf"):
        context.add_usage(credits=float("inf"))


async def test_a_cancel_wakes_coroutines_and_threads() -> None:
    flag = CancelFlag()
    assert not flag
    waiting = asyncio.create_task(flag.wait())
    seen: list[bool] = []
    thread = threading.Thread(target=lambda: seen.append(flag.wait_blocking(10)))
    thread.start()
    await asyncio.sleep(0)
    flag.set()
    await asyncio.wait_for(waiting, 5)
    thread.join(5)
    assert flag
    assert seen == [True]
    await flag.wait()
    assert flag.wait_blocking(0)
    assert not CancelFlag().wait_blocking(0.01)


def test_threads_of_one_handler_share_its_log() -> None:
    """Two logs would give out the same numbers, and a line is known by its number."""
    opening, tried = threading.Event(), threading.Event()
    opened: list[LogSink] = []

    def open_log() -> LogSink:
        opening.set()
        assert tried.wait(10)
        time.sleep(0.02)  # the other thread comes to the same place, if it can
        opened.append(lambda _line: None)
        return opened[-1]

    context = AttemptContext(FACTS, CancelFlag(), Usage(), lambda _f, _m: None, open_log, lambda: 0)
    first = threading.Thread(target=lambda: context.log.info("one"))
    first.start()
    assert opening.wait(10)
    tried.set()
    context.log.info("two")
    first.join(10)
    assert len(opened) == 1
