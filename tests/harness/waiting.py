"""Waiting for what no signal tells: state that only a question reveals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["until", "until_async", "until_time"]

_POLL_SECONDS = 0.02


async def until(holds: Callable[[], bool], within: float = 15.0) -> None:
    """Wait until something about objects of this process holds."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - the state tells nobody when it changes
            await asyncio.sleep(_POLL_SECONDS / 4)


async def until_async(holds: Callable[[], Awaitable[bool]], within: float = 15.0) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110 - only asking reveals it
            await asyncio.sleep(_POLL_SECONDS)


async def until_time(at_ms: int) -> None:
    """Wait until the wall clock shows an instant (epoch milliseconds): for outages whose length is what is tried, and
    for moments chosen within a second. Nothing else is waited for by the clock."""
    while (left := at_ms - time.time_ns() / 1_000_000) > 0:  # noqa: ASYNC110 - the clock is what is waited for
        await asyncio.sleep(left / 1000)
