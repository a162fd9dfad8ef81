"""One examination: look, judge, and tell, on a terminal or as JSON."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from importlib import metadata

import msgspec

from gnomon_cli.api_client import ApiClient
from gnomon_cli.doctor.chart import NatsAway, read_chart
from gnomon_cli.doctor.checks_api import check_api
from gnomon_cli.doctor.checks_nats import check_nats
from gnomon_cli.doctor.checks_work import check_work
from gnomon_cli.doctor.findings import Finding, Status, fail, ok, warn, worst
from gnomon_cli.doctor.target import Patient, find_patient
from gnomon_cli.errors import FAILED, OK, UsageError
from gnomon_cli.terminal import Terminal
from gnomon_core.runtime.logs import configure_logging
from gnomon_core.runtime.settings import SettingsError

__all__ = ["doctor_command", "examine"]

_OLDEST_PYTHON = (3, 11)
_PACKAGES = (
    "gnomon",
    "gnomon-schemas",
    "gnomon-core",
    "gnomon-cli",
    "gnomon-scheduler",
    "gnomon-executor",
    "gnomon-api",
)
_STYLES: Mapping[Status, str] = {"ok": "green", "unknown": "dim", "warn": "yellow", "fail": "bold red"}
_API_SECONDS = 10.0
_READY_SECONDS = 5.0


def doctor_command(options: argparse.Namespace, terminal: Terminal) -> int:
    """`gnomon doctor`: exit code 0, or 1 when something failed. Warnings do not fail."""
    # What is wrong is told as a finding; the connection's own words would come in between.
    configure_logging("error", "console", process="doctor")
    try:
        patient = find_patient(options.url, options.data, options.monitor, os.environ)
    except SettingsError as error:
        raise UsageError(str(error)) from error
    with terminal.busy("looking"):
        findings = list(examine(patient))
    if options.json:
        whole = {"status": worst(findings), "findings": findings}
        terminal.raw(msgspec.json.format(msgspec.json.encode(whole), indent=2))
    else:
        _tell(findings, terminal)
    return FAILED if worst(findings) == "fail" else OK


def examine(patient: Patient) -> Iterator[Finding]:
    """Look at everything that can be reached. What cannot is a finding; nothing raises for it."""
    here = _own_version()
    yield from _installed(here)
    yield from patient.findings
    if patient.run_file is not None:
        yield from _processes_of_up(patient)
    if patient.nats is not None:
        try:
            chart = asyncio.run(read_chart(patient.nats))
        except NatsAway as error:
            yield fail(
                "nats.reachable",
                f"{_without_password(patient.nats.nats_url)}: {error}",
                "is nats-server up, with JetStream? Nothing fires or runs without it",
            )
        else:
            yield ok("nats.reachable", _without_password(patient.nats.nats_url))
            yield from check_nats(chart, patient)
            yield from check_work(chart, here)
    if patient.api is not None:
        yield from check_api(ApiClient(patient.api, timeout=_API_SECONDS))


def _installed(here: str) -> Iterator[Finding]:
    if sys.version_info < _OLDEST_PYTHON:
        yield fail("versions.python", platform.python_version(), "use Python 3.11 or newer")
    else:
        yield ok("versions.python", platform.python_version())
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a machine needs only those of what it runs
    if len(set(versions.values())) > 1:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield warn("versions.packages", told, "install the same version of all of them")
    else:
        yield ok("versions.packages", f"{len(versions)} packages of version {here}")


def _processes_of_up(patient: Patient) -> Iterator[Finding]:
    """Ask the health port of each process that `gnomon up` has written down."""
    assert patient.run_file is not None
    if not _lives(patient.run_file.pid):
        yield fail(
            "up.running",
            f"{patient.folder / 'run.json'} names process {patient.run_file.pid}, which has gone",
            "start `gnomon up` again: it goes on with the same folder",
        )
        return
    yield ok("up.running", f"process {patient.run_file.pid}")
    for process in patient.run_file.processes:
        if process.health_url is None:
            continue
        check, said = f"ready.{process.name}", _readiness(f"{process.health_url}/readyz")
        if said is None:
            yield ok(check, process.health_url)
        else:
            yield fail(check, said, f"see its log: {process.log}")


def _readiness(url: str) -> str | None:
    """What /readyz objects to; None: nothing."""
    try:
        with urllib.request.urlopen(url, timeout=_READY_SECONDS) as answer:
            answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return f"not ready: {refusal.read().decode(errors='replace').strip()}"
    except (urllib.error.URLError, OSError) as error:
        return f"{url} does not answer: {error}"
    return None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tell(findings: list[Finding], terminal: Terminal) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        shown = f"{finding.status:<7}"
        terminal.paragraph(f"{shown} {finding.check:<{width}}  {finding.saw}", _STYLES[finding.status])
        if finding.do:
            terminal.paragraph(f"{'':<7} {'':<{width}}  → {finding.do}")
    counts = {status: sum(finding.status == status for finding in findings) for status in _STYLES}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    terminal.line((told, _STYLES[worst(findings)]))


def _own_version() -> str:
    try:
        return metadata.version("gnomon-core")
    except metadata.PackageNotFoundError:
        return "of a source tree that is not installed"


def _without_password(url: str) -> str:
    return ",".join(part.rpartition("@")[2] if "@" in part else part for part in url.split(","))
