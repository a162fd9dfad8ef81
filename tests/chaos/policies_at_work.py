"""Every policy at work at the same time, and what must hold of each whatever was killed meanwhile: see `at_work`."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any, Final

from gnomon_schemas.clock_text import format_instant, instant_ms
from gnomon_schemas.events import Executed, Queued, Retrying, Started, StatusChanged, Updated
from tests.harness.at_work import EVERY_SECOND, Part
from tests.harness.ledger import audit
from tests.harness.recorded import most_at_once, most_in_any
from tests.harness.world import now_ms

__all__ = ["NARROW_POOL", "PARTS", "Backfills", "CatchUp", "MaxRuns", "Retries"]

NARROW_POOL: Final = "narrow"
"""Executors have to serve it besides the default one."""


class Retries(Part):
    """Handlers that fail as told, on a schedule: a slot is one execution, however many attempts it takes."""

    name = "retries"
    SCRIPTS: Final = (
        ("fail", "ok"),
        ("again 0.7", "fail", "ok"),
        ("fail", "fail", "fail"),
        ("fail", "never"),
    )
    ATTEMPTS: Final = 3

    async def begin(self) -> None:
        """Two tasks of each script."""
        self.tasks = {f"retry-{number}": self.SCRIPTS[number % len(self.SCRIPTS)] for number in range(8)}
        for task, steps in self.tasks.items():
            await self.create(
                task,
                task_type="policy_scripted",
                config={"steps": steps},
                schedule={"kind": "interval", "every_seconds": self.random.randrange(2, 5)},
                overlap="allow",
                retry={"max_attempts": self.ATTEMPTS, "backoff": "constant", "initial_seconds": 0.5},
            )

    def check(self) -> None:
        """Attempts are counted one by one, and the script's last step decides: no crash repeats or leaves out one."""
        for task, steps in self.tasks.items():
            for run, chain in self.ended(task).items():
                attempts = [seen.event.attempt for seen in chain if isinstance(seen.event, Retrying)]
                assert attempts == list(range(1, len(steps))), f"{task}.{run}: {attempts}"
                (executed,) = (seen.event for seen in chain if isinstance(seen.event, Executed))
                expected = "completed" if steps[-1] == "ok" else "failed"
                assert (executed.status, executed.attempt) == (expected, len(steps)), f"{task}.{run}"
                numbers = [seen.event.attempt for seen in chain if isinstance(seen.event, Started)]
                assert sorted(set(numbers)) == list(range(1, len(steps) + 1)), f"{task}.{run}: {numbers}"
                assert numbers == sorted(numbers), f"{task}.{run}: {numbers}"


class Queues(Part):
    """One at a time, by every policy that says so, with handlers that outlast their slots now and then."""

    name = "queues"
    POLICIES: Final = ("skip", "queue", "queue_all", "cancel_running")

    async def begin(self) -> None:
        """Two tasks of each policy."""
        self.tasks = {f"{policy}-{number}": policy for policy in self.POLICIES for number in range(2)}
        for task, policy in self.tasks.items():
            seconds = 1.6 if policy == "cancel_running" else 0.7
            await self.create(
                task, task_type="sleep", config={"seconds": seconds}, schedule=EVERY_SECOND, overlap=policy
            )

    async def go_on(self, over: asyncio.Event) -> None:
        """Now and then a run on demand beside the slots, which keeps to the same policy."""
        while await self.pause(over, 1, 4):
            task = self.random.choice(list(self.tasks))
            outcome = await self.world.commands.decided("run", task, {})
            assert outcome["ok"] or outcome["error"]["code"] == "overlap", outcome

    def check(self) -> None:
        """Never two at a time; and of `queue_all` no slot is left out."""
        for task, policy in self.tasks.items():
            events = self.world.events.of(task_id=task)
            assert most_at_once(events) == 1, f"{task}: {most_at_once(events)} at a time"
            if policy == "queue_all":
                ends = {seen.run: seen.name for seen in events if seen.name in {"skipped", "missed"}}
                assert not ends, f"{task}: {ends}"


