"""What a plain subscriber hears on core NATS while it happens: nats-py alone, as any other program would listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, NamedTuple

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from gnomon_schemas.clock_text import parse_slot_run
from tests.harness.waiting import PATIENCE

__all__ = ["Dues", "Heard", "Live", "Slot"]

Slot = tuple[str, int]
"""A task and a nominal time, in epoch seconds."""


class Heard(NamedTuple):
    """One message as it was heard."""

    subject: str
    stored_subject: str
    """Under which it is stored; empty where the message does not say, so was not republished by a stream."""
    seq: int
    time_ms: int
    """When the broker stored it."""
    data: dict[str, Any]


class Live:
    """A subscriber on a connection of its own. What comes while that is down is lost, as for everybody."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.all: list[Heard] = []
        self._changed = asyncio.Condition()

    @classmethod
    async def open(cls, url: str, subject: str) -> Live:
        """Subscribe, and know that the broker has heard of it."""
        nc = await nats.connect(
            servers=url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=_ignore
        )
        live = cls(nc)
        await nc.subscribe(subject, cb=live._hear)
        # The first may be answered by what is left of the handshake (see `LiveView.start`).
        await nc.flush()
        await nc.flush()
        return live

    async def close(self) -> None:
        """Listen no more."""
        await self.nc.close()

    async def wait_for(self, holds: Callable[[], bool], within: float = PATIENCE, what: str = "") -> None:
        """Wait until something holds; it is asked again after every message."""
        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(holds)
        except TimeoutError:
            raise TimeoutError(f"{what or 'what was waited for'} was not heard within {within:g} s") from None

    def of(self, subject: str, **fields: object) -> list[Heard]:
        """What was heard so far on a subject, with these fields in the payload."""
        return [
            heard
            for heard in self.all
            if heard.subject == subject
            and all(heard.data.get(name) == value for name, value in fields.items())
        ]

    def take(self, heard: Heard) -> None:
        """Keep a message."""
        self.all.append(heard)

    async def _hear(self, message: Msg) -> None:
        headers = message.headers or {}
        stamp = headers.get("Nats-Time-Stamp")
        heard = Heard(
            message.subject,
            headers.get("Nats-Subject", ""),
            int(headers.get("Nats-Sequence", 0)),
            round(datetime.fromisoformat(stamp[:26].rstrip("Z") + "+00:00").timestamp() * 1000)
            if stamp
            else 0,
            json.loads(message.data),
        )
        async with self._changed:
            self.take(heard)
            self._changed.notify_all()


class Dues(Live):
    """Work as it becomes due: when was each slot handed out?"""

    def __init__(self, nc: Client) -> None:
        super().__init__(nc)
        self.times: dict[Slot, int] = {}
        """When the first due of a slot was stored, in epoch milliseconds."""
        self.repeated = 0
        """Dues of slots that had one already."""

    @classmethod
    async def listen(cls, url: str) -> Dues:
        """Listen from now on."""
        live = await cls.open(url, "task.due")
        assert isinstance(live, Dues)
        return live

    def take(self, heard: Heard) -> None:
        """See `Live`."""
        nominal = parse_slot_run(heard.data["run"])
        if nominal is None:
            return
        slot = (heard.data["task_id"], int(nominal.timestamp()))
        if slot in self.times:
            self.repeated += 1
        self.times.setdefault(slot, heard.time_ms)

    async def all_of(self, tasks: Collection[str], nominal: int, within: float = PATIENCE) -> None:
        """Wait until a slot of each of these tasks has been handed out."""
        wanted = {(task, nominal) for task in tasks}
        await self.wait_for(
            lambda: wanted <= self.times.keys(), within, f"slot {nominal} of {len(wanted)} tasks"
        )

    def delays(self, tasks: Collection[str], first: int, last: int) -> list[float]:
        """By how many seconds each slot of these tasks was late, from nominal time `first` to `last`."""
        return [
            (self.times[task, nominal] - nominal * 1000) / 1000
            for task in tasks
            for nominal in range(first, last + 1)
        ]


async def _ignore(_: Exception) -> None:
    """Tests stop brokers: the client's words about it help nobody."""
