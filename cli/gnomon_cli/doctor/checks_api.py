"""The api and what only it can see: Postgres, migrations, tasks that nobody can run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gnomon_cli.api_client import ApiClient
from gnomon_cli.doctor.findings import Finding, fail, ok, warn
from gnomon_cli.errors import CliError
from gnomon_core.runtime.clock import CLOCK_TOLERANCE_MS
from gnomon_schemas.clock_text import instant_ms

__all__ = ["check_api"]

_OLDEST_POSTGRES: Final = 14
_TASKS_READ: Final = 500
_SHOWN: Final = 5


def check_api(api: ApiClient) -> Iterator[Finding]:
    """All findings that the api gives."""
    sent_ms = time.time_ns() // 1_000_000
    try:
        health = api.get_outside("/health").body
    except CliError as error:
        yield fail("api.reachable", error.message, error.hint or "start one with `gnomon api`")
        return
    came_ms = time.time_ns() // 1_000_000
    yield ok("api.reachable", f"answers in {came_ms - sent_ms} ms, version {health.get('version')}")
    yield from _clock(health, sent_ms, came_ms)
    yield from _database(health)
    yield from _checks(health)
    try:
        yield from _tasks(api)
    except CliError as error:
        yield warn("tasks.runnable", f"could not be looked at: {error.message}", "see database.reachable")


def _clock(health: Mapping[str, Any], sent_ms: int, came_ms: int) -> Iterator[Finding]:
    told = health.get("time")
    if told is None:
        return
    its_ms = instant_ms(str(told))
    off = max(sent_ms - its_ms, its_ms - came_ms, 0)
    if off > CLOCK_TOLERANCE_MS:
        yield fail("clock.api", f"the api's clock is {off} ms from this machine's", "set both clocks by NTP")
    else:
        yield ok("clock.api", "the api's clock agrees with this machine's")


def _database(health: Mapping[str, Any]) -> Iterator[Finding]:
    database, why = health.get("database"), (health.get("checks") or {}).get("postgres", "ok")
    if database is None or why != "ok":
        yield fail(
            "database.reachable",
            f"the api cannot use Postgres: {why}",
            "start Postgres, or mend GNOMON_DATABASE_URL. Tasks fire and run meanwhile, writes work, reads answer 503",
        )
    if database is None:
        return
    version = str(database["version"])
    major = version.split(".")[0].split(" ")[0]
    if major.isdigit() and int(major) < _OLDEST_POSTGRES:
        yield warn(
            "database.version",
            f"Postgres {version}",
            f"upgrade it: {_OLDEST_POSTGRES} is the oldest that is maintained",
        )
    else:
        yield ok("database.version", f"Postgres {version}")
    applied, known = int(database["migrations_applied"]), int(database["migrations_known"])
    if applied < known:
        yield fail("database.migrations", f"{applied} of {known} are applied", "run `gnomon migrate`")
    elif applied > known:
        yield fail(
            "database.migrations",
            f"{applied} are applied, and this api knows {known}",
            "start the newer version of the api",
        )
    else:
        yield ok("database.migrations", f"all {known} are applied")


def _checks(health: Mapping[str, Any]) -> Iterator[Finding]:
    """What the api says of itself, but for the database, which has findings of its own."""
    hints = {
        "projector": "the text says why; reads show an old state until it is mended",
        "nats": "is nats-server up, and can the api's host reach it?",
        "clock": "set the clock of the api's host by NTP",
    }
    for name, said in (health.get("checks") or {}).items():
        if said != "ok" and name != "postgres":
            yield fail(f"api.{name}", str(said), hints.get(name, "see the api's log"))


def _tasks(api: ApiClient) -> Iterator[Finding]:
    """Tasks with a schedule whose type no executor of their pool runs: the scheduler keeps their slots back."""
    executors = api.get("/executors").body["items"]
    served: dict[str, set[str]] = {}
    for executor in executors:
        if not executor["draining"]:
            for pool in executor["pools"]:
                served.setdefault(pool, set()).update(executor["task_types"])
    page = api.get("/tasks", status="scheduled,running", limit=_TASKS_READ).body
    stuck: dict[str, list[str]] = {}
    for task in page["items"]:
        pool = str((task.get("resolved") or {}).get("pool") or task.get("pool") or "default")
        if task["task_type"] not in served.get(pool, set()):
            what = f"type {task['task_type']} in pool {pool}"
            stuck.setdefault(what, []).append(task["task_id"])
    looked = f"the first {_TASKS_READ}" if page.get("next_cursor") else f"{len(page['items'])}"
    if stuck:
        told = "; ".join(
            f"{what}: {', '.join(ids[:_SHOWN])}{' …' if len(ids) > _SHOWN else ''}"
            for what, ids in sorted(stuck.items())
        )
        yield fail(
            "tasks.runnable",
            f"no executor runs {told}",
            "start an executor with that type and pool (`gnomon executor --tasks MODULE --pools POOL`), or change the "
            "tasks: their slots wait, and are missed when they expire",
        )
    else:
        yield ok("tasks.runnable", f"{looked} scheduled tasks, each with an executor for its type and pool")
