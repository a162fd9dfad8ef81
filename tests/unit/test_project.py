"""What the project files promise: members declare what they import, and the locks hold on every machine."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]

MEMBERS = {
    "schemas": "gnomon_schemas",
    "sdk": "gnomon",
    "core": "gnomon_core",
    "services/scheduler": "gnomon_scheduler",
    "services/executor": "gnomon_executor",
    "services/api": "gnomon_api",
    "cli": "gnomon_cli",
}
OURS = {package: canonicalize_name(package) for package in MEMBERS.values()}

NEVER_IMPORTED = {
    "tzdata": "zoneinfo reads its files",
    "uvloop": "asyncio's loop on platforms that have it",
    "httptools": "uvicorn's quicker parser",
}
LOCKS = ("runtime", "build", "servers", "dev")


def _requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def _declared(member: str) -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    return _requirements(project["dependencies"])


def _locked(lock: str) -> dict[str, Requirement]:
    lines = (ROOT / "requirements" / f"{lock}.txt").read_text().splitlines()
    return _requirements([line.removesuffix("\\").strip() for line in lines if re.match(r"\w", line)])


@cache
def _distributions() -> dict[str, set[str]]:
    """Map dotted module names, six levels deep, to the locked distributions that have a file there."""
    found: dict[str, set[str]] = {}
    for name, requirement in _locked("runtime").items():
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        for file in metadata.distribution(name).files or []:
            if file.suffix in (".py", ".so"):
                parts = [part.partition(".")[0] for part in file.parts if part != "__init__.py"]
                for depth in range(1, min(len(parts), 6) + 1):
                    found.setdefault(".".join(parts[:depth]), set()).add(name)
    return found


def _owner(module: str) -> str:
    """Return the distribution of a module: the one that alone has the shortest part of its name."""
    parts = module.split(".")
    if parts[0] in OURS:
        return OURS[parts[0]]
    for depth in range(1, len(parts) + 1):
        owners = _distributions().get(".".join(parts[:depth]), set())
        if len(owners) == 1:
            return owners.copy().pop()
    raise AssertionError(f"no locked distribution has {module}, or several have")


def _imported(member: str) -> set[str]:
    """Return the distributions, other than its own, that a member's modules import."""
    modules: set[str] = set()
    for path in (ROOT / member / MEMBERS[member]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                # `from opentelemetry import trace` names a module too, of the package that has it.
                deeper = {f"{node.module}.{alias.name}" for alias in node.names}
                modules |= deeper & _distributions().keys() or {node.module}
    foreign = {module for module in modules if module.partition(".")[0] not in sys.stdlib_module_names}
    return {_owner(module) for module in foreign} - {OURS[MEMBERS[member]]}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_declares_just_what_it_imports(member: str) -> None:
    """So that each wheel works alone, and carries nothing it does not need."""
    assert set(_declared(member)) - set(NEVER_IMPORTED) == _imported(member) - set(NEVER_IMPORTED)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_is_typed(member: str) -> None:
    """Type checkers read a package's annotations only beside `py.typed`."""
    assert (ROOT / member / MEMBERS[member] / "py.typed").exists()


@pytest.mark.parametrize("member", MEMBERS)
def test_the_runtime_lock_satisfies_every_member(member: str) -> None:
    """A dependency that is declared and not locked would come from nowhere."""
    locked = _locked("runtime")
    for name, wanted in _declared(member).items():
        if name not in OURS.values():
            version = next(iter(locked[name].specifier)).version
            assert wanted.specifier.contains(version, prereleases=True), f"{wanted} is locked at {version}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_and_names_no_place(lock: str) -> None:
    """The same lock has to work with any package index and in any folder."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    assert not re.search(r"://|--index|--find-links|(?m:^-e)|file:|\.\./", text)
    for entry in re.split(r"\n(?=\w)", text)[1:]:
        assert "--hash=sha256:" in entry, entry
    assert not set(_locked(lock)) & set(OURS.values())


@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock != "runtime"])
def test_the_locks_agree(lock: str) -> None:
    """They are installed into one environment, so a package in two of them has one version."""
    runtime = _locked("runtime")
    other = _locked(lock)
    assert {name: str(other[name].specifier) for name in runtime.keys() & other.keys()} == {
        name: str(runtime[name].specifier) for name in runtime.keys() & other.keys()
    }


def test_the_lock_of_the_node_consumer_has_hashes_and_names_no_place() -> None:
    """Like the locks of Python's packages: the same has to work with any registry."""
    lock = json.loads((ROOT / "tests/e2e/node_consumer/package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert len(packages) > 100
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name
