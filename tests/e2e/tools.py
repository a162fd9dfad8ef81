"""What the tests of this folder need besides pip: which commands, where they come from, and what they are for.

    python tests/e2e/tools.py        install what is missing by apt, where apt is there; tell what stays missing

A test asks for its command by the marker `needs`, and is skipped by name where it is missing:

    pytestmark = [pytest.mark.e2e, needs("node")]

Needs only the standard library.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

__all__ = ["TOOLS", "Tool", "find", "main", "missing"]


class Tool(NamedTuple):
    """One command that pip cannot install."""

    command: str
    purpose: str
    """What is not tested without it."""
    package: str | None = None
    """Debian's package of it; None: it has none, and whoever wants it installs it by hand."""
    also: tuple[str, ...] = ()
    """Other names of the command."""


TOOLS: Final = (
    Tool("node", "the consumer that knows only the contract documents", "nodejs"),
    Tool("npm", "the consumer's packages (NATS client, JSON Schema and AsyncAPI validators)", "npm"),
    Tool("promtool", "the alerts of deploy/prometheus, as Prometheus evaluates them", "prometheus"),
    Tool("kubectl", "the manifests of deploy/k8s, as kustomize renders them"),
    Tool("chromium", "the web page, in a browser", "chromium", also=("chromium-browser", "google-chrome")),
    Tool("systemd-analyze", "the units of deploy/systemd, as systemd reads them", "systemd"),
)
"""Everything that `make e2e` may need."""

_BY_COMMAND: Final = {tool.command: tool for tool in TOOLS}


def find(command: str) -> str | None:
    """The path of a tool of the list, under any of its names; None where it is missing."""
    tool = _BY_COMMAND[command]
    return next((path for name in (tool.command, *tool.also) if (path := shutil.which(name))), None)


def missing() -> list[Tool]:
    """The tools that are not on this machine."""
    return [tool for tool in TOOLS if find(tool.command) is None]


def main() -> int:
    """Install what apt has of what is missing. Always 0: what stays missing is skipped by its tests, loudly."""
    wanted = missing()
    if not wanted:
        _say("every tool is here: " + ", ".join(tool.command for tool in TOOLS))
        return 0
    for tool in wanted:
        _say(f"{tool.command} is missing; it is for {tool.purpose}")
    packages = [tool.package for tool in wanted if tool.package]
    if packages:
        _install(packages)
    for tool in missing():
        words = f"apt install {tool.package}" if tool.package else "no package of Debian has it"
        _say(f"GOING ON WITHOUT {tool.command} ({words}): not tested is {tool.purpose}")
    return 0


def _install(packages: Sequence[str]) -> None:
    apt = shutil.which("apt-get")
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if apt is None or (as_root and shutil.which("sudo") is None):
        _say(
            "cannot install packages here: " + ("there is no apt" if apt is None else "not root, and no sudo")
        )
        return
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [*as_root, apt, "install", "--yes", "--no-install-recommends", *packages]
    _say(" ".join(install))
    if subprocess.run(install, env=environ, check=False).returncode != 0:
        # The lists may be missing or old: once more with new ones.
        subprocess.run([*as_root, apt, "update"], env=environ, check=False)
        subprocess.run(install, env=environ, check=False)


def _say(text: str) -> None:
    sys.stdout.write(f"make e2e: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
