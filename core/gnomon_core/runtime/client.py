"""nats-py's client with what Gnomon cannot do without. Its own parts are touched in this file and in
`frames` only.

* **Nothing unsent survives the connection.** nats-py keeps what it had not written and sends it after the
  reconnect; here it is thrown away. See `wire` for why.
* **A broker that froze does not freeze the client.** When a connection counts as dead, nats-py closes it
  politely and waits until all is written, which never happens when the peer has stopped reading: it would
  not reconnect until the peer is back. Here the socket is aborted.
* **Messages go straight to their takers** (`frames`).
* **What is published goes to the socket in one piece.** All that is published in one turn of the loop is one
  write, without a task of its own between; and while many answers are awaited a write waits a moment for more.
  A thousand small writes cost the broker twice what they hold: it is woken for each, and answers each alone.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client, Srv
from typing_extensions import override

from gnomon_core.runtime.frames import FrameParser

__all__ = ["NatsClient"]

_CLOSE_SECONDS = 2.0
_GATHER_SECONDS = 0.002
_AT_ONCE_BYTES = 64 * 1024


class NatsClient(Client):
    """A NATS connection. Used from one event loop only."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = FrameParser(self)
        self._ps = self._frames
        self._planned = False
        """A write is to come."""

    def write_soon(self, payload: bytes, *, busy: bool) -> None:
        """Hand encoded protocol to the socket at the end of this turn, or a moment later with `busy`. Only while
        connected.

        Waits for nothing: a peer that has stopped reading is found out by the pings.
        """
        self._pending.append(payload)
        self._pending_data_size += len(payload)
        if self._pending_data_size > _AT_ONCE_BYTES:
            self._write_pending()
        elif not self._planned:
            self._planned = True
            loop = asyncio.get_running_loop()
            if busy:
                loop.call_later(_GATHER_SECONDS, self._write_planned)
            else:
                loop.call_soon(self._write_planned)

    @property
    def unsent_bytes(self) -> int:
        """What was written and the system has not taken: it goes with the socket."""
        writer = getattr(self._transport, "_io_writer", None)
        held: int = 0 if writer is None else writer.transport.get_write_buffer_size()
        return held + self._pending_data_size

    def drop_unsent(self) -> None:
        """Forget what was not written, and what was read in part, of a connection that is gone."""
        # nats-py resets its parser before its reader has ended, and never again for the new connection.
        self._frames.reset()
        self._pending.clear()
        self._pending_data_size = 0

    def _write_planned(self) -> None:
        self._planned = False
        self._write_pending()

    def _write_pending(self) -> None:
        # nats-py's own task may have been quicker, or the connection broke: then nothing may come out later.
        if self._pending and self.is_connected and self._transport is not None:
            payload = b"".join(self._pending)
            self._pending = []
            self._pending_data_size = 0
            self._transport.write(payload)

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
