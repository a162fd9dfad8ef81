"""nats-py's client with what Gnomon cannot do without. Its own parts are touched in this file and in
`frames` only.

* **Nothing unsent survives the connection.** nats-py keeps what it had not written and sends it after the
  reconnect; here it is thrown away. See `wire` for why.
* **A broker that froze does not freeze the client.** When a connection counts as dead, nats-py closes it
  politely and waits until all is written, which never happens when the peer has stopped reading: it would
  not reconnect until the peer is back. Here the socket is aborted.
* **Messages go straight to their takers** (`frames`).
* **Batches are written in one piece.**
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client, Srv
from typing_extensions import override

from gnomon_core.runtime.frames import FrameParser

__all__ = ["NatsClient"]

_CLOSE_SECONDS = 2.0


class NatsClient(Client):
    """A NATS connection. Used from one event loop only."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = FrameParser(self)
        self._ps = self._frames

    async def write_now(self, payload: bytes) -> None:
        """Hand encoded protocol to the socket. Only while connected."""
        await self._send_command(payload)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    def drop_unsent(self) -> None:
        """Forget what was not written, and what was read in part, of a connection that is gone."""
        # nats-py resets its parser before its reader has ended, and never again for the new connection.
        self._frames.reset()
        self._pending.clear()
        self._pending_data_size = 0

    def abort(self) -> None:
        """Cut the socket, whatever is still to be written."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    async def close_soon(self) -> None:
        """Close: politely for a moment, then by cutting the socket."""
        if not self.is_connected:
            self.abort()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.close()
        except TimeoutError:
            self.abort()

    @override
    async def _connect_to_server(self, s: Srv) -> None:
        # The last attempt's socket, when a server took the connection and then said nothing.
        self.abort()
        await super()._connect_to_server(s)

    @override
    async def _process_op_err(self, e: Exception) -> None:
        if not (self.is_closed or self.is_reconnecting):
            self.abort()
        await super()._process_op_err(e)
