"""The permissions of `deploy/nats`: everything works under them, and each user can do no more than its part.

The first test runs the whole system, every process as its own user, with a kill in the middle, and looks through the
server's log: a permission that is missing shows there as a violation. The others try what must be refused.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from gnomon import Client, interval
from gnomon_cli.device_command import new_login
from gnomon_core.runtime.bus import connect
from gnomon_core.runtime.settings import CommonSettings
from gnomon_core.runtime.topology import TopologySettings, ensure_topology
from tests.harness.deployed_nats import DeployedNats
from tests.harness.over_http import OverHttp
from tests.harness.phones import granted, heard, phone
from tests.harness.processes import Process

pytestmark = pytest.mark.timeout(120)

PARTITIONS: Final = 2
SETTINGS: Final = {
    "GNOMON_PARTITIONS": str(PARTITIONS),
    "GNOMON_LEASE_TTL": "2s",
    "GNOMON_ACK_WAIT": "2s",
    "GNOMON_SWEEP_EVERY": "1s",
    "GNOMON_JANITOR_EVERY": "1s",
    "GNOMON_LOG_FORMAT": "json",
    "GNOMON_HEALTH_PORT": "0",
    "GNOMON_HTTP_PORT": "0",
    "GNOMON_HTTP_ALLOW": "127.0.0.0/8",
}
PHONE: Final = new_login("local", "phone")
"""Of the user who calls without a name."""
OWN_INBOX: Final = {"publisher": b"_INBOX.clients.publisher", "listener": b"_INBOX.clients.listener"}


class Processes:
    """Service processes, each connected as its own user; none outlives the test."""

    def __init__(self, server: DeployedNats, database: str) -> None:
        self._server, self._database = server, database
        self.all: list[Process] = []

    async def start(self, service: str) -> Process:
        """Start one and wait until it is ready."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("GNOMON_")}
        own = {"GNOMON_NATS_URL": self._server.url(service), "GNOMON_DATABASE_URL": self._database}
        process = Process(f"{service}-{len(self.all)}", f"gnomon_{service}", env | SETTINGS | own)
        self.all.append(process)
        await process.start()
        await process.ready()
        return process

    async def end(self) -> None:
        """Kill what still runs, and show the logs."""
        for process in self.all:
            if process.running:
                await process.kill()
            print(process.tail())  # noqa: T201 - pytest shows it where the test has failed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(servers_folder: Path) -> AsyncIterator[DeployedNats]:
    """A nats-server on the files of `deploy/nats`, with the streams made by a scheduler's right."""
    server = DeployedNats(servers_folder / "deployed", devices=[PHONE.entry])
    await server.start()
    bus = await connect(CommonSettings(nats_url=server.url("scheduler")), name="test")
    await ensure_topology(bus, TopologySettings(partitions=PARTITIONS))
    await bus.close()
    yield server
    await server.stop()


