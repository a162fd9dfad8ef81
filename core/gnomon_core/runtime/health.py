"""Health over HTTP: `/livez`, `/readyz` and `/metrics` of processes that serve no other HTTP.

*Live* means that the event loop turns and nothing that this process cannot do without has failed; who is not
live should be restarted. *Ready* means that it can do its work now: connected, clock right, everything
loaded. Each check tells for itself, and an answer names all of them:

    {"status": "unavailable", "checks": {"nats": {"ok": false, "detail": "not connected"}, "clock": {"ok":
    true, …}}}

Only GET, only these paths, one request per connection: as little as can be wrong.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from typing_extensions import override

from gnomon_core.runtime.bus import Bus
from gnomon_core.runtime.clock import ClockGuard
from gnomon_core.runtime.metrics import CONTENT_TYPE, LOOP_DELAY, METRICS, Registry
from gnomon_core.runtime.service import Service
from gnomon_core.runtime.telemetry import LogEvent

__all__ = [
    "Check",
    "HealthServer",
    "LoopWatch",
    "Report",
    "Verdict",
    "clock_check",
    "nats_check",
    "run_checks",
]

_REQUEST_SECONDS = 5.0
_CHECK_SECONDS = 2.0
_REQUEST_BYTES = 16 * 1024
_BLOCKED_SECONDS = 0.5
_log = structlog.get_logger(__name__)


class Verdict(msgspec.Struct, frozen=True):
    """What one check found."""

    ok: bool
    detail: str = ""
    """What is wrong, or anything worth knowing."""


Check = Callable[[], Verdict | Awaitable[Verdict]]
"""One check. One that raises or takes longer than 2 s counts as failed, with its error as the detail."""


class Report(msgspec.Struct, frozen=True):
    """What all checks found."""

    status: str
    """`ok` when every check is, else `unavailable`."""
    checks: dict[str, Verdict]


async def run_checks(checks: Mapping[str, Check]) -> Report:
    """Run all checks at once."""
    verdicts = await asyncio.gather(*[_run(check) for check in checks.values()])
    status = "ok" if all(verdict.ok for verdict in verdicts) else "unavailable"
    return Report(status, dict(zip(checks, verdicts, strict=True)))


async def _run(check: Check) -> Verdict:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            verdict = check()
            return await verdict if inspect.isawaitable(verdict) else verdict
    except TimeoutError:
        return Verdict(False, f"no answer within {_CHECK_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the check found
        return Verdict(False, f"{type(error).__name__}: {error}")


def nats_check(bus: Bus) -> Check:
    """Whether the connection to NATS is up."""

    def check() -> Verdict:
        return Verdict(True) if bus.connected else Verdict(False, "not connected to NATS")

    return check


def clock_check(guard: ClockGuard) -> Check:
    """Whether the own clock agrees with the broker's."""

    def check() -> Verdict:
        if guard.off:
            return Verdict(False, f"the clock is {guard.offset_ms / 1000:+.1f} s off the broker's")
        return Verdict(True)

    return check


class HealthServer(Service):
    """Answers on `host:port`; port 0 takes a free one, which `port` then tells."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ready: Mapping[str, Check],
        live: Mapping[str, Check] | None = None,
        metrics: Registry = METRICS,
    ) -> None:
        super().__init__("health")
        self._host = host
        self._asked = port
        self._ready = ready
        self._live = live or {}
        self._metrics = metrics
        self._server: asyncio.Server | None = None
        self.port = port
        """Where it listens, once started."""

    @override
    async def on_start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self._asked, limit=_REQUEST_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    @override
    async def on_stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
                status, kind, body = await self._answer(method, path.partition("?")[0])
                writer.write(_response(status, kind, body))
                await writer.drain()
        except (
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            TimeoutError,
            OSError,
        ) as error:
            _log.debug(LogEvent.HEALTH_REQUEST_FAILED, error=repr(error))
        finally:
            writer.close()

    async def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        if path not in ("/livez", "/readyz", "/metrics"):
            return 404, "text/plain", b"not found\n"
        if method != "GET":
            return 405, "text/plain", b"only GET\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._metrics.render().encode()
        report = await run_checks(self._live if path == "/livez" else self._ready)
        return 200 if report.status == "ok" else 503, "application/json", msgspec.json.encode(report)


_WORDS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def _response(status: int, kind: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class LoopWatch(Service):
    """Measures how late the event loop is, and says so when something held it up."""

    def __init__(self, every: float = 0.25) -> None:
        super().__init__("loop-watch")
        self._every = every

    @override
    async def on_start(self) -> None:
        """Begin to measure."""
        _ = self.spawn(self._watch(), "watch")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await asyncio.sleep(self._every)
            late = max(0.0, loop.time() - due)
            LOOP_DELAY.record(late)
            if late > _BLOCKED_SECONDS:
                _log.warning(LogEvent.LOOP_BLOCKED, seconds=round(late, 3))
