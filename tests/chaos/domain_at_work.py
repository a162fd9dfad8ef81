"""The other kinds of the domain at work: blackouts, todos, reminders, types that run alone, logs. See `at_work`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import asyncpg
import msgspec

from gnomon_schemas.clock_text import format_instant
from gnomon_schemas.events import Executed, ReminderTriggered, Retrying, Started
from tests.chaos.accounts_at_work import USERS
from tests.chaos.policies_at_work import Backfills, CatchUp, MaxRuns, Retries
from tests.harness.at_work import EVERY_SECOND, Part
from tests.harness.commands import fresh_id
from tests.harness.ledger import audit
from tests.harness.live import Live
from tests.harness.recorded import most_at_once
from tests.harness.world import now_ms

__all__ = ["DOMAIN"]

_WITHIN: Final = 60.0


class Blackouts(Part):
    """Calendars that put slots off or leave them out, and are changed, deleted and made again meanwhile."""

    name = "blackouts"
    PATIENT: Final = {"policy": "all", "after_seconds": 60, "limit": 1000}

    async def begin(self) -> None:
        """A task and a calendar of either action; both are in force in a moment, and again and again."""
        self.calendars: dict[str, str] = {}
        for action in ("skip", "defer"):
            await self.create(
                f"dark-{action}",
                schedule=EVERY_SECOND,
                overlap="allow",
                tags=[f"dark-{action}"],
                catch_up=self.PATIENT,
            )
            await self._make(action)

    async def _make(self, action: str) -> None:
        self.calendars[action] = fresh_id("cal")
        body = {
            "name": f"Dark: {action}",
            "selector": {"tags": [f"dark-{action}"]},
            "action": action,
            "spans": self._spans(),
        }
        await self.must("create", self.calendars[action], body, kind="calendar")

    def _spans(self) -> list[dict[str, str]]:
        """Three seconds of every six from the next but one on."""
        first = (now_ms() // 1000 + 2) * 1000
        starts = [first + number * 6000 for number in range(20)]
        return [{"from": format_instant(at), "to": format_instant(at + 3000)} for at in starts]

    async def go_on(self, over: asyncio.Event) -> None:
        """Move, turn off and on, delete and make again."""
        while await self.pause(over, 4, 8):
            action = self.random.choice(tuple(self.calendars))
            act = self.random.choice(("move", "off", "again"))
            if act == "again":
                await self.must("delete", self.calendars[action], kind="calendar")
                await self._make(action)
            else:
                change = {"spans": self._spans(), "enabled": True} if act == "move" else {"enabled": False}
                await self.must("update", self.calendars[action], change, kind="calendar")

    async def finish(self) -> None:
        """What was put off may go."""
        for calendar in self.calendars.values():
            await self.must("update", calendar, {"enabled": False}, kind="calendar")

    def check(self) -> None:
        """What is put off is executed in the end; what is left out is told as such, and nothing else is."""
        found = {
            action: set(audit(self.world.events.of(task_id=f"dark-{action}"), now_ms()).outcomes)
            for action in self.calendars
        }
        assert found["defer"] == {"executed"}, found
        left_out = found["skip"] - {"executed"}
        assert left_out, "the blackout touched nothing"
        assert left_out <= {"skipped(blackout)", "skipped(blackout, span)"}, found
        assert self.world.events.of("queued", "dark-defer", reason="blackout"), "nothing was put off"


class Todos(Part):
    """Things to do: some are done before their reminder, some are moved, and of the others people are reminded once."""

    name = "todos"

    async def begin(self) -> None:
        """None yet: they come one by one."""
        self.reminded: set[str] = set()
        """Of these people have to be reminded."""
        self.done: set[str] = set()
        """These are done long before that."""

    async def go_on(self, over: asyncio.Event) -> None:
        """One after another."""
        while await self.pause(over, 0.2, 1):
            task = fresh_id("todo")
            done = self.random.random() < 0.4
            at = format_instant(now_ms() + (3600 if done else self.random.randrange(1, 4)) * 1000)
            outcome = await self.ask(
                "create",
                task,
                {"name": task, "task_type": "todo", "reminder_time": at, "due_date": at},
            )
            if not outcome["ok"]:
                # It was decided when its reminder had passed: nobody was there to.
                assert outcome["error"]["errors"][0]["pointer"] == "#/reminder_time", outcome
                continue
            (self.done if done else self.reminded).add(task)
            if done:
                await self.must("complete", task)

    async def finish(self) -> None:
        """All are told."""
        for task in self.reminded:
            await self.world.events.one("reminder_triggered", task, within=_WITHIN)

    def check(self) -> None:
        """Once each, and none that was done."""
        for task in (*self.reminded, *self.done):
            told = self.world.events.of("reminder_triggered", task)
            assert len(told) == (task in self.reminded), f"{task}: {told}"
            ends = self.world.events.of("status_changed", task, new_status="completed")
            assert len(ends) == (task in self.done), f"{task}: {ends}"


class Reminders(Part):
    """Slots that nothing is done in but to tell people, and runs of them on demand."""

    name = "reminders"

    async def begin(self) -> None:
        """One in either shard."""
        self.tasks = [self.world.task_in(partition, "remember-") for partition in (0, 1)]
        for task in self.tasks:
            await self.create(task, task_type="reminder", schedule=EVERY_SECOND)

    async def go_on(self, over: asyncio.Event) -> None:
        """Now and then by hand."""
        while await self.pause(over, 1, 3):
            await self.must("run", self.random.choice(self.tasks))

    def check(self) -> None:
        """Each slot and each run tells people once."""
        for task in self.tasks:
            reminders = [seen.event for seen in self.world.events.of("reminder_triggered", task)]
            told = sorted(str(one.execution_id) for one in reminders if isinstance(one, ReminderTriggered))
            assert told == sorted(f"{task}.{run}" for run in self.ended(task))
            assert told, f"{task} told nothing"


class Alone(Part):
    """Tasks of both shards of a type of which one execution may be under way at a time."""

    name = "alone"

    async def begin(self) -> None:
        """One in either shard."""
        self.tasks = {self.world.task_in(partition, "alone-") for partition in (0, 1)}
        for task in self.tasks:
            await self.create(
                task, task_type="policy_alone", config={}, schedule=EVERY_SECOND, overlap="queue"
            )

    def check(self) -> None:
        """Never two."""
        events = [seen for seen in self.world.events.all if seen.task_id in self.tasks]
        assert any(seen.name == "started" for seen in events)
        assert most_at_once(events) == 1


class Logged(Part):
    """Handlers that log, at two attempts each, and tell how far they are."""

    name = "logged"
    LINES: Final = 5
    ATTEMPTS: Final = 2

    async def begin(self) -> None:
        """One in either shard, and somebody who hears of progress."""
        self.heard = await Live.open(self.world.broker.url, "gnomon.progress.>")
        self.tasks = [self.world.task_in(partition, "logged-") for partition in (0, 1)]
        for task in self.tasks:
            await self.create(
                task,
                task_type="policy_logging",
                config={"lines": self.LINES, "attempts": self.ATTEMPTS},
                retry={"max_attempts": self.ATTEMPTS, "backoff": "constant", "initial_seconds": 0.2},
                schedule=EVERY_SECOND,
                overlap="allow",
            )

    async def finish(self) -> None:
        """Who listened was told."""
        await self.heard.close()

    def check(self) -> None:
        """Each attempt tells its own progress."""
        fractions = {number / self.LINES for number in range(1, self.LINES + 1)}
        assert self.heard.all, "nothing was heard of progress"
        for one in self.heard.all:
            assert one.data["fraction"] in fractions
            assert one.data["execution_id"].rpartition(".")[0] in self.tasks

    async def check_rows(self, db: asyncpg.Connection[asyncpg.Record]) -> None:
        """Of each attempt that came to its end the lines are all there, once and in order, but where its executor was
        killed: then at most the last are gone. There are no others."""
        rows = await db.fetch(
            "select execution_id, claim, array_agg(n order by n) as lines from run_logs group by 1, 2"
        )
        kept = {(row["execution_id"], row["claim"]): row["lines"] for row in rows}
        all_lines = list(range(1, self.LINES + 1))
        ends = self._ends()
        assert ends
        killed = self._killed(ends)
        for name, executor in ends.items():
            lines = kept.pop(name, [])
            assert lines == (all_lines[: len(lines)] if executor in killed else all_lines), f"{name}: {lines}"
        for name, lines in kept.items():
            # An attempt that was cut off by a death: what it logged until then.
            assert lines == all_lines[: len(lines)], f"{name}: {lines}"
            assert name in self._claims(), name

    def _claims(self) -> dict[tuple[str, int], Started]:
        return {
            (seen.event.execution_id, seen.seq): seen.event
            for seen in self.world.events.of("started")
            if seen.task_id in self.tasks and isinstance(seen.event, Started)
        }

    def _ends(self) -> dict[tuple[str, int], str]:
        """Claims that came to an end, and the executor that brought them there."""
        found: dict[tuple[str, int], str] = {}
        for task in self.tasks:
            for chain in self.chains(task).values():
                claim = 0
                for seen in chain:
                    event = seen.event
                    if isinstance(event, Started):
                        claim = seen.seq
                    elif isinstance(event, Retrying | Executed) and event.executor is not None:
                        found[event.execution_id, claim] = event.executor
        return found

    def _killed(self, ends: dict[tuple[str, int], str]) -> set[str]:
        """Executors that were killed, or of which it cannot be told."""
        pids: dict[str, int] = {}
        for task in self.tasks:
            for seen in self.world.events.of("executed", task, status="completed"):
                event: Any = seen.event
                pids[event.executor] = msgspec.json.decode(event.result)["pid"]
        ended_well = {process.pid for process in self.world.processes if not process.was_killed}
        return {executor for executor in ends.values() if pids.get(executor) not in ended_well}


DOMAIN: Final[tuple[type[Part], ...]] = (
    *USERS,
    Blackouts,
    Todos,
    Reminders,
    Alone,
    Logged,
    Retries,
    CatchUp,
    MaxRuns,
    Backfills,
)
"""All that the task domain has, at the same time."""
