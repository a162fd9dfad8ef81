"""What a module takes of another is in that one's `__all__`, so that the list says what others rest on."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "sdk", "core", "services/scheduler", "services/executor", "services/api", "cli")


@cache
def _modules() -> dict[str, ast.Module]:
    """Return every module of ours by its dotted name."""
    found: dict[str, ast.Module] = {}
    for package in PACKAGES:
        home = ROOT / package
        for path in home.glob("gnomon*/**/*.py"):
            parts = path.relative_to(home).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text())
    return found


def _exported(module: ast.Module) -> set[str] | None:
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return set(ast.literal_eval(value))
            case _:
                pass
    return None


def _taken(module: ast.Module) -> set[tuple[str, str]]:
    """Return the names that a module imports from others of ours, each with where from."""
    return {
        (node.module, alias.name)
        for node in module.body
        if isinstance(node, ast.ImportFrom) and node.module in _modules()
        for alias in node.names
        if f"{node.module}.{alias.name}" not in _modules()
    }


def test_what_others_take_of_a_module_is_in_its_list() -> None:
    missing = {
        f"{source}.{name}, in {taker}"
        for taker, module in _modules().items()
        for source, name in _taken(module)
        if (exported := _exported(_modules()[source])) is not None and name not in exported
    }
    assert missing == set()
