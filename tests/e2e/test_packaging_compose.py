"""`compose.yaml`: taken by docker compose where that is here, and by our own rules."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from gnomon_core.runtime.embedded.binaries import nats_server
from gnomon_core.runtime.supervisor import Supervisor
from gnomon_executor.bootstrap import MARGIN_SECONDS
from gnomon_executor.worker import LAST_BREATH_SECONDS
from tests.e2e.launches import ROOT, compose_file, environment_file, from_compose, seconds
from tests.harness.deployed_nats import TLS, USERS

pytestmark = pytest.mark.e2e

VARIABLES: Final = {f"NATS_{user.upper()}_PASSWORD": f"of-{user}" for user in USERS} | {
    "POSTGRES_PASSWORD": "of-db"
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file with its variables."""
    return compose_file(VARIABLES)


def _docker_compose() -> list[str] | None:
    """The command, as a plugin of docker or by itself; None where there is none of version 2."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run([*command, "version"], capture_output=True, text=True, check=False)
            if asked.returncode == 0 and re.search(r"\bv?[2-9]\.\d+", asked.stdout):
                return command
    return None


def _config(command: list[str], variables: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    words = [
        *command,
        *(word for name in ("compose.yaml", *more) for word in ("--file", str(ROOT / name))),
        "--env-file",
        os.devnull,
        "config",
        "--format",
        "json",
    ]
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(words, capture_output=True, text=True, env=env, check=False)


COMPOSE: Final = _docker_compose()
with_compose = pytest.mark.skipif(
    COMPOSE is None, reason="docker compose 2 is missing: it would check the file"
)


@with_compose
def test_docker_compose_takes_it_as_we_read_it(compose: dict[str, Any]) -> None:
    assert COMPOSE is not None
    done = _config(COMPOSE, VARIABLES)
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)
    assert resolved["services"].keys() == compose["services"].keys()
    for launch in from_compose(compose):
        service = resolved["services"][launch.name]
        assert launch.command[1:] == service["command"]
        assert launch.env.items() >= service["environment"].items()


@with_compose
def test_a_missing_password_is_told_by_name() -> None:
    assert COMPOSE is not None
    done = _config(COMPOSE, {name: value for name, value in VARIABLES.items() if name != "NATS_API_PASSWORD"})
    assert done.returncode != 0
    assert "NATS_API_PASSWORD" in done.stderr


@with_compose
def test_docker_compose_takes_the_listener_beside_it() -> None:
    assert COMPOSE is not None
    files = {"MQTT_CERT": "/etc/ssl/gnomon.crt", "MQTT_KEY": "/etc/ssl/gnomon.key"}
    done = _config(COMPOSE, VARIABLES | files, "compose.mqtt.yaml")
    assert done.returncode == 0, done.stderr
    nats = json.loads(done.stdout)["services"]["nats"]
    assert nats["command"] == ["--config", "/etc/gnomon-nats/server-mqtt.conf"]
    assert {port["published"] for port in nats["ports"]} == {"4222", "8883"}
    assert {"/etc/gnomon-nats", "/etc/gnomon-mqtt/tls.crt"} <= {each["target"] for each in nats["volumes"]}


def test_every_variable_is_a_setting(compose: dict[str, Any]) -> None:
    known = environment_file(ROOT / ".env.example").keys()
    for name, service in compose["services"].items():
        if "build" in service:
            assert service["environment"].keys() <= known, name


def test_every_service_is_watched_and_waited_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, name
            if how["condition"] == "service_healthy":
                # The image has a health check of its own; the servers' are in the file.
                assert "build" in services[other] or "healthcheck" in services[other], other
            else:
                assert how == {"condition": "service_completed_successfully"}
                assert services[other]["restart"].startswith("on-failure"), other
    assert services["api"]["depends_on"].keys() == {"nats", "scheduler", "migrate"}


def test_our_containers_have_no_privilege_and_time_to_stop(compose: dict[str, Any]) -> None:
    longest = inspect.signature(Supervisor).parameters["grace"].default
    for name, service in compose["services"].items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        if "build" not in service:
            continue
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        needed = longest
        if name == "executor":
            needed = (
                seconds(service["environment"]["GNOMON_DRAIN_GRACE"]) + LAST_BREATH_SECONDS + MARGIN_SECONDS
            )
        assert name == "migrate" or seconds(service["stop_grace_period"]) > needed, name


def test_what_is_published_is_for_this_machine_alone(compose: dict[str, Any]) -> None:
    published = {name: s["ports"] for name, s in compose["services"].items() if "ports" in s}
    assert published.keys() == {"nats", "api"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_kept_is_kept_in_volumes(compose: dict[str, Any]) -> None:
    for name in ("nats", "postgres"):
        volumes = compose["services"][name]["volumes"]
        assert any(volume.startswith(f"{name}:") for volume in volumes)
        assert name in compose["volumes"]
    nats = compose["services"]["nats"]
    assert f"nats:{nats['environment']['NATS_STORE_DIR']}" in nats["volumes"]


LISTENER: Final = {
    "NATS_MQTT_PORT": "8883",
    "NATS_MQTT_CERT": str(TLS / "certificate.pem"),
    "NATS_MQTT_KEY": str(TLS / "key.pem"),
}


@pytest.mark.parametrize("name", ["server.conf", "cluster.conf", "server-mqtt.conf", "cluster-mqtt.conf"])
def test_nats_takes_its_configuration(compose: dict[str, Any], name: str, tmp_path: Path) -> None:
    environment = compose["services"]["nats"]["environment"] | {"NATS_STORE_DIR": str(tmp_path)}
    of_cluster = {"POD_NAME": "gnomon-nats-0", "NATS_ROUTE_PASSWORD": "of-route"}
    env = environment | (of_cluster if name.startswith("cluster") else {})
    env |= LISTENER if "mqtt" in name else {}
    configuration = ROOT / "deploy" / "nats" / name
    done = subprocess.run(
        [nats_server(), "-t", "--config", configuration], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    base = ROOT / "deploy" / "nats" / name.replace("-mqtt", "")
    assert "sync_interval: always" in base.read_text()


def test_the_listener_for_devices_is_one_file_more() -> None:
    """It changes nats-server alone: its configuration, with all that this asks for, and the one port."""
    more = yaml.safe_load((ROOT / "compose.mqtt.yaml").read_text())
    assert more.keys() == {"services"}
    assert more["services"].keys() == {"nats"}
    nats = more["services"]["nats"]
    assert nats["command"] == ["--config", "/etc/gnomon-nats/server-mqtt.conf"]
    assert nats["environment"].keys() == LISTENER.keys()
    mounted = [volume.split(":")[-2] for volume in nats["volumes"]]
    assert mounted == [nats["environment"][name] for name in ("NATS_MQTT_CERT", "NATS_MQTT_KEY")]
    assert nats["ports"] == [f"{nats['environment']['NATS_MQTT_PORT']}:8883"]
