"""`gnomon up` as people use it: it comes up, shows what happens, mends itself, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from gnomon_core.runtime.embedded import EmbeddedNats, EmbeddedPostgres
from tests.harness.waiting import until_async
from tests.integration.cli.running_up import RunningUp, alive, gnomon, held_locks
from tests.servers import reachable_folder

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo() -> AsyncIterator[RunningUp]:
    """One `gnomon up --demo` for the tests that only look at it or kill a child."""
    with reachable_folder() as path:
        up = RunningUp(path / "data", "--demo")
        await up.start()
        yield up
        await up.stop()


async def test_the_demo_s_tasks_run_and_are_shown(demo: RunningUp) -> None:
    line = await demo.shows("executed", "Echo every 2 s")
    assert "late" in line
    await demo.shows("executed", "Is the api alive?", "took")
    assert not [line for line in demo.lines if "failed" in line]


async def test_the_start_tells_each_component_and_where_to_go(demo: RunningUp) -> None:
    for name in ("nats-server", "postgres", "scheduler-1", "executor-1", "api"):
        assert [line for line in demo.lines if line.split()[:1] == [name]], demo.terminal
    await demo.shows("web page", f"{demo.run_file.url}/")
    await demo.shows("api docs", f"{demo.run_file.url}/docs")
    await demo.shows("durability", "--fast", "power cut")


async def test_the_run_file_tells_addresses_and_processes_that_live(demo: RunningUp) -> None:
    content = demo.run_file
    assert content.pid == demo.pid
    assert [entry.name for entry in content.processes] == [
        "api",
        "executor-1",
        "scheduler-1",
        "nats-server",
        "postgres",
    ]
    assert all(alive(entry.pid) for entry in content.processes)
    assert all(Path(entry.log).exists() for entry in content.processes)
    async with httpx.AsyncClient(trust_env=False) as http:
        for entry in content.processes:
            if entry.health_url is not None:
                assert (await http.get(f"{entry.health_url}/readyz")).status_code == 200
        assert (await http.get(f"{content.url}/docs")).status_code == 200


async def test_the_page_tells_what_runs_by_the_names_of_the_tasks(demo: RunningUp) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:

        async def told() -> bool:
            page = (await http.get(f"{demo.run_file.url}/")).text
            return "Echo every 2 s" in page.partition('id="executions"')[2].partition("</table>")[0]

        await until_async(told, within=60)


async def test_a_second_up_on_the_folder_is_refused_by_name(demo: RunningUp) -> None:
    said = await gnomon("up", "--data", str(demo.data))
    assert said.code == 1
    assert f"a Gnomon already runs on {demo.data} (process {demo.pid}, {demo.run_file.url})" in said.err
    assert "--data" in said.err


@pytest.mark.parametrize("name", ["executor-1", "scheduler-1", "api", "nats-server", "postgres"])
async def test_a_killed_child_comes_back_and_tasks_go_on(demo: RunningUp, name: str) -> None:
    before = len(demo.lines)
    killed = demo.pid_of(name)
    os.kill(killed, signal.SIGKILL)
    await demo.shows(f"{name} was killed by SIGKILL; starting it again", after=before)
    back = await demo.shows(f"{name} is back", after=before)
    await demo.shows("executed", after=demo.lines.index(back))
    assert demo.pid_of(name) != killed


async def test_ctrl_c_stops_all_in_order_and_leaves_nothing(folder: Path) -> None:
    up = RunningUp(folder / "data", "--schedulers", "2", "--executors", "2")
    await up.start()
    pids = [entry.pid for entry in up.run_file.processes]
    assert len(pids) == 7
    assert len(held_locks(up.data)) == 8, "up's own lock, and one for each child"
    assert await up.stop() == 0
    assert up.lines[-1].startswith("stopped after")
    assert held_locks(up.data) == []
    assert [pid for pid in pids if alive(pid)] == []
    assert not (up.data / "run.json").exists()


async def test_after_kill_9_nothing_is_left_and_the_next_up_goes_on_with_the_tasks(folder: Path) -> None:
    up = RunningUp(folder / "data", "--demo")
    await up.start()
    await up.shows("executed", "Echo every 2 s")
    pids = [entry.pid for entry in up.run_file.processes]
    up.send(signal.SIGKILL)
    await up.ended()
    again = RunningUp(up.data)
    try:
        # Ready means that each new process had the lock of its forerunner: so that one had ended.
        await again.start()
        assert [pid for pid in pids if alive(pid)] == []
        await again.shows("executed", "Echo every 2 s")
    finally:
        assert await again.stop() == 0


async def test_sigterm_in_the_middle_of_the_start_leaves_nothing(folder: Path) -> None:
    up = RunningUp(folder / "data")
    await up.launch()
    await up.shows("nats-server")
    up.send(signal.SIGTERM)
    assert await up.ended() == 0
    assert "ready in" not in up.terminal
    assert held_locks(up.data) == []


async def test_a_port_that_was_asked_for_and_is_taken_is_an_error_that_says_how_to_mend_it(
    folder: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag in ("--http-port", "--nats-port", "--mqtt-port"):
            said = await gnomon("up", "--data", str(folder / "data"), flag, str(port))
            assert said.code == 1
            assert f"port {port}, asked for by {flag}" in said.err
            assert "is taken by another process" in said.err
            assert "choose another port" in said.err
    assert not (folder / "data").exists()


async def test_a_server_of_one_s_own_that_does_not_answer_is_told_at_once(folder: Path) -> None:
    up = ("up", "--data", str(folder / "data"))
    for variable, said in (
        ("GNOMON_NATS_URL", await gnomon(*up, GNOMON_NATS_URL="nats://u:p@127.0.0.1:9")),
        ("GNOMON_DATABASE_URL", await gnomon(*up, GNOMON_DATABASE_URL="postgres://u:p@127.0.0.1:9/x")),
    ):
        assert said.code == 1
        assert f"{variable} is set" in said.err
        assert "answers at 127.0.0.1:9" in said.err
        assert f"unset {variable}" in said.err
    for flag in ("--nats-port", "--mqtt-port"):
        said = await gnomon(*up, flag, "1883", GNOMON_NATS_URL="nats://127.0.0.1:9")
        assert (said.code, f"{flag} is for a nats-server of `gnomon up`" in said.err) == (2, True), said


async def test_servers_of_one_s_own_are_used_and_left_running(
    nats_server: EmbeddedNats, postgres_server: EmbeddedPostgres, folder: Path
) -> None:
    own = {"GNOMON_NATS_URL": nats_server.url, "GNOMON_DATABASE_URL": postgres_server.url}
    up = RunningUp(folder / "data", "--demo", extra=own)
    await up.start()
    await up.shows("executed", "Echo every 2 s")
    assert [entry.name for entry in up.run_file.processes] == ["api", "executor-1", "scheduler-1"]
    await up.shows("durability", "as your own NATS server is set up")
    password = postgres_server.url.partition("@")[0].rpartition(":")[2]
    assert password not in up.terminal
    assert await up.stop() == 0
    assert nats_server.nodes[0].running
    assert postgres_server.running


async def test_a_closed_terminal_ends_it_cleanly(folder: Path) -> None:
    up = RunningUp(folder / "data")
    await up.start()
    up.send(signal.SIGHUP)
    assert await up.ended() == 0
    assert held_locks(up.data) == []


async def test_own_task_types_run_and_are_loaded_again_when_their_file_changes(folder: Path) -> None:
    module = folder / "my_tasks.py"
    source = (
        "from gnomon import Context, task_type\n\n"
        "@task_type('greet')\n"
        "async def greet(config: dict[str, str], ctx: Context) -> str:\n"
        "    return 'ANSWER'\n"
    )
    module.write_text(source.replace("ANSWER", "hello"))
    up = RunningUp(folder / "data", "--tasks", "my_tasks", "--reload", cwd=folder)
    await up.start()
    target = ("--data", str(up.data))
    try:
        said = await gnomon("task", "create", "--id", "greet", "--name", "Greet", "--type", "greet", *target)
        assert said.code == 0, said.err
        said = await gnomon("task", "run", "greet", "--wait", "--json", *target)
        assert json.loads(said.out)["result"] == "hello", said
        before = len(up.lines)
        module.write_text(source.replace("ANSWER", "good morning"))
        await up.shows("my_tasks.py changed: executors start again", after=before)
        await up.shows("executor-1 is back", after=before)
        said = await gnomon("task", "run", "greet", "--wait", "--json", *target)
        assert json.loads(said.out)["result"] == "good morning", said
    finally:
        assert await up.stop() == 0


async def test_a_task_module_that_cannot_be_imported_is_told_and_nothing_is_left(folder: Path) -> None:
    (folder / "broken_tasks.py").write_text("import no_such_module\n")
    up = RunningUp(folder / "data", "--tasks", "broken_tasks", cwd=folder)
    await up.launch()
    assert await up.ended() == 1
    assert "while starting; its log is" in up.terminal
    assert "No module named 'no_such_module' (in " in up.terminal
    assert held_locks(up.data) == []
    assert "Traceback" not in up.terminal


async def test_a_second_ctrl_c_loses_patience(folder: Path) -> None:
    up = RunningUp(folder / "data")
    await up.start()
    target = ("--data", str(up.data))
    sleeper = ("--id", "long", "--name", "Long", "--type", "sleep", "--config", '{"seconds": 600}')
    assert (await gnomon("task", "create", *sleeper, *target)).code == 0
    assert (await gnomon("task", "run", "long", *target)).code == 0
    await up.shows("started", "Long")
    pids = [entry.pid for entry in up.run_file.processes]
    up.send(signal.SIGINT)
    await up.shows("stopping")
    up.send(signal.SIGINT)
    begun = asyncio.get_running_loop().time()
    assert await up.ended() == 0
    assert asyncio.get_running_loop().time() - begun < 10
    assert [pid for pid in pids if alive(pid)] == []
