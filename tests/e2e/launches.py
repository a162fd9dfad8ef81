"""What a deployment starts: the command, environment, probes and patience of each container or unit.

Read from the files that a cluster, compose or systemd would read: from the manifests as kustomize renders them, with
ConfigMaps and Secrets resolved; from `compose.yaml` with its variables filled in; from the units. The image's part
(entry point, environment) is read from the `Dockerfile`.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from dockerfile_parse import DockerfileParser

from tests.e2e.tools import find

__all__ = [
    "ROOT",
    "Image",
    "Launch",
    "Probe",
    "compose_file",
    "data",
    "environment_file",
    "from_compose",
    "from_manifests",
    "from_units",
    "image",
    "read_unit",
    "render",
    "seconds",
]

ROOT: Final = Path(__file__).parents[2]
_UNITS: Final = {"s": 1.0, "m": 60.0, "min": 60.0, "": 1.0}
_VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?:(:[-?])([^}]*))?\}")


class Probe(msgspec.Struct, frozen=True):
    """An HTTP probe: where, and for how long it may fail."""

    path: str
    port: int
    patience_seconds: float
    timeout_seconds: float


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One container or unit, as it is started."""

    name: str
    """scheduler, executor, api or migrate."""
    command: list[str]
    env: dict[str, str]
    stop_seconds: float
    """From SIGTERM to SIGKILL."""
    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None
    metrics: tuple[int, str] | None = None
    """Port and path."""


class Image(msgspec.Struct, frozen=True):
    """What the `Dockerfile` says of a container."""

    entrypoint: list[str]
    env: dict[str, str]
    healthcheck: list[str]
    healthcheck_options: dict[str, str]
    user: str
    instructions: list[tuple[str, str]]
    """All of them, of every stage, in order."""


def image() -> Image:
    """The image of the `Dockerfile`: what its last stage says."""
    parser = DockerfileParser(str(ROOT / "Dockerfile"))
    instructions = [(each["instruction"], each["value"]) for each in parser.structure]
    last = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    final = dict(instructions[last:])
    options, _, check = final["HEALTHCHECK"].partition("CMD ")
    return Image(
        entrypoint=json.loads(final["ENTRYPOINT"]),
        env=_pairs(shlex.split(final["ENV"])),
        healthcheck=json.loads(check),
        healthcheck_options=_pairs(part.removeprefix("--") for part in options.split()),
        user=final["USER"],
        instructions=instructions,
    )


def _pairs(words: Iterable[str]) -> dict[str, str]:
    return {name: value for name, _, value in (word.partition("=") for word in words)}


# -- Kubernetes ----------------------------------------------------------------------------------


def render(folder: str) -> list[dict[str, Any]]:
    """The manifests of a folder below `deploy/k8s`, as kustomize renders them."""
    kubectl = find("kubectl")
    assert kubectl is not None
    done = subprocess.run(
        [kubectl, "kustomize", ROOT / "deploy" / "k8s" / folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def from_manifests(documents: list[dict[str, Any]]) -> list[Launch]:
    """Gnomon's own containers, with what their ConfigMaps and Secrets say."""
    sources = {
        (document["kind"], document["metadata"]["name"]): data(document)
        for document in documents
        if document["kind"] in {"ConfigMap", "Secret"}
    }
    templates = [
        document["spec"]["template"] for document in documents if document["kind"] in {"Deployment", "Job"}
    ]
    return [
        _launch(container, template, sources)
        for template in templates
        for container in template["spec"]["containers"]
    ]


def _launch(
    container: dict[str, Any], template: dict[str, Any], sources: Mapping[tuple[str, str], dict[str, str]]
) -> Launch:
    of_image = image()
    env = dict(of_image.env)
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            env |= sources["ConfigMap", source["configMapRef"]["name"]]
        else:
            env |= sources["Secret", source["secretRef"]["name"]]
    env |= {each["name"]: each["value"] for each in container.get("env", [])}
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    notes = template["metadata"].get("annotations", {})
    scraped = notes.get("prometheus.io/scrape") == "true"
    return Launch(
        name=container["name"],
        command=[*container.get("command", of_image.entrypoint), *container.get("args", [])],
        env=env,
        stop_seconds=template["spec"].get("terminationGracePeriodSeconds", 30),
        startup=_probe(container.get("startupProbe"), ports),
        readiness=_probe(container.get("readinessProbe"), ports),
        liveness=_probe(container.get("livenessProbe"), ports),
        metrics=(int(notes["prometheus.io/port"]), notes["prometheus.io/path"]) if scraped else None,
    )


def _probe(probe: dict[str, Any] | None, ports: Mapping[str, int]) -> Probe | None:
    if probe is None:
        return None
    port = probe["httpGet"]["port"]
    return Probe(
        path=probe["httpGet"]["path"],
        port=ports[port] if isinstance(port, str) else port,
        patience_seconds=probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3),
        timeout_seconds=probe.get("timeoutSeconds", 1),
    )


def data(document: dict[str, Any]) -> dict[str, str]:
    """What a ConfigMap or a Secret holds."""
    encoded = document.get("data") or {}
    if document["kind"] == "Secret":
        return {name: b64decode(value).decode() for name, value in encoded.items()}
    return dict(encoded)


# -- compose -------------------------------------------------------------------------------------


def compose_file(variables: Mapping[str, str]) -> dict[str, Any]:
    """`compose.yaml` with these variables in it. Raises KeyError for one that is needed and missing."""

    def fill(match: re.Match[str]) -> str:
        name, how, default = match.groups()
        return variables.get(name, default) if how == ":-" else variables[name]

    text = (ROOT / "compose.yaml").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    document: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(fill, "\n".join(lines)))
    return document