class Pauses(Part):
    """Tasks that are paused, some until a time, and resumed at random: a slot of a pause never runs."""

    name = "pauses"

    async def begin(self) -> None:
        """Tasks that fire every second."""
        self.tasks = [f"paused-{number}" for number in range(4)]
        for task in self.tasks:
            await self.create(task, schedule=EVERY_SECOND, overlap="allow")

    async def go_on(self, over: asyncio.Event) -> None:
        """Pause, wait, resume."""
        while await self.pause(over, 0.2, 1.5):
            task = self.random.choice(self.tasks)
            verb, body = self.random.choice((("pause", {}), ("pause", self._until()), ("resume", {})))
            outcome = await self.world.commands.decided(verb, task, body)
            # Until it is decided, the time may be over.
            assert outcome["ok"] or outcome["error"]["errors"][0]["pointer"] == "#/until", outcome

    def _until(self) -> dict[str, str]:
        return {"until": format_instant(now_ms() + self.random.randrange(500, 4000))}

    async def finish(self) -> None:
        """All of them go on."""
        for task in self.tasks:
            outcome = await self.world.commands.decided("resume", task, {})
            assert outcome["ok"], outcome

    def check(self) -> None:
        """The ledger says it: what is executed within a pause would be doubled by the pause's span."""


class Failures(Part):
    """Tasks that always fail, and are paused by the shard for it: their owner resumes them, and they fail again."""

    name = "failures"
    MOST: Final = 3

    async def begin(self) -> None:
        """Tasks that fire every second, one at a time."""
        self.tasks = [f"failing-{number}" for number in range(3)]
        for task in self.tasks:
            await self.create(
                task,
                task_type="policy_scripted",
                config={"steps": ["fail"]},
                schedule=EVERY_SECOND,
                max_consecutive_failures=self.MOST,
            )

    async def go_on(self, over: asyncio.Event) -> None:
        """Resume them now and then."""
        while await self.pause(over, 2, 6):
            outcome = await self.world.commands.decided("resume", self.random.choice(self.tasks), {})
            assert outcome["ok"], outcome

    def check(self) -> None:
        """It was paused by as many failures since the last resume as it takes, give or take one: the last before may
        have been recorded right before that resume and folded after it; and a slot that was handed out in the turn in
        which the last failure was folded fails before the pause is stored, where its leader dies in between."""
        for task in self.tasks:
            failures = pauses = 0
            events = self.world.events.of(task_id=task)
            for index, seen in enumerate(events):
                event = seen.event
                if isinstance(event, Executed) and event.status == "failed":
                    failures += 1
                elif isinstance(event, StatusChanged) and event.reason == "max_consecutive_failures":
                    before = ", ".join(map(str, events[max(0, index - 20) : index + 1]))
                    assert abs(failures - self.MOST) <= 1, f"paused after {failures} failures: {before}"
                    pauses += 1
                elif isinstance(event, Updated):
                    failures = 0
            assert pauses, f"{task} was never paused"


class OnDemand(Part):
    """Runs that were asked for: each that was accepted is made once, whoever died after the answer."""

    name = "on demand"

    async def begin(self) -> None:
        """A task without schedule."""
        self.asked: list[str] = []
        await self.create("asked", overlap="allow")

    async def go_on(self, over: asyncio.Event) -> None:
        """Ask, one run after another."""
        while await self.pause(over, 0.05, 0.3):
            body = {"trigger_data": {"number": len(self.asked)}}
            outcome = await self.world.commands.decided("run", "asked", body)
            assert outcome["ok"], outcome
            self.asked.append(outcome["execution"]["run"])

    def check(self) -> None:
        """Each has one chain, with its own input, and was executed."""
        chains = self.chains("asked")
        assert sorted(chains) == sorted(self.asked)
        for number, run in enumerate(self.asked):
            queued = chains[run][0].event
            assert isinstance(queued, Queued)
            assert json.loads(bytes(queued.trigger_data)) == {"number": number}
            assert chains[run][-1].name == "executed", f"{run}: {[seen.name for seen in chains[run]]}"


