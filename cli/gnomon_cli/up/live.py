"""The live view: what happens, one line an event, as it is stored.

It listens on core NATS and not to the api, so it goes on while the api restarts and while everything is shut
down. Core NATS may lose messages, which is well enough for looking on; the log is elsewhere.

Nothing here may slow Gnomon down. Received events go into a queue of bounded length; at most
`LINES_PER_SECOND` are shown, in bursts of up to `BURST`, and the rest is summed up once a second. A start is
shown only when its execution is not over within a second: for the others their end tells it all.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from gnomon_cli.event_lines import Line, TaskNames, event_lines
from gnomon_cli.terminal import Terminal

__all__ = ["LiveView"]

LINES_PER_SECOND = 40.0
BURST = 80.0
_QUEUE = 2000
_START_SHOWN_AFTER_SECONDS = 1.0
_HELD_STARTS = 2000

_HEARD = (
    "created",
    "updated",
    "status_changed",
    "replanned",
    "reminder_triggered",
    "deleted",
    "rejected",
    "queued",
    "started",
    "retrying",
    "executed",
    "skipped",
    "missed",
    "coalesced",
    "dead_lettered",
)
"""`due` is left out, as its `started` follows; so is `failed`, which only accompanies an `executed`."""

Received = tuple[str, bytes]


class LiveView:
    """Shows the events of one Gnomon on a terminal, from `start` to `stop`.

    `look_up` asks for the name of a task that was not heard of yet; it answers None where it cannot tell.
    """

    def __init__(
        self,
        terminal: Terminal,
        names: TaskNames,
        *,
        look_up: Callable[[str], Awaitable[str | None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terminal = terminal
        self._names = names
        self._look_up = look_up
        self._clock = clock
        self._client: Client | None = None
        self._loop: asyncio.Task[None] | None = None
        self._queue: deque[Received] = deque()
        self._arrived = asyncio.Event()
        self._held: OrderedDict[str, tuple[float, Received]] = OrderedDict()
        self._untold: Counter[str] = Counter()
        self._told_at = clock()
        self._budget = BURST
        self._budget_at = clock()

    async def start(self, url: str, credentials: str | None = None) -> None:
        """Connect and listen.

        Raises nats-py's errors when the server is not there; later it reconnects for ever.
        """
        self._client = await nats.connect(
            url.split(","),
            name="gnomon-up-live",
            user_credentials=credentials,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.5,
            error_cb=_quietly,
        )
        for name in _HEARD:
            await self._client.subscribe(f"task.{name}", cb=self._hear)
        # Twice: the server may put an INFO before the answer to nats-py's handshake, which then counts as that to the
        # first flush, before the server has our subscriptions.
        await self._client.flush()
        await self._client.flush()
        self._loop = asyncio.create_task(self._show(), name="live-view")

    async def stop(self) -> None:
        """Show what has arrived, then close. May be called again, and when it was never started."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
            await self._show_queue()
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _hear(self, message: Msg) -> None:
        name = message.subject.rpartition(".")[2]
        if len(self._queue) < _QUEUE:
            self._queue.append((name, message.data))
            self._arrived.set()
        else:
            self._untold[name] += 1

    async def _show(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._next_wake()):
                    await self._arrived.wait()
            except TimeoutError:
                pass  # something held back is due now
            self._arrived.clear()
            await self._show_queue()
            await self._show_held()
            self._sum_up()

    def _next_wake(self) -> float | None:
        """Seconds until there is something to show even if nothing arrives; None: never."""
        wakes = []
        if self._held:
            wakes.append(next(iter(self._held.values()))[0])
        if self._untold:
            wakes.append(self._told_at + 1.0)
        return max(0.0, min(wakes) - self._clock()) if wakes else None

    async def _show_queue(self) -> None:
        while self._queue:
            name, data = self._queue.popleft()
            event = _decoded(data)
            if event is None:
                self._untold[name] += 1
                continue
            self._names.learn(event)
            execution = event.get("execution_id")
            if name == "started" and isinstance(execution, str):
                self._hold(execution, (name, data))
                continue
            if isinstance(execution, str):
                self._held.pop(execution, None)
            await self._show_one(name, event)

    def _hold(self, execution: str, received: Received) -> None:
        self._held[execution] = (self._clock() + _START_SHOWN_AFTER_SECONDS, received)
        self._held.move_to_end(execution)
        if len(self._held) > _HELD_STARTS:
            self._held.popitem(last=False)
            self._untold["started"] += 1

    async def _show_held(self) -> None:
        while self._held:
            execution, (shown_at, (name, data)) = next(iter(self._held.items()))
            if shown_at > self._clock():
                return
            del self._held[execution]
            await self._show_one(name, _decoded(data) or {})

    async def _show_one(self, name: str, event: dict[str, Any]) -> None:
        if not self._affordable():
            self._untold[name] += 1
            return
        task_id = event.get("task_id")
        if isinstance(task_id, str) and self._names.find(task_id) is None:
            # Asked once: an id without a name is remembered as its own name.
            self._names.remember(task_id, await self._look_up(task_id) or task_id)
        try:
            lines = event_lines(name, event, self._names)
        except (ValueError, TypeError, AttributeError):
            # Whoever may publish can publish anything; what is no event is counted like what is too much.
            self._untold[name] += 1
            return
        for line in lines:
            self._terminal.line(*line)

    def _affordable(self) -> bool:
        now = self._clock()
        self._budget = min(BURST, self._budget + (now - self._budget_at) * LINES_PER_SECOND)
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def _sum_up(self) -> None:
        now = self._clock()
        if not self._untold or now - self._told_at < 1.0:
            return
        self._told_at = now
        self._terminal.line(*_sum_line(self._untold))
        self._untold.clear()


def _sum_line(untold: Counter[str]) -> Line:
    kinds = ", ".join(f"{count:,} {name}" for name, count in untold.most_common())
    return [(f"{'':14}and {kinds}, too many to show", "dim")]


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


async def _quietly(error: Exception) -> None:
    """A view that lost its server has nothing to add: the keeper of that server says what happened."""
