"""In-progress acks: whoever is delivered nothing for an ack wait is given up, so each attempt in hand says
that it lives.

Every third of the ack wait, and at once when the connection is back: after an outage longer than the ack wait
the broker delivers everything again, and the sooner it hears the less it has to.
"""

from __future__ import annotations

import asyncio

from gnomon_core.runtime.bus import NatsBus, NotCommitted
from gnomon_core.runtime.service import Service
from gnomon_executor import delivery
from gnomon_executor.running import Running

__all__ = ["Heartbeat"]


class Heartbeat(Service):
    """Keeps the claims of one executor alive. `ack_wait` in seconds."""

    def __init__(self, bus: NatsBus, running: Running, ack_wait: float) -> None:
        super().__init__("heartbeat")
        self._bus = bus
        self._running = running
        self._every = ack_wait / 3
        self._changed = asyncio.Event()

    async def on_start(self) -> None:
        """Begin to beat."""
        self._bus.listen(self._changed.set)
        _ = self.spawn(self._beat(), "beat")

    async def on_stop(self) -> None:
        """Beat no more."""
        self._bus.unlisten(self._changed.set)

    async def _beat(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            await self._send_all()

    async def _send_all(self) -> None:
        try:
            for attempt in self._running:
                for given in attempt.deliveries.values():
                    await delivery.in_progress(self._bus, given)
        except NotCommitted:
            return  # disconnected: they are sent when the connection is back