class CatchUp(Part):
    """Backlogs: whatever was away for longer than a second, each policy accounts for in its own way."""

    name = "catch-up"
    ALLOWED: Final = {
        "all": {"executed"},
        "latest": {"executed", "coalesced(catch_up_latest, span)"},
        "skip": {"executed", "missed(catch_up_skip, span)"},
    }

    async def begin(self) -> None:
        """Two tasks of each policy, one of which runs one slot at a time."""
        self.tasks = {
            f"late-{policy}-{overlap}": policy
            for policy in self.ALLOWED
            for overlap in ("allow", "queue_all")
        }
        for task, policy in self.tasks.items():
            await self.create(
                task,
                schedule=EVERY_SECOND,
                overlap=task.rpartition("-")[2],
                catch_up={"policy": policy, "after_seconds": 1, "limit": 1000},
            )

    def check(self) -> None:
        """No outcome that the policy does not have; and under `all` nothing is left out."""
        for task, policy in self.tasks.items():
            events = self.world.events.of(task_id=task)
            outcomes = set(audit(events, now_ms()).outcomes)
            assert outcomes <= self.ALLOWED[policy], f"{task}: {outcomes}"
            if task.endswith("queue_all"):
                assert most_at_once(events) == 1, f"{task}: {most_at_once(events)} at a time"


class MaxRuns(Part):
    """Tasks that are to run so many times, by whatever leaders, after whatever outages."""

    name = "max_runs"
    RUNS: Final = 12
    SHAPES: Final[dict[str, dict[str, Any]]] = {
        "plain": {"overlap": "allow"},
        "queue": {"overlap": "queue_all", "task_type": "sleep", "config": {"seconds": 0.6}},
        "skip": {"overlap": "skip", "task_type": "sleep", "config": {"seconds": 0.6}},
        "late": {"overlap": "queue_all", "catch_up": {"policy": "all", "after_seconds": 1, "limit": 1000}},
        "newest": {"overlap": "allow", "catch_up": {"policy": "latest", "after_seconds": 1}},
        "retried": {
            "overlap": "allow",
            "task_type": "policy_scripted",
            "config": {"steps": ["fail", "ok"]},
            "retry": {"max_attempts": 2, "backoff": "constant", "initial_seconds": 0.5},
        },
        "spread": {"overlap": "allow"},
    }

    async def begin(self) -> None:
        """One of each shape, and others while all goes on."""
        self.tasks: list[str] = []
        for shape in self.SHAPES:
            await self._make(shape)

    async def _make(self, shape: str) -> None:
        task = f"counted-{len(self.tasks)}-{shape}"
        schedule = {**EVERY_SECOND, "max_runs": self.RUNS}
        if shape == "spread":
            schedule["jitter_seconds"] = 3
        await self.create(task, schedule=schedule, **self.SHAPES[shape])
        self.tasks.append(task)

    async def go_on(self, over: asyncio.Event) -> None:
        """Make more of them; run one on demand, which does not count."""
        while await self.pause(over, 3, 8):
            await self._make(self.random.choice(list(self.SHAPES)))
            outcome = await self.world.commands.decided(
                "run", self.random.choice(self.tasks), {"overlap": "allow"}
            )
            assert outcome["ok"] or outcome["error"]["code"] == "invalid_state", outcome

    async def finish(self) -> None:
        """Every one of them ends."""
        for task in self.tasks:
            await self.world.events.one("status_changed", task, within=90)

    def check(self) -> None:
        """So many slots were executed, none more and none fewer, and the task was completed by that."""
        for task in self.tasks:
            slots = [run for run in self.ended(task) if not run.startswith("r-")]
            assert len(slots) == self.RUNS, f"{task} ran {len(slots)} slots: {sorted(slots)}"
            (event,) = (seen.event for seen in self.world.events.of("status_changed", task))
            assert isinstance(event, StatusChanged)
            assert (event.new_status, event.reason) == ("completed", "no_slot_left"), task