class Login:
    """A connection of one user that keeps what it is refused."""

    def __init__(self, server: DeployedNats, user: str) -> None:
        self._server, self._user = server, user
        self.refused: asyncio.Queue[str] = asyncio.Queue()
        self.nc: Nats

    async def __aenter__(self) -> Login:
        async def failed(error: Exception) -> None:
            self.refused.put_nowait(str(error))

        self.nc = await nats.connect(
            self._server.url(self._user),
            error_cb=failed,
            allow_reconnect=False,
            inbox_prefix=OWN_INBOX.get(self._user, b"_INBOX"),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.nc.close()

    async def is_refused(self, subject: str, kind: str) -> None:
        """Wait for the server's word that this publish or subscription is not allowed."""
        await self.nc.flush()
        async with asyncio.timeout(5):
            words = await self.refused.get()
        # nats-py tells it in small letters.
        assert words == f'nats: permissions violation for {kind} to "{subject.lower()}"'

    async def api(self, verb: str, request: Any = None) -> dict[str, Any]:
        """A request to JetStream; fails where it refuses."""
        body = b"" if request is None else json.dumps(request).encode()
        answer: dict[str, Any] = json.loads((await self.nc.request(f"$JS.API.{verb}", body, timeout=5)).data)
        assert "error" not in answer, answer
        return answer


async def test_the_whole_system_works_and_nothing_is_refused(server: DeployedNats, postgres_url: str) -> None:
    processes = Processes(server, postgres_url)
    try:
        first = await processes.start("scheduler")
        await processes.start("scheduler")
        busy = await processes.start("executor")
        api = await processes.start("api")
        async with (
            Login(server, "listener") as listener,
            Client(server.url("publisher"), inbox_prefix=OWN_INBOX["publisher"]) as publisher,
            Client(server.url("reader")) as reader,
            phone(server.mqtt_ports[0], PHONE) as device,
        ):
            assert await granted(device, PHONE.topic)
            lives: asyncio.Queue[Msg] = asyncio.Queue()
            await listener.nc.subscribe("task.executed", cb=lives.put)
            # The first may be answered by what is left of the handshake (see `LiveView.start`).
            await listener.nc.flush()
            await listener.nc.flush()

            async with reader.events("executed") as durable, publisher.live_events("executed") as heard_live:
                # A command from outside fires, is executed, and is heard live and read from the log.
                await publisher.create_task(
                    task_id="ticks", name="Ticks", task_type="echo", schedule=interval(seconds=1)
                )
                async with asyncio.timeout(20):
                    live = json.loads((await lives.get()).data)
                    stored, told = await anext(durable), await anext(heard_live)
                assert told == stored
                assert (live["task_id"], live["status"]) == ("ticks", "completed")
                assert stored.task_id == "ticks"
            await _finds_everybody(listener.nc)

            async with OverHttp.of(api) as http:
                # The api reads it, writes, and asks schedulers and the queue.
                await http.create("sleeper", task_type="sleep", config={"seconds": 60})
                ran = await http.post("/tasks/ticks/execute?wait=10")
                assert ran["status"] == "completed"
                assert (await http.get("/tasks/ticks"))["run_count"] >= 1
                assert (await http.get("/scheduler"))["shards"][0]["leader"]
                assert (await http.get("/executors"))["items"]
                assert (await http.get(f"/executions/{ran['execution_id']}"))["status"] == "completed"

                # The user's phone hears the result, and a reminder.
                soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
                await http.create("dentist", task_type="todo", reminder_time=soon)
                await http.create("greeting", task_type="echo")
                await http.post("/tasks/greeting/execute?wait=10")
                notes: dict[str, str] = {}
                while len(notes) < 2:
                    note = json.loads((await heard(device))[1])
                    notes[note["event"]] = note["task_id"]
                assert notes == {"task.executed": "greeting", "task.reminder_triggered": "dentist"}

                # A failing handler is tried again, and again fails.
                retry = {"max_attempts": 2, "initial_seconds": 0.1}
                await http.create(
                    "fails", task_type="http_request", config={"url": "http://127.0.0.1:1/"}, retry=retry
                )
                ran = await http.post("/tasks/fails/execute?wait=20")
                assert (ran["status"], ran["attempt"]) == ("failed", 2)

                # An executor dies under its work: another asks it, hears nothing, and takes over. Then a cancel.
                async with reader.events("started", "executed", task_id="sleeper") as sleeper:
                    run = (await publisher.run("sleeper")).run
                    async with asyncio.timeout(20):
                        await anext(sleeper)
                    await processes.start("executor")
                    await busy.kill()
                    async with asyncio.timeout(30):
                        await anext(sleeper)
                    await publisher.cancel_execution("sleeper", run)
                    async with asyncio.timeout(20):
                        ended = await anext(sleeper)
                    assert getattr(ended, "status", None) == "cancelled"

                # A leader dies: the other scheduler pings it and takes its shards.
                await first.kill()
                async with asyncio.timeout(20):
                    await publisher.update("ticks", {"name": "Tocks"})
                ran = await http.post("/tasks/ticks/execute?wait=10")
                assert ran["status"] == "completed"
            assert listener.refused.empty()
        assert [await process.stop() for process in processes.all if process.running] == [0, 0, 0]
    finally:
        await processes.end()
    assert server.violations() == []
    logs = "".join(process.tail() for process in processes.all)
    assert not [user for user, password in server.passwords.items() if password in logs], (
        "a password was logged"
    )


FORBIDDEN: Final = {
    "publisher": (
        "gnomon.write.task.executed.0.t._",
        "gnomon.write.task.due.default.high.0.t",
        "task.executed",
        "task.executed.0.t._",
        "gnomon.cancel.t._",
        "gnomon.progress.t._",
        "$KV.GNOMON_LEASES.shard.0",
        "$JS.API.STREAM.INFO.TASKS",
        "$JS.API.STREAM.DELETE.TASKS",
        "$JS.API.CONSUMER.CREATE.TASKS.x",
    ),
    "listener": (
        "gnomon.cmd.task.create.t",
        "gnomon.write.task.executed.0.t._",
        "task.executed",
        "$KV.GNOMON_ACCOUNTS.projector",
        "$JS.API.CONSUMER.CREATE.TASKS.x",
        "$JS.API.CONSUMER.MSG.NEXT.TASKS.other",
        "$JS.API.STREAM.PURGE.TASKS",
    ),
    "executor": (
        "$KV.GNOMON_LEASES.shard.0",
        "$KV.GNOMON_LEASES.projector",
        "$KV.GNOMON_MEMBERS.scheduler.s",
        "gnomon.write.state.task.0.t",
        "gnomon.write.state.shard.0",
        "gnomon.write.task.created.0.t._",
        "gnomon.write.task.due.default.high.0.t",
        "gnomon.write.due.fence._._.0._",
        "gnomon.cmd.task.create.t",
        "gnomon.cancel.t._",
        "task.executed",
        "$JS.API.STREAM.UPDATE.TASKS",
        "$JS.API.STREAM.DELETE.TASKS",
        "$JS.API.STREAM.PURGE.TASKS",
        "$JS.API.CONSUMER.DURABLE.CREATE.TASK_COMMANDS.cmd-0-1",
        "$JS.ACK.TASK_COMMANDS.cmd-0-1.1.1.1.1.0",
    ),
    "api": (
        "gnomon.write.task.created.0.t._",
        "gnomon.write.state.task.0.t",
        "$KV.GNOMON_LEASES.shard.0",
        "$KV.GNOMON_MEMBERS.executor.e",
        "task.executed",
        "$JS.API.STREAM.UPDATE.TASKS",
        "$JS.API.STREAM.DELETE.TASKS",
        "$JS.API.STREAM.PURGE.TASKS",
        "$JS.API.CONSUMER.MSG.NEXT.TASK_DUE.exec_default_high",
        "$JS.ACK.TASK_DUE.exec_default_high.1.1.1.1.0",
    ),
    "scheduler": (
        "gnomon.cmd.task.create.t",
        "task.executed",
        "gnomon.progress.t._",
        "$KV.GNOMON_MEMBERS.executor.e",
        "$KV.GNOMON_TASK_TYPES.echo",
        "$JS.API.STREAM.DELETE.TASKS",
        "$JS.API.CONSUMER.MSG.NEXT.TASK_DUE.exec_default_high",
        "$JS.ACK.TASK_DUE.exec_default_high.1.1.1.1.0",
    ),
    "reader": (
        "gnomon.write.task.executed.0.t._",
        "gnomon.cmd.task.create.t",
        "$JS.API.STREAM.PURGE.TASKS",
        "$JS.API.STREAM.MSG.GET.TASK_COMMANDS",
    ),
}
"""What each user must not publish on."""


async def _sequences(operator: Login) -> dict[str, int]:
    """The last sequence of every stream: nothing has been stored while it stays."""
    found = await operator.api("STREAM.LIST")
    return {stream["config"]["name"]: stream["state"]["last_seq"] for stream in found["streams"]}


async def _found_by(nc: Nats, subject: str, count: int) -> list[dict[str, Any]]:
    """What so many processes answer."""
    inbox = nc.new_inbox()
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await nc.subscribe(inbox, cb=answers.put)
    await nc.publish(subject, b"", reply=inbox)
    async with asyncio.timeout(10):
        found = [json.loads((await answers.get()).data) for _ in range(count)]
    await subscription.unsubscribe()
    return found


async def _finds_everybody(nc: Nats) -> None:
    """Discovery by the NATS services protocol, from another account: who is there, where, and how it is."""
    pings = await _found_by(nc, "$SRV.PING", 4)
    assert sorted(ping["name"] for ping in pings) == [
        "gnomon-api",
        "gnomon-executor",
        "gnomon-scheduler",
        "gnomon-scheduler",
    ]
    (info,) = await _found_by(nc, "$SRV.INFO.gnomon-api", 1)
    assert info["type"] == "io.nats.micro.v1.info_response"
    assert info["metadata"]["http"].startswith("http://127.0.0.1:")
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["gnomon.health.api"]
    for kind in ("scheduler", "executor", "api"):
        health = json.loads((await nc.request(f"gnomon.health.{kind}", b"", timeout=5)).data)
        assert health["ready"], health
    stats = await _found_by(nc, "$SRV.STATS.gnomon-executor", 1)
    assert stats[0]["endpoints"][0]["num_requests"] == 1


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_what_is_not_its_part_is_refused(server: DeployedNats, user: str) -> None:
    async with Login(server, "operator") as operator, Login(server, user) as login:
        before = await _sequences(operator)
        for subject in FORBIDDEN[user]:
            await login.nc.publish(subject, b"{}", reply=login.nc.new_inbox())
            await login.is_refused(subject, "publish")
        assert await _sequences(operator) == before


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("publisher", "_INBOX.>"),
        ("publisher", "_INBOX.clients.listener.x"),
        ("publisher", "gnomon.cmd.>"),
        ("publisher", "gnomon.write.>"),
        ("listener", ">"),
        ("listener", "gnomon.cmd.task.create.*"),
        ("listener", "_INBOX.clients.publisher.>"),
        ("executor", "gnomon.cmd.>"),
        ("executor", "gnomon.write.>"),
        ("api", "gnomon.write.>"),
        ("scheduler", "$KV.>"),
    ],
)
async def test_nobody_hears_what_is_not_meant_for_it(server: DeployedNats, user: str, subject: str) -> None:
    async with Login(server, user) as login:
        await login.nc.subscribe(subject)
        await login.is_refused(subject, "subscription")


