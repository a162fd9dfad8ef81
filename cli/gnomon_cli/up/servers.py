"""The embedded servers in the shape in which a `Keeper` keeps things."""

from __future__ import annotations

import os
import signal

from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres

__all__ = ["NatsChild", "PostgresChild"]


class NatsChild:
    """The one embedded nats-server."""

    name = "nats-server"

    def __init__(self, server: EmbeddedNats) -> None:
        self._server = server

    @property
    def pids(self) -> tuple[tuple[str, int], ...]:
        """Name and process id of the present run."""
        return tuple((self.name, node.pid) for node in self._server.nodes)

    async def start(self) -> None:
        """Start it and wait until it is healthy."""
        await self._server.start()

    async def wait_ended(self) -> int:
        """Wait until it has ended."""
        return await self._server.nodes[0].wait_ended()

    async def stop(self) -> None:
        """End it cleanly."""
        await self._server.stop()

    def kill(self) -> None:
        """End it at once."""
        for node in self._server.nodes:
            if node.running:
                os.kill(node.pid, signal.SIGKILL)


class PostgresChild:
    """The embedded Postgres."""

    name = "postgres"

    def __init__(self, server: EmbeddedPostgres) -> None:
        self._server = server

    @property
    def pids(self) -> tuple[tuple[str, int], ...]:
        """Name and process id of its first process."""
        return ((self.name, self._server.pid),)

    async def start(self) -> None:
        """Start it and wait until it takes connections."""
        await self._server.start()

    async def wait_ended(self) -> int:
        """Wait until it has ended."""
        return await self._server.wait_ended()

    async def stop(self) -> None:
        """Shut it down fast: open transactions are rolled back."""
        await self._server.stop()

    def kill(self) -> None:
        """End it at once, by the shutdown after which it recovers at its next start."""
        if self._server.running:
            # SIGQUIT, not SIGKILL: the processes that serve its connections must end too.
            os.kill(self._server.pid, signal.SIGQUIT)
