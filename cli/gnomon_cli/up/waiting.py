"""Waiting for several things at once, with nothing left over: whatever is not needed any more is cancelled
and awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any

__all__ = ["all_of", "cancelled", "first_of"]


async def all_of(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all; when one fails cancel the others and raise its exception as it is, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as failures:
        raise _first_leaf(failures) from None


async def first_of(*parts: Awaitable[Any]) -> None:
    """Return as soon as one is done, however it went.

    Coroutines among them are cancelled then; tasks are left alone.
    """
    ours = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(ours, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancelled(*(made for made, part in zip(ours, parts, strict=True) if made is not part))


async def cancelled(*tasks: asyncio.Future[Any]) -> None:
    """Cancel and wait until all have ended; what they raise on the way out is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _first_leaf(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
