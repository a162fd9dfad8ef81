"""Where the doctor looks: the api, NATS, and what `gnomon up` wrote down, each by the same rules as elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gnomon_cli.doctor.findings import Finding, fail
from gnomon_cli.errors import CliError
from gnomon_cli.target import DEFAULT_DATA, Target, find_target
from gnomon_cli.up.run_file import RunFile, RunFileError, read_run_file
from gnomon_core.runtime.durability import Demand
from gnomon_core.runtime.settings import CommonSettings

__all__ = ["Patient", "find_patient"]


class Patient(NamedTuple):
    """What is looked at. Whatever could not be found is None, and `findings` say why."""

    api: Target | None
    nats: CommonSettings | None
    """Only the address and the credentials are used."""
    run_file: RunFile | None
    """Of the `gnomon up` that is looked at; None: it is none, or not known to be one."""
    folder: Path
    monitors: tuple[str, ...]
    """Addresses of the monitoring ports of nats-server: by `--monitor`, GNOMON_NATS_MONITOR or run.json."""
    demand: Demand
    """What GNOMON_REQUIRE_DURABILITY demands."""
    findings: tuple[Finding, ...]


def find_patient(
    url: str | None, data: Path | None, monitor: str | None, environ: Mapping[str, str]
) -> Patient:
    """Find it: `--url` and `--data`, else GNOMON_URL and GNOMON_NATS_URL, else the run.json of `gnomon up`.

    Raises UsageError, SettingsError for what cannot be used.
    """
    findings: list[Finding] = []
    folder = data or DEFAULT_DATA
    named = data is None and bool(environ.get("GNOMON_NATS_URL") or environ.get("GNOMON_URL") or url)
    run_file = None if named else _run_file(folder)
    api: Target | None = None
    try:
        api = find_target(url, data, environ)
    except CliError as error:
        if type(error) is not CliError:
            raise
        findings.append(fail("target.api", error.message, error.hint))
    settings = CommonSettings.load(
        {name: environ.get(name, "") for name in ("GNOMON_NATS_MONITOR", "GNOMON_REQUIRE_DURABILITY")}
    )
    monitors = (monitor,) if monitor else settings.nats_monitor
    if not monitors and run_file is not None and run_file.nats_monitor:
        monitors = (run_file.nats_monitor,)
    nats: CommonSettings | None = None
    if run_file is not None:
        nats = CommonSettings(nats_url=run_file.nats_url)
    elif environ.get("GNOMON_NATS_URL"):
        nats = CommonSettings.load(
            {name: environ.get(name, "") for name in ("GNOMON_NATS_URL", "GNOMON_NATS_CREDS")}
        )
    else:
        findings.append(
            fail(
                "target.nats",
                "nothing says where NATS is: GNOMON_NATS_URL is not set, and there is no "
                f"{folder / 'run.json'}",
                "start one with `gnomon up`, name its folder with --data DIR, or set GNOMON_NATS_URL",
            )
        )
    return Patient(
        api, nats, run_file, folder, monitors, Demand(settings.require_durability), tuple(findings)
    )


def _run_file(folder: Path) -> RunFile | None:
    try:
        return read_run_file(folder)
    except (FileNotFoundError, RunFileError):
        return None
