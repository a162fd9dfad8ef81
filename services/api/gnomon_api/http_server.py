"""HTTP as a service: uvicorn on a socket of our own, so that port 0 works and the real one is known."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn
from typing_extensions import override

from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["HttpServer"]

_GRACE_SECONDS = 10
_BACKLOG = 2048
_log = structlog.get_logger(__name__)


class HttpServer(Service):
    """Serves an ASGI application until stopped; requests in hand are finished, for 10 s at the most."""

    def __init__(self, app: Any, host: str, port: int, *, on_stopping: Callable[[], None]) -> None:
        """`port` 0 takes a free one. `on_stopping` ends requests that would never end by themselves."""
        super().__init__("http")
        self._app = app
        self._host = host
        self._wanted = port
        self._on_stopping = on_stopping
        self._server: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self.port: int | None = None
        """The port it listens on, once started."""

    @property
    def url(self) -> str:
        """The address for clients. Raises RuntimeError before the start."""
        if self.port is None:
            raise RuntimeError("the HTTP server has no address before its start")
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @override
    async def on_start(self) -> None:
        """Listen. Raises OSError, naming address and port, when they cannot be had."""
        self._socket = _listen(self._host, self._wanted)
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=30,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        # Not `serve`, which takes the process's signal handlers for itself.
        await self._server.startup(sockets=[self._socket])
        self._serving = self.spawn(self._server.main_loop(), "serve")
        _log.info(LogEvent.HTTP_LISTENING, url=self.url)

    @override
    async def on_stop(self) -> None:
        """Take no more connections, finish what is being answered."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        self._on_stopping()
        await asyncio.wait([self._serving])
        await self._server.shutdown(sockets=[self._socket] if self._socket else None)
        self._server = None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"cannot listen on {host}:{port} ({error.strerror}): set GNOMON_HTTP_PORT"
        ) from error
    listener.setblocking(False)
    return listener
