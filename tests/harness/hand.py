"""The hand that ends processes: at random, the same for the same seed, and each time with another in their place."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tests.harness.processes import Process
from tests.harness.waiting import until_time
from tests.harness.world import World, now_ms

__all__ = ["ALL", "ONE_EACH", "PROCESSES", "Hand"]

_LEASE_SECONDS: Final = 2
_ACK_WAIT_SECONDS: Final = 3
_FREEZE_SECONDS: Final = max(_LEASE_SECONDS, _ACK_WAIT_SECONDS) + 1
"""Longer than a lease and than an ack wait: others take over what the frozen one had."""
_STOP_WITHIN: Final = 60.0

PROCESSES: Final = ("kill", "kill", "freeze", "stop")
"""What is done to schedulers and executors, one at a time; what stands here twice is done twice as often."""
ALL: Final = (*PROCESSES, "no_schedulers", "no_executors", "broker_killed", "broker_frozen")
"""The same, and outages: all schedulers or all executors away for a while, and a node of the broker."""
ONE_EACH: Final = ("kill_scheduler", "kill_executor", "kill_api")
"""One of each kind is killed."""


class Hand:
    """Schedulers, executors and, where wanted, apis of a world, and what is done to them."""

    def __init__(
        self,
        world: World,
        seed: int,
        *,
        schedulers: int = 3,
        executors: int = 3,
        executor: Callable[[], Awaitable[Process]] | None = None,
        api: Callable[[], Awaitable[Process]] | None = None,
        acts: Sequence[str] = PROCESSES,
        pause_ms: tuple[int, int] = (200, 1500),
    ) -> None:
        """`executor` starts one, where it takes more than the world's own does; `api` starts one, which is killed by
        `kill_api` alone. `pause_ms`: least and most between two acts."""
        self.world, self._random, self._acts, self._pause_ms = world, random.Random(seed), acts, pause_ms
        self._start_executor = executor or world.executor
        self._start_api = api
        self._wanted = (schedulers, executors)
        self.schedulers: list[Process] = []
        self.executors: list[Process] = []
        self.apis: list[Process] = []
        self._deck: list[str] = []
        self.ended: list[str] = []
        """What was done, in words."""

    async def start(self) -> None:
        """Start the processes."""
        schedulers, executors = self._wanted
        await asyncio.gather(
            *(self._add_scheduler() for _ in range(schedulers)),
            *(self._add_executor() for _ in range(executors)),
            *(() if self._start_api is None else (self._add_api(),)),
        )

    async def work_for(self, seconds: float) -> None:
        """Do one thing after another until time is up."""
        end_ms = now_ms() + int(seconds * 1000)
        while now_ms() < end_ms:
            if not self._deck:
                # All of them come before one comes again, also where there is little time.
                self._deck = self._random.sample(self._acts, len(self._acts))
            await self.act(self._deck.pop())
            await until_time(now_ms() + self._random.randrange(*self._pause_ms))

    async def act(self, act: str) -> None:
        """Do one thing: see `PROCESSES`, `ALL` and `ONE_EACH`."""
        match act:
            case "kill":
                await self._kill(*self._victim())
            case "kill_scheduler":
                await self._kill(self.schedulers.pop(0), self._add_scheduler)
            case "kill_executor":
                await self._kill(self.executors.pop(0), self._add_executor)
            case "kill_api":
                await self._kill(self.apis.pop(0), self._add_api)
            case "stop":
                victim, start = self._victim()
                self.ended.append(f"{victim.name} stopped")
                await asyncio.gather(victim.stop(within=_STOP_WITHIN), start())
            case "freeze":
                await self._freeze()
            case "no_schedulers":
                await self._none(self.schedulers, self._add_scheduler)
            case "no_executors":
                await self._none(self.executors, self._add_executor)
            case "broker_killed":
                node = self._random.choice(self.world.broker.nodes)
                self.ended.append(f"broker node {self.world.broker.nodes.index(node)} killed")
                await node.kill()
                await until_time(now_ms() + self._random.randrange(3000))
                await node.start()
            case "broker_frozen":
                node = self._random.choice(self.world.broker.nodes)
                self.ended.append(f"broker node {self.world.broker.nodes.index(node)} frozen")
                node.pause()
                await until_time(now_ms() + self._random.randrange(500, 4000))
                node.resume()
            case _:
                raise ValueError(f"no such act: {act!r}")

    async def _add_scheduler(self) -> None:
        self.schedulers.append(await self.world.scheduler())

    async def _add_executor(self) -> None:
        self.executors.append(await self._start_executor())

    async def _add_api(self) -> None:
        assert self._start_api is not None, "there is none in this world"
        self.apis.append(await self._start_api())

    async def _kill(self, victim: Process, start: Callable[[], Awaitable[None]]) -> None:
        self.ended.append(f"{victim.name} killed")
        await victim.kill()
        await start()

    def _victim(self) -> tuple[Process, Callable[[], Awaitable[None]]]:
        """A process that is not kept any more, and what puts another in its place."""
        kept, start = self._random.choice(
            ((self.schedulers, self._add_scheduler), (self.executors, self._add_executor))
        )
        return kept.pop(self._random.randrange(len(kept))), start

    async def _freeze(self) -> None:
        victim = self._random.choice(self._random.choice((self.schedulers, self.executors)))
        self.ended.append(f"{victim.name} frozen")
        await victim.pause()
        await until_time(now_ms() + _FREEZE_SECONDS * 1000)
        victim.resume()

    async def _none(self, kept: list[Process], start: Callable[[], Awaitable[None]]) -> None:
        """All of a kind are killed, and come back after a while."""
        gone, kept[:] = list(kept), []
        self.ended.append(f"{', '.join(process.name for process in gone)} killed together")
        await asyncio.gather(*(process.kill() for process in gone))
        await until_time(now_ms() + self._random.randrange(1000, 6000))
        await asyncio.gather(*(start() for _ in gone))
