"""Load for tests that stop servers: tasks that fire every second, and runs asked for over NATS and over HTTP.

Whoever asks behaves as the contract wants of callers: what was not answered is asked again, under the same id. So
each run that was asked for is to be made exactly once, whatever was away meanwhile.
"""

from __future__ import annotations

import asyncio
from typing import Final

from tests.harness.ledger import Audit
from tests.harness.over_http import OverHttp
from tests.harness.world import World

__all__ = ["Load"]

_TASKS: Final = 60
_ASKERS: Final = 3


class Load:
    """Tasks and askers of one world. `async with` starts them, and ends the askers when their last run is made."""

    def __init__(self, world: World, http: OverHttp) -> None:
        self.world, self.http = world, http
        self.tasks = [f"load{number}" for number in range(_TASKS)]
        self.runs: list[str] = []
        """Executions that were asked for and accepted."""
        self._end = asyncio.Event()
        self._askers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        every_second = {"kind": "interval", "every_seconds": 1}
        await asyncio.gather(
            *(self.world.commands.create(task, schedule=every_second, overlap="allow") for task in self.tasks)
        )
        for task in ("asked", "asked-http"):
            await self.world.commands.create(task, overlap="allow")
        await self.world.events.some(1, "executed", self.tasks[-1])
        self._askers = [asyncio.create_task(self._ask(), name="asks over NATS") for _ in range(_ASKERS)]
        self._askers.append(asyncio.create_task(self._ask_over_http(), name="asks over HTTP"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await asyncio.gather(*self._askers)

    async def fires_after(self, at_ms: int, within: float = 60.0) -> None:
        """Wait until every task has executed a slot of a later instant (epoch milliseconds)."""
        missing, position = set(self.tasks), 0

        def all_fired() -> bool:
            nonlocal position
            fresh, position = self.world.events.all[position:], len(self.world.events.all)
            for seen in fresh:
                if seen.name == "executed" and seen.time_ms > at_ms:
                    missing.discard(seen.task_id)
            return not missing

        await self.world.events.wait_for(all_fired, within, "a slot of every task")

    def check(self, audit: Audit) -> None:
        """Every slot and every run that was asked for was executed, once."""
        assert audit.outcomes == {"executed": audit.expected + audit.runs}, audit
        assert len(self.runs) == len(set(self.runs)), "an id was given twice"
        made = {f"{seen.task_id}.{seen.run}" for seen in self.world.events.of("queued")}
        assert made == set(self.runs), f"{len(self.runs)} runs were asked for, {len(made)} made"

    async def _ask(self) -> None:
        """Ask for one run after another over NATS."""
        while not self._end.is_set():
            outcome = await self.world.commands.decided("run", "asked", {})
            assert outcome["ok"], outcome
            self.runs.append(outcome["execution"]["execution_id"])

    async def _ask_over_http(self) -> None:
        """Ask for one run after another over HTTP."""
        while not self._end.is_set():
            execution = await self.http.post("/tasks/asked-http/execute")
            self.runs.append(execution["execution_id"])
