"""One shard on a clock that stands still, its leader killed at every write that it makes, one after the other.

A *scene* is what happens in the test: commands, time that passes. `at_every_write` plays it again and again, each time
with a fresh task; in the n-th play the leader dies at its n-th write, once before it and once after it, and another
takes over where it was. Whatever the scene was, in the end every slot and every run must have exactly one outcome.
The plays end when the scene is over before its n-th write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from gnomon_core.runtime.clock import ManualClock
from tests.harness.commands import Commands, fresh_id
from tests.harness.leading import Leader
from tests.harness.ledger import Audit, audit
from tests.harness.stopping import Trap
from tests.harness.waiting import PATIENCE
from tests.harness.world import World, now_ms

__all__ = ["Scene", "Stage", "at_every_write"]

_WRITES_MAX = 60
_SETTLE_STEP = 0.25


class Stage:
    """A task of its own, a leader for its partition, and the time."""

    def __init__(self, world: World, *, not_before_ms: int = 0, **options: Any) -> None:
        self.world = world
        self.task = world.task_in(0, fresh_id("t")[:12] + "-")
        self.clock = ManualClock(max(now_ms(), not_before_ms) // 1000 * 1000 + 1500)
        """Half past a second, so that no slot falls on the instant of a command."""
        self.leader: Leader
        self._options = options

    @property
    def commands(self) -> Commands:
        """To ask as any program does."""
        return self.world.commands

    async def connect(self) -> Leader:
        """Another leader on the stage's clock, which does not lead yet."""
        return await self.world.leader(clock=self.clock, **self._options).connect()

    async def lead(self) -> Leader:
        """Another leader takes over and is the stage's from now on."""
        self.leader = await self.connect()
        return await self.leader.lead()

    def advance(self, seconds: float) -> None:
        """Let time pass, and let the leader see it."""
        self.clock.advance(seconds)
        self.leader.shard.wake()

    async def settle(self, until_ms: int | None = None, within: float = PATIENCE) -> Audit:
        """Let time pass until every slot up to an instant (now) has its outcome; the audit."""
        until = self.clock.now_ms() if until_ms is None else until_ms
        await self.world.events.catch_up()
        async with asyncio.timeout(within):
            while not (found := self.audit(until)).settled:
                assert not found.doubled, found
                self.advance(_SETTLE_STEP)
                try:
                    await self.world.events.more(len(self.world.events.all), within=0.05)
                except TimeoutError:
                    continue
        return found

    def audit(self, until_ms: int | None = None) -> Audit:
        """Expected against recorded, for the stage's task."""
        until = self.clock.now_ms() if until_ms is None else until_ms
        return audit(self.world.events.of(task_id=self.task), until, self.world.calendars)


Scene = Callable[[Stage], Awaitable[object]]


async def at_every_write(
    world: World,
    scene: Scene,
    *,
    prepare: Scene | None = None,
    check: Callable[[Stage, Audit], object] | None = None,
    subject: str = "*",
    **options: Any,
) -> int:
    """Play `scene` with the leader dying at each of its writes to `subject`; how many plays had a death in them.

    `prepare` comes before, undisturbed; `check` may say more of the audit in the end.
    """
    deaths, time_ms = 0, 0
    for nth in range(1, _WRITES_MAX):
        reached = False
        for when in ("before", "after"):
            stage = Stage(world, not_before_ms=time_ms, **options)
            await stage.lead()
            if prepare is not None:
                await prepare(stage)
            died = await _play(stage, scene, nth, when, subject)
            try:
                found = await stage.settle()
                if check is not None:
                    check(stage, found)
            except (AssertionError, TimeoutError) as error:
                place = f"the leader died {when} its write {nth}" if died else "no leader died"
                raise AssertionError(f"{place}: {error}\n{stage.audit()}\n{world.events.tail()}") from error
            # The shard's clock never goes back, and the task must not go on beside the next play's.
            await world.commands.send("delete", stage.task)
            await stage.leader.stop()
            time_ms = stage.clock.now_ms()
            reached |= died
            deaths += died
        if not reached:
            return deaths
    raise AssertionError(f"the scene never ended within {_WRITES_MAX} writes")


async def _play(stage: Stage, scene: Scene, nth: int, when: Literal["before", "after"], subject: str) -> bool:
    trap = Trap(subject=subject, do="hold", when=when, nth=nth)
    leader = stage.leader
    leader.bus.traps.append(trap)
    playing = asyncio.ensure_future(scene(stage))
    death = asyncio.ensure_future(trap.reached.wait())
    try:
        async with asyncio.timeout(30):
            await asyncio.wait({playing, death}, return_when=asyncio.FIRST_COMPLETED)
            if trap.reached.is_set():
                await leader.die()
                await stage.lead()
            await playing
    finally:
        death.cancel()
        playing.cancel()
        await asyncio.wait({death, playing})
    died = trap.reached.is_set()
    leader.bus.traps.remove(trap)
    if not died:
        trap.release()  # a write that was caught and is still on its way must not be held any more
    if died and stage.leader is leader:
        # It was held while the scene came to its end.
        await leader.die()
        await stage.lead()
    return died
