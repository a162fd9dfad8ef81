"""`gnomon scheduler | executor | api | migrate`: each is the process itself, configured by its environment."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gnomon_cli.up.children import ServiceChild
from gnomon_core.runtime.embedded import LOOPBACK, EmbeddedPostgres, free_port
from tests.integration.cli.running_up import environment, gnomon

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def process(*arguments: str, folder: Path, env: dict[str, str]) -> AsyncIterator[int]:
    """One production process, ready, and the port of its health; it must end well when it is asked to."""
    port = free_port()
    variable = "GNOMON_HTTP_PORT" if arguments[0] == "api" else "GNOMON_HEALTH_PORT"
    child = ServiceChild(
        arguments[0],
        command=[sys.executable, "-m", "gnomon_cli", *arguments],
        env=environment(**env, **{variable: str(port)}),
        folder=folder,
        log=folder / f"{arguments[0]}.log",
        lock=folder / f"{arguments[0]}.lock",
        health=(LOOPBACK, port),
        grace=20,
    )
    await child.start()
    try:
        yield port
    finally:
        await child.stop()
    assert await child.wait_ended() == 0, child.log.read_text()


async def test_one_of_each_runs_a_task(nats_url: str, postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text(
        "from gnomon import Context, task_type\n\n"
        "@task_type('greet', pool='doors')\n"
        "async def greet(config: dict[str, str], ctx: Context) -> str:\n"
        "    return 'hello'\n"
    )
    nats = {"GNOMON_NATS_URL": nats_url}
    flags = ("--tasks", "my_tasks", "--pools", "doors,default", "--concurrency", "3")
    async with (
        process("scheduler", folder=tmp_path, env=nats),
        process("executor", *flags, folder=tmp_path, env=nats),
        process("api", folder=tmp_path, env={"GNOMON_DATABASE_URL": postgres_url, **nats}) as port,
    ):
        target = ("--url", f"http://{LOOPBACK}:{port}")
        said = await gnomon("task", "create", "--id", "g", "--name", "G", "--type", "greet", *target)
        assert said.code == 0, said
        said = await gnomon("task", "run", "g", "--wait", "--json", *target)
        assert json.loads(said.out)["result"] == "hello", said


async def test_a_database_is_brought_to_this_version_once(postgres_server: EmbeddedPostgres) -> None:
    said = await gnomon("migrate", GNOMON_DATABASE_URL=postgres_server.url)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("applied 0001_")
    said = await gnomon("migrate", GNOMON_DATABASE_URL=postgres_server.url)
    assert said.out == "nothing to do: the database is current\n"


@pytest.mark.parametrize(
    ("command", "extra", "code", "words"),
    [
        ("migrate", {}, 2, "GNOMON_DATABASE_URL is not set"),
        ("migrate", {"GNOMON_DATABASE_URL": "postgresql://127.0.0.1:9/x"}, 1, "gnomon migrate:"),
        ("scheduler", {"GNOMON_LEASE_TTL": "soon"}, 2, "GNOMON_LEASE_TTL='soon': a duration such as"),
        (
            "executor",
            {"GNOMON_EXECUTOR_CONCURRENCY": "0"},
            2,
            "GNOMON_EXECUTOR_CONCURRENCY='0': a whole number, 1 to",
        ),
        ("api", {"GNOMON_DATABASE_URL": "mysql://x"}, 2, "GNOMON_DATABASE_URL=(not shown): postgresql://"),
    ],
)
async def test_a_setting_that_cannot_be_is_one_line_with_its_name(
    command: str, extra: dict[str, str], code: int, words: str
) -> None:
    said = await gnomon(command, cwd=None, **extra)
    assert said.code == code
    assert words in said.err
    assert len(said.err.splitlines()) == 1
