"""A container or unit as a process of this machine: its very command, environment and probes.

Changed is only what cannot be the same outside of its place: where NATS and Postgres are, and the ports, since all
processes share this machine's.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import httpx
from typing_extensions import override

from gnomon_core.runtime.embedded import LOOPBACK, free_port
from tests.e2e.launches import Image, Launch, Probe
from tests.harness.deployed_nats import DeployedNats
from tests.harness.processes import Process, ProcessEndedError

__all__ = ["Container", "WalledContainer", "can_be_walled"]

_BIN: Final = Path(sys.executable).parent
_PORTS: Final = ("GNOMON_HEALTH_PORT", "GNOMON_HTTP_PORT")
_POLL_SECONDS: Final = 0.1
_PROGRAMS: Final = {"gnomon": "gnomon", "/opt/gnomon/bin/gnomon": "gnomon", "python": "python"}
"""What is called by which name in an image or on a machine, and what that is in this environment."""


class Container(Process):
    """One container, started here."""

    def __init__(self, launch: Launch, nats: DeployedNats, database_url: str) -> None:
        self.launch = launch
        self.port = free_port()
        super().__init__(launch.name, "", _environment(launch, nats, database_url, self.port))

    @property
    def url(self) -> str:
        """Where it answers HTTP."""
        return f"http://{LOOPBACK}:{self.port}"

    @override
    def command(self) -> list[str]:
        """The deployment's own command, by the program of this environment."""
        program, *arguments = self.launch.command
        return [str(_BIN / _PROGRAMS[program]), *arguments]

    async def until(self, probe: Probe) -> None:
        """Ask as the probe does, until it is content. Raises TimeoutError when its patience is over,
        ProcessEndedError."""
        last = "nothing was answered"
        try:
            async with (
                asyncio.timeout(probe.patience_seconds),
                httpx.AsyncClient(trust_env=False, timeout=probe.timeout_seconds) as client,
            ):
                while True:
                    if not self.running:
                        raise ProcessEndedError(f"{self.name} ended\n{self.tail()}")
                    try:
                        answer = await client.get(self.url + probe.path)
                    except httpx.TransportError as error:
                        last = repr(error)
                    else:
                        if 200 <= answer.status_code < 400:
                            return
                        last = f"{answer.status_code} {answer.text}"
                    await asyncio.sleep(
                        _POLL_SECONDS
                    )  # a probe asks again and again, and nobody tells it when
        except TimeoutError:
            raise TimeoutError(
                f"{self.name}: {probe.path} within {probe.patience_seconds:g} s: {last}\n{self.tail()}"
            ) from None

    async def up(self) -> None:
        """Start it, and wait for its startup and readiness probes; then its liveness probe agrees too."""
        await self.start()
        for probe in (self.launch.startup, self.launch.readiness, self.launch.liveness):
            if probe is not None:
                await self.until(probe)

    async def healthy(self, image: Image) -> bool:
        """What the image's own HEALTHCHECK says."""
        program, *arguments = image.healthcheck
        own = [part.replace(image.env["GNOMON_HTTP_PORT"], str(self.port)) for part in arguments]
        check = await asyncio.create_subprocess_exec(_BIN / _PROGRAMS[program], *own)
        return await check.wait() == 0

    async def end(self) -> tuple[int, float]:
        """SIGTERM; its exit code and how long it took. Raises TimeoutError when it would have been killed."""
        begin = time.monotonic()
        code = await self.stop(within=self.launch.stop_seconds)
        return code, time.monotonic() - begin


_WALLS: Final = (
    "mount --make-rprivate / && mount -o remount,bind,ro / "
    '&& exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"'
)


class WalledContainer(Container):
    """The same as a container engine would run it: the first process of its namespace, on a root file system that
    cannot be written to, without any capability. Needs Linux, and the right to make namespaces: `can_be_walled`."""

    @override
    def command(self) -> list[str]:
        """The command within the walls."""
        return [*_UNSHARE, *super().command()]

    @override
    def send(self, number: signal.Signals) -> None:
        """To the process within the walls, as an engine does it."""
        if self.running:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), number)

    def walls(self) -> dict[str, str]:
        """What the kernel says of the process within: its number there, capabilities, no new privileges."""
        [child] = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        lines = Path(f"/proc/{child}/status").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return {name: found[name].split()[-1] for name in ("NSpid", "CapEff", "NoNewPrivs")}


_UNSHARE: Final = [
    shutil.which("unshare") or "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "sh",
    "-c",
    _WALLS,
    "sh",
]


def can_be_walled() -> bool:
    """Whether this machine lets us make such walls."""
    if not all(map(shutil.which, ("unshare", "setpriv", "mount"))):
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def _environment(launch: Launch, nats: DeployedNats, database_url: str, port: int) -> dict[str, str]:
    changed: dict[str, str] = {name: str(port) for name in _PORTS if name in launch.env}
    if (url := launch.env.get("GNOMON_NATS_URL")) is not None:
        changed["GNOMON_NATS_URL"] = re.sub(r"@[^@/]+$", f"@{nats.address}", url)
    if launch.env.get("GNOMON_NATS_MONITOR"):
        changed["GNOMON_NATS_MONITOR"] = ",".join(nats.monitors)
    if "GNOMON_DATABASE_URL" in launch.env:
        changed["GNOMON_DATABASE_URL"] = database_url
    return launch.env | changed | {"PATH": f"{_BIN}:{os.environ['PATH']}"}
