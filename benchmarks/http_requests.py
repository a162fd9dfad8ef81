"""How long do writes and reads over HTTP take, at a steady hundred writes a second?

    .venv/bin/python -m benchmarks.http_requests [--fast | --sync] [--scale 0.1]

One process of each kind. `POST /api/v1/tasks` 100 times a second and, beside it, `GET` of a task and of a list of 50
tasks, 25 times a second each; at an open pace (see `http_client`). A write is answered when it is decided, stored, and
readable in Postgres. In turn with it, at the same pace, the bare application (see `bare_http`): one publish
acknowledged, one row read. At last 20 clients that each ask again as soon as they are answered.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import msgspec

from benchmarks.http_client import HttpClient, at_pace
from benchmarks.measurement import (
    Figure,
    Mode,
    Outcomes,
    Result,
    percentile,
    quantiles,
    rate_figure,
    time_figure,
)
from benchmarks.options import Options
from benchmarks.recorded import projected
from benchmarks.running import Question, main
from benchmarks.stage import Stage
from gnomon_core.runtime.embedded import LOOPBACK, free_port

__all__ = ["QUESTION"]

_POSTS, _GETS, _LISTS = 100, 25, 25
_CLIENTS = 20
_WARM_UP = 50
_BODY = {"name": "n", "task_type": "bench_noop", "config": {}}


async def measure(mode: Mode, options: Options) -> Result:
    """At a pace in turn with the bare application, then as fast as they answer."""
    seconds = max(2.0, 10.0 * options.scale)
    bare_port = free_port()
    async with Stage("http_requests", mode, options) as stage:
        await stage.everything()
        database = await stage.database()
        settings = {
            "GNOMON_DATABASE_URL": stage.database_url,
            "GNOMON_HTTP_PORT": str(bare_port),
        }
        await stage.program("benchmarks.bare_http", settings, bare_port)
        ours = Caller(HttpClient(stage.api_url), "/api/v1")
        bare = Caller(HttpClient(f"http://{LOOPBACK}:{bare_port}"), "")
        for _ in range(_WARM_UP):
            await ours.post()
            await bare.post()
        bare.ids = ours.ids
        for caller in (ours, bare):
            caller.posts.clear()
        for _ in range(options.turns(2)):
            async with stage.measuring("request, api", round((_POSTS + _GETS + _LISTS) * seconds)):
                await ours.paced(seconds, lists=True)
            async with stage.measuring("request, bare", round((_POSTS + _GETS) * seconds), profile=False):
                await bare.paced(seconds, lists=False)
        rate, bare_rate = await ours.crowd(seconds / 2), await bare.crowd(seconds / 2)
        await projected(stage, database)
        outcomes = Outcomes(
            expected=ours.created,
            recorded=await stage.count("task.created.>"),
            missed=ours.created - len(set(ours.ids)),
            rows=await database.fetchval("select count(*) from tasks"),
            details="tasks created over HTTP",
        )
        outcomes.insist()
        for caller in (ours, bare):
            await caller.client.close()
    return Result(
        question="http_requests",
        title=f"HTTP, {_POSTS} writes and {_GETS + _LISTS} reads a second",
        mode=mode,
        settings={
            "seconds": seconds,
            "posts a second": _POSTS,
            "gets a second": _GETS,
            "lists a second": _LISTS,
        },
        figures=(*figures_of(ours, bare, options.judged(mode)), crowd_figure(rate, bare_rate)),
        outcomes=outcomes,
        cpu=stage.cpu,
        operations=stage.operations,
        notes=tuple(stage.notes),
        series=(
            quantiles("POST", ours.posts),
            quantiles("GET one", ours.gets),
            quantiles("GET list", ours.lists),
            quantiles("bare POST", bare.posts, ceiling=True),
            quantiles("bare GET", bare.gets, ceiling=True),
        ),
    )


class Caller:
    """Asks one application, and keeps the milliseconds of each answer."""

    def __init__(self, client: HttpClient, prefix: str) -> None:
        self.client, self._prefix = client, prefix
        self._body = msgspec.json.encode(_BODY)
        self.created = 0
        self.ids: list[str] = []
        self.posts: list[float] = []
        self.gets: list[float] = []
        self.lists: list[float] = []
        self._turn = itertools.count()

    async def post(self) -> None:
        """Create a task. Raises RuntimeError unless it was."""
        answer = await self.client.request("POST", f"{self._prefix}/tasks", self._body)
        if answer.status != 201:
            raise RuntimeError(f"POST was answered with {answer.status}: {answer.body.decode()}")
        self.created += 1
        if self._prefix:
            self.ids.append(msgspec.json.decode(answer.body, type=_Named).task_id)

    async def get(self) -> None:
        """Read a task, another one each time. Raises RuntimeError unless it is there."""
        task_id = self.ids[next(self._turn) * 7919 % len(self.ids)]
        await self._read(f"/tasks/{task_id}")

    async def read_list(self) -> None:
        """Read a list. Raises RuntimeError."""
        await self._read("/tasks?limit=50")

    async def _read(self, path: str) -> None:
        answer = await self.client.request("GET", self._prefix + path)
        if answer.status != 200:
            raise RuntimeError(f"GET {path} was answered with {answer.status}: {answer.body.decode()}")

    async def paced(self, seconds: float, *, lists: bool) -> None:
        """Writes and reads at their paces, beside each other."""
        kinds = [(self.posts, _POSTS, self.post), (self.gets, _GETS, self.get)]
        if lists:
            kinds.append((self.lists, _LISTS, self.read_list))
        took = await asyncio.gather(*(at_pace(pace, seconds, do) for _, pace, do in kinds))
        for (kept, _, _), milliseconds in zip(kinds, took, strict=True):
            kept += milliseconds

    async def crowd(self, seconds: float) -> float:
        """Writes a second of clients that ask again as soon as they are answered."""
        begun, before = time.perf_counter(), self.created

        async def client() -> None:
            while time.perf_counter() - begun < seconds:
                await self.post()

        await asyncio.gather(*(client() for _ in range(_CLIENTS)))
        return (self.created - before) / (time.perf_counter() - begun)


class _Named(msgspec.Struct):
    task_id: str


def figures_of(ours: Caller, bare: Caller, judged: bool) -> list[Figure]:
    """Medians and 95th percentiles."""
    post_is, get_is = "bare Litestar: one publish acknowledged", "bare Litestar: one row by its key"
    return [
        time_figure(
            f"{name} {which}",
            [percentile(mine, share)],
            ceiling=[percentile(theirs, share)],
            ceiling_is=what,
            aim=aim,
            judged=judged,
        )
        for name, mine, theirs, what, aims in (
            ("POST /tasks", ours.posts, bare.posts, post_is, {"p50": 10.0, "p95": 25.0}),
            ("GET /tasks/{id}", ours.gets, bare.gets, get_is, {"p95": 15.0}),
            ("GET /tasks?limit=50", ours.lists, bare.gets, get_is, {"p95": 15.0}),
        )
        for which, share, aim in (("p50", 0.5, aims.get("p50")), ("p95", 0.95, aims["p95"]))
    ]


def crowd_figure(rate: float, bare_rate: float) -> Figure:
    """Writes of many clients at once."""
    return rate_figure(
        f"POST /tasks, {_CLIENTS} clients", [rate], ceiling=[bare_rate], ceiling_is="the same of the bare one"
    )


QUESTION = Question("http_requests", measure)

if __name__ == "__main__":
    sys.exit(main([QUESTION], __doc__))
