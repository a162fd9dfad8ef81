"""Following the event log from outside: an async iterator that survives reconnects and restarts of the
broker.

It pulls from a consumer without acks and keeps the stream sequence of the last event that it handed out. A
consumer can vanish (broker restarted, its node gone, idle too long) or skip (a message lost on a slow
connection): the broker numbers what it delivers, so a gap shows, heartbeats show silence, and in each case a
new consumer is made that begins right after the last event handed out. So each event comes once and in order,
whatever happens to the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon.errors import GnomonError
from gnomon.live_stream import checked_names
from gnomon_schemas import subjects
from gnomon_schemas.codec import decode_event
from gnomon_schemas.events import Event, ReminderTriggered
from gnomon_schemas.limits import is_id
from gnomon_schemas.problems import Code, problem

__all__ = ["EventStream", "ReminderStream"]

_BATCH: Final = 200
_PULL_SECONDS: Final = 30.0
_HEARTBEAT_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 2.5 * _HEARTBEAT_SECONDS
"""Neither an event nor a heartbeat for this long: the pull is lost."""
_REQUEST_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.5
"""Before asking again a broker that did not answer, or refused."""
_IDLE_NS: Final = 300 * 10**9
"""The broker removes a consumer that nobody pulls from for this long."""
_NANOSECONDS: Final = 10**9
_FIRST_ANSWER_SECONDS = 30.0
"""A broker that has made no consumer of the log for this long does not do so for this client. One that has made one is
waited for as long as it takes."""
_HEARTBEAT: Final = "100"
_PULL_ENDED: Final = frozenset({"404", "408"})
_STATUS: Final = "Status"


class _ConsumerLost(Exception):
    """The consumer has to be made anew."""


class EventStream:
    """Events from the log, in order, each once. Made by `Client.events`.

    Iterating waits for further events and never ends by itself; leave the loop, or `aclose`. Raises what
    nats-py raises once the client's connection has been closed, and GnomonError `unavailable` where the log could not
    be read from the beginning: no Gnomon has made it there, or this client may not make consumers of it.
    """

    def __init__(
        self, nc: Nats, names: Sequence[str], *, task_id: str | None = None, after_seq: int | None = None
    ) -> None:
        wanted = checked_names(names)
        if task_id is not None and not is_id(task_id):
            raise ValueError(f"task_id={task_id!r} is not an id")
        self._nc = nc
        self._filters = [f"task.{name}.*.{task_id or '*'}.*" for name in wanted] or [
            f"task.*.*.{task_id or '*'}.*"
        ]
        self._position = after_seq
        self._ready: deque[tuple[int, Event]] = deque()
        self._subscription: Subscription | None = None
        self._consumer: str | None = None
        self._delivered = 0
        self._pulling = False
        self._served = False
        """Whether the broker has ever made a consumer of the log. That it answers other questions tells nothing of the
        right to make one."""
        self._asked_since: float | None = None

    @property
    def position(self) -> int | None:
        """Sequence in the event log of the last event handed out; None before the first use without
        `after_seq`."""
        return self._position

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        """Fix the position: every event stored from here on will be handed out."""
        if self._position is None:
            self._position = await self._last_sequence()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Event:
        while not self._ready:
            await self._receive()
        self._position, event = self._ready.popleft()
        return event

    async def aclose(self) -> None:
        """Give the consumer back. The position stays readable."""
        await self._drop_consumer()

    async def _receive(self) -> None:
        """Wait for messages; whatever goes wrong with the consumer leads to a new one."""
        try:
            if self._consumer is None:
                await self._make_consumer()
            subscription = self._subscription
            if subscription is None:
                raise _ConsumerLost
            if not self._pulling:
                await self._pull(subscription)
            self._take(await subscription.next_msg(timeout=_SILENCE_SECONDS))
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError, _ConsumerLost) as error:
            was_fruitless = self._consumer is None or self._delivered == 0
            await self._drop_consumer()
            self._go_on_after(error)
            # A consumer that was refused, or lost before its first event, may be so again at once: without the pause,
            # thousands are asked for in a second. One that has delivered is replaced without delay.
            if was_fruitless:
                await asyncio.sleep(_PAUSE_SECONDS)

    def _take(self, message: Msg) -> None:
        status = (message.headers or {}).get(_STATUS)
        if status is not None and not message.data:
            if status == _HEARTBEAT:
                return
            self._pulling = False
            if status not in _PULL_ENDED:
                raise _ConsumerLost
            return
        place = message.metadata.sequence
        if place.consumer != self._delivered + 1:
            raise _ConsumerLost
        self._delivered = place.consumer
        self._pulling = self._delivered % _BATCH != 0
        # A newer Gnomon may write events that this client does not know: those are not for it.
        with contextlib.suppress(msgspec.DecodeError):
            self._ready.append((place.stream, decode_event(message.data)))

    async def _pull(self, subscription: Subscription) -> None:
        # A pull always ends on a multiple of the batch, so that the end of one needs no bookkeeping of its
        # own.
        request = {
            "batch": _BATCH - self._delivered % _BATCH,
            "expires": int(_PULL_SECONDS * _NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * _NANOSECONDS),
        }
        target = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.EVENTS_STREAM}.{self._consumer}"
        await self._nc.publish(target, msgspec.json.encode(request), reply=subscription.subject)
        self._pulling = True

    async def _make_consumer(self) -> None:
        if self._position is None:
            self._position = await self._last_sequence()
        following = self._ready[-1][0] if self._ready else self._position
        config: dict[str, Any] = {
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": following + 1,
            "filter_subjects": self._filters,
            "inactive_threshold": _IDLE_NS,
            "mem_storage": True,
            "num_replicas": 1,
        }
        answer = await self._api(
            f"CONSUMER.CREATE.{subjects.EVENTS_STREAM}",
            {"stream_name": subjects.EVENTS_STREAM, "config": config, "action": "create"},
        )
        self._delivered = 0
        self._pulling = False
        self._subscription = await self._nc.subscribe(self._nc.new_inbox())
        self._consumer = str(answer["name"])
        self._served = True

    async def _drop_consumer(self) -> None:
        subscription, self._subscription = self._subscription, None
        consumer, self._consumer = self._consumer, None
        if subscription is not None and not self._nc.is_closed:
            await subscription.unsubscribe()
        if consumer is not None and self._nc.is_connected:
            # A courtesy: the broker removes an idle consumer by itself.
            await self._nc.publish(f"$JS.API.CONSUMER.DELETE.{subjects.EVENTS_STREAM}.{consumer}")

    async def _last_sequence(self) -> int:
        while True:
            try:
                answer = await self._api(f"STREAM.INFO.{subjects.EVENTS_STREAM}", None)
            except (nats.errors.TimeoutError, nats.errors.NoRespondersError, _ConsumerLost) as error:
                self._go_on_after(error)
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                # The broker is there: how long a consumer is waited for counts from the first that it does not make.
                self._asked_since = None
                return int(answer["state"]["last_seq"])

    async def _api(self, verb: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Ask the JetStream API. Raises _ConsumerLost where it refuses, TimeoutError, NoRespondersError."""
        data = msgspec.json.encode(body) if body is not None else b""
        answer = await self._nc.request(f"$JS.API.{verb}", data, timeout=_REQUEST_SECONDS)
        decoded: dict[str, Any] = msgspec.json.decode(answer.data)
        if "error" in decoded:
            raise _ConsumerLost(decoded["error"].get("description", "refused"))
        return decoded

    def _go_on_after(self, error: Exception) -> None:
        """Nothing, while it is worth asking again. Raises GnomonError where the log has never been served."""
        now = asyncio.get_running_loop().time()
        if self._asked_since is None:
            self._asked_since = now
        if self._served or now - self._asked_since < _FIRST_ANSWER_SECONDS:
            return
        words = f"the stream {subjects.EVENTS_STREAM} cannot be read: {str(error) or type(error).__name__}"
        hint = "live_events needs no more than the right to subscribe to task.*"
        raise GnomonError(problem(Code.UNAVAILABLE, f"{words}; {hint}"), "") from error


class ReminderStream(EventStream):
    """Reminders from the log, in order, each once. Made by `Client.reminders`."""

    def __init__(
        self, nc: Nats, user_id: str | None, *, task_id: str | None = None, after_seq: int | None = None
    ) -> None:
        """Those of the tasks of a user; of everybody where it is None."""
        super().__init__(nc, ("reminder_triggered",), task_id=task_id, after_seq=after_seq)
        self._user_id = user_id

    async def __anext__(self) -> ReminderTriggered:
        while True:
            event = await super().__anext__()
            if isinstance(event, ReminderTriggered) and self._user_id in (None, event.user_id):
                return event
