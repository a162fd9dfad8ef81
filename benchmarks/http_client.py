"""A client that costs little: HTTP/1.1 over kept connections, and requests at a steady pace whatever becomes of them.

The pace is open: each request has its instant, and its time counts from that instant on, also when the one before it
is late. A client that waits for answers before it asks again would hide just the slow ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["Answer", "HttpClient", "at_pace"]


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


class HttpClient:
    """Requests to one server, over as many connections as are busy at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def close(self) -> None:
        """Close the idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request. Raises OSError, asyncio.IncompleteReadError when the connection breaks."""
        connection = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        reader, writer = connection
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Length: {len(body)}\r\n"
        writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next(
            (int(line.partition(b":")[2]) for line in lines if line.lower().startswith(b"content-length:")), 0
        )
        answer = Answer(int(lines[0].split(b" ")[1]), await reader.readexactly(length))
        self._idle.append(connection)
        return answer


async def at_pace(a_second: float, seconds: float, do: Callable[[], Awaitable[None]]) -> list[float]:
    """Do something so many times a second: the milliseconds of each, from its instant on. Raises what `do` raises."""
    took: list[float] = []

    async def one(due: float) -> None:
        await do()
        took.append((time.perf_counter() - due) * 1e3)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(a_second * seconds)):
            due = begun + number / a_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    return took
