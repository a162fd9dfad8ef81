"""A whole Gnomon, asked as people ask it: over HTTP, and by `gnomon` in a terminal."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from tests.harness.processes import Process
from tests.harness.world import World
from tests.integration.cli.running_up import Said, gnomon

__all__ = ["Place"]


class Place:
    """One world with its api."""

    def __init__(self, world: World, postgres_url: str) -> None:
        self.world, self.postgres_url = world, postgres_url
        self.url = ""
        """Of the api, without path."""
        self._api: Process | None = None

    async def start_api(self, *, audit_every: str = "0s", audit_repair: str = "false") -> None:
        """Start the api, and wait until it is ready. Its own audits would find what a test does meanwhile: here
        everybody asks for themselves, unless told otherwise."""
        self._api = await self.world.api(
            self.postgres_url, GNOMON_AUDIT_EVERY=audit_every, GNOMON_AUDIT_REPAIR=audit_repair
        )
        index = await self._api.logged("http.listening")
        self.url = self._api.lines[index - 1]["url"]

    @property
    def api(self) -> Process:
        """The api that runs."""
        assert self._api is not None
        return self._api

    async def stop_api(self) -> None:
        """Stop the api: what happens from now on it reads when it starts again."""
        assert await self.api.stop() == 0

    async def get(self, path: str, **params: Any) -> Any:
        """What a path of the api answers, which has to be 200."""
        return await self._asked("GET", path, params, None)

    async def post(self, path: str, body: Any = None, **params: Any) -> Any:
        """The same by POST."""
        return await self._asked("POST", path, params, body or {})

    async def _asked(self, method: str, path: str, params: dict[str, Any], body: Any) -> Any:
        async with httpx.AsyncClient(base_url=f"{self.url}/api/v1", timeout=30.0, trust_env=False) as http:
            answer = await http.request(method, path, params=params, json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def gnomon(self, *arguments: str) -> Said:
        """Run a command against it, to its end."""
        return await gnomon(*arguments, "--url", self.url)

    async def audit_in_terminal(self, *arguments: str) -> tuple[int, Any]:
        """`gnomon audit --json`: its exit code, and the report."""
        said = await self.gnomon("audit", "--json", *arguments)
        assert said.out, said.err
        return said.code, msgspec.json.decode(said.out)
