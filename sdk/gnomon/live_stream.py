"""What is said from now on, as it is said: events, and what running handlers say of themselves (lines of their logs,
and progress).

It comes over core NATS, so whoever listens hears what is said from then on, and what is said while the connection is
down is not heard. Events are kept, and read by an `EventStream`; lines of the log over HTTP
(`GET /executions/{id}/logs`); progress is not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_schemas.codec import decode
from gnomon_schemas.events import EVENT_TYPES
from gnomon_schemas.limits import is_id, is_run

__all__ = ["LiveStream", "checked_names", "checked_run", "decoder_of", "live_subject"]

Said = TypeVar("Said", bound=msgspec.Struct)


def checked_run(task_id: str, run: str | None) -> str:
    """The run as a part of a subject: all runs where it is None. Raises ValueError for what cannot be one."""
    if not is_id(task_id):
        raise ValueError(f"task_id={task_id!r} is not an id")
    if run is not None and not is_run(run):
        raise ValueError(f"run={run!r} is not the run of an execution")
    return run or "*"


def checked_names(names: Sequence[str]) -> list[str]:
    """Names of events, each once. Raises ValueError for one that there is not."""
    unknown = [name for name in names if name not in EVENT_TYPES]
    if unknown:
        raise ValueError(f"event {unknown[0]!r} is not known; allowed: {', '.join(sorted(EVENT_TYPES))}")
    return list(dict.fromkeys(names))


def live_subject(names: Sequence[str]) -> tuple[str, frozenset[str]]:
    """Where events are heard as they are stored, and which subjects of it are meant: none means all of them.

    Without names, all events are. Raises ValueError.
    """
    wanted = [f"task.{name}" for name in checked_names(names)]
    if len(wanted) == 1:
        return wanted[0], frozenset()
    return "task.*", frozenset(wanted)


def decoder_of(kind: type[Said]) -> Callable[[bytes], Said]:
    """What makes a Struct of a payload; it raises msgspec.DecodeError for what is none."""
    return lambda data: decode(data, kind)


class LiveStream(Generic[Said]):
    """Messages of one kind, as they come. Made by `Client.live_events`, `Client.logs` and `Client.progress`.

    Iterating waits for further ones and never ends by itself; leave the loop, or `aclose`. Used as an async context
    manager it listens from the beginning of the block, else from the first step.

    It listens by one subscription, since the order of messages is kept within one and not between several: what is
    said last could be heard first.
    """

    def __init__(
        self, nc: Nats, subject: str, decoded: Callable[[bytes], Said], *, only: Collection[str] = ()
    ) -> None:
        """Hear what is said on a subject, which may have wildcards; where `only` names subjects, on those alone."""
        self._nc = nc
        self._subject = subject
        self._only = frozenset(only)
        self._decoded = decoded
        self._heard: asyncio.Queue[Said] = asyncio.Queue()
        self._subscription: Subscription | None = None

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        """Listen: everything that is said from here on will be handed out."""
        if self._subscription is None:
            self._subscription = await self._nc.subscribe(self._subject, cb=self._hear)
            await self._nc.flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Said:
        await self.__aenter__()
        return await self._heard.get()

    async def aclose(self) -> None:
        """Listen no more."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and not self._nc.is_closed:
            await subscription.unsubscribe()

    async def _hear(self, message: Msg) -> None:
        if self._only and message.subject not in self._only:
            return
        try:
            said = self._decoded(message.data)
        except msgspec.DecodeError:
            return  # of a later version, or from somebody who may publish there and is no executor
        self._heard.put_nowait(said)