@pytest.mark.parametrize("login", [{"user": "scheduler", "pass": "wrong"}, {}])
async def test_a_wrong_password_and_none_are_refused(server: DeployedNats, login: dict[str, str]) -> None:
    host, _, port = server.address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        assert (await reader.readline()).startswith(b"INFO ")
        writer.write(b"CONNECT " + json.dumps(login).encode() + b"\r\nPING\r\n")
        assert await reader.readline() == b"-ERR 'Authorization Violation'\r\n"
    finally:
        writer.close()
        await writer.wait_closed()


async def test_an_answer_of_the_broker_cannot_be_sent_through_the_door_from_outside(
    server: DeployedNats,
) -> None:
    """JetStream answers a publish wherever its reply subject says. From another account that is no subject of the
    streams; within the account it is, so users there are trusted: the last lines show the difference."""
    door = "gnomon.write.state.task.0.victim"
    async with Login(server, "operator") as operator, Login(server, "publisher") as publisher:
        before = await _sequences(operator)
        await publisher.nc.publish("gnomon.cmd.task.run.t", b"{}", reply=door)
        acknowledged = publisher.nc.new_inbox()
        inbox = await publisher.nc.subscribe(acknowledged)
        await publisher.nc.publish("gnomon.cmd.task.run.t", b"{}", reply=acknowledged)
        # The second answer is here, so the first has been sent too.
        await inbox.next_msg(timeout=5)
        after = await _sequences(operator)
        assert after["TASK_COMMANDS"] == before["TASK_COMMANDS"] + 2
        assert after["TASKS"] == before["TASKS"]

        await operator.nc.publish("gnomon.cmd.task.run.t", b"{}", reply=door)
        await operator.nc.request("gnomon.cmd.task.run.t", b"{}", timeout=5)
        assert (await _sequences(operator))["TASKS"] == before["TASKS"] + 1


async def test_a_listener_reads_durably_by_the_consumer_made_for_it(server: DeployedNats) -> None:
    async with Login(server, "operator") as operator, Login(server, "listener") as listener:
        config = {
            "durable_name": "listener",
            "ack_policy": "explicit",
            "deliver_policy": "new",
            "filter_subject": "task.executed.*.*.*",
        }
        await operator.api(
            "CONSUMER.DURABLE.CREATE.TASKS.listener", {"stream_name": "TASKS", "config": config}
        )
        for number in range(3):
            await operator.nc.request(f"gnomon.write.task.executed.0.t.r-{number}", b"{}", timeout=5)

        inbox = listener.nc.new_inbox()
        subscription = await listener.nc.subscribe(inbox)
        await listener.nc.publish("$JS.API.CONSUMER.MSG.NEXT.TASKS.listener", b'{"batch":3}', reply=inbox)
        for number in range(3):
            message = await subscription.next_msg(timeout=5)
            assert message.subject == f"task.executed.0.t.r-{number}"
            await listener.nc.request(message.reply, b"", timeout=5)
        info = await operator.api("CONSUMER.INFO.TASKS.listener")
        assert (info["num_pending"], info["num_ack_pending"]) == (0, 0)
        assert listener.refused.empty()
