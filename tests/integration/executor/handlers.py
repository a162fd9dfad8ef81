"""Task types for the executor's tests. What a handler did is told through a file, since it may run anywhere."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from gnomon import Context, DoNotRetry, Retry, task_type
from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.settings import CommonSettings
from gnomon_schemas.codec import decode_event
from gnomon_schemas.events import event_name
from gnomon_schemas.subjects import EVENTS_STREAM


class Traced(msgspec.Struct, frozen=True):
    """What most types here take: where to write, and how long to last."""

    trace: str
    seconds: float = 0.0


def leave_trace(path: str, word: str) -> None:
    """Append a line in one write, so that several processes can share the file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{word} {os.getpid()} {time.time():.3f}\n".encode())
    finally:
        os.close(descriptor)


def words(path: Path) -> list[str]:
    """The words that were left, in order."""
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@task_type("test_wait")
async def wait(config: Traced, ctx: Context) -> str:
    """Last so long without blocking."""
    leave_trace(config.trace, "begin")
    try:
        await asyncio.sleep(config.seconds)
    except asyncio.CancelledError:
        leave_trace(config.trace, "cancelled")
        raise
    leave_trace(config.trace, "end")
    return ctx.idempotency_key


@task_type("test_block")
async def block(config: Traced) -> str:
    """Block the handler loop for so long."""
    leave_trace(config.trace, "begin")
    time.sleep(config.seconds)  # noqa: ASYNC251 - blocking the loop is what this is for
    leave_trace(config.trace, "end")
    return "blocked"


@task_type("test_thread")
def in_thread(config: Traced) -> str:
    """Last so long in a thread."""
    leave_trace(config.trace, "begin")
    time.sleep(config.seconds)
    leave_trace(config.trace, "end")
    return "thread"


@task_type("test_polite_thread")
def polite_thread(config: Traced, ctx: Context) -> str:
    """Last until told to stop."""
    leave_trace(config.trace, "begin")
    told = ctx.cancelled.wait_blocking(config.seconds)
    leave_trace(config.trace, "told" if told else "end")
    return "stopped" if told else "ended"


@task_type("test_process", isolation="process")
def in_process(config: Traced, ctx: Context) -> dict[str, Any]:
    """Last so long in a worker process, deaf to everything."""
    leave_trace(config.trace, "begin")
    _ = ctx.progress(0.5, "half")
    time.sleep(config.seconds)
    leave_trace(config.trace, "end")
    return {"pid": os.getpid(), "key": ctx.idempotency_key}


@task_type("test_process_dies", isolation="process")
def process_dies(config: dict[str, Any]) -> None:
    """End the worker process in the middle."""
    os._exit(7)


@task_type("test_fail")
async def fail(config: dict[str, Any]) -> None:
    """Raise."""
    raise ValueError("this one always fails")


@task_type("test_retry_after")
async def retry_after(config: dict[str, Any]) -> None:
    """Ask for another attempt."""
    raise Retry(after=7)


@task_type("test_do_not_retry")
async def do_not_retry(config: dict[str, Any]) -> None:
    """Refuse another attempt."""
    raise DoNotRetry("hopeless")


@task_type("test_result")
async def result(config: dict[str, Any]) -> object:
    """Return something of a kind."""
    kind = config["kind"]
    if kind == "large":
        return "x" * 300_000
    if kind == "object":
        return object()
    if kind == "deep":
        value: list[Any] = []
        for _ in range(500):
            value = [value]
        return value
    return None


@task_type("test_spend")
async def spend(config: dict[str, Any], ctx: Context) -> None:
    """Use what the config says, and end as it says."""
    ctx.add_usage(credits=config["used"])
    if config["fails"]:
        raise ValueError("as it was told")


@task_type("test_looks")
async def looks(config: dict[str, Any]) -> list[str]:
    """Return the names of the events that are stored of this very execution."""
    bus = await connect(CommonSettings(nats_url=config["url"]), name="test-looks")
    try:
        chain = [stored async for stored in bus.scan(EVENTS_STREAM, config["chain"])]
    finally:
        await bus.close()
    return [event_name(decode_event(stored.data)) for stored in chain]


@task_type("test_context")
async def context(config: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Return what the context says."""
    ctx.log.info("looking around", where=config)
    ctx.add_usage(tokens=10, api_calls=2, credits=0.5)
    await ctx.progress(0.25, "a quarter")
    previous = ctx.previous
    return {
        "config": config,
        "task_id": ctx.task_id,
        "execution_id": ctx.execution_id,
        "idempotency_key": ctx.idempotency_key,
        "attempt": ctx.attempt,
        "trigger": ctx.trigger,
        "trigger_data": ctx.trigger_data,
        "user_id": ctx.user_id,
        "metadata": dict(ctx.metadata),
        "fencing_token": ctx.fencing_token,
        "previous": previous.result if previous is not None else None,
        "seconds_left": (ctx.deadline - ctx.scheduled_for).total_seconds(),
        "cancelled": bool(ctx.cancelled),
    }


@task_type("test_suicide")
async def suicide(config: Traced) -> None:
    """Take the executor down."""
    leave_trace(config.trace, "begin")
    os._exit(9)


@task_type("test_elsewhere", pool="elsewhere")
async def elsewhere(config: dict[str, Any]) -> str:
    """A type of another pool."""
    return "elsewhere"


def _log_all(config: dict[str, Any], ctx: Context) -> None:
    ctx.log.debug("begun", attempt=ctx.attempt)
    for number in range(config.get("lines", 1)):
        ctx.log.info("line", number=number, pid=os.getpid())
    ctx.log.warning("done", odd=object)


@task_type("test_logs")
async def logs(config: dict[str, Any], ctx: Context) -> None:
    """Log on the handler loop; with `wait`, last until a file is there."""
    _log_all(config, ctx)
    while "wait" in config and not Path(config["wait"]).exists():  # noqa: ASYNC110 - a file tells nobody that it is there
        await asyncio.sleep(0.02)
    if ctx.attempt < config.get("succeed_at", 1):
        raise Retry(after=0.1)


@task_type("test_logs_thread")
def logs_in_thread(config: dict[str, Any], ctx: Context) -> None:
    """Log in a thread."""
    _log_all(config, ctx)
    _ = ctx.progress(1.0, "logged")


@task_type("test_logs_process", isolation="process")
def logs_in_process(config: dict[str, Any], ctx: Context) -> None:
    """Log in a worker process."""
    _log_all(config, ctx)
