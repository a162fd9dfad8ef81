"""Waiting for what no signal tells: state that only a question reveals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["PATIENCE", "until", "until_async", "until_time"]

PATIENCE: Final = 40.0
"""Seconds to wait for what should come soon, where it is not tried how soon: many processes share few cores, and a test
that waits for longer fails no less. Less than the time of a test, so that the failure says what was waited for."""
_POLL_SECONDS = 0.02


async def until(holds: Callable[[], bool], within: float = PATIENCE) -> None:
    """Wait until something about objects of this process holds."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 - the state tells nobody when it changes
            await asyncio.sleep(_POLL_SECONDS / 4)


async def until_async(holds: Callable[[], Awaitable[bool]], within: float = PATIENCE) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(within):
        while not await holds():  # noqa: ASYNC110 - only asking reveals it
            await asyncio.sleep(_POLL_SECONDS)


async def until_time(at_ms: int) -> None:
    """Wait until the wall clock shows an instant (epoch milliseconds): for outages whose length is what is tried, and
    for moments chosen within a second. Nothing else is waited for by the clock."""
    while (left := at_ms - time.time_ns() / 1_000_000) > 0:  # noqa: ASYNC110 - the clock is what is waited for
        await asyncio.sleep(left / 1000)
