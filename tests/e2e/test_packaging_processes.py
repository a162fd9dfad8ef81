"""What the manifests, the compose file and the units start, started here: each with its very command, environment and
probes, under the very permissions of `deploy/nats`, through a task's whole way, and stopped as its place stops it."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from gnomon_cli.device_command import new_login
from gnomon_core.runtime.embedded import EmbeddedPostgres
from tests.e2e.containers import Container, WalledContainer, can_be_walled
from tests.e2e.launches import (
    ROOT,
    Launch,
    compose_file,
    data,
    environment_file,
    from_compose,
    from_manifests,
    from_units,
    image,
    render,
)
from tests.e2e.needing import needs
from tests.harness.deployed_nats import USERS, DeployedNats
from tests.harness.phones import granted, heard, phone
from tests.servers import TEST_POSTGRES_OPTIONS, reachable_folder

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PHONE: Final = new_login("local", "phone")
"""Of the user who calls without a name."""
SERVICES: Final = ("scheduler", "executor", "api")


def _passwords() -> dict[str, str]:
    return {user: f"p{secrets.token_hex(8)}" for user in USERS}


def _kubernetes() -> tuple[list[Launch], dict[str, str]]:
    documents = render("overlays/demo")
    [secret] = [d for d in documents if d["metadata"]["name"].startswith("gnomon-nats-passwords")]
    resolved = {
        name.removeprefix("NATS_").removesuffix("_PASSWORD").lower(): value
        for name, value in data(secret).items()
    }
    return from_manifests(documents), resolved


def _compose() -> tuple[list[Launch], dict[str, str]]:
    passwords = _passwords()
    variables = {f"NATS_{user.upper()}_PASSWORD": password for user, password in passwords.items()}
    return from_compose(compose_file(variables | {"POSTGRES_PASSWORD": "p"})), passwords


def _systemd() -> tuple[list[Launch], dict[str, str]]:
    passwords = _passwords()
    folder = "/etc/gnomon"
    files = {
        f"{folder}/{name}.env": {"GNOMON_NATS_URL": f"nats://{name}:{passwords[name]}@nats.example.com:4222"}
        for name in SERVICES
    }
    files[f"{folder}/database.env"] = {
        "GNOMON_DATABASE_URL": "postgresql://gnomon:p@postgres.example.com/gnomon"
    }
    files[f"{folder}/gnomon.env"] = environment_file(ROOT / "deploy" / "systemd" / "gnomon.env.example")
    return from_units(files), passwords


_UNWALLED: Final = "no right to make namespaces here: containers are not tried without privileges"
DEPLOYMENTS: Final = [
    pytest.param((_kubernetes, Container), id="kubernetes", marks=needs("kubectl")),
    pytest.param((_compose, Container), id="compose"),
    pytest.param(
        (_compose, WalledContainer),
        id="compose-walled",
        marks=pytest.mark.skipif(not can_be_walled(), reason=_UNWALLED),
    ),
    pytest.param((_systemd, Container), id="systemd"),
]


class System:
    """Everything that a deployment starts, with its servers."""

    def __init__(
        self, launches: list[Launch], nats: DeployedNats, database_url: str, kind: type[Container]
    ) -> None:
        self._containers = {each.name: kind(each, nats, database_url) for each in launches}
        self.nats = nats

    def __getitem__(self, name: str) -> Container:
        return self._containers[name]

    async def kill(self) -> None:
        """End what a failed test left, and show what it logged."""
        for container in self._containers.values():
            if container.running:
                await container.kill()
            sys.stdout.write(container.tail() + "\n")


@pytest.fixture
async def system(request: pytest.FixtureRequest) -> AsyncIterator[System]:
    """The processes of one deployment, not started yet, and its servers, running: Postgres is empty."""
    source, kind = request.param
    launches, passwords = source()
    with reachable_folder() as folder:
        nodes = max(int(launch.env.get("GNOMON_REPLICAS", "1")) for launch in launches)
        nats = DeployedNats(folder / "nats", passwords, nodes=nodes, devices=[PHONE.entry])
        postgres = EmbeddedPostgres(folder / "postgres", fast=True, options=TEST_POSTGRES_OPTIONS)
        await nats.start()
        await postgres.start()
        system = System(launches, nats, postgres.url, kind)
        yield system
        await system.kill()
        await postgres.stop()
        await nats.stop()


@pytest.mark.parametrize("system", DEPLOYMENTS, indirect=True)
async def test_it_migrates_starts_serves_and_stops(system: System) -> None:
    await system["migrate"].start()
    assert await system["migrate"].ended() == 0, system["migrate"].tail()
    for name in SERVICES:
        await system[name].up()
        assert await system[name].healthy(image())
        container = system[name]
        if isinstance(container, WalledContainer):
            assert container.walls() == {"NSpid": "1", "CapEff": "0" * 16, "NoNewPrivs": "1"}
        metrics = system[name].launch.metrics
        if metrics is not None:
            answer = await _get(system[name].url + metrics[1])
            assert "gnomon_" in answer

    async with httpx.AsyncClient(base_url=system["api"].url + "/api/v1", trust_env=False, timeout=30) as http:
        await _created(http, "say", "echo", {"say": "hi"})
        # A device, at whichever node, hears what came of it.
        async with phone(system.nats.mqtt_ports[-1], PHONE, clean_session=False) as device:
            assert await granted(device, PHONE.topic)
            ran = await http.post("/tasks/say/execute", params={"wait": 20})
            assert (ran.status_code, ran.json()["status"]) == (200, "completed"), ran.text
            topic, note = await heard(device)
            assert (topic, json.loads(note)["result"]) == (PHONE.topic, {"say": "hi"})
        assert await _copies_of_sessions(system.nats) == len(system.nats.monitors)

        # What runs when the executor is told to stop is finished and recorded, well within its time.
        await _created(http, "slow", "sleep", {"seconds": 3})
        accepted = await http.post("/tasks/slow/execute")
        run = accepted.json()["execution_id"]
        await _status(http, run, "running")
        assert (await system["executor"].end())[0] == 0
        await _status(http, run, "completed")

    for name in ("scheduler", "api"):
        code, took = await system[name].end()
        assert code == 0, system[name].tail()
        assert took < system[name].launch.stop_seconds
    assert system.nats.violations() == []


async def _copies_of_sessions(nats: DeployedNats) -> int:
    """How many servers keep the sessions of devices."""
    told = json.loads(await _get(f"{nats.monitors[0]}/jsz?accounts=true&streams=true&config=true"))
    [devices] = [account for account in told["account_details"] if account["name"] == "DEVICES"]
    [sessions] = [each for each in devices["stream_detail"] if each["name"] == "$MQTT_sess"]
    return int(sessions["config"]["num_replicas"])


async def _created(http: httpx.AsyncClient, task_id: str, task_type: str, config: dict[str, Any]) -> None:
    body = {"task_id": task_id, "name": task_id, "task_type": task_type, "config": config}
    answer = await http.post("/tasks", json=body)
    assert answer.status_code == 201, answer.text


async def _status(http: httpx.AsyncClient, execution_id: str, wanted: str) -> None:
    """Wait until the read models show this status."""
    status = "nothing"
    async with asyncio.timeout(20):
        while status != wanted:
            answer = await http.get(f"/executions/{execution_id}")
            status = answer.json().get("status", answer.text)
            await asyncio.sleep(0.05)  # read over HTTP, as any client of the api does


async def _get(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)
        assert answer.status_code == 200, url
        return answer.text


@pytest.mark.parametrize("name", SERVICES)
async def test_one_that_waits_for_nats_ends_at_its_first_signal(name: str, tmp_path: Path) -> None:
    """As the first process of a container it is deaf to SIGTERM unless it listens: here the signal is ignored from
    outside, which comes to the same."""
    [launch] = [each for each in _systemd()[0] if each.name == name]
    waiting = Container(launch, DeployedNats(tmp_path), "postgresql://gnomon:p@127.0.0.1:1/gnomon")
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        await waiting.start()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert _ignores_sigterm(waiting.pid)
    async with asyncio.timeout(30):
        while _ignores_sigterm(waiting.pid):  # noqa: ASYNC110 - only the kernel knows, and it tells nobody
            await asyncio.sleep(0.05)
    assert await waiting.stop(within=10) == 0


def _ignores_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    [ignored] = [line for line in status.splitlines() if line.startswith("SigIgn:")]
    return bool(int(ignored.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
