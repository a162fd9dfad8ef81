"""What running handlers say of themselves, as they say it: lines of their logs, and progress.

It comes over core NATS, so whoever listens hears what is said from then on, and what is said while the connection is
down is not heard. Lines of the log are kept, and read over HTTP (`GET /executions/{id}/logs`); progress is not.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from gnomon_schemas.codec import decode
from gnomon_schemas.limits import is_id, is_run

__all__ = ["LiveStream", "checked_run"]

Said = TypeVar("Said", bound=msgspec.Struct)


def checked_run(task_id: str, run: str | None) -> str:
    """The run as a part of a subject: all runs where it is None. Raises ValueError for what cannot be one."""
    if not is_id(task_id):
        raise ValueError(f"task_id={task_id!r} is not an id")
    if run is not None and not is_run(run):
        raise ValueError(f"run={run!r} is not the run of an execution")
    return run or "*"


class LiveStream(Generic[Said]):
    """Messages of one kind, as they come. Made by `Client.logs` and `Client.progress`.

    Iterating waits for further ones and never ends by itself; leave the loop, or `aclose`. Used as an async context
    manager it listens from the beginning of the block, else from the first step.
    """

    def __init__(self, nc: Nats, subject: str, kind: type[Said]) -> None:
        self._nc = nc
        self._subject = subject
        self._kind = kind
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
        try:
            said = decode(message.data, self._kind)
        except msgspec.DecodeError:
            return  # of a later version, or from somebody who may publish there and is no executor
        self._heard.put_nowait(said)
