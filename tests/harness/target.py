"""A service that tasks of type `http_request` call: it records what is asked of it, and answers when told to.

Each request is a call with the idempotency key that came with it. On a path that begins with `/held` the answer waits
until the test releases the call (or all of them, by `open`); on any other path it comes at once. So a test decides how
long a handler runs, and sees every run of it, whichever process it is in and whatever becomes of that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from types import TracebackType

from tests.harness.waiting import PATIENCE

__all__ = ["Call", "Target"]

_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\nConnection: close\r\n\r\n"
    b'{"ok":true}'
)


class Call:
    """One request."""

    def __init__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.key = headers.get("idempotency-key", "")
        """The idempotency key."""
        self.at_ms = time.time_ns() // 1_000_000
        self.released = asyncio.Event()

    def release(self) -> None:
        """Let the answer go out."""
        self.released.set()


class Target:
    """The service; `async with` runs it."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        """`seconds`: how long it works on a call before it answers."""
        self._seconds = seconds
        self.calls: list[Call] = []
        """In the order in which they came."""
        self._open = False
        self._changed = asyncio.Condition()
        self._talks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "not started"
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def of(self, key: str) -> list[Call]:
        """Calls with this idempotency key."""
        return [call for call in self.calls if call.key == key]

    def counts(self) -> Counter[str]:
        """How often each key was seen."""
        return Counter(call.key for call in self.calls)

    def hold(self) -> None:
        """From now on calls of held paths wait."""
        self._open = False

    def open(self) -> None:
        """Answer what waits, and from now on whatever comes."""
        self._open = True
        for call in self.calls:
            call.release()

    async def called(self, *keys: str, times: int = 1, within: float = PATIENCE) -> None:
        """Wait until each of these keys was seen so often."""

        def enough() -> bool:
            counts = self.counts()
            return all(counts[key] >= times for key in keys)

        try:
            async with asyncio.timeout(within), self._changed:
                await self._changed.wait_for(enough)
        except TimeoutError:
            counts = self.counts()
            late = [key for key in keys if counts[key] < times]
            raise TimeoutError(
                f"not called {times} x within {within:g} s: {late[:10]} of {len(keys)}"
            ) from None

    async def __aenter__(self) -> Target:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1000)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for talk in list(self._talks):
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Callers are killed here on purpose, and calls that nobody waits for are dropped at the end.
            return
        finally:
            self._talks.discard(talk)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ", 2)
        pairs = [line.split(":", 1) for line in head[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        call = Call(method, path, headers, body)
        if self._open or not path.startswith("/held"):
            call.release()
        async with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        await call.released.wait()
        await asyncio.sleep(self._seconds)
        writer.write(_ANSWER)
        await writer.drain()
