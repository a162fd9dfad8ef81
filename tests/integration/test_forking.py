"""Processes that the harness forks behave as processes, and none outlives the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from tests.harness.forking import SWITCH
from tests.harness.processes import Process
from tests.harness.waiting import until
from tests.harness.world import World
from tests.integration.cli.running_up import alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every process is started afresh")

ROOT = Path(__file__).parents[2]

# Starts a scheduler that waits for a broker, says who it is, and then stands still.
_PARENT = """
import asyncio, os
from tests.harness.forking import fork

async def main():
    child = await fork("gnomon_scheduler", {**os.environ, "GNOMON_NATS_URL": "nats://127.0.0.1:1"})
    print(child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment has it switched off."""
    monkeypatch.delenv(SWITCH, raising=False)


async def test_each_has_its_own_environment_output_and_exit_code() -> None:
    """Two of one stem, each refused for what only it was told."""
    bad = [
        Process(name, "gnomon_scheduler", {"GNOMON_PARTITIONS": name}, forked=True)
        for name in ("zero", "none")
    ]
    for process in bad:
        await process.start()
    for process in bad:
        assert await process.ended() == 2
        assert f"'{process.name}'" in process.tail()
    assert bad[0].pid != bad[1].pid != os.getpid()


async def test_it_is_what_runs_when_it_is_started_afresh(
    nats_server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It announces its own process, is asked to stop as any other, and its end is told, whatever it was."""
    async with World(nats_server) as world:
        forked = await world.scheduler()
        monkeypatch.setenv(SWITCH, "0")
        fresh = await world.scheduler()
        assert {member.pid for member in await world.members("scheduler")} == {forked.pid, fresh.pid}
        assert await forked.stop() == 0
        assert await fresh.stop() == 0
        monkeypatch.delenv(SWITCH)
        killed = await world.scheduler()
        await killed.pause()
        killed.send(signal.SIGKILL)
        assert await killed.ended() == -signal.SIGKILL


async def test_none_outlives_whoever_asked_for_it() -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PARENT), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    stem = int(Path(f"/proc/{child}/stat").read_text().rpartition(") ")[2].split()[1])
    assert alive(child)
    assert alive(stem)
    assert stem != parent.pid
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(child) and not alive(stem))
