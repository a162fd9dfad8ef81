"""The units of `deploy/systemd`, as systemd reads them, and by our own rules. No systemd runs them here: what they
start is started by `test_packaging_processes`, without the walls that systemd puts around it."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gnomon_core.runtime.supervisor import Supervisor
from gnomon_executor.bootstrap import MARGIN_SECONDS
from gnomon_executor.worker import LAST_BREATH_SECONDS
from tests.e2e.launches import ROOT, environment_file, read_unit, seconds
from tests.e2e.needing import needs
from tests.e2e.tools import find

pytestmark = pytest.mark.e2e

FOLDER: Final = ROOT / "deploy" / "systemd"
UNITS: Final = sorted(path.name for path in FOLDER.glob("*.service"))
PROGRAM: Final = "/opt/gnomon/bin/gnomon"
MOST_EXPOSED: Final = "20"
"""In tenths, of the 100 that systemd gives a unit without any wall."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units beside systemd's own, with a program that is there."""
    folder = tmp_path_factory.mktemp("units")
    own = Path(sys.executable).parent / "gnomon"
    for path in [*FOLDER.glob("*.service"), *FOLDER.glob("*.target")]:
        (folder / path.name).write_text(path.read_text().replace(PROGRAM, str(own)))
    return folder


def _analyze(installed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = find("systemd-analyze")
    assert program is not None
    # The last, empty part stands for systemd's own folders.
    env = {"PATH": os.environ["PATH"], "SYSTEMD_UNIT_PATH": f"{installed}:"}
    return subprocess.run([program, *words], capture_output=True, text=True, env=env, check=False)


def _named(unit: str) -> str:
    return unit.replace("@.", "@1.")


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", [*UNITS, "gnomon.target"])
def test_systemd_takes_it(installed: Path, unit: str) -> None:
    done = _analyze(installed, "verify", _named(unit))
    assert (done.returncode, done.stderr) == (0, "")


@needs("systemd-analyze")
def test_systemd_would_name_a_setting_it_does_not_know(installed: Path) -> None:
    wrong = installed / "gnomon-wrong.service"
    wrong.write_text(
        (installed / "gnomon-api.service").read_text().replace("KillMode=mixed", "KilMode=mixed")
    )
    done = _analyze(installed, "verify", wrong.name)
    assert "KilMode" in done.stderr


@needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_it_is_walled_in(installed: Path, unit: str) -> None:
    done = _analyze(installed, "security", "--offline=true", f"--threshold={MOST_EXPOSED}", _named(unit))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "gnomon-migrate.service"])
def test_it_comes_back_and_stops_as_the_process_does(unit: str) -> None:
    service = read_unit(FOLDER / unit)
    assert service["Restart"] == ["always"]
    assert service["KillSignal"] == ["SIGTERM"]
    # The process ends its own workers: a signal to them all would end them under their handlers.
    assert service["KillMode"] == ["mixed"]
    needed = inspect.signature(Supervisor).parameters["grace"].default
    if "executor" in unit:
        [grace] = [v.partition("=")[2] for v in service["Environment"] if v.startswith("GNOMON_DRAIN_GRACE=")]
        needed = seconds(grace) + LAST_BREATH_SECONDS + MARGIN_SECONDS
    [stop] = service["TimeoutStopSec"]
    assert seconds(stop) > needed


@pytest.mark.parametrize("unit", UNITS)
def test_it_has_no_privilege_and_its_own_secrets_only(unit: str) -> None:
    service = read_unit(FOLDER / unit)
    for setting, value in {
        "DynamicUser": "yes",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "CapabilityBoundingSet": "",
    }.items():
        assert service[setting] == [value], setting
    name = re.sub(r"gnomon-|@|\.service", "", unit)
    own = {"migrate": {"database"}, "api": {"gnomon", "api", "database"}}.get(name, {"gnomon", name})
    assert {Path(file).stem for file in service["EnvironmentFile"]} == own
    assert all(file.startswith("/etc/gnomon/") for file in service["EnvironmentFile"])


def test_every_variable_is_a_setting() -> None:
    known = environment_file(ROOT / ".env.example").keys()
    used = {
        value.partition("=")[0] for unit in UNITS for value in read_unit(FOLDER / unit).get("Environment", [])
    }
    assert used | environment_file(FOLDER / "gnomon.env.example").keys() <= known


def test_no_two_share_a_port() -> None:
    ports = [
        value.replace("%i", "1").partition("=")[2]
        for unit in UNITS
        for value in read_unit(FOLDER / unit).get("Environment", [])
        if "_PORT=" in value
    ]
    assert len(ports) == len({*ports}) == 3