class Pools(Part):
    """A pool with a limit, contended by slots and runs of several shards and of every overlap policy; it is paused and
    resumed, and so are its tasks, which also come and go."""

    name = "pools"
    LIMIT: Final = 3
    SHAPES: Final[tuple[dict[str, Any], ...]] = (
        {"overlap": "allow", "task_type": "sleep", "config": {"seconds": 0.4}},
        {"overlap": "queue_all", "task_type": "sleep", "config": {"seconds": 0.4}},
        {"overlap": "cancel_running", "task_type": "sleep", "config": {"seconds": 1.5}},
        {
            "overlap": "allow",
            "task_type": "policy_scripted",
            "config": {"steps": ["fail", "ok"]},
            "retry": {"max_attempts": 2, "backoff": "constant", "initial_seconds": 0.5},
        },
    )

    async def begin(self) -> None:
        """Its limit, then tasks that want more of it than there is."""
        await self._set(max_in_flight=self.LIMIT)
        self.tasks: list[str] = []
        self.over: set[str] = set()
        """Tasks that were deleted."""
        for number in range(6):
            await self._make(self.SHAPES[number % len(self.SHAPES)])

    async def _make(self, shape: dict[str, Any]) -> None:
        task = f"pooled-{len(self.tasks)}"
        await self.create(
            task,
            pool=NARROW_POOL,
            priority=self.random.choice(("urgent", "high", "medium", "low")),
            schedule={"kind": "interval", "every_seconds": self.random.randrange(1, 4)},
            **shape,
        )
        self.tasks.append(task)

    async def _set(self, **settings: Any) -> None:
        outcome = await self.world.commands.decided("update", NARROW_POOL, settings, kind="pool")
        assert outcome["ok"], outcome

    async def go_on(self, over: asyncio.Event) -> None:
        """Pause the pool or a task now and then, for a while; run one; delete one, with another in its place."""
        while await self.pause(over, 0.5, 3):
            task = self.random.choice([task for task in self.tasks if task not in self.over])
            act = self.random.choice(("pool", "pause", "run", "run", "delete"))
            if act == "pool":
                await self._set(paused=True)
                await self.pause(over, 0.5, 3)
                await self._set(paused=False)
            elif act == "pause":
                await self._decided("pause", task)
                await self.pause(over, 0.5, 2)
                await self._decided("resume", task)
            elif act == "delete":
                self.over.add(task)
                await self._decided("delete", task)
                await self._make(self.random.choice(self.SHAPES))
            else:
                await self._decided(act, task)

    async def _decided(self, verb: str, task: str) -> None:
        outcome = await self.world.commands.decided(verb, task, {})
        assert outcome["ok"], outcome

    def check(self) -> None:
        """Never more of all of them at a time than the pool allows."""
        events = [seen for seen in self.world.events.all if seen.task_id in set(self.tasks)]
        assert most_at_once(events) <= self.LIMIT, f"{most_at_once(events)} at a time in the pool"


class Keys(Part):
    """Tasks of several shards that share a key, tasks with a rate, and runs that are not to be repeated too soon."""

    name = "keys"
    RATE: Final = {"count": 3, "per_seconds": 4}
    UNIQUE_SECONDS: Final = 3600
    INPUTS: Final = 4

    async def begin(self) -> None:
        """Two keys, each of tasks of both partitions; two tasks with a rate of their own."""
        self.keyed: dict[str, list[str]] = {}
        for key, limit in (("one", 1), ("pair", 2)):
            self.keyed[key] = [self.world.task_in(partition, f"key-{key}-") for partition in (0, 1)]
            for task in self.keyed[key]:
                await self.create(
                    task,
                    task_type="policy_scripted",
                    config={"steps": ["fail", "ok"]},
                    retry={"max_attempts": 2, "backoff": "constant", "initial_seconds": 0.5},
                    schedule={"kind": "interval", "every_seconds": 2},
                    overlap="queue_all",
                    concurrency_key=key,
                    concurrency_limit=limit,
                )
        self.rated = [self.world.task_in(partition, "rated-") for partition in (0, 1)]
        for task in self.rated:
            await self.create(
                task, overlap="allow", concurrency_key="rate", rate_limit=self.RATE, concurrency_limit=9
            )
        await self.create("unique", overlap="allow", unique_for_seconds=self.UNIQUE_SECONDS)

    async def go_on(self, over: asyncio.Event) -> None:
        """Run what has a rate now and then, and the same few inputs again and again."""
        while await self.pause(over, 1, 3):
            task = self.random.choice((*self.rated, "unique"))
            body = {"trigger_data": self.random.randrange(self.INPUTS)} if task == "unique" else {}
            outcome = await self.world.commands.decided("run", task, body)
            assert outcome["ok"], outcome

    def check(self) -> None:
        """Never more of a key at a time than its limit, nor starts in any span than its rate; each input once."""
        for key, limit in (("one", 1), ("pair", 2)):
            events = [seen for seen in self.world.events.all if seen.task_id in self.keyed[key]]
            assert most_at_once(events) <= limit, f"{most_at_once(events)} at a time of key {key}"
        starts = [
            instant_ms(seen.event.started_at)
            for seen in self.world.events.all
            if seen.task_id in self.rated and isinstance(seen.event, Started)
        ]
        most = most_in_any(self.RATE["per_seconds"] * 1000, starts)
        assert most <= self.RATE["count"], f"{most} starts within {self.RATE['per_seconds']} s"
        assert len(self.ended("unique")) <= self.INPUTS


