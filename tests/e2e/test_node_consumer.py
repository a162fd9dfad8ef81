"""A service in Node with nothing but a NATS client and the contract documents works with a real `gnomon up`."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from gnomon_schemas.generate import ASYNCAPI
from tests.e2e.needing import needs
from tests.integration.cli.running_up import RunningUp
from tests.servers import reachable_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300), needs("node"), needs("npm")]

HERE = Path(__file__).parent / "node_consumer"
SCHEMAS = ASYNCAPI.parent


async def _output(*command: str, cwd: Path) -> bytes:
    """What a command writes; its errors are the failure where it ends badly."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 200)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (
        f"{command[0]} ended with {process.returncode}\n{out.decode()}\n{err.decode()}"
    )
    return out


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The consumer in a folder of its own, with its packages as they are locked: it cannot see Gnomon's code."""
    folder = tmp_path_factory.mktemp("node") / "consumer"
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("node_modules"))
    await _output("npm", "ci", "--no-audit", "--no-fund", cwd=folder)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[RunningUp]:
    """Everything on this machine, as a person starts it."""
    with reachable_folder() as folder:
        up = RunningUp(folder / "data")
        await up.start()
        yield up
        assert await up.stop() == 0


async def test_the_document_is_asyncapi_by_its_own_parser(consumer: Path) -> None:
    """No error and no warning but that there is a newer version of the specification."""
    told = msgspec.json.decode(await _output("node", "official.mjs", str(ASYNCAPI), cwd=consumer))
    assert told["version"] == "3.0.0" or told["version"]
    assert told["channels"] == told["operations"] > 40
    assert {each["code"] for each in told["diagnostics"]} <= {"asyncapi-latest-version"}


async def test_a_document_that_is_none_is_refused_by_it(consumer: Path, tmp_path: Path) -> None:
    """So that the parser's silence above means something."""
    document = msgspec.json.decode(ASYNCAPI.read_bytes())
    document["operations"]["send_live_executed"]["channel"] = {"$ref": "#/channels/no_such"}
    document["channels"]["outcome"]["address"] = 7
    broken = tmp_path / "broken.json"
    broken.write_bytes(msgspec.json.encode(document))
    told = msgspec.json.decode(await _output("node", "official.mjs", str(broken), cwd=consumer))
    assert [each for each in told["diagnostics"] if each["severity"] == 0]


async def test_it_creates_runs_hears_and_reads_by_the_documents_alone(
    consumer: Path, running: RunningUp
) -> None:
    """Every payload and header, sent or received, fits AsyncAPI and JSON Schema; live and log tell the same."""
    out = await _output("node", "consumer.mjs", str(SCHEMAS), running.run_file.nats_url, cwd=consumer)
    told: dict[str, Any] = msgspec.json.decode(out)
    assert told["created"] is True
    assert told["fired"] == "completed"
    assert told["paused"] == "paused"
    assert told["result"] == {"said": "now"}
    assert told["run"] == f"r-{told['runId']}"
    assert (told["replayed"], told["runs"]) == (True, 1)
    assert told["refused"] == "invalid_schedule"
    assert told["rejected"] == ["#/schedule/expression"]
    assert told["unknown"] == {"documents": False, "gnomon": False, "code": "unknown_field"}
    assert told["deleted"] is True
    assert told["live"] == told["log"]
    names = {name for _, name in told["log"]}
    assert names >= {
        "task.created",
        "task.started",
        "task.executed",
        "task.updated",
        "task.queued",
        "task.deleted",
    }
    assert {"task.executed", "live.task.executed", "live.task.rejected", "outcome", "command.run"} <= set(
        told["checked"]
    )
