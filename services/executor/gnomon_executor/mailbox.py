"""Handing things from one thread to an event loop in another, with one wake-up for a whole burst."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Mailbox"]

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """Takes items from any thread and hands each to `handle` on `loop`, in order.

    Waking another thread's loop costs a system call and often a switch of threads, so it is done once for
    everything that gathers until the loop gets to it. `handle` must not raise or block.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, handle: Callable[[Item], None]) -> None:
        self._loop = loop
        self._handle = handle
        self._items: deque[Item] = deque()
        self._woken = False

    def put(self, item: Item) -> None:
        """Hand an item over. After the loop has been closed it is dropped: nobody is left to take it."""
        self._items.append(item)
        # The item is in before the flag is read, and the flag is taken down before the items are taken out:
        # whoever finds the flag up can rely on a wake-up that has not looked yet.
        if not self._woken:
            self._woken = True
            try:
                self._loop.call_soon_threadsafe(self._empty)
            except RuntimeError:
                self._items.clear()

    def _empty(self) -> None:
        self._woken = False
        items = self._items
        while items:
            self._handle(items.popleft())
