"""An executor as a process: what it announces, what its health port says, what stops it from starting."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.embedded.ports import free_port
from gnomon_schemas.members import TypeAnnouncement
from gnomon_schemas.subjects import TYPES_BUCKET
from tests.integration.executor.harness import ROOT, ExecutorProcess, Lab, executor_process, make_due, until


async def test_types_and_membership_are_announced(lab: Lab, tmp_path: Path) -> None:
    """Whoever creates a task finds the type's schema, and whoever looks finds the executor."""
    process = ExecutorProcess(lab.url, tmp_path / "log", GNOMON_EXECUTOR_CONCURRENCY="7")
    try:
        member = await process.start(lab)
        assert (member.kind, member.capacity, member.pid) == ("executor", 7, process.pid)
        assert set(member.pools) == {"default", "elsewhere"}
        assert {"echo", "sleep", "http_request", "test_wait"} <= set(member.task_types)
        stored = await lab.bus.last(f"KV_{TYPES_BUCKET}", f"$KV.{TYPES_BUCKET}.http_request")
        assert stored is not None
        told = msgspec.json.decode(stored.data, type=TypeAnnouncement)
        schema = msgspec.json.decode(told.config_schema)
        assert "url" in schema["$defs"]["HttpRequestConfig"]["properties"]
        assert schema["$defs"]["HttpRequestConfig"]["additionalProperties"] is False
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert process.pid not in [left.pid for left in await lab.members()]
    finally:
        await process.end()


async def test_the_health_port_tells_the_truth(nats_server: EmbeddedNats, lab: Lab, tmp_path: Path) -> None:
    """Ready while connected and taking work; not ready while the broker is away; alive all the time."""
    port = free_port()
    due = make_due()
    async with executor_process(lab, tmp_path, GNOMON_HEALTH_PORT=str(port)), httpx.AsyncClient() as client:

        async def ready() -> tuple[int, dict[str, Any]]:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz")
            return answer.status_code, answer.json()["checks"]

        async def is_ready() -> bool:
            return (await ready())[0] == 200

        await until(is_ready)
        await lab.emit(due)
        await lab.ended(due)

        async def counted() -> bool:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
            return 'gnomon_executions_total{status="completed",task_type="echo"} 1.0' in text

        await until(counted)
        await nats_server.stop()

        async def says_nats() -> bool:
            status, checks = await ready()
            return status == 503 and checks["nats"] == "not connected to NATS"

        await until(says_nats)
        assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
        await nats_server.start()
        await until(is_ready, timeout=20)


async def test_a_blocked_handler_loop_is_told(lab: Lab, tmp_path: Path) -> None:
    """A handler that blocks its loop makes the executor unready, and nothing else."""
    port = free_port()
    due = make_due("test_block", {"trace": str(tmp_path / "t"), "seconds": 7.0})
    async with executor_process(lab, tmp_path, GNOMON_HEALTH_PORT=str(port)), httpx.AsyncClient() as client:
        await lab.emit(due)

        async def blocked() -> bool:
            answer = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
            return bool(answer.json()["checks"]["handlers"] == "a handler blocks the handler loop")

        await until(blocked)
        await lab.ended(due)


async def test_what_cannot_be_used_stops_it_with_one_line(lab: Lab) -> None:
    """A bad setting, a module that is not there, another number of partitions: code 2, and what is wrong."""
    for variable, value, word in (
        ("GNOMON_EXECUTOR_CONCURRENCY", "none", "GNOMON_EXECUTOR_CONCURRENCY='none'"),
        ("GNOMON_EXECUTOR_TASKS", "no_such_module", "no_such_module"),
        ("GNOMON_PARTITIONS", "5", "partitions"),
    ):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gnomon_executor",
            cwd=ROOT,
            env={"GNOMON_NATS_URL": lab.url, variable: value},
            stderr=asyncio.subprocess.PIPE,
        )
        _, stderr = await process.communicate()
        last = stderr.decode().strip().splitlines()[-1]
        assert process.returncode == 2, stderr.decode()
        assert word in last
        assert "Traceback" not in stderr.decode()