class Backfills(Part):
    """Spans of the past, run while all else goes on; some are cancelled amid it."""

    name = "backfills"
    ANCHOR_MS: Final = 1_767_225_600_000
    YEAR_SECONDS: Final = 365 * 86400
    SLOTS: Final = 15
    CONCURRENCY: Final = 2

    async def begin(self) -> None:
        """Tasks whose slots go back for months, and of which none comes while this lasts."""
        self.whole: list[tuple[str, str]] = []
        """Task and id of those that were not cancelled."""
        self.cancelled: list[tuple[str, str]] = []
        self.tasks = [f"backfilled-{number}" for number in range(3)]
        anchor = format_instant(self.ANCHOR_MS)
        schedule = {"kind": "interval", "every_seconds": self.YEAR_SECONDS, "anchor": anchor}
        for task in self.tasks:
            await self.create(task, task_type="sleep", config={"seconds": 0.2}, schedule=schedule)

    async def go_on(self, over: asyncio.Event) -> None:
        """Begin one after another; the task's earlier ones may still be under way."""
        first_ms = self.ANCHOR_MS - self.SLOTS * self.YEAR_SECONDS * 1000
        span = {"from": format_instant(first_ms), "to": format_instant(self.ANCHOR_MS), "only": "all"}
        while await self.pause(over, 3, 8):
            task = self.random.choice(self.tasks)
            body = {**span, "concurrency": self.CONCURRENCY}
            outcome = await self.world.commands.decided("backfill", task, body)
            if not outcome["ok"]:
                assert outcome["error"]["code"] == "limit", outcome
                continue
            backfill = outcome["command_id"]
            if self.random.random() < 0.3:
                await self.pause(over, 0.2, 2)
                stopped = await self.world.commands.decided("backfill", task, {"cancel": backfill})
                if stopped["ok"]:
                    self.cancelled.append((task, backfill))
                    continue
                # It was through before that came.
                assert stopped["error"]["code"] in {"invalid_state", "not_found"}, stopped
            self.whole.append((task, backfill))

    async def finish(self) -> None:
        """All of them run to their end."""
        for task, backfill in self.whole:
            await self.world.events.wait_for(
                partial(self._executed_at_least, task, backfill, self.SLOTS),
                within=90,
                what=f"the end of backfill {backfill} of {task}",
            )

    def _executed_at_least(self, task: str, backfill: str, count: int) -> bool:
        return len(self._executed(task, backfill)) >= count

    def _executed(self, task: str, backfill: str) -> list[str]:
        prefix = f"b-{backfill}-"
        runs = (seen.run for seen in self.world.events.of("executed", task))
        return [run for run in runs if run.startswith(prefix)]

    def check(self) -> None:
        """Each slot once, none that was not asked for, and no more at a time than was asked for."""
        for task, backfill in (*self.whole, *self.cancelled):
            runs = self._executed(task, backfill)
            assert len(runs) == len(set(runs)) <= self.SLOTS, f"{backfill}: {runs}"
            events = [
                seen for seen in self.world.events.of(task_id=task) if seen.run.startswith(f"b-{backfill}-")
            ]
            assert most_at_once(events) <= self.CONCURRENCY, f"{backfill}: {most_at_once(events)} at a time"


PARTS: Final[tuple[type[Part], ...]] = (
    Retries,
    Queues,
    Pauses,
    Failures,
    OnDemand,
    CatchUp,
    MaxRuns,
    Pools,
    Keys,
    Backfills,
)
