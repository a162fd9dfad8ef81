"""The sdk's public surface as code that a strict type checker must accept. It is checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from gnomon import (
    Client,
    Context,
    DoNotRetry,
    GnomonError,
    NotAnswered,
    Previous,
    Retry,
    cron,
    interval,
    once,
    task_type,
)
from gnomon.testing import FakeContext, HandlerRun, run_handler
from gnomon_schemas.blackouts import Calendar
from gnomon_schemas.commands import AcceptedExecution, Outcome
from gnomon_schemas.events import Event, ReminderTriggered
from gnomon_schemas.pools import Pool
from gnomon_schemas.problems import Code
from gnomon_schemas.tasks import RetryPolicy, Task
from gnomon_schemas.templates import Template


class InvoiceConfig(msgspec.Struct):
    """What to send."""

    amount: int


class Receipt(msgspec.Struct):
    """That it was sent."""

    number: str


@task_type("send_invoice", pool="mail", timeout_seconds=60, retry=RetryPolicy(max_attempts=3))
async def send_invoice(config: InvoiceConfig, ctx: Context) -> Receipt:
    """A coroutine with a context."""
    if ctx.cancelled:
        raise DoNotRetry("cancelled")
    if ctx.deadline < datetime.now(UTC):
        raise Retry(after=timedelta(seconds=5))
    await ctx.progress(0.5, "half")
    ctx.add_usage(tokens=1, api_calls=2, credits=0.5)
    ctx.log.info("sent", amount=config.amount)
    previous: Previous | None = ctx.previous
    await ctx.cancelled.wait()
    return Receipt(f"{ctx.idempotency_key}-{ctx.fencing_token}-{previous is None}-{ctx.trigger_data}")


@task_type("shrink", isolation="process")
def shrink(config: dict[str, Any]) -> int:
    """A plain function without one."""
    return len(config)


async def direct() -> Receipt:
    """A decorated function keeps its own type."""
    return await send_invoice(InvoiceConfig(3), FakeContext())


async def caller() -> None:
    """Every verb."""
    async with Client("nats://127.0.0.1:4222", user_id="u1", roles=("admin",)) as gnomon:
        task: Task = await gnomon.create_task(
            name="Ping",
            task_type="http_request",
            config={"url": "https://example.org"},
            schedule=cron("*/5 * * * *"),
        )
        await gnomon.create_task(name="a", task_type="echo", schedule=interval(minutes=5), overlap="queue")
        await gnomon.create_task(
            name="b", task_type="echo", schedule=once(datetime.now(UTC)), config=InvoiceConfig(1)
        )
        template: Template = await gnomon.create_template("t", {"name": "T", "task_type": "echo"})
        task = await gnomon.create_from_template(
            template.template_id, config=InvoiceConfig(1), priority="low"
        )
        task = await gnomon.update(task.task_id, {"name": "Pong"}, if_match=task.version)
        task = await gnomon.pause(task.task_id, note="why")
        task = await gnomon.resume(task.task_id)
        run: AcceptedExecution = await gnomon.run(task.task_id, trigger_data={"a": 1}, config={"b": 2})
        outcome: Outcome = await gnomon.cancel_execution(task.task_id, run.run)
        task = await gnomon.cancel(task.task_id)
        outcome = await gnomon.delete(task.task_id)
        async for event in gnomon.events("executed", task_id=task.task_id, after_seq=outcome.seq):
            seen: Event = event
            assert seen.task_id


async def for_services(gnomon: Client) -> None:
    """Objects, repairs, and what is heard."""
    calendar: Calendar = await gnomon.create_calendar("c", {"name": "C", "selector": {}})
    calendar = await gnomon.update_calendar("c", {"enabled": False}, if_match=calendar.version)
    outcome: Outcome = await gnomon.delete_calendar("c")
    pool: Pool = await gnomon.update_pool("default", max_in_flight=None, paused=outcome.ok)
    task: Task = await gnomon.repair(pool.pool, [datetime.now(UTC)])
    async for reminder in gnomon.reminders(task_id=task.task_id):
        reminded: ReminderTriggered = reminder
        assert reminded.name
    async with gnomon.live_events("executed", "failed") as live:
        async for event in live:
            seen: Event = event
            assert seen.task_id


async def careful(gnomon: Client) -> str:
    """Errors carry what a caller needs."""
    try:
        await gnomon.run("t")
    except NotAnswered as unknown:
        return unknown.command_id
    except GnomonError as refused:
        code: Code = refused.code
        return code + refused.problem.detail + refused.command_id
    return ""


async def tested() -> None:
    """A handler in a test."""
    run: HandlerRun = await run_handler(send_invoice, {"amount": 3}, attempt=2)
    context: Context = run.context
    assert run.result
    assert context.attempt


async def followed(gnomon: Client) -> AsyncIterator[Event]:
    """A stream of events as an iterator."""
    async with gnomon.events() as events:
        async for event in events:
            yield event
