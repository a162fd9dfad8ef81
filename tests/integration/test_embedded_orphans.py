"""No embedded server outlives the process that started it, not even when that is killed with SIGKILL."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from pathlib import Path

import pytest

from gnomon_core.runtime.embedded import EmbeddedNats
from gnomon_core.runtime.embedded.process import ServerProcess
from tests.servers import reachable_folder

PARENT = """
import asyncio, sys
from pathlib import Path
from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres

async def main(folder):
    nats, postgres = EmbeddedNats(folder / "nats"), EmbeddedPostgres(folder / "postgres", fast=True)
    await nats.start()
    await postgres.start()
    print(nats.nodes[0].pid, postgres.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="waits by pidfd, and tests the kernel's own signal"
)


async def _gone(pidfd: int, *, within: float) -> None:
    """Wait until the process of a pidfd has ended; the descriptor becomes readable then."""
    ready, _, _ = await asyncio.to_thread(select.select, [pidfd], [], [], within)
    assert ready, f"the process still lives after {within} s"
    os.close(pidfd)


@linux
async def test_servers_end_with_a_killed_parent_and_start_again() -> None:
    """After SIGKILL of the parent both servers end by themselves, and the next parent starts there again."""
    with reachable_folder() as folder:
        for _ in range(2):
            parent = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PARENT, str(folder), stdout=asyncio.subprocess.PIPE
            )
            assert parent.stdout is not None
            line = await parent.stdout.readline()
            servers = [os.pidfd_open(int(pid)) for pid in line.split()]
            parent.kill()
            for server in servers:
                await _gone(server, within=10)
            await parent.wait()


WATCHED = """
import asyncio, signal, sys
from pathlib import Path
from gnomon_core.runtime.embedded.process import ServerProcess

async def main(folder):
    server = ServerProcess(
        "sleep", folder=folder, log=folder / "log", lock=folder / "lock", env={}, watch=True,
        death_signal=signal.SIGTERM,
    )
    await server.start(lambda: ["/bin/sleep", "600"])
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


@linux
async def test_the_portable_watcher_does_the_same(tmp_path: Path) -> None:
    """Where the kernel has no such signal (macOS) a watcher ends the server, whose id is the known one."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WATCHED, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    server = os.pidfd_open(pid)
    parent.kill()
    await _gone(server, within=10)
    await parent.wait()


@linux
async def test_the_watcher_ends_with_its_server(tmp_path: Path) -> None:
    """A stopped server leaves no watcher behind, which would hold the lock or the terminal."""
    server = ServerProcess(
        "sleep", folder=tmp_path, log=tmp_path / "log", lock=tmp_path / "lock", env={}, watch=True
    )
    await server.start(lambda: ["/bin/sleep", "600"])
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
    # The launcher forks before it executes: once the server's name is seen, its watcher is there.
    while Path(f"/proc/{server.pid}/comm").read_text() != "sleep\n":  # noqa: ASYNC110 - exec sends no signal
        await asyncio.sleep(0.01)
    watcher = os.pidfd_open(int(children.read_text()))
    assert await server.stop(signal.SIGTERM, grace=5) == -signal.SIGTERM
    await _gone(watcher, within=10)


async def test_a_paused_server_is_stopped_too(tmp_path: Path) -> None:
    """A stop wakes a paused process, so that it can end cleanly."""
    nats = EmbeddedNats(tmp_path)
    await nats.start()
    nats.pause()
    async with asyncio.timeout(5):
        await nats.stop()
    assert not nats.nodes[0].running
