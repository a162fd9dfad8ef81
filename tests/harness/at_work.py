"""Something at work for a while: tasks of one kind, kept busy as their users would, whatever is killed meanwhile.

Each *part* makes its tasks and looks in the end at the event log, some at Postgres too. That no slot and no run was
lost or doubled the ledger says for all parts together; each part says besides what its own kind promises.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from typing import Any, Final

import asyncpg

from gnomon_core.runtime.bus_errors import BusError
from tests.harness.events import Seen
from tests.harness.world import World

__all__ = ["EVERY_SECOND", "Part"]

EVERY_SECOND: Final = {"kind": "interval", "every_seconds": 1}
_BETWEEN_TRIES: Final = 0.1


class Part:
    """One policy at work."""

    name = ""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(f"{seed} {self.name}")

    async def begin(self) -> None:
        """Make the tasks."""
        raise NotImplementedError

    def check(self) -> None:
        """Say what the policy promises, of what is recorded. Some executions may still be under way: the ledger says
        which may not."""
        raise NotImplementedError

    async def create(self, task: str, *, user: str | None = None, **spec: Any) -> None:
        """Create a task, of a user or of the system, whatever is away."""
        await self.must("create", task, {"name": task, "task_type": "echo", **spec}, user=user)

    async def must(
        self, verb: str, object_id: str, body: Any = None, *, kind: str = "task", user: str | None = None
    ) -> dict[str, Any]:
        """Have a command taken, whatever is away; its outcome."""
        outcome = await self.ask(verb, object_id, body, kind=kind, user=user)
        assert outcome["ok"], f"{verb} of {kind} {object_id}: {outcome}"
        return outcome

    async def ask(
        self, verb: str, object_id: str, body: Any = None, *, kind: str = "task", user: str | None = None
    ) -> dict[str, Any]:
        """Have a command decided; its outcome."""
        headers = {} if user is None else {"Gnomon-User": user}
        return await self.world.commands.decided(verb, object_id, body or {}, kind=kind, headers=headers)

    async def announce(self, subject: str, told: Any, name: str) -> None:
        """Tell what another service tells, under this name, until a stream has it. Bytes go as they are."""
        data = told if isinstance(told, bytes) else json.dumps(told).encode()
        while True:
            try:
                await self.world.bus.publish(subject, data, {"Nats-Msg-Id": name})
            except BusError:
                await asyncio.sleep(_BETWEEN_TRIES)  # the broker is away, or no api has made the stream yet
            else:
                return

    async def go_on(self, over: asyncio.Event) -> None:
        """Do what its users do until it is over: nothing, where its schedules do all."""
        await over.wait()

    async def finish(self) -> None:
        """Let what is bounded come to its end, now that nothing is killed any more."""

    async def pause(self, over: asyncio.Event, least: float, most: float) -> bool:
        """Wait for a while; False when it is over."""
        try:
            async with asyncio.timeout(self.random.uniform(least, most)):
                await over.wait()
        except TimeoutError:
            return True
        return False

    async def agree(self) -> None:
        """Wait until the services have told each other what they owe, while they run."""

    async def check_rows(self, db: asyncpg.Connection[asyncpg.Record]) -> None:
        """Say what is promised of what stands in Postgres, when all has been written."""

    def ended(self, task: str) -> dict[str, list[Seen]]:
        """The executions of a task that were executed, by run."""
        chains = self.chains(task).items()
        return {run: chain for run, chain in chains if any(seen.name == "executed" for seen in chain)}

    def chains(self, task: str) -> dict[str, list[Seen]]:
        """The executions of a task, by run."""
        found: defaultdict[str, list[Seen]] = defaultdict(list)
        for seen in self.world.events.of(task_id=task):
            if seen.run != "_":
                found[seen.run].append(seen)
        return found
