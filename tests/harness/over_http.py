"""The api as any web client uses it: requests by httpx, and the stream of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from tests.harness.commands import fresh_id
from tests.harness.processes import Process
from tests.harness.waiting import PATIENCE

__all__ = ["OverHttp", "ServerSent", "Sse"]

_BETWEEN_TRIES = 0.2


class OverHttp:
    """A client of one api process."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    @classmethod
    @asynccontextmanager
    async def of(cls, api: Process) -> AsyncIterator[OverHttp]:
        """A client of this process, which has said where it listens."""
        index = await api.logged("http.listening")
        base = f"{api.lines[index - 1]['url']}/api/v1"
        async with httpx.AsyncClient(base_url=base, timeout=30.0, trust_env=False) as client:
            yield cls(client)

    async def create(self, task_id: str, **spec: Any) -> dict[str, Any]:
        """Create a task: of type `echo` unless told otherwise."""
        body = {"task_id": task_id, "name": task_id, "task_type": "echo", **spec}
        return await self.post("/tasks", body)

    async def post(self, path: str, body: Any = None) -> dict[str, Any]:
        """Post under a fresh idempotency key, and again under the same one until the outcome is there: after 202,
        after 503, and where the api does not answer. Its body."""
        headers = {"Idempotency-Key": fresh_id("k")}
        while True:
            try:
                answer = await self.client.post(path, json=body or {}, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(_BETWEEN_TRIES)
                continue
            decided = not answer.headers.get("Location", "").startswith("/api/v1/commands/")
            if answer.status_code != 503 and decided:
                assert answer.is_success, f"POST {path}: {answer.status_code} {answer.text}"
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(_BETWEEN_TRIES)

    async def get(self, path: str, **params: Any) -> Any:
        """What a path answers, which has to be 200."""
        answer = await self.client.get(path, params=params)
        assert answer.status_code == 200, f"GET {path}: {answer.status_code} {answer.text}"
        return answer.json()


class ServerSent(NamedTuple):
    """One server-sent event."""

    id: str
    event: str
    data: str


class Sse:
    """A reader of `/events`."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    @classmethod
    @asynccontextmanager
    async def read(cls, http: OverHttp, **params: str) -> AsyncIterator[Sse]:
        """Read from now on: when this begins, the api is listening."""
        async with http.client.stream("GET", "/events", params=params, timeout=None) as answer:
            assert answer.status_code == 200, answer.status_code
            assert answer.headers["content-type"].startswith("text/event-stream")
            sse = cls(answer.aiter_lines())
            await sse._comment()
            yield sse

    async def next(self, within: float = PATIENCE) -> ServerSent:
        """The next event. Raises TimeoutError."""
        fields = {"id": "", "event": "", "data": ""}
        async with asyncio.timeout(within):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name in fields:
                    fields[name] = value
                elif not line and fields["event"]:
                    return ServerSent(**fields)
        raise AssertionError("the stream of events ended")

    async def _comment(self) -> None:
        async for line in self._lines:
            if line.startswith(":"):
                return
