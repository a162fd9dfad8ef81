"""Task types that do at each attempt what their config tells, and say what they saw."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from gnomon import Context, DoNotRetry, Retry, task_type

__all__ = [
    "Mark",
    "marks",
    "policy_logging",
    "policy_patient",
    "policy_scripted",
    "policy_spending",
    "policy_told",
]


class Script(msgspec.Struct, frozen=True):
    """What to do at each attempt; beyond the last step that one again.

    Steps: `ok`, `fail`, `again SECONDS` (raise `Retry`), `never` (raise `DoNotRetry`), `hang SECONDS`.
    """

    steps: tuple[str, ...]
    trace: str = ""
    """Where to leave marks; empty: nowhere."""


class Mark(msgspec.Struct, frozen=True):
    """What a handler left behind."""

    word: str
    key: str
    """Its idempotency key."""
    at_ms: int
    """By the wall clock of its process."""


class Lines(msgspec.Struct, frozen=True):
    """How many lines to log at each attempt, and how many attempts to take."""

    lines: int
    attempts: int = 1


class Spending(msgspec.Struct, frozen=True):
    """Credits to report, and which of the attempts fail: every so many-th second's (0: none)."""

    credits: float
    fails_every: int = 0


class Patience(msgspec.Struct, frozen=True):
    """Where to leave marks, and for how many seconds to wait for a word to stop."""

    trace: str
    seconds: float = 30.0


@task_type("policy_scripted")
async def policy_scripted(config: Script, ctx: Context) -> str:
    """Do what the script tells for this attempt."""
    step, _, seconds = config.steps[min(ctx.attempt, len(config.steps)) - 1].partition(" ")
    _leave(config.trace, "begin", ctx.idempotency_key)
    match step:
        case "fail":
            raise ValueError(f"attempt {ctx.attempt} fails as told")
        case "again":
            raise Retry(after=float(seconds))
        case "never":
            raise DoNotRetry("hopeless, as told")
        case "hang":
            await _sleep(float(seconds), config.trace, ctx.idempotency_key)
    return f"attempt {ctx.attempt}"


@task_type("policy_patient")
async def policy_patient(config: Patience, ctx: Context) -> str:
    """Wait for a cancel as a coroutine that looks for it."""
    _leave(config.trace, "begin", ctx.idempotency_key)
    async with asyncio.timeout(config.seconds):
        await ctx.cancelled.wait()
    _leave(config.trace, "told", ctx.idempotency_key)
    return "stopped"


@task_type("policy_patient_thread")
def policy_patient_thread(config: Patience, ctx: Context) -> str:
    """Wait for a cancel as a function in a thread."""
    _leave(config.trace, "begin", ctx.idempotency_key)
    if not ctx.cancelled.wait_blocking(config.seconds):
        raise TimeoutError("nobody said stop")
    _leave(config.trace, "told", ctx.idempotency_key)
    return "stopped"


@task_type("policy_told")
async def policy_told(config: dict[str, Any], ctx: Context) -> dict[str, Any]:
    """Return what it was given."""
    return {
        "config": config,
        "trigger": ctx.trigger,
        "trigger_data": ctx.trigger_data,
        "key": ctx.idempotency_key,
        "metadata": dict(ctx.metadata),
    }


def marks(path: Path) -> list[Mark]:
    """What handlers left, in order."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Mark) for line in lines]


async def _sleep(seconds: float, trace: str, key: str) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        _leave(trace, "cancelled", key)
        raise


def _leave(path: str, word: str, key: str) -> None:
    """Append in one write: several processes share the file."""
    if not path:
        return
    line = msgspec.json.encode(Mark(word, key, time.time_ns() // 1_000_000)) + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


@task_type("policy_alone", one_at_a_time=True)
async def policy_alone(config: dict[str, Any]) -> None:
    """Last a little, and never beside another of this type."""
    await asyncio.sleep(config.get("seconds", 0.2))


@task_type("policy_logging")
async def policy_logging(config: Lines, ctx: Context) -> dict[str, int]:
    """Log line by line and tell how far it is; answer with its process."""
    for number in range(1, config.lines + 1):
        ctx.log.info("a line", number=number)
        await ctx.progress(number / config.lines, f"line {number}")
    if ctx.attempt < config.attempts:
        raise Retry(after=0.2)
    return {"pid": os.getpid()}


@task_type("policy_spending")
async def policy_spending(config: Spending, ctx: Context) -> None:
    """Report what it used, beside its price; and fail now and then."""
    ctx.add_usage(credits=config.credits)
    if config.fails_every and int(time.time()) % config.fails_every == 0:
        raise ValueError("fails as told")