def from_compose(document: dict[str, Any]) -> list[Launch]:
    """Gnomon's own services; the image's health check is their probe."""
    of_image = image()
    port = int(of_image.env["GNOMON_HTTP_PORT"])
    check = Probe(
        path="/livez",
        port=port,
        patience_seconds=seconds(of_image.healthcheck_options["start-period"]),
        timeout_seconds=seconds(of_image.healthcheck_options["timeout"]),
    )
    return [
        Launch(
            name=name,
            command=[*of_image.entrypoint, *service["command"]],
            env=of_image.env | {key: str(value) for key, value in service["environment"].items()},
            stop_seconds=seconds(service.get("stop_grace_period", "10s")),
            startup=None if service.get("healthcheck", {}).get("disable") else check,
        )
        for name, service in document["services"].items()
        if "build" in service
    ]


def seconds(text: str) -> float:
    """A duration as compose and systemd write it: `45s`, `30min`, or plain seconds."""
    match = re.fullmatch(r"(\d+)([a-z]*)", text)
    assert match is not None, text
    return int(match[1]) * _UNITS[match[2]]


# -- systemd -------------------------------------------------------------------------------------


def read_unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit's [Service] section: each with all its values, in order."""
    found: dict[str, list[str]] = {}
    for section, key, value in _settings(path):
        if section == "Service":
            found.setdefault(key, []).append(value)
    return found


def _settings(path: Path) -> Iterator[tuple[str, str, str]]:
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield section, key, value


def from_units(files: Mapping[str, Mapping[str, str]], instance: str = "1") -> list[Launch]:
    """The services of `deploy/systemd`, with these contents of their environment files."""
    launches = []
    for path in sorted((ROOT / "deploy" / "systemd").glob("*.service")):
        unit = read_unit(path)
        [command] = unit["ExecStart"]
        env = _pairs(value.replace("%i", instance) for value in unit.get("Environment", []))
        for name in unit.get("EnvironmentFile", []):
            env |= files[name]
        port = env.get("GNOMON_HEALTH_PORT") or env.get("GNOMON_HTTP_PORT")
        ready = None if port is None else Probe("/readyz", int(port), 60.0, 5.0)
        launches.append(
            Launch(
                name=path.stem.removeprefix("gnomon-").removesuffix("@"),
                command=shlex.split(command),
                env=env,
                stop_seconds=seconds(unit.get("TimeoutStopSec", ["90"])[0]),
                readiness=ready,
            )
        )
    return launches


def environment_file(path: Path) -> dict[str, str]:
    """An environment file of systemd."""
    return _pairs(line for line in path.read_text().splitlines() if line and not line.startswith("#"))
