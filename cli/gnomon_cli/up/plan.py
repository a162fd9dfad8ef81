"""What `gnomon up` runs and with which environment: options in, child processes out. Starts nothing.

Everything a child needs is in its environment, as for any process in production; what is set in the
environment of `gnomon up` itself goes on to the children, except what the plan has to decide.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gnomon_cli.errors import CliError, UsageError
from gnomon_cli.up.children import ServiceChild
from gnomon_cli.up.data_folder import log_folder
from gnomon_core.runtime.embedded.ports import LOOPBACK, free_port, is_free

__all__ = [
    "DEFAULT_HTTP_PORT",
    "HttpAddress",
    "Plan",
    "UpOptions",
    "check_options",
    "choose_http_port",
    "port_of",
]

DEFAULT_HTTP_PORT = 8080
MOST_PROCESSES = 16
_NEARBY = 20
_LOOPBACK_NETWORKS = "127.0.0.0/8,::1/128"
_STOP_GRACE_SECONDS = {"api": 10.0, "executor": 60.0, "scheduler": 15.0}
"""How long a stop may take. An executor finishes what it has begun, and gives up by itself before this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What was asked for. Ports are None where none was named."""

    data: Path
    http_port: int | None = None
    nats_port: int | None = None
    mqtt_port: int | None = None
    """None: nobody listens for MQTT."""
    schedulers: int = 1
    executors: int = 1
    tasks: tuple[str, ...] = ()
    fast: bool = False
    reload: bool = False
    demo: bool = False


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where the api listens."""

    host: str
    port: int

    @property
    def reachable_host(self) -> str:
        """The host under which this machine reaches it: a wildcard address is none."""
        return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(self.host, self.host)

    @property
    def url(self) -> str:
        """Its address for programs on this machine."""
        host = self.reachable_host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def choose_http_port() -> int:
    """The default port of the api, or a free one close by, which is easier to remember than any other."""
    for candidate in range(DEFAULT_HTTP_PORT, DEFAULT_HTTP_PORT + _NEARBY):
        if is_free(candidate):
            return candidate
    return free_port()


def port_of(environ: Mapping[str, str]) -> int | None:
    """The port of the api that the environment asks for. Raises `UsageError` for one that is none."""
    text = environ.get("GNOMON_HTTP_PORT", "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"GNOMON_HTTP_PORT is {text!r}: allowed is 1 to 65535")
    return int(text)


def check_options(options: UpOptions, environ: Mapping[str, str]) -> None:
    """Refuse what cannot be meant or cannot be had, before anything is started or written.

    Raises `UsageError`, or `CliError` for a port that is taken.
    """
    if not 1 <= options.schedulers <= MOST_PROCESSES:
        raise UsageError(f"--schedulers is {options.schedulers}: allowed is 1 to {MOST_PROCESSES}")
    if not 0 <= options.executors <= MOST_PROCESSES:
        raise UsageError(f"--executors is {options.executors}: allowed is 0 to {MOST_PROCESSES}")
    if options.demo and options.executors == 0:
        raise UsageError("--demo needs an executor, and --executors is 0")
    if options.reload and not options.tasks:
        raise UsageError(
            "--reload watches the modules of --tasks, and none is named", hint="add --tasks MODULE"
        )
    for flag, port in (("--nats-port", options.nats_port), ("--mqtt-port", options.mqtt_port)):
        if port is not None and environ.get("GNOMON_NATS_URL"):
            raise UsageError(
                f"{flag} is for a nats-server of `gnomon up`, and GNOMON_NATS_URL names another one",
                hint=f"unset GNOMON_NATS_URL, or leave {flag} out",
            )
    _check_port("--http-port or GNOMON_HTTP_PORT", options.http_port)
    _check_port("--nats-port", options.nats_port)
    _check_port("--mqtt-port", options.mqtt_port)


def _check_port(flag: str, port: int | None) -> None:
    if port is None:
        return
    if not 1 <= port <= 65_535:
        raise UsageError(f"{flag} is {port}: allowed is 1 to 65535")
    if not is_free(port):
        raise CliError(
            f"port {port}, asked for by {flag}, is taken by another process",
            hint=f"`lsof -i :{port}` names it; choose another port, or none to get a free one",
        )


class Plan:
    """Lays out the services in a data folder, each with a log, a lock and a health port of its own."""

    def __init__(self, options: UpOptions, folder: Path, environ: Mapping[str, str]) -> None:
        self._options = options
        self._logs = log_folder(folder)
        self._environ = environ
        self.nats_monitor: str | None = None
        """The monitoring port of the embedded server: there the services read what an acknowledgement is worth."""

    def schedulers(self, nats_url: str) -> list[ServiceChild]:
        """As many schedulers as were asked for."""
        return self._several("scheduler", self._options.schedulers, self._common(nats_url))

    def executors(self, nats_url: str) -> list[ServiceChild]:
        """As many executors as were asked for, with the user's task modules."""
        env = self._common(nats_url)
        env["GNOMON_HTTP_ALLOW"] = self._http_allow()
        if self._options.tasks:
            env["GNOMON_EXECUTOR_TASKS"] = ",".join(self._options.tasks)
        return self._several("executor", self._options.executors, env)

    def api(self, nats_url: str, database_url: str, http: HttpAddress) -> ServiceChild:
        """The api."""
        env = self._common(nats_url)
        env["GNOMON_HTTP_ALLOW"] = self._http_allow()
        env["GNOMON_DATABASE_URL"] = database_url
        env["GNOMON_HTTP_HOST"] = http.host
        env["GNOMON_HTTP_PORT"] = str(http.port)
        return self._child("api", "api", env, (http.reachable_host, http.port))

    def _http_allow(self) -> str:
        """What tasks may have asked: on a machine of one's own, also what listens there."""
        allowed = [part for part in (self._environ.get("GNOMON_HTTP_ALLOW", ""), _LOOPBACK_NETWORKS) if part]
        return ",".join(allowed)

    def _several(self, kind: str, count: int, env: Mapping[str, str]) -> list[ServiceChild]:
        children = []
        for number in range(1, count + 1):
            port = free_port()
            own = {**env, "GNOMON_HEALTH_PORT": str(port)}
            children.append(self._child(kind, f"{kind}-{number}", own, (LOOPBACK, port)))
        return children

    def _child(self, kind: str, name: str, env: Mapping[str, str], health: tuple[str, int]) -> ServiceChild:
        return ServiceChild(
            name,
            # -P: a file of the working directory must not hide a module of the standard library.
            command=[sys.executable, "-P", "-m", f"gnomon_{kind}"],
            env=env,
            folder=Path.cwd(),
            log=self._logs / f"{name}.log",
            lock=self._logs / f".{name}.lock",
            health=health,
            grace=_STOP_GRACE_SECONDS[kind],
        )

    def _common(self, nats_url: str) -> dict[str, str]:
        # The database is the api's alone.
        env = {name: value for name, value in self._environ.items() if name != "GNOMON_DATABASE_URL"}
        env["GNOMON_NATS_URL"] = nats_url
        if self.nats_monitor is not None:
            env["GNOMON_NATS_MONITOR"] = self.nats_monitor
        # One JSON object a line, so that warnings can be told from the rest without guessing.
        env.setdefault("GNOMON_LOG_FORMAT", "json")
        return env
