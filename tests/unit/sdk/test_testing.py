"""Running handlers in tests."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gnomon import Context, Retry, task_type
from gnomon.testing import FakeCancelled, FakeContext, run_handler


class Config(msgspec.Struct):
    amount: int


@task_type("sum_up")
async def sum_up(config: Config, ctx: Context) -> dict[str, Any]:
    ctx.log.info("summing", amount=config.amount)
    await ctx.progress(0.5, "half")
    ctx.add_usage(tokens=config.amount)
    if ctx.attempt == 1:
        raise Retry(after=3)
    return {"key": ctx.idempotency_key, "at": ctx.scheduled_for}


@task_type("plain")
def plain(config: dict[str, Any], ctx: Context) -> object:
    return object() if config.get("bad") else ctx.cancelled.wait_blocking(0)


async def test_a_handler_runs_with_a_context_of_the_tests_choice() -> None:
    run = await run_handler(sum_up, {"amount": 4}, attempt=2, task_id="t9")
    assert run.result == {"key": "t9.20260101T000000Z", "at": "2026-01-01T00:00:00Z"}
    assert run.context.reports == [(0.5, "half")]
    assert run.context.usage["tokens"] == 4
    assert run.context.log.lines == [("info", "summing", {"amount": 4})]


async def test_what_the_handler_raises_comes_out() -> None:
    with pytest.raises(Retry) as caught:
        await run_handler(sum_up, {"amount": 4})
    assert caught.value.after_seconds == 3


async def test_what_would_fail_in_an_executor_fails_here() -> None:
    with pytest.raises(msgspec.ValidationError):
        await run_handler(sum_up, {"amount": "x"})
    with pytest.raises(TypeError):
        await run_handler(plain, {"bad": True})
    with pytest.raises(TypeError, match="no task type"):
        await run_handler(print)


async def test_a_plain_function_hears_a_cancel() -> None:
    context = FakeContext(cancelled=FakeCancelled())
    context.cancelled.set()
    await context.cancelled.wait()
    assert (await run_handler(plain, context=context)).result is True


def test_the_fake_is_a_context() -> None:
    context: Context = FakeContext()
    assert isinstance(context, Context)
