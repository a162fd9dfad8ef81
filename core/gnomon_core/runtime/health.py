"""The health port of a process without HTTP of its own: `/livez`, `/readyz`, `/metrics`.

`/livez` answers as long as the event loop runs: an orchestrator that hears nothing restarts the process.
`/readyz` asks each check and answers 503 with what is wrong while one of them objects. GET and HEAD only,
one answer a connection; nothing that comes in is read beyond the request's head, and a client has five
seconds to send that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from typing_extensions import override

from gnomon_core.runtime.metrics import Meter
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent

__all__ = ["Check", "HealthServer", "readiness"]

Check = Callable[[], str | Awaitable[str | None] | None]
"""What is wrong, or None; at once or after a moment."""

_log = structlog.get_logger(__name__)
_HEAD_MAX = 16 * 1024
_HEAD_SECONDS = 5.0
_CHECK_SECONDS = 2.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


async def readiness(checks: Mapping[str, Check]) -> tuple[bool, dict[str, str]]:
    """Whether all checks agree, and what each says (`ok` or what is wrong).

    A check that raises, or takes longer than 2 s, says so: it must not take the whole answer with it.
    """
    words = await asyncio.gather(*[_ask(check) for check in checks.values()])
    said = dict(zip(checks, words, strict=True))
    return all(word == "ok" for word in words), said


async def _ask(check: Check) -> str:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            words = check()
            return (words if words is None or isinstance(words, str) else await words) or "ok"
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the check found
        return f"{type(error).__name__}: {error}"


class HealthServer(Service):
    """Serves the health port. Without a port it does nothing."""

    def __init__(
        self, host: str, port: int | None, *, checks: Mapping[str, Check], meter: Meter | None = None
    ) -> None:
        super().__init__("health")
        self._host, self._wanted = host, port
        self._checks = checks
        self._meter = meter
        self._server: asyncio.Server | None = None
        self.port: int | None = None
        """The port it listens on; None: it does not."""

    @override
    async def on_start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        if self._wanted is None:
            return
        self._server = await asyncio.start_server(self._serve, self._host, self._wanted, limit=_HEAD_MAX)
        self.port = self._server.sockets[0].getsockname()[1]
        _log.info(LogEvent.HEALTH_LISTENING, host=self._host, port=self.port)

    @override
    async def on_stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
            status, kind, body = await self._answer(method, path.partition("?")[0])
            writer.write(
                f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + (b"" if method == "HEAD" else body)
            )
            await writer.drain()
        except (
            TimeoutError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
        ) as error:
            # Not an HTTP client, or one that went away: nobody to answer.
            _log.debug(LogEvent.HEALTH_REFUSED, error=repr(error))
        finally:
            writer.close()

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if method not in {"GET", "HEAD"}:
            return 405, "text/plain", b"GET or HEAD\n"
        if path == "/livez":
            return 200, "application/json", b'{"status":"ok"}\n'
        if path == "/readyz":
            ready, said = await readiness(self._checks)
            body = msgspec.json.encode({"status": "ready" if ready else "not ready", "checks": said})
            return (200 if ready else 503), "application/json", body + b"\n"
        if path == "/metrics" and self._meter is not None:
            return 200, "text/plain; version=0.0.4; charset=utf-8", self._meter.render()
        return 404, "text/plain", b"/livez, /readyz or /metrics\n"
