"""The life of a task on real servers: commands over NATS, a leader on a clock of the test's, read models in Postgres.

The machine works in a thread of its own; what it asks for is done on the loop of the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import asyncpg

from gnomon_scheduler.decisions.views import view
from gnomon_schemas.accounts import micros_of
from gnomon_schemas.codec import decode, encode
from gnomon_schemas.events import Executed
from gnomon_schemas.problems import Code, Refused
from gnomon_schemas.tasks import Task
from tests.harness.commands import fresh_id
from tests.harness.events import Seen
from tests.harness.fake_executor import FakeExecutor, Work
from tests.harness.ledger import ENDINGS
from tests.harness.read_models import caught_up
from tests.harness.stage import Stage
from tests.harness.waiting import until_async
from tests.harness.world import World

__all__ = ["ShardOnServers", "read_row"]

T = TypeVar("T")
_WITHIN: Final = 60.0
_AGAIN: Final = 0.15
"""The stream takes no message twice within a tenth of a second: it is sent again after that."""
_PROBE: Final = "probe"


class ShardOnServers:
    """A shard led in the test, as `Deciding` is: one task, at a time that the test moves on."""

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop, not_before_ms: int) -> None:
        self.world, self._loop = world, loop
        self.stage = Stage(world, not_before_ms=not_before_ms)
        self.task_id, self.user = self.stage.task, fresh_id("u")
        self._works: dict[str, Work] = {}
        """What was delivered, by run."""
        self._decided: set[str] = set()
        self._fake: FakeExecutor
        self._do(self._begin())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WITHIN)

    async def _begin(self) -> None:
        self._fake = await self.world.fake_executor(clock=self.stage.clock)
        await self.stage.lead()

    def close(self) -> int:
        """Let nothing of it go on; when it is, in milliseconds."""
        self._do(self._close())
        return self.now_ms

    async def _close(self) -> None:
        await self.world.commands.send("delete", self.task_id)
        await self._fake.stop()
        await self.stage.leader.stop()

    # -- looking ---------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The time, by the clock of the test."""
        return self.stage.clock.now_ms()

    @property
    def log(self) -> list[Seen]:
        """The task's events, but those of refusals and of looking."""
        return [
            seen
            for seen in self.world.events.of(task_id=self.task_id)
            if seen.name != "rejected" and not str(seen.event.command_id).startswith(_PROBE)
        ]

    @property
    def due(self) -> set[str]:
        """Runs that were handed out and have not ended."""
        ended = {seen.run for seen in self.log if seen.name in ENDINGS}
        return self._works.keys() - ended

    @property
    def used_micros(self) -> int:
        """What the task's runs have cost, by the log."""
        ends = (seen.event for seen in self.log)
        return sum(micros_of(event.credits_consumed) for event in ends if isinstance(event, Executed))

    def events(self, name: str) -> list[Any]:
        """The events of this name so far."""
        return [seen.event for seen in self.log if seen.name == name]

    def chain(self, run: str) -> list[Seen]:
        """The chain of an execution."""
        return [seen for seen in self.log if seen.run == run]

    def shown(self) -> Task:
        """The task as its shard tells it."""
        return self._do(self._shown())

    async def _shown(self) -> Task:
        outcome = await self._probe()
        if outcome["ok"]:
            return decode(encode(outcome["task"]), Task)
        _, reg = await self.world.task_register(self.task_id)
        return view(reg, partition=0, running=False, now_ms=self.now_ms, types={})

    async def _probe(self) -> dict[str, Any]:
        """A change that changes nothing: when it is answered, what its turn began with is decided."""
        return await self.world.commands.decided(
            "update", self.task_id, {}, command_id=fresh_id(_PROBE), headers={"Gnomon-User": self.user}
        )

    # -- doing -----------------------------------------------------------------------------------

    def command(self, verb: str, body: Any, command_id: str, *, user: str) -> bool:
        """Send a command; whether it was decided, which it is once. Raises Refused."""
        known = command_id in self._decided
        outcome = self._do(self._command(verb, body, command_id, user, within=_AGAIN if known else 2.0))
        if not outcome["ok"]:
            raise Refused(Code(outcome["error"]["code"]), outcome["error"]["detail"])
        self._decided.add(command_id)
        return not known

    async def _command(
        self, verb: str, body: Any, command_id: str, user: str, *, within: float
    ) -> dict[str, Any]:
        headers = {"Gnomon-User": user}
        outcome = await self.world.commands.decided(
            verb, self.task_id, body, command_id=command_id, headers=headers, within=within
        )
        await self._settle()
        return outcome

    def turn(self) -> None:
        """Everything that is to be done by now is."""
        self._do(self._settle())

    async def _settle(self) -> None:
        self.stage.leader.shard.wake()
        for _ in range(2):  # what a turn hands out after its answers is out when the next one answers
            await self._probe()
        await self.world.events.catch_up()
        await self._take_delivered()

    async def _take_delivered(self) -> None:
        for _, due in await self.world.dues(self.task_id):
            if due.run not in self._works:
                work = await self._fake.next(task_id=self.task_id)
                self._works[work.due.run] = work

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and what is due be done."""
        self.stage.advance(seconds)
        self.turn()

    def wait_for_due(self, runs: set[str]) -> None:
        """Wait until these runs, and no others, are handed out: credits are asked for in another turn."""

        async def out() -> bool:
            await self._settle()
            return self.due == runs

        self._do(until_async(out, within=_WITHIN / 2))

    def claim(self, run: str) -> None:
        """An executor starts an execution that is due."""
        self._do(self._then_settle(self._fake.claim(self._works[run])))

    def end(self, run: str, status: Any = "completed", *, credits_used: float = 0) -> None:
        """And ends it."""
        self._do(self._end(run, status, credits_used))

    async def _end(self, run: str, status: str, credits_used: float) -> None:
        work = self._works[run]
        await self._fake.finish(work, status, reported=credits_used)
        await self._then_settle(self._fake.ack(work))

    async def _then_settle(self, work: Coroutine[Any, Any, object]) -> None:
        await work
        await self._settle()

    def crash(self) -> None:
        """The leader dies, and another takes over."""
        self._do(self._crash())

    async def _crash(self) -> None:
        await self.stage.leader.die()
        await self.stage.lead()
        await self._settle()

    def redeliver(self, index: int) -> None:
        """Nothing: each command is sent twice, and every leader reads the log again."""


async def read_row(world: World, dsn: str, task_id: str) -> dict[str, Any]:
    """The row of a task, and what its executions say, when the projector has written all of it."""
    await caught_up(world, dsn)
    db = await asyncpg.connect(dsn)
    try:
        row = await db.fetchrow(
            "select base_status, version, deleted_at is not null as deleted, run_count, success_count, failure_count, "
            "consecutive_failures, in_flight, "
            "(select coalesce(sum(credits_consumed), 0) from executions e where e.task_id = t.task_id) as credits, "
            "(select coalesce(sum(amount), 0) from credit_entries c "
            " where c.user_id = t.user_id and book = 'consumption') as micros "
            "from tasks t where task_id = $1",
            task_id,
        )
        assert row is not None
        return dict(row)
    finally:
        await db.close()
