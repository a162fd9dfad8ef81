"""`gnomon doctor` as a person runs it, against real servers: what is well, and each fault that can be made for real."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gnomon_cli.doctor.examination import examine as look
from gnomon_cli.doctor.findings import Finding
from gnomon_cli.doctor.target import find_patient
from gnomon_core.runtime.embedded import EmbeddedPostgres, free_port
from gnomon_core.runtime.kv import kv_put
from gnomon_core.runtime.membership import this_process
from gnomon_schemas.subjects import COMMANDS_STREAM, DUE_STREAM, MEMBERS_BUCKET
from tests.harness.commands import fresh_id
from tests.harness.processes import Process
from tests.harness.waiting import until_async
from tests.harness.world import World
from tests.integration.cli.running_up import gnomon
from tests.integration.observed.test_traces import TYPES

pytestmark = pytest.mark.timeout(120)

Findings = dict[str, dict[str, str]]


async def where(world: World, api: Process | None) -> dict[str, str]:
    """The variables that lead to a world; without an api to a port where nobody is."""
    url = f"http://127.0.0.1:{free_port()}"
    if api is not None:
        index = await api.logged("http.listening")
        url = api.lines[index - 1]["url"]
    return {"GNOMON_NATS_URL": world.broker.url, "GNOMON_URL": url}


async def examine(world: World, api: Process | None = None, *flags: str) -> tuple[int, Findings]:
    """Run the command on a world; its exit code, and its findings by check."""
    address = await where(world, api)
    said = await gnomon(
        "doctor",
        "--json",
        *flags,
        GNOMON_NATS_URL=address["GNOMON_NATS_URL"],
        GNOMON_URL=address["GNOMON_URL"],
    )
    assert said.err == "", said.err
    told: dict[str, Any] = msgspec.json.decode(said.out)
    findings = {finding["check"]: finding for finding in told["findings"]}
    assert len(findings) == len(told["findings"]), "each check is told once"
    assert (said.code == 1) == (told["status"] == "fail")
    assert all(finding["do"] for finding in told["findings"] if finding["status"] in ("warn", "fail"))
    return said.code, findings


async def fault(world: World, api: Process | None, check: str, status: str) -> Finding:
    """Look until a check has this status; the finding. In this process: starting another takes a second each time."""
    patient = find_patient(None, None, None, await where(world, api))
    seen: dict[str, Finding] = {}

    async def is_so() -> bool:
        nonlocal seen
        seen = {finding.check: finding for finding in await asyncio.to_thread(lambda: list(look(patient)))}
        return check in seen and seen[check].status == status

    try:
        await until_async(is_so, within=40)
    except TimeoutError:
        raise AssertionError(f"{check} did not become {status}: {seen}") from None
    return seen[check]


def not_well(findings: Findings) -> dict[str, str]:
    """Status of what is not ok, by check."""
    return {check: one["status"] for check, one in findings.items() if one["status"] != "ok"}


async def test_a_system_that_is_well_is_told_so(world: World, postgres_url: str) -> None:
    """Everything is ok but what one node without fsync cannot be, and that is a warning with what to do."""
    scheduler = await world.scheduler()
    await world.executor()
    api = await world.api(postgres_url)
    await world.leading(scheduler)
    task = fresh_id("t")
    await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1})
    await world.events.one("executed", task)
    code, findings = await examine(world, api, "--monitor", world.broker.nodes[0].monitor_url)
    assert not_well(findings) == {"streams.replicas": "warn", "nats.durability": "warn"}, findings
    assert code == 0
    assert "GNOMON_REPLICAS=3" in findings["streams.replicas"]["do"]
    assert "sync_interval: always" in findings["nats.durability"]["do"]
    assert {"database.migrations", "tasks.runnable", "clock.broker", "shards.led"} <= findings.keys()
    _, findings = await examine(world, api)
    assert findings["nats.durability"]["status"] == "unknown", "clients are not told"


async def test_work_for_which_there_is_no_executor(world: World, postgres_url: str) -> None:
    """A type in a pool that nobody serves, work in the queue of a dead executor, and executions given up."""
    await world.scheduler()
    executor = await world.executor(GNOMON_EXECUTOR_TASKS=TYPES, GNOMON_EXECUTOR_POOLS="default,mail")
    api = await world.api(postgres_url)
    every = {"kind": "interval", "every_seconds": 1}
    failing, orphan = fresh_id("t"), fresh_id("t")
    await world.commands.create(failing, task_type="observed_failing", retry={"max_attempts": 2})
    await world.commands.send("run", failing)
    await world.events.one("dead_lettered", failing)
    await world.commands.create(orphan, pool="nobodys", schedule={"kind": "interval", "every_seconds": 3600})
    found = await fault(world, api, "tasks.runnable", "fail")
    assert "type echo in pool nobodys" in found.saw
    assert orphan in found.saw
    _, findings = await examine(world, api)
    assert findings["dead_letters"]["status"] == "warn"
    assert failing in findings["dead_letters"]["saw"]

    waiting = fresh_id("t")
    await world.commands.create(waiting, pool="mail", schedule=every)
    await world.events.one("executed", waiting)
    await executor.kill()
    found = await fault(world, api, "queue.pools", "fail")
    assert "work waits in pool mail" in found.saw
    assert "--pools mail" in found.do
    code, findings = await examine(world, api)
    assert findings["processes.executor"]["status"] == "fail"
    assert code == 1


async def test_shards_that_nobody_leads(world: World) -> None:
    """After the only scheduler was killed: as soon as its lease has expired, and named by number."""
    scheduler = await world.scheduler()
    await world.leading(scheduler)
    assert (await fault(world, None, "shards.led", "ok")).saw == "2 shards led by 1 scheduler"
    await scheduler.kill()
    found = await fault(world, None, "shards.led", "fail")
    assert "0, 1" in found.saw
    task = fresh_id("t")
    await world.commands.post("create", task, {"name": task, "task_type": "echo"})
    found = await fault(world, None, "commands.waiting", "warn")
    assert found.saw.startswith("1, the oldest for")


async def test_a_database_that_is_away(world: World, postgres_server: EmbeddedPostgres) -> None:
    """The api says so, and the read models fall behind; all else is told all the same."""
    await world.scheduler()
    await world.executor()
    api = await world.api(postgres_server.url)
    task = fresh_id("t")
    await world.commands.create(task, schedule={"kind": "interval", "every_seconds": 1})
    await fault(world, api, "database.migrations", "ok")
    await postgres_server.stop()
    found = await fault(world, api, "database.reachable", "fail")
    assert "GNOMON_DATABASE_URL" in found.do
    found = await fault(world, api, "projector.lag", "warn")
    assert "messages behind" in found.saw
    _, findings = await examine(world, api)
    assert findings["shards.led"]["status"] == "ok"
    assert findings["tasks.runnable"]["status"] == "warn"


async def test_streams_that_were_altered_or_deleted(world: World) -> None:
    """By field, with what is and what should be; a stream that has gone by its name."""
    config = (await world.bus.stream_info(COMMANDS_STREAM)).config
    await world.bus.api(f"STREAM.UPDATE.{COMMANDS_STREAM}", config | {"duplicate_window": 7_000_000_000})
    _, findings = await examine(world)
    assert findings["streams.config"]["status"] == "fail"
    assert (
        "TASK_COMMANDS: duplicate_window is 7000000000 and should be 100000000"
        in findings["streams.config"]["saw"]
    )
    await world.bus.api(f"STREAM.DELETE.{DUE_STREAM}")
    _, findings = await examine(world)
    assert findings["streams.exist"]["status"] == "fail"
    assert DUE_STREAM in findings["streams.exist"]["saw"]
    assert findings["api.reachable"]["status"] == "fail"
    assert {f"processes.{kind}" for kind in ("scheduler", "executor", "api")} <= not_well(findings).keys()


async def test_another_version_and_a_wrong_clock(world: World) -> None:
    """Both are told of the process that they concern."""
    await world.executor(clock_offset_ms=60_000)
    old = this_process("api", "a-old", "0.0.9")
    await kv_put(world.bus, MEMBERS_BUCKET, "api.a-old", msgspec.json.encode(old), ttl=60)
    found = await fault(world, None, "clock.processes", "fail")
    assert "executor" in found.saw
    assert "NTP" in found.do
    _, findings = await examine(world)
    assert findings["versions.processes"]["status"] == "warn"
    assert "0.0.9: api" in findings["versions.processes"]["saw"]


async def test_nothing_runs_here(tmp_path: Path) -> None:
    """It says what it looked for, and what to do, on the terminal and as JSON; and it does not take long about it."""
    said = await gnomon("doctor", cwd=tmp_path)
    assert said.code == 1
    assert "no Gnomon is known here" in said.out
    assert "gnomon up" in said.out
    assert "Traceback" not in said.out + said.err
    nowhere = f"nats://127.0.0.1:{free_port()}"
    async with asyncio.timeout(30):
        said = await gnomon(
            "doctor", "--json", cwd=tmp_path, GNOMON_NATS_URL=nowhere, GNOMON_URL="http://127.0.0.1:9"
        )
    findings = {finding["check"]: finding for finding in msgspec.json.decode(said.out)["findings"]}
    assert said.code == 1
    assert findings["nats.reachable"]["status"] == "fail"
    assert nowhere in findings["nats.reachable"]["saw"]
    assert findings["api.reachable"]["status"] == "fail"
    said = await gnomon("doctor", cwd=tmp_path, GNOMON_NATS_URL="nowhere")
    assert said.code == 2
    assert "GNOMON_NATS_URL='nowhere'" in said.err
