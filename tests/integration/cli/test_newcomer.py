"""What a beginner runs into reads as help: it names what is wrong, and says what to do next.

Each is tried for real: the command is run as people run it, against whatever is wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gnomon_cli.errors import CliError
from gnomon_cli.up.data_folder import check_space
from gnomon_core.runtime.embedded import LOOPBACK, free_port
from gnomon_core.runtime.embedded.binaries import nats_server
from tests.integration.cli.running_up import RunningUp, Said, environment, gnomon, held_locks
from tests.servers import reachable_folder

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.timeout(120)


def refused(said: Said, *words: str, code: int = 1) -> None:
    """An error in one line, with a hint, without a traceback, and without a password."""
    assert said.code == code, said
    first, *rest = said.err.splitlines()
    assert first.startswith("error: "), said
    assert any(line.startswith("hint: ") for line in rest) or "allowed" in first, said
    assert "Traceback" not in said.err
    assert "secret" not in said.out + said.err
    for word in words:
        assert word in said.err, said


async def up(folder: Path, *flags: str, **extra: str) -> Said:
    return await gnomon("up", "--data", "data", *flags, cwd=folder, **extra)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GNOMON_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x", ["127.0.0.1:1: connection refused"]),
        ("GNOMON_DATABASE_URL", "localhost", ["no address of a Postgres", "postgresql://user:password@host"]),
        ("GNOMON_NATS_URL", "nats://u:secret@127.0.0.1:1", ["no NATS server answers at 127.0.0.1:1"]),
        ("GNOMON_NATS_URL", "http://127.0.0.1:4222", ["begins with http://", "nats://127.0.0.1:4222"]),
        ("GNOMON_HTTP_PORT", "eighty", ["GNOMON_HTTP_PORT is 'eighty'"]),
    ],
)
async def test_servers_that_cannot_be_had_are_named_before_anything_starts(
    tmp_path: Path, name: str, value: str, words: list[str]
) -> None:
    said = await up(tmp_path, **{name: value})
    refused(said, *words, code=2 if name == "GNOMON_HTTP_PORT" else 1)
    assert "ready" not in said.out


@asynccontextmanager
async def nats_without_jetstream() -> AsyncIterator[str]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(str(nats_server()), "-a", LOOPBACK, "-p", str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(30):
            while b"Server is ready" not in await process.stderr.readline():
                pass
        yield f"nats://{LOOPBACK}:{port}"
    finally:
        process.kill()
        await process.communicate()


async def test_a_nats_server_without_jetstream_is_told_from_one_that_is_away(tmp_path: Path) -> None:
    async with nats_without_jetstream() as url:
        refused(await up(tmp_path, GNOMON_NATS_URL=url), "has no JetStream", "nats-server -js")


async def test_a_process_that_waits_for_nats_says_so(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gnomon_cli", "scheduler"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment(GNOMON_NATS_URL="nats://u:secret@127.0.0.1:1", GNOMON_LOG_FORMAT="json"),
        cwd=tmp_path,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
    finally:
        process.kill()
        await process.communicate()
    assert json.loads(line)["waiting_for"] == "127.0.0.1:1"
    assert "secret" not in line


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("nowhere", ["no module 'nowhere'"], 1),
        ("my_task", ["did you mean 'my_tasks'?"], 1),
        ("my_tasks.py", ["not of a file", "hint: --tasks my_tasks"], 2),
    ],
)
async def test_a_module_that_is_not_there_is_missed_before_anything_starts(
    tmp_path: Path, module: str, words: list[str], code: int
) -> None:
    (tmp_path / "my_tasks.py").write_text("")
    said = await up(tmp_path, "--tasks", module)
    refused(said, *words, code=code)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "import msgspc\n",
            "module 'mine' cannot be imported: ModuleNotFoundError: No module named 'msgspc' (in ",
        ),
        ("def x(:\n", "SyntaxError: invalid syntax (mine.py, line 1)"),
        ("x = 1\n", "module 'mine' has no task type: decorate a function in it with @task_type"),
    ],
)
async def test_a_module_that_does_not_work_is_told_with_its_line(
    tmp_path: Path, source: str, words: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    said = await gnomon("executor", "--tasks", "mine", cwd=tmp_path, GNOMON_NATS_URL="nats://127.0.0.1:1")
    assert said.code == 2, said
    assert words in said.err
    assert "frozen" not in said.err
    assert "Traceback" not in said.err


async def test_a_data_folder_that_is_a_file_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    refused(await up(tmp_path), "cannot keep data in data: it is a file")
    refused(await gnomon("up", "--data", "/proc/gnomon", cwd=tmp_path), "cannot keep data in /proc/gnomon")


def test_a_disk_without_room_is_told_before_the_servers_fail_on_it(tmp_path: Path) -> None:
    check_space(tmp_path, least=1)
    with pytest.raises(CliError, match=r"MB left, and Gnomon needs .* MB to start") as told:
        check_space(tmp_path, least=2**62)
    assert "--data DIR" in told.value.hint


async def test_when_nothing_runs_the_commands_say_how_to_start_it(tmp_path: Path) -> None:
    for command in (("task", "list"), ("task", "explain", "hello"), ("events",)):
        refused(await gnomon(*command, cwd=tmp_path), "no Gnomon is known here", "`gnomon up`")


async def test_a_run_file_of_a_gnomon_that_is_gone_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / ".gnomon").mkdir()
    left = {"pid": 1, "started_at": "x", "url": "http://127.0.0.1:1", "nats_url": "", "database_url": ""}
    (tmp_path / ".gnomon" / "run.json").write_text(json.dumps(left))
    said = await gnomon("task", "list", cwd=tmp_path)
    refused(said, "cannot reach Gnomon at http://127.0.0.1:1 (from .gnomon/run.json): connection refused")


async def test_something_else_at_the_address_is_no_gnomon(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n<html>\n<body>\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        refused(
            await gnomon("task", "list", "--url", f"http://{LOOPBACK}:{port}", cwd=tmp_path),
            "answered 404 with something that is not Gnomon's JSON",
            "is it a Gnomon? The address comes from --url",
        )


async def test_migrate_without_its_database_says_which_variable_it_means(tmp_path: Path) -> None:
    url = "postgresql://u:secret@127.0.0.1:1/x"
    for extra, words in (({}, "is not set"), ({"GNOMON_DATABASE_URL": url}, "cannot reach the Postgres of")):
        said = await gnomon("migrate", cwd=tmp_path, **extra)
        assert said.code != 0
        assert "GNOMON_DATABASE_URL" in said.err
        assert words in said.err
        assert "secret" not in said.err


async def test_ctrl_c_in_the_middle_of_the_first_start_ends_it_quietly() -> None:
    with reachable_folder() as folder:
        data = folder / "data"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gnomon_cli", "up", "--data", str(data), "--fast"),
            *("--http-port", str(free_port()), "--nats-port", str(free_port())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        async with asyncio.timeout(60):
            # While initdb is at work its half-made cluster is there; polled, since nobody tells of it.
            while not list(data.glob("postgres/unfinished-*/data")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everything in it
            out, err = await process.communicate()
        assert (process.returncode, err) == (0, b""), (out, err)
        assert b"nothing is left running" in out
        assert held_locks(data) == []
        again = RunningUp(data)
        await again.start()
        assert await again.stop() == 0


async def test_the_demo_s_own_question_follows_the_api_to_another_port() -> None:
    with reachable_folder() as folder:
        first = RunningUp(folder / "data", "--demo")
        await first.start()
        await first.shows("created", "Is the api alive?")
        await first.stop()
        second = RunningUp(folder / "data")
        await second.start()
        line = await second.shows("executed", "Is the api alive?")
        assert "failed" not in line, second.terminal
        url = second.run_file.url
        shown = await gnomon("task", "show", "demo-livez", "--data", str(second.data), "--json")
        assert json.loads(shown.out)["config"]["url"] == f"{url}/livez"
        await second.stop()


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("", "no Python 3.11 or newer was found. Install one"),
        ("/nowhere/python3", "/nowhere/python3 does not run, or is older than Python 3.11"),
        ("./old", "./old does not run, or is older than Python 3.11"),
    ],
)
async def test_make_without_a_usable_python_says_what_to_do(tmp_path: Path, python: str, words: str) -> None:
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\nexit 1\n")  # what an older Python says to the question how old it is
    old.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *("make", "-f", str(ROOT / "Makefile"), f"PYTHON={python}", "install"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env={name: value for name, value in environment().items() if not name.startswith("MAKE")},
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode == 2
    assert words in out.decode()
    assert not (tmp_path / ".venv").exists()
